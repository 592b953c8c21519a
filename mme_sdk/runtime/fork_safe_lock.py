"""A lock that a forked child process can use even if a thread of the parent held it at the fork."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

__all__ = ["ForkLock"]


class ForkLock:
    """A mutex for short sections without I/O. It is always free at the start of a forked child process.

    Attributes:
        generation: Number of forks between the process that created the lock and this process.
    """

    __slots__ = ("__weakref__", "_lock", "generation")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.generation = 0
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self.generation += 1


_LOCKS: weakref.WeakSet[ForkLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock._renew()


if hasattr(os, "register_at_fork"):
    # This runs in the child before it has a second thread.
    os.register_at_fork(after_in_child=_renew_all)
