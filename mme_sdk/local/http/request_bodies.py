"""Read request bodies, with limits on the size, on the duration and on the memory of all bodies together."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping

import attrs
from aiohttp import web

from mme_sdk.local.wire.errors import ApiError

__all__ = ["BodyReader", "RequestBody"]

_MAX_LENGTH_DIGITS = 18
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@attrs.frozen
class RequestBody:
    """The body of a request.

    Attributes:
        content: The bytes.
        digest: Their SHA-256 in hexadecimal.
    """

    content: bytes
    digest: str


class BodyReader:
    """Reads the bodies of all requests of one host.

    Args:
        capacity: Bytes of all bodies that are in memory at the same time, from the start of reading to the response,
            default 256 MiB. A request that does not fit waits. A body larger than this is read when it is the only one.
        queue_timeout: Seconds that a request waits for memory, default 60.
        base_timeout: Seconds that any body may take to arrive, default 30.
        min_bytes_per_second: Rate that gives a body additional time by its size, default 64 KiB.
    """

    def __init__(
        self,
        *,
        capacity: int = 256 * 1024 * 1024,
        queue_timeout: float = 60.0,
        base_timeout: float = 30.0,
        min_bytes_per_second: float = 64 * 1024,
    ) -> None:
        self._capacity = self._free = capacity
        self._queue_timeout = queue_timeout
        self._base_timeout = base_timeout
        self._min_bytes_per_second = min_bytes_per_second
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def in_flight(self) -> int:
        """Bytes that are reserved."""
        return self._capacity - self._free

    @contextlib.asynccontextmanager
    async def read(
        self, request: web.BaseRequest, headers: Mapping[str, str], limit: int
    ) -> AsyncIterator[RequestBody]:
        """Read the body of a request. End the block when the response is complete: that frees the memory.

        Args:
            request: The request.
            headers: Header values by lower-case name.
            limit: Largest body in bytes.

        Yields:
            The body.

        Raises:
            ApiError: The body is too large or too slow, its encoding is not the declared one, or no memory is free.
            ConnectionError: The client closed the connection.
        """
        declared = _declared(request, headers)
        if declared is not None and declared > limit:
            raise _too_large(f"Request body of {declared} bytes", limit)
        expected = headers.get("expect")
        if expected is not None and expected.lower() != "100-continue":
            raise ApiError("ExpectationFailed", "The Expect header must be 100-continue.", status=417)
        reserved = min(limit if declared is None else declared, self._capacity)
        await self._reserve(reserved)
        try:
            if expected is not None:
                await request.writer.write(_CONTINUE)
            body = await self._receive(request, limit, reserved)
            used = min(len(body.content), reserved)
            self._release(reserved - used)
            reserved = used
            yield body
        finally:
            self._release(reserved)

    async def _receive(self, request: web.BaseRequest, limit: int, size: int) -> RequestBody:
        digest = hashlib.sha256()  # updated by chunk, because hashing a large body would block the event loop
        chunks: list[bytes] = []
        length = 0
        try:
            if request.content.is_eof():  # a small body arrives with the headers
                whole = request.content.read_nowait()
                return RequestBody(whole, hashlib.sha256(whole).hexdigest())
            async with asyncio.timeout(self._base_timeout + size / self._min_bytes_per_second):
                while chunk := await request.content.readany():
                    length += len(chunk)
                    if length > limit:
                        raise _too_large("Request body", limit)
                    digest.update(chunk)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise ApiError("RequestTimeout", "The request body arrives too slowly.", status=408) from error
        except web.RequestPayloadError as error:
            raise ApiError(
                "MalformedHttpRequestException", "The request body does not have the declared encoding."
            ) from error
        return RequestBody(chunks[0] if len(chunks) == 1 else b"".join(chunks), digest.hexdigest())

    async def _reserve(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._queue_timeout):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release(size)
            else:
                with contextlib.suppress(ValueError):  # `_release` may have removed it
                    self._waiting.remove((size, turn))
                self._release(0)
            if isinstance(error, TimeoutError):
                text = (
                    f"The host has no free memory for a body of {size} bytes. Try again when other requests have ended."
                )
                raise ApiError("ServiceUnavailable", text, status=503) from error
            raise

    def _release(self, size: int) -> None:
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._free -= wanted
            turn.set_result(None)


def _declared(request: web.BaseRequest, headers: Mapping[str, str]) -> int | None:
    """Return the declared length of the body; None if it is not declared."""
    given = headers.get("content-length")
    if given is None:
        return request.content.total_bytes if request.content.is_eof() else None
    if not (given.isascii() and given.isdigit()) or len(given) > _MAX_LENGTH_DIGITS:
        raise ApiError("MalformedHttpRequestException", "The Content-Length header is not a number of bytes.")
    return int(given)


def _too_large(what: str, limit: int) -> ApiError:
    return ApiError("ValidationError", f"{what} is larger than the limit of {limit} bytes.", status=413)
