"""A guard for tests that run inside one process: starting a process or binding a socket fails the test."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["fail_if_impure", "one_process"]

FORBIDDEN = frozenset(
    {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "socket.bind", "subprocess.Popen"}
)
_events: list[str] | None = None  # forbidden events of the running test; None while no guarded test runs
_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is None or event not in FORBIDDEN:
        return
    shown = f"{event} {str(arguments[1])[:80]}"
    _events.append(shown)
    raise AssertionError(f"{shown}: tests of this folder start no process and bind no socket; see tests/integration")


@contextmanager
def one_process() -> Iterator[None]:
    """Forbid processes and sockets while a test runs, its fixtures included."""
    global _events, _hooked
    if not _hooked:
        # joblib starts programs to count the cores; urllib3 binds a socket at its import to find out about IPv6;
        # matplotlib lists the machine's fonts with a program at its first import.
        os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")
        importlib.import_module("urllib3.util.connection")
        importlib.import_module("matplotlib.font_manager")
        sys.addaudithook(_audit)  # an audit hook cannot be removed; it does nothing while no guarded test runs
        _hooked = True
    _events = []
    try:
        yield
    finally:
        _events = None


def fail_if_impure() -> None:
    """Fail the running test if the code under test has swallowed the error of the guard."""
    if _events:
        pytest.fail("; ".join(_events), pytrace=False)
