"""The lean lane for threads: sockets of its own, one request at a time on each, and a pool of those that are idle."""

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

from mme_sdk._cancellation import current_scope
from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.errors import NotSentError
from mme_sdk.protocols import Clock
from mme_sdk.runtime.transport.daemon_threads import in_background, outcome
from mme_sdk.runtime.transport.pool_base import (
    BROKEN,
    CLOGGED,
    SPENT,
    STALE,
    SUSPECT,
    UNSENT,
    BrokenConnectionError,
    Desk,
    arrivals,
    poller,
    tls_context,
)
from mme_sdk.runtime.transport.response_parser import BadAnswerError, Parser
from mme_sdk.runtime.transport.settings import Settings
from mme_sdk.runtime.transport_interface import InvokeAnswer, InvokeRequest

__all__ = ["LeanTransport"]

_CHUNK = 65_536
_LARGE = 1 << 20
_JOINED = 65_536  # a body up to here goes out in one write with the head
_WANTS_READ = (BlockingIOError, ssl.SSLWantReadError)
_WANTS_WRITE = (BlockingIOError, ssl.SSLWantWriteError)


class _Connection:
    """One socket and its parser. The socket does not block: waiting is a poll, bounded by what is left of the time."""

    def __init__(self, sock: socket.socket, parser: Parser) -> None:
        self.idle_since = 0.0
        self.keep = False
        self.sock = sock
        self._parser = parser
        self._readable = poller(sock.fileno())
        self._arrivals = arrivals(sock)

    def usable(self) -> bool:
        """Whether nothing has arrived while idle: neither an end nor bytes that nobody asked for."""
        return not self._arrivals()

    def exchange(self, head: bytes, body: bytes, ends: float, timeout: float) -> InvokeAnswer:
        """Send and read the answer.

        Args:
            head: The request's head.
            body: Its body.
            ends: When to give up, by `time.monotonic`.
            timeout: Seconds that the caller gave, for messages.

        Returns:
            The answer.

        Raises:
            BrokenConnectionError: There was no whole answer.
        """
        parser = self._parser
        parser.begin()
        unsent: OSError | None = None
        try:
            if len(body) <= _JOINED:
                self._send(head + body, ends)
            else:
                self._send(head, ends)
                self._send(body, ends)
        except TimeoutError as error:
            raise BrokenConnectionError(CLOGGED, f"timed out after {timeout:.3g} s") from error
        except OSError as error:
            # Who refuses a request early may close before it is out; the answer can be there all the same.
            unsent = error
        try:
            self._receive(ends)
        except TimeoutError as error:
            stage, detail = CLOGGED if unsent else SPENT, f"timed out after {timeout:.3g} s"
            raise BrokenConnectionError(stage, detail, began=parser.started) from error
        except BadAnswerError as error:
            stage = UNSENT if unsent else BROKEN
            raise BrokenConnectionError(stage, str(unsent or error), began=True) from error
        except OSError as error:
            stage = UNSENT if unsent else BROKEN if parser.started else STALE
            raise BrokenConnectionError(stage, str(unsent or error), began=parser.started) from error
        self.keep = parser.keep_alive and unsent is None
        return parser.answer()

    def _send(self, data: bytes, ends: float) -> None:
        sent, size = 0, len(data)
        while True:
            try:
                sent += self.sock.send(memoryview(data)[sent:] if sent else data)
            except _WANTS_WRITE:
                _await_writable(self.sock, ends - monotonic())
            except ssl.SSLWantReadError:
                if not self._readable(ends - monotonic()):
                    raise TimeoutError from None
            if sent == size:
                return
            if monotonic() > ends:
                raise TimeoutError

    def _receive(self, ends: float) -> None:
        parser, receive = self._parser, self.sock.recv
        ready = self._readable(ends - monotonic())
        while True:
            try:
                data = receive(min(parser.missing, _LARGE) or _CHUNK)
            except _WANTS_READ:
                ready = self._readable(ends - monotonic())
                data = None
            if data:
                if parser.feed(data):
                    return
            elif data is not None:
                if not parser.started:
                    raise ConnectionAbortedError("the server closed the connection instead of answering")
                parser.eof()
                return
            # Also a server that keeps dripping must not outlive the time-out.
            if not ready or monotonic() > ends:
                raise TimeoutError

    def close(self) -> None:
        """Close the socket, at once."""
        self.sock.close()


class LeanTransport:
    """Sends over pooled connections of its own; safe to share between threads, and usable after a fork.

    Args:
        route: Says where to send; asked again after a fork.
        name: What the transport is called.
        clock: Time.
        settings: How connections are treated.
    """

    reason: str | None = None

    def __init__(
        self,
        route: Callable[[], Route],
        *,
        name: str = "fast",
        clock: Clock = time,
        settings: Settings | None = None,
    ) -> None:
        self.name = name
        self._route, self._clock = route, clock
        self._settings = settings or Settings()
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[_Connection] = deque()
        weakref.finalize(self, _drain, self._idle)  # also at an exit without close()
        self._desk = Desk(self._route(), self._clock, self._settings)
        self._tls = tls_context(self._desk.route)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} to {self._desk.route.url}, {len(self._idle)} idle>"

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        return self.send_until(request, monotonic() + read_timeout, connect_timeout, read_timeout)

    def send_until(
        self, request: InvokeRequest, ends: float, connect_timeout: float, read_timeout: float
    ) -> InvokeAnswer:
        """Send and wait for the whole answer.

        Args:
            request: What to send.
            ends: When to give up, by `time.monotonic`: credentials, connection and answer together.
            connect_timeout: Seconds for the connection alone.
            read_timeout: Seconds for the request and its answer alone.

        Returns:
            The answer, whatever its status.

        Raises:
            NotSentError: No connection, or no credentials in time; nothing was sent.
            OutcomeUnknownError: Sent, but no whole answer came back.
        """
        if self._closed:
            raise self._desk.closed(request)
        if self._pid != os.getpid():
            self._start_again(request, ends, read_timeout)
        answer = self._send(request, ends, connect_timeout, read_timeout)
        if answer.status in SUSPECT and self._desk.skewed(answer):
            answer = self._send(request, ends, connect_timeout, read_timeout)
        return answer

    def _start_again(self, request: InvokeRequest, ends: float, timeout: float) -> None:
        """Make connections of this process's own after a fork."""
        inherited = self._idle
        try:
            outcome(in_background(self._start), ends)
        except TimeoutError:
            raise NotSentError(
                f"{request.endpoint}: the transport was not set up anew, after a fork, within {timeout:.3g} s",
                endpoint=request.endpoint,
                model=request.target_model,
            ) from None
        for connection in inherited:
            connection.close()

    def _keys(self, request: InvokeRequest, ends: float, timeout: float) -> Keys:
        desk = self._desk
        if not desk.route.refreshes:
            return desk.renew()
        try:
            return outcome(desk.renewal(), ends)
        except TimeoutError:
            raise desk.no_keys_yet(request, timeout) from None

    def _send(self, request: InvokeRequest, ends: float, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        desk, body = self._desk, request.body
        head = desk.head(request, desk.keys() or self._keys(request, ends, read_timeout))
        connection = self._take()
        if connection is not None:
            sent = self._clock.monotonic()
            try:
                return self._exchange(connection, head, body, ends, read_timeout)
            except BrokenConnectionError as error:
                if not desk.may_resend(error, sent - connection.idle_since, self._clock.monotonic() - sent):
                    raise desk.failed(error, request) from error
        try:
            connection = self._connect(ends, connect_timeout)
        except (OSError, OverflowError, UnicodeError) as error:
            raise desk.not_connected(error, request) from error
        try:
            return self._exchange(connection, head, body, ends, read_timeout)
        except BrokenConnectionError as error:
            raise desk.failed(error, request) from error

    def _exchange(self, connection: _Connection, head: bytes, body: bytes, ends: float, timeout: float) -> InvokeAnswer:
        scope = current_scope()
        try:
            ends = min(ends, monotonic() + timeout)
            if scope is None:
                answer = connection.exchange(head, body, ends, timeout)
            else:
                with scope.closing(connection.sock):
                    answer = connection.exchange(head, body, ends, timeout)
        except BaseException:
            # Also when interrupted: what comes next on this connection would be the answer to this request.
            connection.close()
            raise
        if connection.keep:
            self._give(connection)
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

    def _give(self, connection: _Connection) -> None:
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
            _drain(self._idle)

    def _connect(self, ends: float, timeout: float) -> _Connection:
        route, ends = self._desk.route, min(ends, monotonic() + timeout)
        addresses = self._desk.addresses()
        if isinstance(addresses, Future):
            try:
                addresses = outcome(addresses, ends)
            except TimeoutError as error:
                raise TimeoutError(f"the look-up of {route.host} timed out after {timeout:.3g} s") from error
        scope = current_scope()
        failure: Exception = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                failure = error  # names may have addresses of a family that this machine does not speak
                continue
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for option in route.socket_options:
                    sock.setsockopt(*option)
                sock.settimeout(max(ends - monotonic(), 0.001))
                with scope.closing(sock) if scope is not None else nullcontext():
                    sock.connect(address)
                if self._tls is not None:
                    sock.settimeout(max(ends - monotonic(), 0.001))
                    sock = self._tls.wrap_socket(sock, server_hostname=route.host)
                sock.setblocking(False)
                return _Connection(sock, Parser())
            except OSError as error:
                failure = error
                sock.close()
            except BaseException:
                sock.close()
                raise
        raise failure

    def close(self) -> None:
        """Close every idle connection; those in use close with their answer."""
        self._closed = True
        _drain(self._idle)


def _drain(idle: deque[_Connection]) -> None:
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
