"""Run work that cannot be interrupted in daemon threads, so that a caller can stop waiting at its deadline.

Name look-ups, credential providers, imports and botocore's sending accept no deadline. Such work continues after its
caller has stopped waiting. The threads are daemons because those of `concurrent.futures` delay the end of the process.

`benchmarks/deadlines.py --only first` measures the effect: with a deadline of 0.2 s, the first call of a process ends
19 ms after the deadline (median). Without these threads it ended after the import of boto3, 1.3 s or later.
"""

from __future__ import annotations

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

from mme_sdk._flows.cancellation import current_scope
from mme_sdk.errors import MMEError
from mme_sdk.runtime.fork_safe_lock import ForkLock

__all__ = ["SharedCall", "async_result_of", "result_of", "start_in_thread"]

T = TypeVar("T")
_MAX_IDLE = 64  # idle threads that are kept
_MAX_WAIT = 1e6  # seconds; event loops do not accept longer waits
_LOCK = ForkLock()


class _Worker(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="mme-sdk-background", daemon=True)
        self.inbox: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()

    def run(self) -> None:
        """Run one piece of work after another."""
        while True:
            future, work = self.inbox.get()
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised by result_of
                keep = self._become_idle()
                future.set_exception(error)
                del error
            else:
                keep = self._become_idle()
                future.set_result(result)
                del result
            del future, work
            if not keep:
                return

    def _become_idle(self) -> bool:
        keep = len(_idle) < _MAX_IDLE
        if keep:
            _idle.append(self)
        return keep


_idle: deque[_Worker] = deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


def start_in_thread(work: Callable[[], T]) -> Future[T]:
    """Start work in a daemon thread, with the context variables of the caller.

    Args:
        work: The function to call.

    Returns:
        Its future, which cannot be cancelled.
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


def result_of(future: Future[T], expires_at: float) -> T:
    """Wait in the calling thread for the result of a future.

    Args:
        future: The future.
        expires_at: Time at which to stop waiting, by `time.monotonic`, in seconds.

    Returns:
        The result.

    Raises:
        TimeoutError: There is no result yet. The work continues.
        Exception: The exception that the work raised.
    """
    scope = current_scope()
    if scope is not None and not future.done():
        woken = threading.Event()
        future.add_done_callback(lambda _: woken.set())
        with scope.waking(woken.set):
            woken.wait(_seconds_until(expires_at))
        scope.check()
        if not future.done():
            raise TimeoutError
    if not future.done():
        try:
            future.exception(_seconds_until(expires_at))
        except TimeoutError:
            if not future.done():
                raise
    return _result(future)


async def async_result_of(future: Future[T], expires_at: float) -> T:
    """Wait on the running event loop for the result of a future; see `result_of`."""
    if not future.done():
        import asyncio

        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting], timeout=_seconds_until(expires_at))
            if not waiting.done():
                raise TimeoutError
            waiting.exception()
        finally:
            waiting.cancel()  # the work itself is running and continues: others may wait for it
    return _result(future)


def _seconds_until(expires_at: float) -> float:
    return min(max(expires_at - monotonic(), 0.0), _MAX_WAIT)


def _result(future: Future[T]) -> T:
    error = future.exception()
    if isinstance(error, MMEError):
        # Several callers may receive this error, and each adds facts of its own call.
        raise copy.copy(error) from error.__cause__
    return future.result()


class SharedCall(Generic[T]):
    """A function whose running call is shared by all callers; each waits up to its own deadline.

    Args:
        work: The function. A caller that comes after the end of a call starts a new one.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._running: Future[T] | None = None
        self._generation = 0

    def start(self) -> Future[T]:
        """Return the future of the running call; start a call if none is running."""
        with _LOCK:
            # Threads do not survive a fork.
            if self._running is None or self._running.done() or self._generation != _LOCK.generation:
                self._running, self._generation = start_in_thread(self._work), _LOCK.generation
            return self._running
