"""Kill the processes that models start, even if they have changed their session or parent. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Container
from pathlib import Path

__all__ = ["adopt", "kill_and_reap_children", "kill_children_except"]

_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """Make this process the subreaper: it becomes the parent of orphaned descendants. Does nothing except on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children_except(own: Container[int]) -> None:
    """Kill the children of this process except `own`. Their children become children of this process.

    Args:
        own: Ids of the processes that are not killed.
    """
    for pid in _children():
        if pid not in own:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def kill_and_reap_children(own: Container[int] = ()) -> None:
    """Kill all descendants of this process except `own`, and wait until every child has ended.

    Args:
        own: Ids of child processes that are not killed. The function waits until they end.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            kill_children_except(own)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    """Return the ids of the child processes of this single-threaded process."""
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []
