"""HTTP of S3's PUT requests: the head of a request, and the answer. http.client parses answers that are unusual.

http.client parses headers with the package `email`, which takes a third of the time that a small request costs.
"""

from __future__ import annotations

import http.client
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import attrs

__all__ = ["Answer", "read_answer", "request_head"]

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*)\r\n")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")  # in the first line of a request
_LINE_END = re.compile(r"[\r\n\0]")
_LEFT_OUT = frozenset({"expect"})  # this package does not wait for `100 Continue`


@attrs.frozen
class Answer:
    """An answer that was read completely.

    Attributes:
        status: HTTP status.
        headers: The headers by lower-case name.
        content: The body.
        closes: Whether the server closes the connection.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    closes: bool

    def for_botocore(self, url: str) -> Any:
        """Return botocore's response object.

        Args:
            url: URL of the request.
        """
        from botocore.awsrequest import AWSResponse, HeadersDict

        return AWSResponse(url, self.status, HeadersDict(self.headers), _Body(self.content))


class _Body:
    """A response body for botocore."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._data


class _Connection:
    """What http.client reads an answer from: a file that another reader has begun with."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._file


def request_head(method: str, path: str, host: str, headers: Mapping[str, Any]) -> bytes:
    """Return the head of a request.

    Args:
        method: HTTP method.
        path: Path and query, in which special characters are quoted.
        host: Value of the Host header, unless the headers have one.
        headers: The headers.

    Raises:
        ValueError: A header or the path would end its line.
    """
    lines = [f"{method} {path} HTTP/1.1"]
    if _UNSAFE.search(path):
        raise ValueError(f"the path of a request contains a blank or a control character: {path!r}")
    named = False
    for name, value in headers.items():
        lower = name.lower()
        if lower in _LEFT_OUT:
            continue
        named = named or lower == "host"
        line = f"{name}: {value.decode('latin-1') if isinstance(value, bytes) else value}"
        if _LINE_END.search(line):
            raise ValueError(f"the header {name} contains a line end")
        lines.append(line)
    if not named:
        lines.insert(1, f"Host: {host}")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


def read_answer(sock: Any) -> Answer:
    """Read the answer to a request.

    Args:
        sock: The socket.

    Raises:
        HTTPException: The answer is malformed, or the connection ended before its end.
        OSError: The connection failed.
    """
    with sock.makefile("rb") as file:
        # Usually the whole head comes with the first read. `peek` takes nothing from what http.client may have to read.
        found = _HEAD.match(file.peek())
        if found is not None:
            headers = _parsed(found[2])
            size = headers.get("content-length", "")
            if size.isascii() and size.isdigit() and len(size) < 10 and int(found[1]) not in (100, 101, 102, 103, 204):
                file.read(found.end())
                content = file.read(int(size))
                if len(content) < int(size):
                    raise http.client.IncompleteRead(content, int(size) - len(content))
                closes = headers.get("connection", "").lower() != "" and "close" in headers["connection"].lower()
                return Answer(int(found[1]), headers, content, closes)
        # Closed before its file: Python closes an abandoned response later, and would complain about the closed file.
        with closing(http.client.HTTPResponse(_Connection(file), method="PUT")) as response:  # type: ignore[arg-type]
            response.begin()
            content = response.read()
            joined = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, joined, content, response.will_close)


def _parsed(lines: bytes) -> dict[str, str]:
    """Return the headers; nothing if they frame the body in another way, or more than once."""
    headers: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name == "transfer-encoding" or name in headers:
            return {}
        headers[name] = value.strip(" \t")
    return headers
