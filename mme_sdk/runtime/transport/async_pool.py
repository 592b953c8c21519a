"""The lean lane for asyncio: one protocol object per connection, no task, no stream, no timer per call."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from time import monotonic
from typing import cast
from weakref import WeakKeyDictionary

from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.protocols import Clock
from mme_sdk.runtime.transport.daemon_threads import outcome_async
from mme_sdk.runtime.transport.pool_base import (
    BROKEN,
    CLOGGED,
    SPENT,
    STALE,
    SUSPECT,
    BrokenConnectionError,
    Desk,
    poller,
    tls_context,
)
from mme_sdk.runtime.transport.response_parser import BadAnswerError, Parser
from mme_sdk.runtime.transport.settings import Settings
from mme_sdk.runtime.transport_interface import InvokeAnswer, InvokeRequest

__all__ = ["AsyncLeanTransport"]

_JOINED = 65_536  # a body up to here goes out in one write with the head


class _Connection(asyncio.Protocol):
    """One socket and its parser, on one event loop."""

    transport: asyncio.Transport

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parser: Parser, options: tuple[tuple[int, int, int], ...]
    ) -> None:
        self.idle_since = 0.0
        self.lost = loop.create_future()
        self._loop = loop
        self._parser = parser
        self._options = options
        self._answer: asyncio.Future[InvokeAnswer] | None = None
        self._ends = 0.0
        self._timeout = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        """Whether it is open, and nothing has arrived while idle, not even what the loop has not yet come to read."""
        return not self.transport.is_closing() and not self._readable(0.0)

    @property
    def keep(self) -> bool:
        """Whether it may carry another request."""
        return self._parser.keep_alive and not self.transport.is_closing()

    def exchange(self, head: bytes, body: bytes, seconds: float, timeout: float) -> asyncio.Future[InvokeAnswer]:
        """Send; the future gets the answer, or a `BrokenConnectionError`.

        Args:
            head: The request's head.
            body: Its body.
            seconds: Seconds for all of it.
            timeout: Seconds that the caller gave, for messages.
        """
        self._parser.begin()
        self._timeout = timeout
        self._ends = ends = self._loop.time() + seconds
        self._answer = answer = self._loop.create_future()
        if self._alarm is None or self._alarm.when() > ends:
            self._set_alarm(ends)
        if len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        return answer

    def _set_alarm(self, when: float) -> None:
        # One timer per connection, moved on when it rings too early: cheaper than one per call.
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._answer is None:
            return
        if self._loop.time() < self._ends:
            self._set_alarm(self._ends)
            return
        # What the socket has not taken cannot have been answered.
        stage = CLOGGED if self.transport.get_write_buffer_size() else SPENT
        self._fail(stage, f"timed out after {self._timeout:.3g} s")

    def _fail(self, stage: str, detail: str) -> None:
        answer, self._answer = self._answer, None
        self.transport.abort()
        if answer is not None and not answer.done():
            answer.set_exception(BrokenConnectionError(stage, detail, began=self._parser.started))

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(self._parser.answer())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in self._options:
            sock.setsockopt(*option)
        self._readable = poller(sock.fileno())

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._answer is None:
            self.transport.abort()  # bytes that nobody asked for
            return
        try:
            if self._parser.feed(data):
                self._finish()
        except BadAnswerError as error:
            self._fail(BROKEN, str(error))

    def eof_received(self) -> None:
        """Called by asyncio; the transport closes itself afterwards."""
        if self._answer is None:
            return
        if not self._parser.started:
            self._fail(STALE, "the server closed the connection instead of answering")
            return
        try:
            self._parser.eof()
        except BadAnswerError as error:
            self._fail(BROKEN, str(error))
        else:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, once."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._answer is not None:
            self._fail(BROKEN if self._parser.started else STALE, str(exc or "connection lost"))
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """Close the socket, at once."""
        self.transport.abort()


class _Pool:
    """What belongs to one event loop."""

    def __init__(self) -> None:
        self.idle: deque[_Connection] = deque()
        self.guard: AsyncGenerator[None, None] | None = None


async def _until_the_loop_ends(idle: deque[_Connection]) -> AsyncGenerator[None, None]:
    """Close connections with their loop, where nobody closes the transport: `asyncio.run` closes each async generator.

    An open connection of a closed loop cannot be closed any more, and says so on stderr.
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


class AsyncLeanTransport:
    """Sends over pooled connections of its own; each event loop has its own pool.

    Args:
        route: Where to send.
        name: What the transport is called.
        clock: Time.
        settings: How connections are treated.
    """

    reason: str | None = None

    def __init__(
        self,
        route: Route,
        *,
        name: str = "fast",
        clock: Clock = time,
        settings: Settings | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._settings = settings or Settings()
        self._desk = Desk(route, clock, self._settings)
        self._tls = tls_context(self._desk.route)
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()
        self._closed = False

    def __repr__(self) -> str:
        idle = sum(len(pool.idle) for pool in self._pools.values())
        return f"<{type(self).__name__} {self.name} to {self._desk.route.url}, {idle} idle>"

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        if self._closed:
            raise self._desk.closed(request)
        ends = monotonic() + read_timeout
        answer = await self._send(request, ends, connect_timeout, read_timeout)
        if answer.status in SUSPECT and self._desk.skewed(answer):
            answer = await self._send(request, ends, connect_timeout, read_timeout)
        return answer

    async def _send(
        self, request: InvokeRequest, ends: float, connect_timeout: float, read_timeout: float
    ) -> InvokeAnswer:
        loop = asyncio.get_running_loop()
        desk, body = self._desk, request.body
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _Pool()
            pool.guard = _until_the_loop_ends(pool.idle)
            await anext(pool.guard)
        head = desk.head(request, desk.keys() or await self._keys(request, ends, read_timeout))
        connection = self._take(pool)
        if connection is not None:
            sent = self._clock.monotonic()
            try:
                return await self._exchange(pool, connection, head, body, ends, read_timeout)
            except BrokenConnectionError as error:
                if not desk.may_resend(error, sent - connection.idle_since, self._clock.monotonic() - sent):
                    raise desk.failed(error, request) from error
        try:
            connection = await self._connect(loop, ends, connect_timeout)
        except (OSError, OverflowError, UnicodeError) as error:
            raise desk.not_connected(error, request) from error
        try:
            return await self._exchange(pool, connection, head, body, ends, read_timeout)
        except BrokenConnectionError as error:
            raise desk.failed(error, request) from error

    async def _keys(self, request: InvokeRequest, ends: float, timeout: float) -> Keys:
        desk = self._desk
        if not desk.route.refreshes:
            return desk.renew()
        try:
            return await outcome_async(desk.renewal(), ends)
        except TimeoutError:
            raise desk.no_keys_yet(request, timeout) from None

    async def _exchange(
        self, pool: _Pool, connection: _Connection, head: bytes, body: bytes, ends: float, timeout: float
    ) -> InvokeAnswer:
        try:
            answer = await connection.exchange(head, body, ends - monotonic(), timeout)
        except BaseException:
            # Also when cancelled: what comes next on this connection would be the answer to this request.
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

    def _take(self, pool: _Pool) -> _Connection | None:
        oldest = self._clock.monotonic() - self._settings.idle_for
        while pool.idle:
            connection = pool.idle.pop()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, ends: float, timeout: float) -> _Connection:
        route, ends = self._desk.route, min(ends, monotonic() + timeout)
        addresses = self._desk.addresses()
        if isinstance(addresses, Future):
            try:
                addresses = await outcome_async(addresses, ends)
            except TimeoutError as error:
                raise TimeoutError(f"the look-up of {route.host} timed out after {timeout:.3g} s") from error
        failure: Exception = OSError("the name has no address")
        try:
            async with asyncio.timeout(ends - monotonic()):
                for family, *_, address in addresses:
                    try:
                        _, connection = await loop.create_connection(
                            lambda: _Connection(loop, Parser(), route.socket_options),
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
        """Close every idle connection; those in use close with their answer."""
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
