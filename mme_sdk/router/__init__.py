"""One name over several endpoints: `client.router(name, cells=[…])`. Names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.router.async_router import AsyncRouter
    from mme_sdk.router.cell import Cell
    from mme_sdk.router.evacuation import CellChange, CellState
    from mme_sdk.router.router import Router

__all__ = ["AsyncRouter", "Cell", "CellChange", "CellState", "Router"]

_MODULES = {
    "AsyncRouter": "router.async_router",
    "Cell": "router.cell",
    "CellChange": "router.evacuation",
    "CellState": "router.evacuation",
    "Router": "router.router",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
