"""Send InvokeEndpoint requests, through a connection pool of the SDK or through botocore.

Names are imported on first use: a synchronous client does not import asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk.runtime.transport.async_selection import AsyncSelectedTransport, make_async_transport
    from mme_sdk.runtime.transport.selection import SelectedTransport, make_transport
    from mme_sdk.runtime.transport.selection_base import PoolSettings, TransportChoice

__all__ = [
    "AsyncSelectedTransport",
    "PoolSettings",
    "SelectedTransport",
    "TransportChoice",
    "make_async_transport",
    "make_transport",
]

_MODULES = {
    "AsyncSelectedTransport": "async_selection",
    "PoolSettings": "selection_base",
    "SelectedTransport": "selection",
    "TransportChoice": "selection_base",
    "make_async_transport": "async_selection",
    "make_transport": "selection",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'mme_sdk.runtime.transport' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"mme_sdk.runtime.transport.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
