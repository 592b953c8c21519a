"""The connection pool of asynchronous clients: one asyncio protocol per connection, without a task or stream per call.

It is used instead of aiobotocore because a warm call of 200 bytes over TLS takes about an eighth of the CPU time
with uvloop (docs/benchmarks/invoke.md, rows `mme-transport-async-uvloop` and `aiobotocore`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from time import monotonic
from typing import cast
from weakref import WeakKeyDictionary

from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.protocols import Clock
from mme_sdk.runtime.transport.daemon_threads import async_result_of
from mme_sdk.runtime.transport.pool_base import (
    CLOSED_EARLY,
    INVALID_RESPONSE,
    RESPONSE_TIMED_OUT,
    SEND_TIMED_OUT,
    ExchangeError,
    HostResolver,
    exchange_failed,
    may_resend,
    no_credentials,
    not_connected,
    read_poller,
    tls_context,
    transport_closed,
)
from mme_sdk.runtime.transport.request_signer import CLOCK_ERROR_STATUSES, RequestSigner
from mme_sdk.runtime.transport.response_parser import InvalidResponseError, ResponseParser
from mme_sdk.runtime.transport.selection_base import PoolSettings
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

__all__ = ["AsyncConnectionPool"]

_MAX_JOINED = 65_536  # bytes; a body up to this size is sent in one write with the head
_MAX_WRITE = 1 << 20  # bytes that are given to asyncio at once: it copies what the socket does not take
_MAX_TLS_WRITE = 262_144  # the same for TLS and a longer body: asyncio holds them encrypted, in several copies
_RETRY_WRITE = 0.001  # seconds


class _Connection(asyncio.Protocol):
    """One socket and its response parser, on one event loop."""

    transport: asyncio.Transport

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parser: ResponseParser, options: tuple[tuple[int, int, int], ...]
    ) -> None:
        self.idle_since = 0.0
        self.lost = loop.create_future()
        self._loop = loop
        self._parser = parser
        self._options = options
        self._answer: asyncio.Future[InvokeResponse] | None = None
        self._expires_at = 0.0
        self._timeout = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: memoryview | None = None  # rest of the body that asyncio does not have yet
        self._paused = False
        self._encrypts = False
        self._max_write = _MAX_WRITE

    @property
    def usable(self) -> bool:
        """Whether the idle connection is open and received no data, including data that the loop has not read yet."""
        return not self.transport.is_closing() and not self._readable(0.0)

    @property
    def keep(self) -> bool:
        """Whether the connection can be used for another request."""
        return self._parser.keep_alive and self._unsent is None and not self.transport.is_closing()

    def exchange(self, head: bytes, body: bytes, seconds: float, timeout: float) -> asyncio.Future[InvokeResponse]:
        """Send a request.

        Args:
            head: Request line and headers.
            body: The body.
            seconds: Seconds for the request and its response.
            timeout: Read time-out in seconds, for error messages.

        Returns:
            A future of the response. Its exception is a `ExchangeError`.
        """
        self._parser.begin()
        self._timeout = timeout
        self._expires_at = expires_at = self._loop.time() + seconds
        self._answer = answer = self._loop.create_future()
        if self._timer is None or self._timer.when() > expires_at:
            self._set_timer(expires_at)
        if len(body) <= _MAX_JOINED:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self._unsent = memoryview(body)
            self._max_write = _MAX_TLS_WRITE if self._encrypts and len(body) > _MAX_WRITE else _MAX_WRITE
            self._write()
        return answer

    def _write(self) -> None:
        """Give asyncio more of a long body, until it asks to wait."""
        transport = self.transport
        while self._unsent is not None and not self._paused and not transport.is_closing():
            if self._readable(0.0):
                # A server may reject a request before it has read it, and close. A write would fail, and asyncio would
                # not read the response.
                self._loop.call_later(_RETRY_WRITE, self._write)
                return
            # asyncio's TLS copies the rest of a `bytes` object for each record; it slices a memoryview instead.
            piece, rest = self._unsent[: self._max_write], self._unsent[self._max_write :]
            self._unsent = rest or None
            transport.write(piece)

    def pause_writing(self) -> None:
        """Called by asyncio if its buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by asyncio if its buffer has space again."""
        self._paused = False
        self._write()

    def _set_timer(self, when: float) -> None:
        # One timer for each connection, set again if it fires too early: cheaper than a timer for each call.
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        if self._loop.time() < self._expires_at:
            self._set_timer(self._expires_at)
            return
        # A request that is still in the write buffer cannot have been answered.
        waits = self._unsent is not None or self.transport.get_write_buffer_size()
        stage = SEND_TIMED_OUT if waits else RESPONSE_TIMED_OUT
        self._fail(stage, f"timed out after {self._timeout:.3g} s")

    def _fail(self, stage: str, detail: str) -> None:
        answer, self._answer = self._answer, None
        self._unsent = None
        self.transport.abort()
        if answer is not None and not answer.done():
            answer.set_exception(ExchangeError(stage, detail, began=self._parser.started))

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(self._parser.answer())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.transport = cast(asyncio.Transport, transport)
        self._encrypts = transport.get_extra_info("sslcontext") is not None
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in self._options:
            sock.setsockopt(*option)
        self._readable = read_poller(sock.fileno())

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._answer is None:
            self.transport.abort()  # data without a request
            return
        try:
            if self._parser.feed(data):
                self._finish()
        except InvalidResponseError as error:
            self._fail(INVALID_RESPONSE, str(error))

    def eof_received(self) -> None:
        """Called by asyncio, which closes the transport afterwards."""
        if self._answer is None:
            return
        if not self._parser.started:
            self._fail(CLOSED_EARLY, "the server closed the connection without a response")
            return
        try:
            self._parser.eof()
        except InvalidResponseError as error:
            self._fail(INVALID_RESPONSE, str(error))
        else:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._answer is not None:
            self._fail(INVALID_RESPONSE if self._parser.started else CLOSED_EARLY, str(exc or "connection lost"))
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """Close the socket without waiting."""
        self.transport.abort()


class _LoopState:
    """The connections of one event loop."""

    def __init__(self) -> None:
        self.idle: deque[_Connection] = deque()
        self.guard: AsyncGenerator[None, None] | None = None


async def _close_with_loop(idle: deque[_Connection]) -> AsyncGenerator[None, None]:
    """Close the idle connections at the end of the event loop: `asyncio.run` closes async generators.

    After the end of its loop a connection cannot be closed, and asyncio prints a warning.
    """
    try:
        yield
    finally:
        connections = list(idle)
        idle.clear()
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.lost for connection in connections], timeout=1.0)


class AsyncConnectionPool:
    """A transport with its own connections. Each event loop has separate connections.

    It is written by hand, and `ConnectionPool` is not generated from it: callbacks of asyncio drive it, while the other
    one blocks in polls on sockets.

    Args:
        route: Returns where to send. It is called once.
        clock: Source of time.
        settings: Settings of the pool. The defaults of `PoolSettings` if None.
    """

    name = "fast"
    reason: str | None = None

    def __init__(
        self,
        route: Callable[[], Route],
        *,
        clock: Clock = time,
        settings: PoolSettings | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings or PoolSettings()
        self._route = route()
        self._signer = RequestSigner(self._route, clock)
        self._resolver = HostResolver(self._route)
        self._tls = tls_context(self._route)
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState] = WeakKeyDictionary()
        self._closed = False

    def __repr__(self) -> str:
        idle = sum(len(pool.idle) for pool in self._pools.values())
        return f"<{type(self).__name__} {self.name} to {self._route.url}, {idle} idle>"

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        """Send a request and return its response; see `AsyncTransport.send`."""
        if self._closed:
            raise transport_closed(request)
        expires_at = monotonic() + read_timeout
        answer = await self._send(request, expires_at, connect_timeout, read_timeout)
        if answer.status in CLOCK_ERROR_STATUSES and self._signer.correct_clock(answer):
            answer = await self._send(request, expires_at, connect_timeout, read_timeout)
        return answer

    async def _send(
        self, request: InvokeRequest, expires_at: float, connect_timeout: float, read_timeout: float
    ) -> InvokeResponse:
        loop = asyncio.get_running_loop()
        signer, body = self._signer, request.body
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _LoopState()
            pool.guard = _close_with_loop(pool.idle)
            await anext(pool.guard)
        head = signer.head(request, signer.cached_keys() or await self._keys(request, expires_at, read_timeout))
        connection = self._take(pool)
        if connection is not None:
            sent = self._clock.monotonic()
            try:
                return await self._exchange(pool, connection, head, body, expires_at, read_timeout)
            except ExchangeError as error:
                idle, took = sent - connection.idle_since, self._clock.monotonic() - sent
                if not may_resend(self._settings, error, idle=idle, took=took):
                    raise exchange_failed(error, request) from error
        try:
            connection = await self._connect(loop, expires_at, connect_timeout)
        except (OSError, OverflowError, UnicodeError) as error:
            raise not_connected(error, request, self._route.authority) from error
        try:
            return await self._exchange(pool, connection, head, body, expires_at, read_timeout)
        except ExchangeError as error:
            raise exchange_failed(error, request) from error

    async def _keys(self, request: InvokeRequest, expires_at: float, timeout: float) -> Keys:
        if not self._route.refreshes:
            return self._signer.read_keys()
        try:
            return await async_result_of(self._signer.start_reading_keys(), expires_at)
        except TimeoutError:
            raise no_credentials(request, timeout) from None

    async def _exchange(
        self, pool: _LoopState, connection: _Connection, head: bytes, body: bytes, expires_at: float, timeout: float
    ) -> InvokeResponse:
        try:
            answer = await connection.exchange(head, body, expires_at - monotonic(), timeout)
        except BaseException:
            # After a cancellation too: the next bytes on this connection belong to this request.
            connection.close()
            raise
        if not connection.keep or len(pool.idle) >= self._settings.max_idle or self._closed:
            connection.close()
            return answer
        connection.idle_since = now = self._clock.monotonic()
        pool.idle.append(connection)
        if pool.idle[0].idle_since < now - self._settings.idle_for:
            pool.idle.popleft().close()
        return answer

    def _take(self, pool: _LoopState) -> _Connection | None:
        oldest = self._clock.monotonic() - self._settings.idle_for
        while pool.idle:
            connection = pool.idle.pop()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, expires_at: float, timeout: float) -> _Connection:
        route, began = self._route, monotonic()
        timeout = max(0.0, min(timeout, expires_at - began))
        expires_at = began + timeout
        addresses = self._resolver.addresses()
        if isinstance(addresses, Future):
            try:
                addresses = await async_result_of(addresses, expires_at)
            except TimeoutError as error:
                raise TimeoutError(f"the name look-up of {route.host} timed out after {timeout:.3g} s") from error
        failure: Exception = OSError("the host has no address")
        try:
            async with asyncio.timeout(expires_at - monotonic()):
                for family, *_, address in addresses:
                    try:
                        _, connection = await loop.create_connection(
                            lambda: _Connection(loop, ResponseParser(), route.socket_options),
                            address[0],
                            address[1],
                            family=family,
                            ssl=self._tls,
                            server_hostname=route.host if self._tls is not None else None,
                        )
                    except OSError as error:
                        failure = error  # the next address may answer
                    else:
                        return connection
        except TimeoutError as error:
            raise TimeoutError(f"timed out after {timeout:.3g} s") from error
        raise failure

    async def close(self) -> None:
        """Close the idle connections. A connection in use is closed after its response."""
        self._closed = True
        here = asyncio.get_running_loop()
        for loop, pool in list(self._pools.items()):
            connections = list(pool.idle)
            pool.idle.clear()
            for connection in connections:
                if loop is here:
                    connection.close()
                elif loop.is_running():
                    loop.call_soon_threadsafe(connection.close)
            if loop is here and connections:
                await asyncio.wait([connection.lost for connection in connections], timeout=1.0)
            if loop is here and pool.guard is not None:
                await pool.guard.aclose()
