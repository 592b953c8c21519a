"""Parse HTTP/1.1 responses strictly, as their bytes arrive.

The parser follows RFC 9112 and rejects everything that two programs could read in two ways: bare line feeds, folded
lines, spaces around a header's name, control characters, several lengths, a length together with a transfer coding, and
any transfer coding but `chunked`. It rejects such bytes as soon as they arrive. Tests compare it with h11: every
response that it accepts is accepted by h11 with the same status, headers and body.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

from mme_sdk.runtime.transport_interface import InvokeResponse

__all__ = ["InvalidResponseError", "ResponseParser", "framing_fault"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # noqa: S105 - a character class
_TEXT = r"[\t\x20-\x7e\x80-\xff]"
_FIELD = rf"{_TOKEN}++:{_TEXT}*+\r\n"


def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode("latin-1"))


def _start_of(parts: list[str]) -> str:
    """Return a pattern that matches every prefix of the joined parts."""
    pattern = ""
    for part in reversed(parts):
        pattern = f"(?:{part}{pattern})?"
    return pattern


_STATUS_PARTS = ["H", "T", "T", "P", "/", "1", r"\.", "[01]", " ", "[1-9]", "[0-9]", "[0-9]"]
_STATUS = "".join(_STATUS_PARTS)
_HEAD = _compiled(rf"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: {_TEXT}*+)?\r\n((?:{_FIELD})*+)\r\n")
_STATUS_LINE = _compiled(rf"{_STATUS}(?: {_TEXT}*+)?\r\n")
_STATUS_START = _compiled(_start_of([*_STATUS_PARTS, rf"(?: {_TEXT}*+)?\r?"]))
_FIELD_LINE = _compiled(_FIELD)
_FIELD_START = _compiled(rf"\r|{_TOKEN}*+|{_TOKEN}++:{_TEXT}*+\r?")
_CHUNK_LINE = _compiled(rf"([0-9A-Fa-f]{{1,15}})(;{_TEXT}*+)?\r\n")
_CHUNK_START = _compiled(rf"(?:[0-9A-Fa-f]{{1,15}}(?:;{_TEXT}*+)?\r?)?")
_SPLIT = re.compile(r"([^:]++):[ \t]*+([^\r]*+)\r\n").findall  # of fields that `_HEAD` has accepted
_TRAILERS = _compiled(rf"(?:{_FIELD})*+\r\n")
_FRAMING = re.compile(rb"(?im)^(?:content-length|transfer-encoding):")
_LINE_REST = _compiled(rf"{_TEXT}*+\r?")

_HEAD_LIMIT = 65_536  # bytes before the body, interim responses included; SageMaker sends one or two thousand
_FIELD_LIMIT = 100  # header fields of a response, the limit of http.client too
_LENGTH_DIGITS = 15
_BODILESS = frozenset({204, 304})
_CODING_LIMIT = 16_384  # bytes of chunk extensions, and of trailers
_SMALL_BODY = 65_536  # bytes; a longer body is collected in one buffer, so that it is in memory only once
_MAX_RESERVED = 1 << 25  # bytes of memory that are taken because a response announces them; SageMaker sends up to 25 MB
_SINGLE = frozenset(
    {"content-type", "content-encoding", "date", "x-amzn-errortype", "x-amzn-requestid"}
)  # a second one with another value makes the response ambiguous


class InvalidResponseError(Exception):
    """The bytes are not a valid HTTP response, or end too early. The pools translate it; it never reaches a user."""


def framing_fault(headers: Mapping[str, str], *, status: int, minor: int) -> str | None:
    """Return why the length of a response's body is ambiguous.

    Args:
        headers: Header values by lower-case name; values of repeated headers are joined by a comma.
        status: Status of the response.
        minor: Minor version of HTTP/1.

    Returns:
        The fault, or None if the length is not ambiguous.
    """
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            return "the response has both a Content-Length and a Transfer-Encoding"
        if coding.lower() != "chunked":
            return f"the transfer coding is {coding[:40]!r}, and only 'chunked' is accepted"
        if minor == 0:
            return "the response has a Transfer-Encoding under HTTP/1.0"
    elif length is not None and not _is_length(length):
        return f"the Content-Length {length[:40]!r} is not one number of up to {_LENGTH_DIGITS} digits"
    if status == 204 and (coding is not None or int(length or 0)):
        return "a response with status 204 announces a body"
    return None


def _is_length(value: str) -> bool:
    return value.isdecimal() and value.isascii() and len(value) <= _LENGTH_DIGITS


class ResponseParser:
    """Parses one response after another on one connection.

    Attributes:
        started: Whether any byte of the current response has arrived.
        keep_alive: Whether the connection can be used for another request after a complete response.
        missing: Bytes of the body that have not arrived, if known; else 0.
        window: Where the next bytes of a long body go if its length is known: write there, and call `filled`. None if
            the next bytes must be given to `feed`. `feed` is possible in both cases.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Prepare for the next response."""
        self.started = False
        self.keep_alive = False
        self.missing = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self.window: memoryview | None = None
        self._pieces: list[bytes] = []
        self._long: io.BytesIO | None = None
        self._size = 0
        self._head_done = False
        self._until_close = False
        self._chunked = False
        self._buffer: bytearray | None = None

    def feed(self, data: bytes) -> bool:
        """Parse data that arrived.

        Args:
            data: At least one byte.

        Returns:
            Whether the response is complete.

        Raises:
            InvalidResponseError: The data is not a valid HTTP response.
        """
        self.started = True
        if self._head_done:
            return self._body(data)
        if self._buffer is None:
            found = _HEAD.match(data)
            if found is not None and found[2] >= b"200" and found.end() <= _HEAD_LIMIT:
                self._head(found)
                return self._body(data[found.end() :])
            self._buffer = bytearray()
            self._seen = self._checked = self._interim = 0
        self._buffer += data
        return self._parse_buffer(self._buffer)

    def filled(self, size: int) -> bool:
        """Take note of data that was written to `window`.

        Args:
            size: Number of bytes, at least one.

        Returns:
            Whether the response is complete.
        """
        if self.window is not None:
            self.window = self.window[size:]
        self.missing -= size
        return not self.missing

    def answer(self) -> InvokeResponse:
        """Return the complete response."""
        pieces, self.window = self._pieces, None
        if self._long is not None:
            body = self._long.getvalue()  # the buffer itself, not a copy: no window is left
            self._long = None  # an idle connection does not keep it
        else:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return InvokeResponse(status=self._status, headers=self._headers, body=body)

    def eof(self) -> None:
        """Handle the end of the connection.

        Raises:
            InvalidResponseError: The response is not complete.
        """
        if not self._until_close:
            raise InvalidResponseError("the server closed the connection before the end of its response")

    def _parse_buffer(self, buffer: bytearray) -> bool:
        """Parse a head that arrived in several pieces, or after interim responses."""
        while (end := buffer.find(b"\r\n\r\n", max(self._seen - 3, 0))) >= 0:
            end += 4
            found = _HEAD.match(buffer)
            if found is None or found.end() != end:
                raise _not_a_response(buffer)
            if self._interim + end > _HEAD_LIMIT:
                break
            if found[2] >= b"200":
                self._head(found)
                rest, self._buffer = bytes(buffer[end:]), None
                return self._body(rest)
            if found[2] == b"101":
                raise InvalidResponseError("the server changed the protocol (101)")
            self._interim += end
            del buffer[:end]
            self._seen = self._checked = 0
        if self._interim + len(buffer) > _HEAD_LIMIT:
            raise InvalidResponseError(f"the headers exceed {_HEAD_LIMIT:,} bytes")
        self._check_lines(buffer, first=_STATUS_LINE, first_start=_STATUS_START)
        return False

    def _check_lines(
        self, buffer: bytearray, *, first: re.Pattern[bytes] | None, first_start: re.Pattern[bytes] | None
    ) -> None:
        """Raise InvalidResponseError if a line, complete or not, cannot be part of a valid head."""
        at, seen = self._checked, self._seen
        while (end := buffer.find(b"\n", max(at, seen))) >= 0:
            line = first if at == 0 and first is not None else _FIELD_LINE
            found = line.match(buffer, at)
            if found is None or found.end() != end + 1:
                raise _not_a_response(buffer)
            at = end + 1
        self._checked, self._seen = at, len(buffer)
        start = first_start if at == 0 and first_start is not None else _FIELD_START
        # Do not match a long line again for every byte that is appended.
        since = at if len(buffer) - at <= 1024 else max(seen - 1, at)
        if since == at:
            if start.fullmatch(buffer, at) is None:
                raise _not_a_response(buffer)
        elif _LINE_REST.fullmatch(buffer, since) is None:
            raise _not_a_response(buffer)

    def _head(self, found: re.Match[bytes]) -> None:
        minor, code, lines = found.groups()
        fields = _SPLIT(lines.decode("latin-1"))
        if len(fields) > _FIELD_LIMIT:
            raise InvalidResponseError(f"the response has more than {_FIELD_LIMIT} header fields")
        if b" \r\n" in lines or b"\t\r\n" in lines:
            fields = [(name, value.rstrip(" \t")) for name, value in fields]
        headers = self._headers
        for given, value in fields:
            name = given.lower()
            headers[name] = _repeated(name, headers[name], value) if name in headers else value
        self._status = status = int(code)
        self._head_done = True
        self.keep_alive = minor == b"1"
        if "connection" in headers and "close" in headers["connection"].lower():
            self.keep_alive = False
        length = headers.get("content-length", "")
        if length.isdecimal() and len(length) < 10 and "transfer-encoding" not in headers and status not in _BODILESS:
            self.missing = int(length)
        else:
            self._frame(headers, status, int(minor))

    def _frame(self, headers: dict[str, str], status: int, minor: int) -> None:
        """Determine how the body ends if there is no plain Content-Length."""
        fault = framing_fault(headers, status=status, minor=minor)
        if fault is not None:
            raise InvalidResponseError(fault)
        if status in _BODILESS:
            return
        if "transfer-encoding" in headers:
            self._chunked, self._rest = True, b""
            self._left = self._coding = 0
            self._ends = self._last = False
        elif "content-length" in headers:
            self.missing = int(headers["content-length"])
        else:
            self._until_close, self.keep_alive = True, False

    def _body(self, data: bytes) -> bool:
        if self._chunked:
            return self._chunks(data)
        if self._until_close:
            if data:
                self._collect(data)
            return False
        size, missing = len(data), self.missing
        if size > missing:
            raise InvalidResponseError("the body is longer than its Content-Length")
        if self.window is None and missing > _SMALL_BODY and self._long is None:
            self._reserve(missing)
        if self.window is not None:
            self.window[:size] = data
            return self.filled(size)
        if data:
            self._collect(data)
        self.missing = missing - size
        return missing == size

    def _reserve(self, size: int) -> None:
        """Provide the buffer of a long body. A response that only announces a huge body gets no memory for it."""
        if size <= _MAX_RESERVED:
            self._long = io.BytesIO(bytes(size))
            self.window = self._long.getbuffer()
        else:
            self._long = io.BytesIO()

    def _collect(self, data: bytes) -> None:
        if self._long is None:
            self._pieces.append(data)
            self._size += len(data)
            if self._size <= _SMALL_BODY:
                return
            self._long = io.BytesIO()
            self._long.writelines(self._pieces)
            self._pieces.clear()
        else:
            self._long.write(data)

    def _chunks(self, data: bytes) -> bool:
        at = 0
        if self._rest:
            data, self._rest = self._rest + data, b""
        while True:
            if self._left:
                piece = data[at : at + self._left]
                if not piece:
                    return False
                self._collect(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    return False
                self._ends = True
            if self._ends:
                line_end = data[at : at + 2]
                if not b"\r\n".startswith(line_end):
                    raise InvalidResponseError("a chunk is longer than its size")
                if len(line_end) < 2:
                    self._rest = line_end
                    return False
                at += 2
                self._ends = False
            if self._last:
                return self._trailers(data[at:])
            found = _CHUNK_LINE.match(data, at)
            if found is None:
                self._rest = data[at:]
                if _CHUNK_START.fullmatch(self._rest) is None or len(self._rest) > _CODING_LIMIT:
                    raise InvalidResponseError(f"a chunk begins with {self._rest[:40]!r} instead of its size")
                return False
            at = found.end()
            self._coding += len(found[2] or b"")
            if self._coding > _CODING_LIMIT:
                raise InvalidResponseError(f"the chunks have more than {_CODING_LIMIT:,} bytes of extensions")
            self._left = int(found[1], 16)
            self._last = not self._left
            if self._last:
                self._seen = self._checked = 0

    def _trailers(self, data: bytes) -> bool:
        found = _TRAILERS.match(data)
        if found is not None and found.end() <= _CODING_LIMIT:
            if found.end() < len(data):
                raise InvalidResponseError("there are bytes after the last chunk")
            if _FRAMING.search(data) is not None:
                raise InvalidResponseError("the trailers announce a body")
            return True
        if len(data) > _CODING_LIMIT:
            raise InvalidResponseError(f"the trailers exceed {_CODING_LIMIT:,} bytes")
        self._check_lines(bytearray(data), first=None, first_start=None)
        self._rest = data
        return False


def _repeated(name: str, seen: str, value: str) -> str:
    if name not in _SINGLE:
        return f"{seen}, {value}"
    if seen != value:
        raise InvalidResponseError(f"the response has two values of {name}: {seen[:40]!r} and {value[:40]!r}")
    return seen


def _not_a_response(data: bytearray) -> InvalidResponseError:
    return InvalidResponseError(f"not an HTTP response: {bytes(data[:40])!r}")
