"""Run work that cannot be interrupted in daemon threads, so that a caller can stop waiting for it at its deadline.

Name look-ups, credential providers, imports and botocore's own sending take no deadline. Such work goes on after its
caller has given up; the threads are daemons, so that they do not keep the process alive, as those of
`concurrent.futures` do.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any, Generic, TypeVar

from mme_sdk._cancellation import current_scope
from mme_sdk.errors import MMEError
from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["Shared", "in_background", "outcome", "outcome_async"]

T = TypeVar("T")
_MAX_IDLE = 64  # threads kept for the next work
_FOREVER = 1e6  # seconds; longer than any wait, short enough for every event loop
_LOCK = ForkLock()


class _Worker(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="mme-sdk-background", daemon=True)
        self.inbox: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()

    def run(self) -> None:
        """Do one piece of work after another."""
        while True:
            future, work = self.inbox.get()
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised where the outcome is awaited
                keep = self._rest()
                future.set_exception(error)
                del error
            else:
                keep = self._rest()
                future.set_result(result)
                del result
            del future, work
            if not keep:
                return

    def _rest(self) -> bool:
        keep = len(_idle) < _MAX_IDLE
        if keep:
            _idle.append(self)
        return keep


_idle: deque[_Worker] = deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start work in a daemon thread, with the caller's context variables.

    Args:
        work: What to do.

    Returns:
        Its future; cannot be cancelled.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    work = _with_context(work)
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.inbox.put((future, work))
    return future


def _with_context(work: Callable[[], T]) -> Callable[[], T]:
    context = contextvars.copy_context()
    return lambda: context.run(work)


def outcome(future: Future[T], ends: float) -> T:
    """Wait for background work in this thread.

    Args:
        future: The work.
        ends: When to give up, by `time.monotonic`.

    Returns:
        Its result.

    Raises:
        TimeoutError: It goes on.
        Exception: What the work raised.
    """
    scope = current_scope()
    if scope is not None and not future.done():
        woken = threading.Event()
        future.add_done_callback(lambda _: woken.set())
        with scope.waking(woken.set):
            woken.wait(_left(ends))
        scope.check()
        if not future.done():
            raise TimeoutError
    if not future.done():
        try:
            future.exception(_left(ends))
        except TimeoutError:
            if not future.done():
                raise
    return _result(future)


async def outcome_async(future: Future[T], ends: float) -> T:
    """Wait for background work on the running event loop; see `outcome`."""
    if not future.done():
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting], timeout=_left(ends))
            if not waiting.done():
                raise TimeoutError
            waiting.exception()
        finally:
            waiting.cancel()  # the work itself goes on: it is running, and others may wait for it
    return _result(future)


def _left(ends: float) -> float:
    return min(max(ends - monotonic(), 0.0), _FOREVER)


def _result(future: Future[T]) -> T:
    error = future.exception()
    if isinstance(error, MMEError):
        # Several callers may get it, and each adds facts of its own call.
        raise copy.copy(error) from error.__cause__
    return future.result()


class Shared(Generic[T]):
    """Work for which several callers wait together, each up to its own deadline.

    Args:
        work: What to do; done again for those who come after its end.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._running: Future[T] | None = None
        self._generation = 0

    def start(self) -> Future[T]:
        """Start the work, or join the one that runs."""
        with _LOCK:
            # Threads do not survive a fork.
            if self._running is None or self._running.done() or self._generation != _LOCK.generation:
                self._running, self._generation = in_background(self._work), _LOCK.generation
            return self._running
