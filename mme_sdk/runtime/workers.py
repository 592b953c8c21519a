"""Threads of one batch, which end at once when the batch does."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any, Generic, TypeVar

from mme_sdk.aws.cancellation import CancelScope

__all__ = ["Workers"]

R = TypeVar("R")
_log = logging.getLogger(__name__)
_GRACE = 2.0  # seconds for threads to end; only a name look-up, a TLS handshake or a caller's own code take that long
_AGAIN = 0.02  # seconds between two attempts to wake a thread

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
        self._threads: list[threading.Thread] = []
        # Also where a batch is dropped half-way, or the interpreter ends meanwhile.
        self._end = weakref.finalize(self, _end, self._scope, self._jobs, self._threads)

    def submit(self, call: Callable[[], R], *, running: int) -> Future[R]:
        """Run a call.

        Args:
            call: The call.
            running: Calls that run or wait already.

        Returns:
            Gets the outcome; `Cancelled` where the workers were closed meanwhile.
        """
        future: Future[R] = Future()
        self._jobs.put((future, call))
        if running >= len(self._threads) < self._most:
            thread = threading.Thread(
                target=_work,
                args=(self._scope, self._jobs),
                name=f"{self._name}-{len(self._threads)}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Cancel what runs, shut its sockets down, and wait for the threads to end. Idempotent."""
        self._end()


def _work(scope: CancelScope, jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        future, call = job
        try:
            outcome = scope.run(call)
        except BaseException as error:  # noqa: BLE001 - raised where the batch is
            future.set_exception(error)
        else:
            future.set_result(outcome)
        del job, future, call


def _end(scope: CancelScope, jobs: queue.SimpleQueue[_Job | None], threads: list[threading.Thread]) -> None:
    scope.cancel()
    for _ in threads:
        jobs.put(None)
    ends = monotonic() + _GRACE
    for thread in threads:
        while thread.is_alive():
            thread.join(_AGAIN)
            scope.cancel()  # once more: a connection may have been made meanwhile
            if monotonic() > ends:
                _log.info("%s still runs, and ends with the call that it is in", thread.name)
                break
