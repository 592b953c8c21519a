"""Another way of sending under an existing boto3 client: its `before-call` event, answered in botocore's own shapes.

botocore still validates, serialises and raises; what it no longer does is build, sign, send and read HTTP. Its retry
policy is asked through the event that it is asked through otherwise, so that attempts, waits and quotas stay the
client's.
"""

from __future__ import annotations

import functools
import io
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

import attrs

__all__ = ["Bridge", "Incoming", "SendFailure", "Sender"]

Kind = Literal["connect-timeout", "tls", "connect", "closed", "read-timeout"]
_EVENT = "sagemaker-runtime.InvokeEndpoint"
_FOREVER = 1e6
_ID = "mme_sdk.accelerate"
_PATH = re.compile(r"/endpoints/([A-Za-z0-9-]+)/invocations\Z")


class SendFailure(Exception):
    """A request without a whole answer.

    Attributes:
        kind: How far it came.
        cause: What happened.
    """

    def __init__(self, kind: Kind, cause: Exception) -> None:
        super().__init__(str(cause))
        self.kind = kind
        self.cause = cause


@attrs.frozen(kw_only=True)
class Incoming:
    """A request as botocore serialised it; header names are lower-case, without User-Agent."""

    endpoint: str
    headers: dict[str, str]
    body: bytes
    invocation_id: str


class Sender(Protocol):
    """Sends once."""

    def __call__(
        self, request: Incoming, *, connect_timeout: float, read_timeout: float
    ) -> tuple[int, Mapping[str, str], bytes] | None:
        """Send and wait for the whole answer.

        Args:
            request: What to send.
            connect_timeout: Seconds for the connection.
            read_timeout: Seconds for the answer.

        Returns:
            Status, headers by lower-case name, body; None for a request that botocore should send itself.

        Raises:
            SendFailure: There was no whole answer.
        """
        ...


class Bridge:
    """Answers a client's `before-call`.

    Args:
        client: A boto3 client of `sagemaker-runtime`.
        url: What to name in errors of connections.
        send: What sends.
        sleep: Waits between attempts, as long as the client's retry policy says.

    Attributes:
        passed_on: Calls left to botocore.
    """

    def __init__(self, client: Any, url: str, send: Sender, *, sleep: Callable[[float], None] | None = None) -> None:
        from botocore.parsers import create_parser

        self._events = client.meta.events
        self._url, self._send, self._sleep = url, send, sleep or time.sleep
        self.passed_on = 0
        config = client.meta.config
        # None is botocore's word for no limit.
        self._timeouts = {
            "connect_timeout": config.connect_timeout or _FOREVER,
            "read_timeout": config.read_timeout or _FOREVER,
        }
        self._parser = create_parser(client.meta.service_model.resolved_protocol)

    def attach(self) -> None:
        """Begin to send."""
        # Last, so that whatever botocore itself does before a call has been done.
        self._events.register_last(f"before-call.{_EVENT}", self._before_call, unique_id=_ID)

    def detach(self) -> None:
        """Leave sending to botocore again."""
        self._events.unregister(f"before-call.{_EVENT}", unique_id=_ID)

    def _before_call(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        found = _PATH.match(params["url_path"])
        body = params["body"]
        if found is None or params["query_string"] or not isinstance(body, (bytes, bytearray)):
            self.passed_on += 1
            return None
        headers = {name.lower(): value for name, value in params["headers"].items()}
        headers.pop("user-agent", None)
        known = context.setdefault("retries", {}).setdefault("invocation-id", str(uuid.uuid4()))
        request = Incoming(endpoint=found.group(1), headers=headers, body=bytes(body), invocation_id=known)
        attempt = 1
        while True:
            response: Any = None
            failure: Exception | None = None
            try:
                answer = self._send(request, **self._timeouts)
            except SendFailure as error:
                failure = self._botocores(error)
            else:
                if answer is None:
                    self.passed_on += 1
                    return None
                response = self._response(model, *answer)
                if response[0].status_code < 300:
                    break
            delays = self._events.emit(
                f"needs-retry.{_EVENT}",
                response=response,
                endpoint=None,
                operation=model,
                attempts=attempt,
                caught_exception=failure,
                request_dict=params,
            )
            # A handler's False means no, as None does; only a number of seconds means yes.
            delay = next((value for _, value in delays if value is not None), None)
            if delay is None or delay is False:
                break
            self._sleep(delay)
            attempt += 1
        if failure is not None:
            raise failure
        response[1]["ResponseMetadata"]["RetryAttempts"] = attempt - 1
        return response

    def _response(self, model: Any, status: int, headers: Mapping[str, str], body: bytes) -> tuple[Any, Any]:
        from botocore.awsrequest import AWSResponse

        raw = _Raw(body)
        http = AWSResponse(self._url, status, headers, raw)
        parts = {"headers": http.headers, "status_code": status, "context": {"operation_name": model.name}}
        if status < 300:
            parts["body"] = _body_class()(raw, headers.get("content-length"))
            return http, self._parser.parse(parts, model.output_shape)
        parts["body"] = body
        parsed = self._parser.parse(parts, model.output_shape)
        # The fields that the service model knows of this error, as botocore adds them.
        shape = model.service_model.shape_for_error_code(parsed.get("Error", {}).get("Code"))
        if shape is not None:
            parsed.update(self._parser.parse(parts, shape))
        return http, parsed

    def _botocores(self, error: SendFailure) -> Exception:
        import botocore.exceptions as bc

        match error.kind:
            case "connect-timeout":
                kind: Any = bc.ConnectTimeoutError
            case "tls":
                kind = bc.SSLError
            case "connect":
                kind = bc.EndpointConnectionError
            case "closed":
                kind = bc.ConnectionClosedError
            case "read-timeout":
                kind = bc.ReadTimeoutError
        made: Exception = kind(endpoint_url=self._url, error=error.cause)
        made.__cause__ = error.cause
        return made


class _Raw(io.BytesIO):
    """A body in memory, with the one method that botocore wants of urllib3's responses."""

    def stream(self, amt: int = 65_536, decode_content: bool | None = None) -> Iterator[bytes]:  # noqa: ARG002
        while chunk := self.read(amt):
            yield chunk


@functools.cache
def _body_class() -> Any:
    from botocore.response import StreamingBody

    class WholeBody(StreamingBody):  # type: ignore[misc]
        """Nothing of it is left on a socket, so there is no time-out to set."""

        def set_socket_timeout(self, timeout: float) -> None:
            """Do nothing."""

    return WholeBody
