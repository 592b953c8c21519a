"""Request bodies: how large one is, how long it takes to arrive, and how much of all of them is in memory at once."""

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

_LONGEST_LENGTH = 18  # digits
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@attrs.frozen
class RequestBody:
    """A request's body.

    Attributes:
        content: All of it.
        digest: Its SHA-256, in hexadecimal.
    """

    content: bytes
    digest: str


class BodyReader:
    """Reads bodies; one instance for one host.

    Args:
        capacity: Bytes of all bodies together that are in memory at once, from reading until the answer.
            A request that does not fit waits. A larger body than this is read when it is the only one.
        patience: Seconds that a request waits for others to end.
        grace: Seconds that any body may take to arrive.
        slowest: Bytes per second that a body must arrive with after that.
    """

    def __init__(
        self,
        *,
        capacity: int = 256 * 1024 * 1024,
        patience: float = 60.0,
        grace: float = 30.0,
        slowest: float = 64 * 1024,
    ) -> None:
        self._capacity = self._free = capacity
        self._patience = patience
        self._grace = grace
        self._slowest = slowest
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def in_flight(self) -> int:
        """Bytes that are reserved now."""
        return self._capacity - self._free

    @contextlib.asynccontextmanager
    async def receive(
        self, request: web.BaseRequest, headers: Mapping[str, str], limit: int
    ) -> AsyncIterator[RequestBody]:
        """Read the body of a request; the block that uses it ends when the request is answered.

        Args:
            request: The request.
            headers: Header values by lower-case name.
            limit: Bytes of the largest body.

        Yields:
            The body.

        Raises:
            ApiError: It is too large, too slow, or not encoded as its headers say; or the host has no memory for it.
            ConnectionError: The client is gone.
        """
        declared = _declared(request, headers)
        if declared is not None and declared > limit:
            raise _too_large(f"Request body of {declared} bytes", limit)
        expected = headers.get("expect")
        if expected is not None and expected.lower() != "100-continue":
            raise ApiError("ExpectationFailed", "The only expectation that is met is 100-continue.", status=417)
        held = min(limit if declared is None else declared, self._capacity)
        await self._take(held)
        try:
            if expected is not None:
                await request.writer.write(_CONTINUE)
            body = await self._read(request, limit, held)
            used = min(len(body.content), held)
            self._give(held - used)
            held = used
            yield body
        finally:
            self._give(held)

    async def _read(self, request: web.BaseRequest, limit: int, size: int) -> RequestBody:
        digest = hashlib.sha256()  # chunk by chunk, so that a large body does not hold the event loop
        chunks: list[bytes] = []
        length = 0
        try:
            if request.content.is_eof():  # a small body has come with its headers
                whole = request.content.read_nowait()
                return RequestBody(whole, hashlib.sha256(whole).hexdigest())
            async with asyncio.timeout(self._grace + size / self._slowest):
                while chunk := await request.content.readany():
                    length += len(chunk)
                    if length > limit:
                        raise _too_large("Request body", limit)
                    digest.update(chunk)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise ApiError("RequestTimeout", "The request body arrives too slowly.", status=408) from error
        except web.RequestPayloadError as error:
            raise ApiError("MalformedHttpRequestException", "The request body is not encoded as declared.") from error
        return RequestBody(chunks[0] if len(chunks) == 1 else b"".join(chunks), digest.hexdigest())

    async def _take(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give(size)
            else:
                with contextlib.suppress(ValueError):  # `_give` drops a request that no longer waits
                    self._waiting.remove((size, turn))
                self._give(0)
            if isinstance(error, TimeoutError):
                text = f"The host has no memory for a body of {size} bytes: other requests fill it. Try again."
                raise ApiError("ServiceUnavailable", text, status=503) from error
            raise

    def _give(self, size: int) -> None:
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._free -= wanted
            turn.set_result(None)


def _declared(request: web.BaseRequest, headers: Mapping[str, str]) -> int | None:
    """The length of the body; None where only its end says it."""
    given = headers.get("content-length")
    if given is None:
        return request.content.total_bytes if request.content.is_eof() else None
    if not (given.isascii() and given.isdigit()) or len(given) > _LONGEST_LENGTH:
        raise ApiError("MalformedHttpRequestException", "The Content-Length header is not a number of bytes.")
    return int(given)


def _too_large(what: str, limit: int) -> ApiError:
    return ApiError("ValidationError", f"{what} is larger than the limit of {limit} bytes.", status=413)
