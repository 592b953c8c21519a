"""Daemon threads for calls that can be ended at once: those of one batch, or of one client."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any, Generic, TypeVar

from mme_sdk._cancellation import Cancelled, CancelScope, CleanUp, add_notes, current_scope

__all__ = ["Workers", "side_by_side"]

R = TypeVar("R")
_log = logging.getLogger(__name__)
_GRACE = 2.0  # seconds for threads to end; only a name look-up, a TLS handshake or a caller's own code take that long
_AGAIN = 0.02  # seconds between two attempts to wake a thread

_LOOK = 0.1  # seconds; CPython does not run a signal handler that comes just before a wait until the wait ends

_Job = tuple[Future[Any], Callable[[], Any]]


class Workers(Generic[R]):
    """Runs calls in daemon threads within a `CancelScope`, so that neither Ctrl-C nor an exit waits for them.

    Args:
        most: Threads at most.
        name: Prefix of their names.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._scope = CancelScope()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: dict[threading.Thread, threading.Event] = {}
        self._lock = threading.Lock()
        # Also where a batch is dropped half-way, or the interpreter ends meanwhile.
        self._end = weakref.finalize(self, _finish, self._scope, self._jobs, self._threads)

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Run a call.

        Args:
            call: The call.

        Returns:
            Gets the outcome; `Cancelled` where the workers were closed meanwhile.
        """
        future: Future[R] = Future()
        if self._scope.cancelled:
            future.set_exception(Cancelled())
            return future
        self._jobs.put((future, call))
        with self._lock:
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                ended = threading.Event()
                thread = threading.Thread(
                    target=_work,
                    args=(self._scope, self._jobs, self._idle, ended),
                    name=f"{self._name}-{len(self._threads)}",
                    daemon=True,
                )
                # Before the start: a Ctrl-C between the two would leave a thread that nobody ends.
                self._threads[thread] = ended
                thread.start()
        return future

    def close(self, cleanup: CleanUp | None = None, *, grace: float = _GRACE) -> None:
        """Cancel what runs, shut its sockets down, and wait for the threads to end. Idempotent.

        Args:
            cleanup: What the calls do at their end; waited for.
            grace: Seconds to wait for threads otherwise.
        """
        if self._end.detach() is not None:
            _end(self._scope, self._jobs, self._threads)
        _join(self._scope, self._threads, cleanup, grace)


def side_by_side(calls: Sequence[Callable[[], Any]], width: int, cleanup: CleanUp) -> list[Any]:
    """Make calls at the same time.

    Args:
        calls: The calls.
        width: Threads at most.
        cleanup: What calls do at their end where an exception (Ctrl-C, SystemExit, `Cancelled`) ends all of them;
            another such exception meanwhile ends that too.

    Returns:
        Results or exceptions, in order.
    """
    workers: Workers[Any] = Workers(min(width, len(calls)), "mme_sdk-flow")
    futures: list[Future[Any]] = []
    try:
        futures += [workers.submit(call) for call in calls]
        _wait(futures)
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
    workers.close()
    return [future.exception() or future.result() for future in futures]


def _wait(futures: Sequence[Future[Any]]) -> None:
    woken, left = threading.Event(), [len(futures)]
    lock, scope = threading.Lock(), current_scope()

    def one_less(_: Future[Any]) -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                woken.set()

    for future in futures:
        future.add_done_callback(one_less)
    with scope.waking(woken.set) if scope is not None else contextlib.nullcontext():
        while not woken.wait(_LOOK):
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
            except BaseException as error:  # noqa: BLE001 - raised where the batch is
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
        if thread is threading.current_thread() or thread.ident is None:  # None: a Ctrl-C came before its start
            continue
        # Not `join` and `is_alive`: in CPython 3.11 a Ctrl-C within `join` marks a thread that runs as ended.
        while not ended.wait(_AGAIN):
            scope.cancel()  # once more: a connection may have been made meanwhile
            if cleanup is not None and cleanup.busy and not cleanup.cancelled:
                ends = monotonic() + grace
            if monotonic() > ends:
                _log.info("%s still runs, and ends with the call that it is in", thread.name)
                break
        else:
            thread.join(_AGAIN)
