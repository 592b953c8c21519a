"""Answers off the wire, pushed in piece by piece: by llhttp where the extra `fast` is installed, else by `http.client`.

Both share what surrounds parsing: the limit on a head, interim answers, and large bodies, whose pieces are kept as they
came and joined once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from http.client import HTTPException, HTTPResponse, IncompleteRead
from io import BytesIO
from typing import IO, Any, ClassVar

from mme_sdk.errors import MissingExtraError
from mme_sdk.runtime.wire import InvokeAnswer

__all__ = ["BadAnswerError", "FastParser", "Parser", "StdlibParser", "parser_kind"]

_HEAD_LIMIT = 65_536  # bytes before the body, interim answers included; those of SageMaker take one or two thousand
_DIRECT = 16_384  # bodies of known length from here on bypass the parser


class BadAnswerError(Exception):
    """What came back is no HTTP answer, or one that broke off; never leaves this package."""


class Parser(ABC):
    """One answer after another on one connection.

    Attributes:
        started: Whether anything of the current answer has come.
        keep_alive: Whether the connection may carry another request after a whole answer.
        missing: Bytes still to come, where that is known and large; else 0.
    """

    lane: ClassVar[str]
    """What a transport that reads with it is called."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Expect the next answer."""
        self.started = False
        self.keep_alive = False
        self.missing = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._head_bytes = 0
        self._head_done = False
        self._done = False

    def feed(self, data: bytes) -> bool:
        """Take what arrived.

        Args:
            data: At least one byte.

        Returns:
            Whether the answer is whole.

        Raises:
            BadAnswerError: It is no HTTP answer.
        """
        self.started = True
        if self.missing:
            self._pieces.append(data)
            self.missing -= len(data)
            if self.missing < 0:
                raise BadAnswerError("the body is longer than its Content-Length")
            self._done = not self.missing
            return self._done
        if not self._head_done:
            self._head_bytes += len(data)
        self._parse(data)
        if not self._head_done and self._head_bytes > _HEAD_LIMIT:
            raise BadAnswerError(f"no end of the headers within {_HEAD_LIMIT:,} bytes")
        return self._done

    def answer(self) -> InvokeAnswer:
        """The whole answer."""
        pieces = self._pieces
        return InvokeAnswer(
            status=self._status, headers=self._headers, body=pieces[0] if len(pieces) == 1 else b"".join(pieces)
        )

    def eof(self) -> None:
        """The server closed the connection.

        Raises:
            BadAnswerError: In the middle of the answer.
        """
        known = "content-length" in self._headers or "transfer-encoding" in self._headers
        if not self._head_done or known:
            raise BadAnswerError("the server closed the connection before the end of its answer")
        self._done, self.keep_alive = True, False

    @abstractmethod
    def _parse(self, data: bytes) -> None:
        """Take what belongs to the head, or to a body whose pieces are not simply kept."""

    def _header(self, name: str, value: str) -> None:
        name = name.lower()
        seen = self._headers.get(name)
        self._headers[name] = value if seen is None else f"{seen}, {value}"


class FastParser(Parser):
    """llhttp, through httptools."""

    lane = "fast"

    def __init__(self) -> None:
        super().__init__()
        self._renew()

    def _renew(self) -> None:
        import httptools

        self._error = httptools.HttpParserError
        self._upgrade = httptools.HttpParserUpgrade
        self._llhttp: Any = httptools.HttpResponseParser(self)

    def _parse(self, data: bytes) -> None:
        try:
            self._llhttp.feed_data(data)
        except self._upgrade as error:
            raise BadAnswerError("the server changed the protocol") from error
        except self._error as error:
            raise BadAnswerError(f"no HTTP answer: {error}") from error
        if self._head_done and not self._done:
            length = int(self._headers.get("content-length", 0))
            missing = length - sum(map(len, self._pieces))
            if length > _DIRECT and missing > 0:
                # The rest bypasses llhttp, which is left in the middle of a body: the next answer needs a new one.
                self.missing = missing
                self._renew()

    def on_message_begin(self) -> None:
        """Called by httptools: another answer begins."""
        if self._done:
            raise BadAnswerError("more than one answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        self._header(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        self._status = self._llhttp.get_status_code()
        self.keep_alive = self._llhttp.should_keep_alive()
        self._head_done = self._status >= 200

    def on_body(self, data: bytes) -> None:
        """Called by httptools."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Called by httptools."""
        if self._status < 200:
            self._headers = {}
        else:
            self._done = True


class _Source:
    """Bytes in memory that look like a socket to `HTTPResponse`."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def makefile(self, _mode: str) -> IO[bytes]:
        return BytesIO(self._data)


class StdlibParser(Parser):
    """`http.client`, fed from memory: once when the head is whole, and for chunked bodies again at a likely end."""

    lane = "core"

    def begin(self) -> None:
        """Expect the next answer."""
        super().begin()
        self._buffer = b""
        self._coded = bytearray()
        self._chunked = False
        self._length: int | None = None
        self._had = 0

    def _parse(self, data: bytes) -> None:
        if self._head_done:
            self._body(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self._buffer[: end + 4], self._buffer[end + 4 :]
            if not head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
                break
            if head[9:10] != b"1":
                self._head(head)
                self._body(rest)
                return
            self._buffer = rest
        if not b"HTTP/1.".startswith(self._buffer[:7]):
            raise BadAnswerError(f"no HTTP answer: {self._buffer[:40]!r}")

    def _head(self, head: bytes) -> None:
        response = HTTPResponse(_Source(head), method="POST")  # type: ignore[arg-type]
        try:
            response.begin()
        except (HTTPException, ValueError) as error:
            raise BadAnswerError(f"no HTTP answer: {error!r}") from error
        self._status = response.status
        for name, value in response.headers.items():
            self._header(name, value)
        self._chunked = bool(response.chunked)
        self._length = response.length
        if self._length is None and not self._chunked and "content-length" in self._headers:
            raise BadAnswerError(f"no Content-Length: {self._headers['content-length'][:40]!r}")
        self.keep_alive = not response.will_close
        self._head_done = True
        self._buffer, self._coded = b"", bytearray(head if self._chunked else b"")
        response.close()

    def _body(self, data: bytes) -> None:
        if self._chunked:
            self._chunks(data)
            return
        if data:
            self._pieces.append(data)
            self._had += len(data)
        if self._length is None:
            return
        if self._had > self._length:
            raise BadAnswerError("the body is longer than its Content-Length")
        self._done = self._had == self._length
        if not self._done:
            self.missing = self._length - self._had

    def _chunks(self, data: bytes) -> None:
        self._coded += data
        if not self._coded.endswith(b"\r\n\r\n"):
            return
        response = HTTPResponse(_Source(self._coded), method="POST")  # type: ignore[arg-type]
        response.begin()
        try:
            self._pieces = [response.read()]
        except IncompleteRead:
            return
        except (HTTPException, OverflowError) as error:
            raise BadAnswerError(f"no chunked body: {error!r}") from error
        finally:
            response.close()
        self._done = True


def parser_kind(*, fast: bool | None) -> type[Parser]:
    """The parser to use.

    Args:
        fast: Whether it must be llhttp (True) or `http.client` (False); None for the best there is.

    Raises:
        MissingExtraError: llhttp is wanted and httptools is not installed.
    """
    if fast is False:
        return StdlibParser
    try:
        import httptools  # noqa: F401
    except ImportError as error:
        if fast:
            raise MissingExtraError("this transport needs httptools", hint="pip install 'mme-sdk[fast]'") from error
        return StdlibParser
    return FastParser
