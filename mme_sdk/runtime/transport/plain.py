"""The fall-back: botocore itself sends, at its price, whatever is configured."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from mme_sdk.aws.cancellation import CancelScope
from mme_sdk.errors import ClosedError
from mme_sdk.runtime.transport.message import check
from mme_sdk.runtime.wire import InvokeAnswer, InvokeRequest

__all__ = ["AsyncBotocoreTransport", "BotocoreTransport", "Invoker", "Offload"]

_PARAMETERS = {
    "endpoint": "EndpointName",
    "body": "Body",
    "content_type": "ContentType",
    "accept": "Accept",
    "target_model": "TargetModel",
    "target_variant": "TargetVariant",
    "target_container": "TargetContainerHostname",
    "inference_component": "InferenceComponentName",
    "inference_id": "InferenceId",
    "custom_attributes": "CustomAttributes",
    "session_id": "SessionId",
    "enable_explanations": "EnableExplanations",
    "prefix_aware_id": "PrefixAwareId",
}


class Invoker(Protocol):
    """What sends through botocore: `mme_sdk.aws.invoke.BotocoreInvoker`."""

    def send(self, params: dict[str, Any], *, read_timeout: float, invocation_id: str | None = None) -> Any:
        """Send once; see `BotocoreInvoker.send`."""
        ...


Offload = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs blocking work off the event loop; `Aws.offload` is one."""


class BotocoreTransport:
    """Sends through botocore. Connect time-outs are the client's own: botocore has none per call.

    Args:
        invoker: What sends.
        reason: Why not a faster lane; None where this one was asked for.
    """

    name = "botocore"

    def __init__(self, invoker: Invoker, *, reason: str | None = None) -> None:
        self.reason = reason
        self._invoker = invoker
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f', since {self.reason}' if self.reason else ''}>"

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:  # noqa: ARG002
        """Send and wait for the whole answer; see `Transport.send`."""
        if self._closed.is_set():
            raise ClosedError("this transport was closed", endpoint=request.endpoint, model=request.target_model)
        check(request)
        params = {
            parameter: value
            for field, parameter in _PARAMETERS.items()
            if (value := getattr(request, field)) is not None
        }
        raw = self._invoker.send(params, read_timeout=read_timeout, invocation_id=request.invocation_id)
        return InvokeAnswer(status=raw.status, headers=raw.headers, body=raw.body)

    def close(self) -> None:
        """Refuse further calls; the connections are the client's, and close with it."""
        self._closed.set()


class AsyncBotocoreTransport:
    """`BotocoreTransport` in worker threads.

    Args:
        invoker: What sends.
        offload: Runs blocking work off the event loop.
        reason: Why not a faster lane; None where this one was asked for.
    """

    name = "botocore"

    def __init__(self, invoker: Invoker, offload: Offload, *, reason: str | None = None) -> None:
        self.reason = reason
        self._inner = BotocoreTransport(invoker, reason=reason)
        self._offload = offload

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f', since {self.reason}' if self.reason else ''}>"

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        scope = CancelScope()
        send = partial(self._inner.send, request, connect_timeout=connect_timeout, read_timeout=read_timeout)
        try:
            answer: InvokeAnswer = await self._offload(partial(scope.run, send))
        except BaseException:
            scope.cancel()  # a cancelled task must not leave a thread that waits for the answer
            raise
        return answer

    async def close(self) -> None:
        """Refuse further calls; the connections are the client's, and close with it."""
        self._inner.close()
