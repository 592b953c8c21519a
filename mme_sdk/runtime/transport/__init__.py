"""Send InvokeEndpoint requests, through a connection pool of the SDK or through botocore."""

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
