"""The byte streams of the synchronous connection pool: a TCP socket, and TLS over one.

TLS runs between two memory buffers (`ssl.MemoryBIO`), so the pool makes the system calls: one `send` for a request and
one `recv` for its response. `ssl.SSLSocket` makes one call for each record that it sends, and two for each record that
it receives. On Linux a read waits in `recv`, bounded by the socket option SO_RCVTIMEO; elsewhere it waits in `poll`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import sys
from time import monotonic
from typing import Any

from mme_sdk.runtime.transport.pool_base import arrival_check, read_poller

__all__ = ["Stream", "TlsStream"]

_CHUNK = 65_536  # bytes of one read
_BIG_CHUNK = 262_144  # bytes of one read of a long body, and of one write
_RECORD = 16_384  # largest number of bytes in a TLS record; OpenSSL writes one record for each call
_BLOCKS = sys.platform == "linux"  # MSG_DONTWAIT exists, and SO_RCVTIMEO is a `struct timeval` of two longs
_SEND_FLAGS = socket.MSG_DONTWAIT if _BLOCKS else 0
_LONGEST_WAIT = 3600.0  # seconds


class Stream:
    """A connected TCP socket.

    Args:
        sock: The socket. The stream sets its time-outs.

    Attributes:
        sock: The socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(_BLOCKS)
        self._readable = read_poller(sock.fileno())
        self._arrivals = arrival_check(sock)
        self._receive_timeout = 0.0

    def start(self, expires_at: float) -> None:
        """Do what must be done before the first byte.

        Args:
            expires_at: Time at which to stop, by `time.monotonic`, in seconds.

        Raises:
            OSError: It failed. TimeoutError if it took too long.
        """

    def quiet(self) -> bool:
        """Return whether the connection is open and received no data that was not read."""
        return not self._arrivals()

    def send(self, data: bytes | memoryview, expires_at: float) -> None:
        """Send all of the data.

        Args:
            data: The data.
            expires_at: Time at which to stop, by `time.monotonic`, in seconds.

        Raises:
            OSError: It was not sent completely. TimeoutError if it took too long.
        """
        sent, size = 0, len(data)
        while True:
            try:
                sent += self.sock.send(memoryview(data)[sent:] if sent else data, _SEND_FLAGS)
            except BlockingIOError:
                _await_writable(self.sock, expires_at - monotonic())
            if sent >= size:
                return
            if monotonic() > expires_at:
                raise TimeoutError

    def receive(self, expires_at: float) -> bytes:
        """Wait for data and return it; `b""` at the end of the stream.

        Args:
            expires_at: Time at which to stop, by `time.monotonic`, in seconds.

        Raises:
            OSError: The connection broke. TimeoutError if no data arrived in time.
        """
        return self._read(_CHUNK, expires_at)

    def receive_into(self, buffer: memoryview, expires_at: float) -> int:
        """Wait for data and write it to a buffer.

        Args:
            buffer: Where to write. It is not empty.
            expires_at: Time at which to stop, by `time.monotonic`, in seconds.

        Returns:
            Number of bytes written; 0 at the end of the stream.

        Raises:
            OSError: The connection broke. TimeoutError if no data arrived in time.
        """
        self._bound_wait(expires_at)
        while True:
            try:
                return self.sock.recv_into(buffer)
            except BlockingIOError:
                self._wait_again(expires_at)

    def _read(self, size: int, expires_at: float) -> bytes:
        self._bound_wait(expires_at)
        while True:
            try:
                return self.sock.recv(size)
            except BlockingIOError:
                self._wait_again(expires_at)

    def _bound_wait(self, expires_at: float) -> None:
        """Bound the wait of the next `recv`. On Linux the bound may be too short: `recv` is called again then."""
        seconds = expires_at - monotonic()
        if not _BLOCKS:
            self._readable(seconds)
        elif not min(seconds, _LONGEST_WAIT) / 4 <= self._receive_timeout <= seconds:
            self._set_receive_timeout(seconds * 0.75)

    def _wait_again(self, expires_at: float) -> None:
        seconds = expires_at - monotonic()
        if seconds <= 0:
            raise TimeoutError
        if _BLOCKS:
            self._set_receive_timeout(seconds)
        else:
            self._readable(seconds)

    def _set_receive_timeout(self, seconds: float) -> None:
        self._receive_timeout = seconds = min(max(seconds, 0.001), _LONGEST_WAIT)  # 0 means no time-out
        whole, rest = divmod(int(seconds * 1_000_000), 1_000_000)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, rest))

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class TlsStream(Stream):
    """TLS over a connected TCP socket.

    Args:
        sock: The socket. The stream sets its time-outs.
        context: The TLS settings.
        host: Name for which the server's certificate must be valid.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def start(self, expires_at: float) -> None:
        """Perform the TLS handshake; see `Stream.start`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(expires_at)
                self._fill(_CHUNK, expires_at)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush(expires_at)  # the alert that says what is wrong
                raise
            else:
                self._flush(expires_at)
                return
            if monotonic() > expires_at:
                raise TimeoutError

    def quiet(self) -> bool:
        """Return whether the connection is open and received no data that was not read."""
        return not (self._incoming.pending or self._tls.pending() or self._arrivals())

    def send(self, data: bytes | memoryview, expires_at: float) -> None:
        """Send all of the data; see `Stream.send`."""
        size = len(data)
        if size <= _RECORD:
            self._encrypt(data, expires_at)
        else:
            view, at = memoryview(data), 0
            while at < size:
                at += self._encrypt(view[at : at + _RECORD], expires_at)
                if self._outgoing.pending >= _BIG_CHUNK:
                    self._flush(expires_at)
        self._flush(expires_at)

    def receive(self, expires_at: float) -> bytes:
        """Wait for data and return it; see `Stream.receive`."""
        tls, ready = self._tls, self._incoming.pending
        while True:
            if not ready and not self._fill(_CHUNK, expires_at):
                return b""
            try:
                return tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                ready = 0
            self._after_record(expires_at)

    def receive_into(self, buffer: memoryview, expires_at: float) -> int:
        """Wait for data and write it to a buffer; see `Stream.receive_into`."""
        tls, ready, size = self._tls, self._incoming.pending, len(buffer)
        chunk = _BIG_CHUNK if size > _CHUNK else _CHUNK
        while True:
            if not ready and not self._fill(chunk, expires_at):
                return 0
            try:
                return tls.read(size, buffer)  # type: ignore[arg-type, return-value]
            except ssl.SSLWantReadError:
                ready = 0
            self._after_record(expires_at)

    def _after_record(self, expires_at: float) -> None:
        """Reply to a record without data, such as a change of keys. Such records must not extend the time-out."""
        if self._outgoing.pending:
            self._flush(expires_at)
        if monotonic() > expires_at:
            raise TimeoutError

    def _encrypt(self, data: bytes | memoryview, expires_at: float) -> int:
        while True:
            try:
                return self._tls.write(data)
            except ssl.SSLWantReadError:  # TLS 1.2: the server asks for another handshake
                self._flush(expires_at)
                if not self._fill(_CHUNK, expires_at):
                    raise ConnectionAbortedError("the server closed the connection") from None

    def _flush(self, expires_at: float) -> None:
        data = self._outgoing.read()
        if data:
            super().send(data, expires_at)

    def _fill(self, size: int, expires_at: float) -> bool:
        data = self._read(size, expires_at)
        if not data:
            self._incoming.write_eof()
            return False
        self._incoming.write(data)
        return True


def _await_writable(sock: socket.socket, seconds: float) -> None:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        ready: Any = poll.poll(max(seconds, 0.0) * 1000)
    else:
        ready = select.select([], [sock], [], max(seconds, 0.0))[1]
    if not ready:
        raise TimeoutError
