"""How an InvokeEndpoint request reaches the wire: a lean lane where it can be used, botocore where it cannot."""

from mme_sdk.runtime.transport.selection import (
    AsyncChosenTransport,
    Choice,
    ChosenTransport,
    make_async_transport,
    make_transport,
)
from mme_sdk.runtime.transport.settings import Settings

__all__ = ["AsyncChosenTransport", "Choice", "ChosenTransport", "Settings", "make_async_transport", "make_transport"]
