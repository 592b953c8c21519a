"""The connection pool of synchronous clients: blocking sockets of the SDK, one request at a time on each.

It replaces botocore's HTTP layer because a warm call of 200 bytes over TLS takes about a twelfth of the CPU time
(docs/benchmarks/invoke.md, one call at a time, rows `mme-transport` and `boto3`).
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from time import monotonic
from typing import Any

from mme_sdk._flows.cancellation import current_scope
from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.protocols import Clock
from mme_sdk.runtime.transport.daemon_threads import result_of, start_in_thread
from mme_sdk.runtime.transport.pool_base import (
    CLOSED_EARLY,
    INVALID_RESPONSE,
    RESPONSE_TIMED_OUT,
    SEND_FAILED,
    SEND_TIMED_OUT,
    ExchangeError,
    HostResolver,
    arrival_check,
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
from mme_sdk.runtime.transport.selection_base import PoolSettings, not_set_up
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

__all__ = ["ConnectionPool"]

_CHUNK = 65_536  # bytes to read if the size of the rest is unknown
_MAX_READ = 1 << 20
_MAX_JOINED = 65_536  # bytes; a body up to this size is sent in one write with the head
_WANTS_READ = (BlockingIOError, ssl.SSLWantReadError)
_WANTS_WRITE = (BlockingIOError, ssl.SSLWantWriteError)


class _Connection:
    """One socket and its response parser. The socket is non-blocking; waits are polls with the remaining time."""

    def __init__(self, sock: socket.socket, parser: ResponseParser) -> None:
        self.idle_since = 0.0
        self.keep = False
        self.sock = sock
        self._parser = parser
        self._readable = read_poller(sock.fileno())
        self._arrivals = arrival_check(sock)
        self._decrypted = sock.pending if isinstance(sock, ssl.SSLSocket) else _nothing

    def usable(self) -> bool:
        """Return whether the idle connection is open and received no data."""
        return not self._arrivals()

    def exchange(self, head: bytes, body: bytes, expires_at: float, timeout: float) -> InvokeResponse:
        """Send a request and read its response.

        Args:
            head: Request line and headers.
            body: The body.
            expires_at: Time at which to stop, by `time.monotonic`, in seconds.
            timeout: Read time-out in seconds, for error messages.

        Returns:
            The response.

        Raises:
            ExchangeError: There was no complete response.
        """
        parser = self._parser
        parser.begin()
        unsent: OSError | None = None
        try:
            if len(body) <= _MAX_JOINED:
                self._send(head + body, expires_at)
            else:
                self._send(head, expires_at)
                self._send(body, expires_at)
        except TimeoutError as error:
            raise ExchangeError(SEND_TIMED_OUT, f"timed out after {timeout:.3g} s") from error
        except OSError as error:
            # A server may reject a request before it has read it, and close. Its response can still be read.
            unsent = error
        try:
            self._receive(expires_at)
        except TimeoutError as error:
            stage, detail = SEND_TIMED_OUT if unsent else RESPONSE_TIMED_OUT, f"timed out after {timeout:.3g} s"
            raise ExchangeError(stage, detail, began=parser.started) from error
        except InvalidResponseError as error:
            stage = SEND_FAILED if unsent else INVALID_RESPONSE
            raise ExchangeError(stage, str(unsent or error), began=True) from error
        except OSError as error:
            stage = SEND_FAILED if unsent else INVALID_RESPONSE if parser.started else CLOSED_EARLY
            raise ExchangeError(stage, str(unsent or error), began=parser.started) from error
        # Bytes after the response may be in a TLS record that is read already: `usable` cannot see them.
        self.keep = parser.keep_alive and unsent is None and not self._decrypted()
        return parser.answer()

    def _send(self, data: bytes, expires_at: float) -> None:
        sent, size = 0, len(data)
        while True:
            try:
                sent += self.sock.send(memoryview(data)[sent:] if sent else data)
            except _WANTS_WRITE:
                _await_writable(self.sock, expires_at - monotonic())
            except ssl.SSLWantReadError:
                if not self._readable(expires_at - monotonic()):
                    raise TimeoutError from None
            if sent == size:
                return
            if monotonic() > expires_at:
                raise TimeoutError

    def _receive(self, expires_at: float) -> None:
        parser, sock = self._parser, self.sock
        ready = self._readable(expires_at - monotonic())
        while True:
            window, data = parser.window, b""
            try:
                if window is None:
                    data = sock.recv(min(parser.missing, _MAX_READ) or _CHUNK)
                    size = len(data)
                else:
                    size = sock.recv_into(window)
            except _WANTS_READ:
                ready = self._readable(expires_at - monotonic())
            else:
                if not size:
                    if not parser.started:
                        raise ConnectionAbortedError("the server closed the connection without a response")
                    parser.eof()
                    return
                if parser.feed(data) if window is None else parser.filled(size):
                    return
            # A server that sends a byte now and then must not extend the time-out.
            if not ready or monotonic() > expires_at:
                raise TimeoutError

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class ConnectionPool:
    """A transport with its own connections. Threads may share it, and a forked process may use it.

    It is written by hand, not generated from `AsyncConnectionPool`: it blocks in polls on sockets, while the other one
    is driven by callbacks of asyncio.

    Args:
        route: Returns where to send. It is called again after a fork.
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
        self._find_route, self._clock = route, clock
        self._settings = settings or PoolSettings()
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[_Connection] = deque()
        weakref.finalize(self, _close_all, self._idle)  # also if the process ends without close()
        self._route = self._find_route()
        self._signer = RequestSigner(self._route, self._clock)
        self._resolver = HostResolver(self._route)
        self._tls = tls_context(self._route)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} to {self._route.url}, {len(self._idle)} idle>"

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        """Send a request and return its response; see `Transport.send`."""
        return self.send_until(request, monotonic() + read_timeout, connect_timeout, read_timeout)

    def send_until(
        self, request: InvokeRequest, expires_at: float, connect_timeout: float, read_timeout: float
    ) -> InvokeResponse:
        """Send a request and return its response.

        Args:
            request: The request.
            expires_at: Time at which to stop, by `time.monotonic`, in seconds. It bounds credentials, connection,
                request and response together.
            connect_timeout: Seconds for the connection.
            read_timeout: Seconds for the request and its response.

        Returns:
            The response, of any status.

        Raises:
            NotSentError: There was no connection, or there were no credentials in time. No request was sent.
            OutcomeUnknownError: The request was sent, but no complete response arrived.
            ClosedError: The pool was closed.
        """
        if self._closed:
            raise transport_closed(request)
        if self._pid != os.getpid():
            self._start_again(request, expires_at, read_timeout)
        answer = self._send(request, expires_at, connect_timeout, read_timeout)
        if answer.status in CLOCK_ERROR_STATUSES and self._signer.correct_clock(answer):
            answer = self._send(request, expires_at, connect_timeout, read_timeout)
        return answer

    def _start_again(self, request: InvokeRequest, expires_at: float, timeout: float) -> None:
        """Replace the route and the connections that a forked process inherited."""
        inherited = self._idle
        try:
            result_of(start_in_thread(self._start), expires_at)
        except TimeoutError:
            raise not_set_up(request, timeout) from None
        for connection in inherited:
            connection.close()

    def _keys(self, request: InvokeRequest, expires_at: float, timeout: float) -> Keys:
        if not self._route.refreshes:
            return self._signer.read_keys()
        try:
            return result_of(self._signer.start_reading_keys(), expires_at)
        except TimeoutError:
            raise no_credentials(request, timeout) from None

    def _send(
        self, request: InvokeRequest, expires_at: float, connect_timeout: float, read_timeout: float
    ) -> InvokeResponse:
        signer, body = self._signer, request.body
        head = signer.head(request, signer.cached_keys() or self._keys(request, expires_at, read_timeout))
        connection = self._take()
        if connection is not None:
            sent = self._clock.monotonic()
            try:
                return self._exchange(connection, head, body, expires_at, read_timeout)
            except ExchangeError as error:
                idle, took = sent - connection.idle_since, self._clock.monotonic() - sent
                if not may_resend(self._settings, error, idle=idle, took=took):
                    raise exchange_failed(error, request) from error
        try:
            connection = self._connect(expires_at, connect_timeout)
        except (OSError, OverflowError, UnicodeError) as error:
            raise not_connected(error, request, self._route.authority) from error
        try:
            return self._exchange(connection, head, body, expires_at, read_timeout)
        except ExchangeError as error:
            raise exchange_failed(error, request) from error

    def _exchange(
        self, connection: _Connection, head: bytes, body: bytes, expires_at: float, timeout: float
    ) -> InvokeResponse:
        scope = current_scope()
        try:
            expires_at = min(expires_at, monotonic() + timeout)
            if scope is None:
                answer = connection.exchange(head, body, expires_at, timeout)
            else:
                with scope.closing(connection.sock):
                    answer = connection.exchange(head, body, expires_at, timeout)
        except BaseException:
            # After an interrupt too: the next bytes on this connection belong to this request.
            connection.close()
            raise
        if connection.keep:
            self._keep(connection)
        else:
            connection.close()
        return answer

    def _take(self) -> _Connection | None:
        oldest = self._clock.monotonic() - self._settings.idle_for
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.idle_since >= oldest and connection.usable():
                return connection
            connection.close()

    def _keep(self, connection: _Connection) -> None:
        idle = self._idle
        connection.idle_since = now = self._clock.monotonic()
        if len(idle) >= self._settings.max_idle:
            connection.close()
            return
        idle.append(connection)
        try:
            if idle[0].idle_since < now - self._settings.idle_for:
                idle.popleft().close()
        except IndexError:
            pass  # another thread took it
        if self._closed:
            _close_all(self._idle)

    def _connect(self, expires_at: float, timeout: float) -> _Connection:
        route, began = self._route, monotonic()
        timeout = max(0.0, min(timeout, expires_at - began))
        expires_at = began + timeout
        addresses = self._resolver.addresses()
        if isinstance(addresses, Future):
            try:
                addresses = result_of(addresses, expires_at)
            except TimeoutError as error:
                raise TimeoutError(f"the name look-up of {route.host} timed out after {timeout:.3g} s") from error
        scope = current_scope()
        failure: Exception = OSError("the host has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                failure = error  # a host may have addresses of a family that this machine does not support
                continue
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for option in route.socket_options:
                    sock.setsockopt(*option)
                sock.settimeout(max(expires_at - monotonic(), 0.001))
                with scope.closing(sock) if scope is not None else nullcontext():
                    sock.connect(address)
                if self._tls is not None:
                    sock.settimeout(max(expires_at - monotonic(), 0.001))
                    sock = self._tls.wrap_socket(sock, server_hostname=route.host)
                sock.setblocking(False)
                return _Connection(sock, ResponseParser())
            except OSError as error:
                failure = error
                sock.close()
            except BaseException:
                sock.close()
                raise
        raise failure

    def close(self) -> None:
        """Close the idle connections. A connection in use is closed after its response."""
        self._closed = True
        _close_all(self._idle)


def _nothing() -> int:
    return 0


def _close_all(idle: deque[_Connection]) -> None:
    while True:
        try:
            idle.pop().close()
        except IndexError:
            return


def _await_writable(sock: socket.socket, seconds: float) -> None:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        ready: Any = poll.poll(max(seconds, 0.0) * 1000)
    else:
        ready = select.select([], [sock], [], max(seconds, 0.0))[1]
    if not ready:
        raise TimeoutError
