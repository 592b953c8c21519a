"""Read the head of an S3 request, and write responses of the host."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree as ET

import attrs

from mme_sdk.local.wire.errors import ApiError

__all__ = ["S3Request", "error_response", "malformed_xml", "parse_head", "parse_xml", "response"]

_VERSIONS = ("HTTP/1.1", "HTTP/1.0")


@attrs.frozen(kw_only=True)
class S3Request:
    """The head of a request.

    Attributes:
        method: HTTP method.
        target: Path and query as the client sent them.
        headers: Header values by lower-case name. Values of the same name are joined with commas.
        lines: The header lines as the client sent them.
        length: Length of the body in bytes; None if the body is chunked.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    lines: tuple[bytes, ...] = attrs.field(repr=False)
    length: int | None

    @property
    def bucket(self) -> str:
        """The bucket; empty for the list of buckets."""
        return unquote(self.target.partition("?")[0]).lstrip("/").partition("/")[0]

    @property
    def key(self) -> str:
        """The key; empty for an operation on the bucket."""
        return unquote(self.target.partition("?")[0]).lstrip("/").partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def head(self, changed: Mapping[str, str], removed: frozenset[str] = frozenset()) -> bytes:
        """Return the head with other header values.

        Args:
            changed: Values of headers to set, by lower-case name.
            removed: Lower-case names of headers to leave out.
        """
        kept = [line for line in self.lines if _name(line) not in changed and _name(line) not in removed]
        added = [f"{name}: {value}".encode("latin-1") for name, value in changed.items()]
        return b"\r\n".join([f"{self.method} {self.target} HTTP/1.1".encode("latin-1"), *kept, *added, b"", b""])


def parse_head(head: bytes) -> S3Request:
    """Return the request of a head.

    Args:
        head: Request line and headers, with the empty line at the end.

    Raises:
        ApiError: The head is not valid HTTP, or the length of the body is not clear.
    """
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] not in _VERSIONS or not parts[1].startswith("/") or not first.isprintable():
        raise ApiError("InvalidRequest", "The first line of the request is not valid HTTP/1.1.")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise ApiError("InvalidRequest", "A header of the request is not valid HTTP/1.1.")
        name, value = name.lower(), value.strip()
        if name in headers and name in ("content-length", "transfer-encoding", "authorization", "host"):
            raise ApiError("InvalidRequest", f"The header {name} must not occur twice.")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return S3Request(
        method=parts[0],
        target=parts[1],
        headers=headers,
        lines=tuple(line.encode("latin-1") for line in lines),
        length=_length(headers),
    )


def parse_xml(body: bytes) -> ET.Element:
    """Return the root element of the body of a request.

    Raises:
        ApiError: MalformedXML.
    """
    if b"<!" in body:  # no document type, so that the parser expands no entity
        raise malformed_xml()
    try:
        return ET.fromstring(body)  # noqa: S314 - a document without a document type
    except ET.ParseError as error:
        raise malformed_xml() from error


def malformed_xml() -> ApiError:
    """Return the error MalformedXML."""
    text = "The XML you provided was not well-formed or did not validate against our published schema"
    return ApiError("MalformedXML", text)


def _length(headers: Mapping[str, str]) -> int | None:
    encoding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if encoding is not None:
        if encoding.lower() != "chunked" or length is not None:
            raise ApiError("InvalidRequest", "Transfer-Encoding must be chunked, without a Content-Length.")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise ApiError("InvalidRequest", "The Content-Length header is not a number of bytes.")
    return int(length)


def _name(line: bytes) -> str:
    return line.partition(b":")[0].decode("latin-1").lower()


def response(status: int, body: bytes, *, method: str, close: bool) -> bytes:
    """Return a response of the host.

    Args:
        status: HTTP status.
        body: The body, as XML.
        method: HTTP method of the request. The response to HEAD has no body.
        close: Whether the connection is closed after the response.
    """
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"x-amz-request-id: {uuid.uuid4()}",
        *(["Content-Type: application/xml"] if body else []),
        f"Content-Length: {len(body)}",
        *(["Connection: close"] if close else []),
    ]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if method == "HEAD" else head + body


def error_response(error: ApiError, *, method: str, resource: str, close: bool = True) -> bytes:
    """Return the response for an error.

    Args:
        error: The error.
        method: HTTP method of the request.
        resource: Path of the request.
        close: Whether the connection is closed after the response.
    """
    root = ET.Element("Error")
    for name, text in (("Code", error.code), ("Message", error.message), ("Resource", resource)):
        ET.SubElement(root, name).text = "".join(one if one.isprintable() else "?" for one in text)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return response(error.status, body, method=method, close=close)
