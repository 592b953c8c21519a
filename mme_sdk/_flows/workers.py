"""Daemon threads for calls that can be cancelled, such as those of one batch or one client."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any, Generic, TypeVar

from mme_sdk._flows.cancellation import Cancelled, CancelScope, CleanUp, add_notes, current_scope

__all__ = ["Workers", "run_concurrently"]

R = TypeVar("R")
_log = logging.getLogger(__name__)
_GRACE = 2.0  # seconds for threads to end; only name resolution, a TLS handshake or a caller's code takes that long
_RETRY = 0.02  # seconds between two attempts to wake a thread
_POLL = 0.1  # seconds; CPython does not run a signal handler that comes just before a wait until the wait ends

_Job = tuple[Future[Any], Callable[[], Any]]


class Workers(Generic[R]):
    """Runs calls in daemon threads within a `CancelScope`, so that neither Ctrl-C nor an exit waits for them.

    Args:
        limit: Largest number of threads.
        name: Prefix of the threads' names.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit, self._name = limit, name
        self._scope = CancelScope()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: dict[threading.Thread, threading.Event] = {}
        self._lock = threading.Lock()
        # This also runs if a batch is abandoned or if Python shuts down.
        self._end = weakref.finalize(self, _finish, self._scope, self._jobs, self._threads)

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Run a call in a thread.

        Args:
            call: The call.

        Returns:
            The future of its outcome; its exception is `Cancelled` if the workers are closed.
        """
        future: Future[R] = Future()
        if self._scope.cancelled:
            future.set_exception(Cancelled())
            return future
        self._jobs.put((future, call))
        with self._lock:
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._limit:
                ended = threading.Event()
                thread = threading.Thread(
                    target=_work,
                    args=(self._scope, self._jobs, self._idle, ended),
                    name=f"{self._name}-{len(self._threads)}",
                    daemon=True,
                )
                # Before the start, because a Ctrl-C between the two would leave a thread that `close` does not know.
                self._threads[thread] = ended
                thread.start()
        return future

    def close(self, cleanup: CleanUp | None = None, *, grace: float = _GRACE) -> None:
        """Cancel running calls, shut down their sockets, and wait for the threads to end. Idempotent.

        Args:
            cleanup: The clean-up of the calls; `close` waits until it ends. None by default.
            grace: Seconds to wait for the threads after the clean-up has ended; 2 by default.
        """
        if self._end.detach() is not None:
            _end(self._scope, self._jobs, self._threads)
        _join(self._scope, self._threads, cleanup, grace)


def run_concurrently(
    calls: Sequence[Callable[[], Any]], width: int, cleanup: CleanUp, within: float | None = None
) -> list[Any]:
    """Run calls in threads and wait for all of them.

    Ctrl-C, SystemExit and `Cancelled` end all calls. They clean up, and a second such exception ends the clean-up.

    Args:
        calls: The calls.
        width: Largest number of threads.
        cleanup: The clean-up of the calls.
        within: Seconds after which the calls that have not ended are cancelled. None by default, no limit.

    Returns:
        Results or exceptions, in order; TimeoutError for a call that was cancelled.
    """
    workers: Workers[Any] = Workers(min(width, len(calls)), "mme_sdk-flow")
    futures: list[Future[Any]] = []
    ends = math.inf if within is None else monotonic() + within
    try:
        futures += [workers.submit(call) for call in calls]
        _wait(futures, ends)
    except BaseException as stop:
        last = stop
        try:
            workers.close(cleanup)
        except BaseException as again:
            last = again
            cleanup.cancel()
            workers.close()
            raise
        finally:
            for future in futures:
                if future.done() and (error := future.exception()) is not None:
                    add_notes(last, error)
        raise
    results = [future.exception() or future.result() if future.done() else TimeoutError() for future in futures]
    workers.close(grace=_GRACE if within is None else 0.0)
    return results


def _wait(futures: Sequence[Future[Any]], ends: float) -> None:
    woken, left = threading.Event(), [len(futures)]
    lock, scope = threading.Lock(), current_scope()

    def count_down(_: Future[Any]) -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                woken.set()

    for future in futures:
        future.add_done_callback(count_down)
    with scope.waking(woken.set) if scope is not None else contextlib.nullcontext():
        while not woken.wait(max(min(_POLL, ends - monotonic()), 0.0)) and monotonic() < ends:
            pass
    if scope is not None:
        scope.check()


def _work(
    scope: CancelScope, jobs: queue.SimpleQueue[_Job | None], idle: threading.Semaphore, ended: threading.Event
) -> None:
    while True:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            idle.release()
            job = jobs.get()
        if job is None:
            ended.set()
            return
        future, call = job
        if future.set_running_or_notify_cancel():
            try:
                outcome = scope.run(call)
            except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller
                future.set_exception(error)
            else:
                future.set_result(outcome)
                del outcome
        del job, future, call


def _end(
    scope: CancelScope, jobs: queue.SimpleQueue[_Job | None], threads: dict[threading.Thread, threading.Event]
) -> None:
    scope.cancel()
    for _ in threads:
        jobs.put(None)


def _finish(
    scope: CancelScope, jobs: queue.SimpleQueue[_Job | None], threads: dict[threading.Thread, threading.Event]
) -> None:
    _end(scope, jobs, threads)
    _join(scope, threads, None, _GRACE)


def _join(
    scope: CancelScope, threads: dict[threading.Thread, threading.Event], cleanup: CleanUp | None, grace: float
) -> None:
    ends = monotonic() + grace
    for thread, ended in threads.items():
        if thread is threading.current_thread() or thread.ident is None:  # None: it was interrupted before its start
            continue
        # Not `join` and `is_alive`: in CPython 3.11, a Ctrl-C within `join` marks a running thread as ended.
        while not ended.wait(_RETRY):
            scope.cancel()  # again, because a connection may have been opened since
            if cleanup is not None and cleanup.busy and not cleanup.cancelled:
                ends = monotonic() + grace
            if monotonic() >= ends:
                _log.info("%s is still running; it ends with its current call", thread.name)
                break
        else:
            thread.join(_RETRY)
