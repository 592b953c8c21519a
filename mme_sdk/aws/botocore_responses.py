"""Answers and failures of another sender in the shapes that botocore gives them."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from typing import Any, Literal

__all__ = ["Kind", "Replies", "SendFailure"]

Kind = Literal["connect-timeout", "tls", "connect", "closed", "read-timeout"]
"""How far a request came."""


class SendFailure(Exception):
    """A request without a whole answer.

    Attributes:
        kind: How far it came.
        cause: What happened.
    """

    def __init__(self, kind: Kind, cause: Exception) -> None:
        super().__init__(str(cause))
        self.kind: Kind = kind
        self.cause = cause


class Replies:
    """Makes them for one client.

    Args:
        client: A boto3 client of `sagemaker-runtime`.
        url: What to name in errors of connections.
    """

    def __init__(self, client: Any, url: str) -> None:
        from botocore.parsers import create_parser

        service = client.meta.service_model
        self._url = url
        self._parser = create_parser(service.resolved_protocol)
        self._members = _members(service.operation_model("InvokeEndpoint").output_shape)

    def response(self, model: Any, status: int, headers: dict[str, str], body: bytes) -> tuple[Any, Any]:
        """What botocore makes of an answer: the HTTP response, and its parsed form."""
        http = _http_class()(self._url, status, headers, _Raw(body))
        if status < 300 and self._members is not None and "x-amzn-requestid" in headers:
            return http, self._success(status, headers, http.raw)
        parts = {"headers": http.headers, "status_code": status, "context": {"operation_name": model.name}}
        parts["body"] = body if status >= 300 else _body_class()(http.raw, headers.get("content-length"))
        parsed = self._parser.parse(parts, model.output_shape)
        if status >= 300:
            # The fields that the service model knows of this error, as botocore adds them.
            shape = model.service_model.shape_for_error_code(parsed.get("Error", {}).get("Code"))
            if shape is not None:
                parsed.update(self._parser.parse(parts, shape))
        return http, parsed

    def _success(self, status: int, headers: dict[str, str], raw: io.BytesIO) -> dict[str, Any]:
        """What botocore's parser makes of an ordinary answer, at a tenth of the price."""
        parsed: dict[str, Any] = {
            "ResponseMetadata": {
                "RequestId": headers["x-amzn-requestid"],
                "HTTPStatusCode": status,
                "HTTPHeaders": headers,
            },
            "Body": _body_class()(raw, headers.get("content-length")),
        }
        for header, member in self._members or ():
            value = headers.get(header)
            if value is not None:
                parsed[member] = value
        return parsed

    def failure(self, error: SendFailure) -> Exception:
        """The exception that botocore raises for it."""
        import botocore.exceptions as bc

        kinds: dict[Kind, Any] = {
            "connect-timeout": bc.ConnectTimeoutError,
            "tls": bc.SSLError,
            "connect": bc.EndpointConnectionError,
            "closed": bc.ConnectionClosedError,
            "read-timeout": bc.ReadTimeoutError,
        }
        made: Exception = kinds[error.kind](endpoint_url=self._url, error=error.cause)
        made.__cause__ = error.cause
        return made


class _Raw(io.BytesIO):
    """A body in memory, with the one method that botocore wants of urllib3's responses."""

    def stream(self, amt: int = 65_536, decode_content: bool | None = None) -> Iterator[bytes]:  # noqa: ARG002
        while chunk := self.read(amt):
            yield chunk


def _members(shape: Any) -> list[tuple[str, str]] | None:
    """Header and member of each string that an answer carries; None where the shape is other than known."""
    found = []
    for name, member in shape.members.items():
        if member.serialization.get("location") == "header" and member.type_name == "string":
            found.append((member.serialization["name"].lower(), name))
        elif name != "Body" or shape.serialization.get("payload") != "Body" or member.type_name != "blob":
            return None
    return found


@functools.cache
def _http_class() -> Any:
    from botocore.awsrequest import AWSResponse, HeadersDict

    class Response(AWSResponse):  # type: ignore[misc]
        """Makes botocore's dictionary of headers only for who asks."""

        def __init__(self, url: str, status_code: int, headers: dict[str, str], raw: io.BytesIO) -> None:
            self.url, self.status_code, self.raw = url, status_code, raw
            self._content = None
            self._plain = headers

        @functools.cached_property
        def headers(self) -> Any:
            """The headers."""
            return HeadersDict(self._plain)

    return Response


@functools.cache
def _body_class() -> Any:
    from botocore.response import StreamingBody

    class WholeBody(StreamingBody):  # type: ignore[misc]
        """Nothing of it is left on a socket, so there is no time-out to set."""

        def set_socket_timeout(self, timeout: float) -> None:
            """Do nothing."""

    return WholeBody
