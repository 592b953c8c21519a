"""A server that sends given bytes to every request, and then closes the connection or keeps it open."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence


class RawServer:
    """Reads a request to the end of its body, writes `wire`, and holds the connection unless `closes`.

    Attributes:
        requests: How many requests came.
        wire: What is written; may be changed between calls.
        closes: Whether the connection is closed afterwards.
    """

    def __init__(
        self, wire: bytes = b"", *, closes: bool = False, answer: Callable[[socket.socket], None] | None = None
    ):
        self.wire, self.closes, self.requests = wire, closes, 0
        self._answer = answer
        self._held: list[socket.socket] = []
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._stopping.is_set():
                connection.close()
                return
            self._held.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self._read_request(connection):
                self.requests += 1
                closes = self.closes  # the test may change it as soon as it has the answer
                if self._answer is not None:
                    self._answer(connection)
                else:
                    connection.sendall(self.wire)
                if closes:
                    return

    @staticmethod
    def _read_request(connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        left = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
        while left > 0:
            left -= len(connection.recv(65536))
        return True

    def close(self) -> None:
        """Close every connection and end every thread."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._listener.close()
        for connection in self._held:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def one_by_one(pieces: Sequence[bytes], pause: threading.Event, seconds: float) -> Callable[[socket.socket], None]:
    """An answer that is written piece by piece, with a wait after each."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            if pause.wait(seconds):
                return

    return answer
