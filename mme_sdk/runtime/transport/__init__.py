"""Send InvokeEndpoint requests, through a connection pool of the SDK or through botocore.

Names are imported on first use: a synchronous client does not import asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

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
    "AsyncSelectedTransport": "runtime.transport.async_selection",
    "PoolSettings": "runtime.transport.selection_base",
    "SelectedTransport": "runtime.transport.selection",
    "TransportChoice": "runtime.transport.selection_base",
    "make_async_transport": "runtime.transport.async_selection",
    "make_transport": "runtime.transport.selection",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
