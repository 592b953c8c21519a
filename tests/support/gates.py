"""Gates: another process blocks at one until the test opens it, and the test sees how many have arrived. No polling."""

from __future__ import annotations

import asyncio
import os
import select
import time
from pathlib import Path

__all__ = ["PASS_GATE", "Gate"]

LIMIT = 300.0  # seconds; only a wait for something that never comes takes that long

# What a model script does at a gate. It reports its arrival, then reads until the test closes its end of the pipe.
PASS_GATE = """
def pass_gate(path):
    try:
        with open(path + ".arrivals", "ab", buffering=0) as arrivals:
            arrivals.write(b".")
    except OSError:
        pass  # the gate is open, or this process can only read
    try:
        with open(path, "rb") as gate:
            gate.read()
    except FileNotFoundError:
        pass  # the gate is open
"""


class Gate:
    """A gate that is closed until `open`; its path exists while it is closed.

    Args:
        path: Where to make it; two named pipes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrivals = path.with_name(f"{path.name}.arrivals")
        os.mkfifo(self._arrivals)
        os.mkfifo(path)
        # Opened for both directions: neither side waits for the other when it opens a pipe.
        self._held = os.open(path, os.O_RDWR)
        self._arrived = os.open(self._arrivals, os.O_RDWR | os.O_NONBLOCK)
        self._count = 0
        self._closed = False

    def __str__(self) -> str:
        return str(self.path)

    def arrived(self, count: int = 1) -> None:
        """Block until so many have arrived at the gate."""
        end = time.monotonic() + LIMIT
        while self._count < count:
            ready, _, _ = select.select([self._arrived], [], [], end - time.monotonic())
            assert ready, f"{self._count} of {count} came to {self.path}"
            self._count += len(os.read(self._arrived, count - self._count))

    async def until_arrived(self, count: int = 1) -> None:
        """Wait on the event loop until so many have arrived at the gate."""
        loop = asyncio.get_running_loop()
        while self._count < count:
            ready = asyncio.Event()
            loop.add_reader(self._arrived, ready.set)
            try:
                async with asyncio.timeout(LIMIT):
                    await ready.wait()
            finally:
                loop.remove_reader(self._arrived)
            self._count += len(os.read(self._arrived, count - self._count))

    def open(self) -> None:
        """Let everybody pass, from now on. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.path.unlink()
        self._arrivals.unlink()
        os.close(self._held)
        os.close(self._arrived)
