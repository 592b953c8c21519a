"""Send requests through botocore, for configurations that the connection pool does not support."""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future, wait
from contextlib import nullcontext
from time import monotonic
from typing import Any, Protocol

import attrs

from mme_sdk._flows.cancellation import CancelScope, current_scope
from mme_sdk.errors import ErrorFacts, NotSentError, OutcomeUnknownError
from mme_sdk.runtime.transport.daemon_threads import async_result_of, result_of, start_in_thread
from mme_sdk.runtime.transport.pool_base import transport_closed
from mme_sdk.runtime.transport.request_headers import check_headers
from mme_sdk.runtime.transport.response_parser import framing_fault
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

__all__ = ["AsyncBotocoreTransport", "BotocoreTransport", "Sender"]

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
_ONE_VALUE = (
    "content-type",
    "x-amzn-errortype",
    "x-amzn-requestid",
)  # urllib3 joins values of repeated headers by a comma
_CONTROL = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_GRACE = 1.0  # seconds for interrupted calls to end; only name look-up and a TLS handshake take that long


class Sender(Protocol):
    """Sends requests through botocore; implemented by `mme_sdk.aws.botocore_invoke.BotocoreInvoker`."""

    def send(self, params: dict[str, Any], call: Any) -> Any:
        """Send a request once; see `BotocoreInvoker.send`."""
        ...

    def discard_connections(self) -> None:
        """Close the idle connections."""
        ...


@attrs.frozen
class _StartedCall:
    """A call that runs in a daemon thread."""

    request: InvokeRequest
    expires_at: float
    seconds: float
    call: Any
    future: Future[Any]
    scope: CancelScope

    def end(self, ending: set[Future[Any]]) -> None:
        """Interrupt the call. Its future is in `ending` until its thread has closed the connection."""
        ending.add(self.future)
        self.future.add_done_callback(ending.discard)
        self.call.give_up()
        self.scope.cancel()

    def timed_out(self) -> NotSentError | OutcomeUnknownError:
        """Return the error for a call after its time-out."""
        name = self.request.endpoint
        facts: ErrorFacts = {"endpoint": name, "model": self.request.target_model}
        if not self.call.sent:
            return NotSentError(
                f"{name}: the request was not sent within {self.seconds:.3g} s; credentials and signing took all of it",
                **facts,
            )
        unknown = OutcomeUnknownError(
            f"{name}: the request was sent, but no complete response arrived (timed out after {self.seconds:.3g} s)",
            **facts,
        )
        unknown.answer_began = self.call.began
        return unknown


class BotocoreTransport:
    """A transport that sends through botocore. The connect time-out is that of the boto3 client, not that of the call.

    A call runs in a daemon thread, with the context variables of the caller, because botocore accepts no deadline for
    credentials, name look-up, connection, request and response together.

    Args:
        sender: Sends the requests.
        reason: The setting that the connection pool does not support. None if the caller chose this transport.
    """

    name = "botocore"

    def __init__(self, sender: Sender, *, reason: str | None = None) -> None:
        self.reason = reason
        self._sender = sender
        self._closed = threading.Event()
        self.ending: set[Future[Any]] = set()  # of interrupted calls whose threads have not ended

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f', since {self.reason}' if self.reason else ''}>"

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:  # noqa: ARG002
        """Send a request and return its response; see `Transport.send`."""
        started = self.start(request, read_timeout)
        scope = current_scope()
        try:
            with scope.waking(started.scope.cancel) if scope is not None else nullcontext():
                raw = result_of(started.future, started.expires_at)
        except TimeoutError:
            started.end(self.ending)
            raise started.timed_out() from None
        except BaseException:
            started.end(self.ending)
            raise
        return self.finish(request, raw)

    def start(self, request: InvokeRequest, seconds: float) -> _StartedCall:
        """Start a call in a daemon thread.

        Args:
            request: The request.
            seconds: Seconds for the whole call.

        Returns:
            The started call.

        Raises:
            ClosedError: The transport was closed.
            InvalidInputError: A header value cannot be sent.
        """
        from mme_sdk.aws.botocore_invoke import CallState

        if self._closed.is_set():
            raise transport_closed(request)
        check_headers(request)
        params = {
            parameter: value
            for field, parameter in _PARAMETERS.items()
            if (value := getattr(request, field)) is not None
        }
        call = CallState(seconds, request.invocation_id)
        scope = CancelScope()
        future = start_in_thread(lambda: scope.run(lambda: self._sender.send(params, call)))
        return _StartedCall(request, monotonic() + seconds, seconds, call, future, scope)

    def finish(self, request: InvokeRequest, raw: Any) -> InvokeResponse:
        """Check a response that `http.client` accepted, and return it.

        Raises:
            OutcomeUnknownError: The response is malformed or incomplete.
        """
        fault = _fault(raw)
        if fault is None:
            return InvokeResponse(status=raw.status, headers=raw.headers, body=raw.body)
        self._sender.discard_connections()
        unknown = OutcomeUnknownError(
            f"{request.endpoint}: the request was sent, but no complete response arrived ({fault})",
            endpoint=request.endpoint,
            model=request.target_model,
        )
        unknown.answer_began = True
        raise unknown

    def close(self) -> None:
        """Reject further calls, and wait until interrupted calls have closed their connections, for at most a second.

        The other connections belong to the boto3 client and are closed with it.
        """
        self._closed.set()
        wait(list(self.ending), timeout=_GRACE)


def _fault(raw: Any) -> str | None:
    """Return why a response that botocore accepted is malformed or incomplete; None if it is neither."""
    headers: dict[str, str] = raw.headers
    if raw.status < 200:
        # http.client treats every interim response but 100 as the final one, which is still on the connection.
        return f"an interim response {raw.status}"
    if raw.defects is not None:
        return f"a malformed head: {raw.defects}"
    for name, value in headers.items():
        if _NAME.match(name) is None or _CONTROL.search(value) is not None:
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
        # http.client accepts an incomplete head.
        return None if raw.body else "the connection ended after the head, or within it"
    return None if len(raw.body) == int(length) else f"{len(raw.body)} of {length} bytes arrived"


class AsyncBotocoreTransport:
    """`BotocoreTransport` for asyncio. It starts the same threads, and is hand-written because it waits differently.

    Args:
        sender: Sends the requests.
        reason: The setting that the connection pool does not support. None if the caller chose this transport.
    """

    name = "botocore"

    def __init__(self, sender: Sender, *, reason: str | None = None) -> None:
        self.reason = reason
        self._inner = BotocoreTransport(sender, reason=reason)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f', since {self.reason}' if self.reason else ''}>"

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:  # noqa: ARG002
        """Send a request and return its response; see `Transport.send`."""
        started = self._inner.start(request, read_timeout)
        try:
            raw = await async_result_of(started.future, started.expires_at)
        except TimeoutError:
            started.end(self._inner.ending)
            raise started.timed_out() from None
        except BaseException:
            started.end(self._inner.ending)
            raise
        return self._inner.finish(request, raw)

    async def close(self) -> None:
        """Reject further calls, and wait for interrupted ones; see `BotocoreTransport.close`."""
        import asyncio

        self._inner._closed.set()
        if ending := [asyncio.wrap_future(one) for one in list(self._inner.ending)]:
            ended, late = await asyncio.wait(ending, timeout=_GRACE)
            for one in (*ended, *late):
                if not one.cancel():
                    one.exception()  # asyncio warns of exceptions that nobody has read
