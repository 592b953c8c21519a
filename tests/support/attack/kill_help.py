"""What the kill tests share: the process that forks, S3 bodies with a fuse, and checks of what is left."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.support.paths import SUPPORT

LIMIT = 120.0  # seconds that only a hang would take


class Forks:
    """The process that forks those that are killed; see `killing`.

    Args:
        folder: Its temporary folder, and that of all its children.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._reports = 0
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", SUPPORT / "attack" / "killing.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, report: Path, **order: Any) -> Forked:
        """Fork a process; what it says goes to `report`."""
        return Forked(self, self._ask({"report": str(report), **order})["pid"], report)

    def wait(self, pid: int) -> int:
        """Wait until a process and all that it started are gone; its exit status."""
        answer = self._ask({"wait": pid})
        assert answer["left"] == [], answer
        status: int = answer["status"]
        return status

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(LIMIT)
        self._process.stdout.close()


class Forked:
    """One forked process."""

    def __init__(self, forks: Forks, pid: int, report: Path) -> None:
        self._forks, self.pid, self.report = forks, pid, report

    def wait(self) -> bool:
        """Wait until nothing of it is left; whether it was killed."""
        status = self._forks.wait(self.pid)
        assert status in (0, -signal.SIGKILL), self.report.read_text()[-4000:]
        return status == -signal.SIGKILL

    def said(self) -> Iterator[dict[str, Any]]:
        """The whole lines of its report that are facts."""
        for line in self.report.read_text().split("\n")[:-1]:
            if line.startswith("{"):
                yield json.loads(line)

    def last(self, name: str) -> Any:
        """The last value that it reported under a name; None for nothing."""
        return next((fact[name] for fact in reversed([*self.said()]) if name in fact), None)


def until(true: Callable[[], Any], what: str) -> Any:
    """Poll until something is true; its value."""
    end = time.monotonic() + LIMIT
    while not (value := true()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value


def content(key: str, size: int) -> bytes:
    """What an object of this key holds."""
    return Random(key).randbytes(size)


class Fuse:
    """Kills a process when so many bytes went through the bodies that it watches.

    Args:
        pid: The process.
        left: Bytes until then.
    """

    def __init__(self, pid: int, left: int) -> None:
        self._pid, self._left = pid, left
        self._lock = threading.Lock()
        self.burnt = threading.Event()

    def pass_on(self, size: int) -> None:
        """Some bytes went through."""
        with self._lock:
            self._left -= size
            if self._left <= 0 and not self.burnt.is_set():
                os.kill(self._pid, signal.SIGKILL)
                self.burnt.set()

    def body(self, data: bytes) -> io.BytesIO:
        """A body that is watched while it is sent."""
        return _Body(data, self)


class _Body(io.BytesIO):
    def __init__(self, data: bytes, fuse: Fuse) -> None:
        super().__init__(data)
        self._fuse = fuse

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._fuse.pass_on(len(data))
        return data


def leftovers(folder: Path) -> list[str]:
    """Files that are written beside others, and are not there for long."""
    marks = (".new", ".tmp")
    return sorted(str(one) for one in folder.rglob("*") if one.suffix in marks or one.name.startswith(".unpacking-"))
