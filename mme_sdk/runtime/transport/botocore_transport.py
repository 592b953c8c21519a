"""Send through botocore, for configurations that the other transport does not support."""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future
from contextlib import nullcontext
from time import monotonic
from typing import Any, Protocol

import attrs

from mme_sdk._cancellation import CancelScope, current_scope
from mme_sdk.errors import ClosedError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime.transport.daemon_threads import in_background, outcome, outcome_async
from mme_sdk.runtime.transport.request_headers import check
from mme_sdk.runtime.transport.response_parser import framing_fault
from mme_sdk.runtime.transport_interface import InvokeAnswer, InvokeRequest

__all__ = ["AsyncBotocoreTransport", "BotocoreTransport", "Invoker"]

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
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_ONE_VALUE = ("content-type", "x-amzn-errortype", "x-amzn-requestid")  # urllib3 joins repeated ones by a comma
_NOT_TEXT = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class Invoker(Protocol):
    """Sends through botocore: `mme_sdk.aws.botocore_invoke.BotocoreInvoker`."""

    def send(self, params: dict[str, Any], call: Any) -> Any:
        """Send once; see `BotocoreInvoker.send`."""
        ...

    def discard_connections(self) -> None:
        """Close the idle connections."""
        ...


@attrs.frozen
class _Started:
    """A call that runs in a background thread."""

    request: InvokeRequest
    ends: float
    seconds: float
    call: Any
    future: Future[Any]
    scope: CancelScope

    def too_late(self) -> NotSentError | OutcomeUnknownError:
        """The error for a call whose time is over; its thread ends with its connection."""
        name = self.request.endpoint
        facts: dict[str, Any] = {"endpoint": name, "model": self.request.target_model}
        self.call.give_up()
        self.scope.cancel()
        if not self.call.sent:
            return NotSentError(
                f"{name}: not sent within {self.seconds:.3g} s; credentials and signing took all of it", **facts
            )
        unknown = OutcomeUnknownError(
            f"{name}: sent, but no whole answer came back (timed out after {self.seconds:.3g} s)", **facts
        )
        unknown.answer_began = self.call.began
        return unknown


class BotocoreTransport:
    """Sends through botocore. Connect time-outs are the client's own: botocore has none per call.

    A call runs in a background thread, with the caller's context variables: nothing in botocore takes one deadline for
    credentials, name look-up, connection, request and answer together.

    Args:
        invoker: What sends.
        reason: Why not a faster transport; None where this one was asked for.
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
        started = self.start(request, read_timeout)
        scope = current_scope()
        try:
            with scope.waking(started.scope.cancel) if scope is not None else nullcontext():
                raw = outcome(started.future, started.ends)
        except TimeoutError:
            raise started.too_late() from None
        except BaseException:
            started.scope.cancel()
            raise
        return self.finish(request, raw)

    def start(self, request: InvokeRequest, seconds: float) -> _Started:
        """Begin to send, in a background thread.

        Args:
            request: What to send.
            seconds: Seconds for the whole call.

        Raises:
            ClosedError: This transport was closed.
            InvalidInputError: The request cannot be sent.
        """
        from mme_sdk.aws.botocore_invoke import CallState

        if self._closed.is_set():
            raise ClosedError("this transport was closed", endpoint=request.endpoint, model=request.target_model)
        check(request)
        params = {
            parameter: value
            for field, parameter in _PARAMETERS.items()
            if (value := getattr(request, field)) is not None
        }
        call = CallState(seconds, request.invocation_id)
        scope = CancelScope()
        future = in_background(lambda: scope.run(lambda: self._invoker.send(params, call)))
        return _Started(request, monotonic() + seconds, seconds, call, future, scope)

    def finish(self, request: InvokeRequest, raw: Any) -> InvokeAnswer:
        """Check what `http.client` let through.

        Raises:
            OutcomeUnknownError: It is not an answer, or not a whole one.
        """
        fault = _fault(raw)
        if fault is None:
            return InvokeAnswer(status=raw.status, headers=raw.headers, body=raw.body)
        self._invoker.discard_connections()
        unknown = OutcomeUnknownError(
            f"{request.endpoint}: sent, but no whole answer came back ({fault})",
            endpoint=request.endpoint,
            model=request.target_model,
        )
        unknown.answer_began = True
        raise unknown

    def close(self) -> None:
        """Refuse further calls; the connections are the client's, and close with it."""
        self._closed.set()


def _fault(raw: Any) -> str | None:
    """Say why an answer that botocore accepted is not one; None where it is."""
    headers: dict[str, str] = raw.headers
    if raw.status < 200:
        # http.client takes any interim answer but 100 for the last one; the real one is still on the connection.
        return f"an interim answer {raw.status}"
    if raw.defects is not None:
        return f"a malformed head: {raw.defects}"
    for name, value in headers.items():
        if _NAME.match(name) is None or _NOT_TEXT.search(value) is not None:
            return f"a malformed header {name[:40]!r}"
    for name in _ONE_VALUE:
        values = headers.get(name, "").split(", ")
        if len(set(values)) > 1:
            return f"several values of {name}"
        if len(values) > 1:
            headers[name] = values[0]
    fault = framing_fault(headers, status=raw.status, minor=raw.minor)
    if fault is not None or "transfer-encoding" in headers or raw.status in (204, 304):
        return fault
    length = headers.get("content-length")
    if length is None:
        # Where the head breaks off, http.client takes what came for the whole of it.
        return None if raw.body else "the connection ended after the head, or within it"
    return None if len(raw.body) == int(length) else f"{len(raw.body)} bytes of {length}"


class AsyncBotocoreTransport:
    """`BotocoreTransport`, awaited.

    Args:
        invoker: What sends.
        reason: Why not a faster transport; None where this one was asked for.
    """

    name = "botocore"

    def __init__(self, invoker: Invoker, *, reason: str | None = None) -> None:
        self.reason = reason
        self._inner = BotocoreTransport(invoker, reason=reason)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f', since {self.reason}' if self.reason else ''}>"

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:  # noqa: ARG002
        """Send and wait for the whole answer; see `Transport.send`."""
        started = self._inner.start(request, read_timeout)
        try:
            raw = await outcome_async(started.future, started.ends)
        except TimeoutError:
            raise started.too_late() from None
        except BaseException:
            started.scope.cancel()  # a cancelled task must not leave a thread that waits for the answer
            raise
        return self._inner.finish(request, raw)

    async def close(self) -> None:
        """Refuse further calls; the connections are the client's, and close with it."""
        self._inner.close()
