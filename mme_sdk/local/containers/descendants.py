"""Ends the processes that models start, also those that have left their session and their parent; Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Container
from pathlib import Path

__all__ = ["adopt", "end_all", "kill_others"]

_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """Become the parent of every process below this one whose own parent ends; nothing happens elsewhere than Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_others(own: Container[int]) -> None:
    """Kill the children of this process but its own; their children become children of this process in turn.

    Args:
        own: Process ids of the children that live on.
    """
    for pid in _children():
        if pid not in own:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def end_all(own: Container[int] = ()) -> None:
    """Kill the children of this process but its own, with all below them, and wait until no child is left.

    Args:
        own: Process ids of the children that end by themselves.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            kill_others(own)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    """The children of this process, which has one thread."""
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []
