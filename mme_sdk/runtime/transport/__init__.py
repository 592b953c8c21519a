"""How an InvokeEndpoint request reaches the wire: a lean lane where it can be used, botocore where it cannot."""

from mme_sdk.runtime.transport.choose import Choice, make_async_transport, make_transport

__all__ = ["Choice", "make_async_transport", "make_transport"]
