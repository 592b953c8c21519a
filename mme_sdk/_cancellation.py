"""Ends blocking work of other threads at once: their sockets are shut down and their waits end.

A thread that works within a `CancelScope` registers what it blocks on. `CancelScope.cancel` wakes all of it, and what
the thread does next within the scope raises `Cancelled`. A thread without a scope pays one attribute look-up.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = [
    "CancelScope",
    "Cancelled",
    "CleanUp",
    "add_notes",
    "attach_partial",
    "botocore_call",
    "check",
    "current_scope",
    "hold",
    "install",
    "leave_scope",
    "pause",
    "reading",
    "shut_body",
]

_LOOK = 0.1  # seconds; CPython does not run a signal handler that comes just before a wait until the wait ends
R = TypeVar("R")


class Cancelled(BaseException):
    """The work of this thread was cancelled; not an `Exception`, so that nothing takes it for a failed attempt."""


class _Here(threading.local):
    scope: CancelScope | None = None
    held: list[socket.socket] | None = None


_here = _Here()


def current_scope() -> CancelScope | None:
    """The scope that this thread works in."""
    return _here.scope


def check() -> None:
    """Raise `Cancelled` if the scope of this thread was cancelled; for loops that do not block."""
    if _here.scope is not None:
        _here.scope.check()


def leave_scope() -> None:
    """Let this thread clean up outside of its scope."""
    _here.scope = None


class CancelScope:
    """Work that can be ended from another thread; `run` does a part of it in the calling thread.

    Attributes:
        cancelled: Whether `cancel` was called.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._lock = threading.RLock()
        self._wakers: dict[int, Callable[[], None]] = {}
        self._number = 0

    def cancel(self) -> None:
        """End what blocks within the scope, now and later. Idempotent; may be called from any thread."""
        with self._lock:
            self.cancelled = True
            # Under the lock: what is registered no longer may already serve somebody else.
            for wake in self._wakers.values():
                wake()

    def check(self) -> None:
        """Raise `Cancelled` if the scope was cancelled."""
        if self.cancelled:
            raise Cancelled

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `cancel` calls `wake`, which must not block.

        Raises:
            Cancelled: The scope was cancelled before.
        """
        with self._lock:
            self.check()
            self._number += 1
            number = self._number
            self._wakers[number] = wake
        try:
            yield
        finally:
            with self._lock:
                del self._wakers[number]

    def closing(self, sock: socket.socket) -> contextlib.AbstractContextManager[None]:
        """While the block runs, `cancel` shuts a socket down, so that reads and writes of it end."""
        return self.waking(lambda: _shut(sock))

    def run(self, call: Callable[[], R]) -> R:
        """Do a part of the work in this thread.

        Args:
            call: The work.

        Returns:
            What it returns.

        Raises:
            Cancelled: The scope was cancelled before the work was done.
        """
        before = _here.scope
        ended = Cancelled()
        try:
            self.check()
            _here.scope = self
            return call()
        except BaseException as error:
            if not self.cancelled or isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            add_notes(ended, error)
            _forget(error)
        finally:
            _here.scope = before
        raise ended


class CleanUp(CancelScope):
    """What interrupted flows still do, in all their threads: it ends by itself after some time.

    Args:
        seconds: How long all of it may take.

    Attributes:
        busy: Flows that clean up now.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.busy = 0
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """A flow begins to clean up; the time runs from the first one on."""
        with self._lock:
            self.busy += 1
            if self._timer is None and not self.cancelled:
                self._timer = threading.Timer(self.seconds, self.cancel)
                self._timer.daemon = True
                with contextlib.suppress(RuntimeError):  # the interpreter ends and starts no thread
                    self._timer.start()

    def end(self) -> None:
        """A flow that had begun to clean up has ended."""
        with self._lock:
            self.busy -= 1

    def stop(self) -> None:
        """The flows have ended; a thread that still cleans up for them is ended too."""
        self.cancel()
        if self._timer is not None:
            self._timer.cancel()


def add_notes(to: BaseException, source: BaseException) -> None:
    """Give an exception the notes of another one: they say what is left behind."""
    for note in getattr(source, "__notes__", ()):
        if note not in getattr(to, "__notes__", ()):
            to.add_note(note)


def attach_partial(stop: BaseException, value: Any) -> None:
    """Give an exception that ends work what was complete, as its attribute `partial`."""
    with contextlib.suppress(AttributeError, TypeError):  # an exception of a caller's own may have slots
        stop.partial = value  # type: ignore[attr-defined]


def pause(seconds: float, sleep: Callable[[float], None]) -> None:
    """Sleep; within a scope, until it is cancelled at most.

    Args:
        seconds: How long.
        sleep: The clock's own way to sleep. A clock other than the machine's cannot be interrupted.
    """
    scope = _here.scope
    if scope is None or sleep is not time.sleep:
        sleep(seconds)
        return
    event, ends = threading.Event(), time.monotonic() + seconds
    with scope.waking(event.set):
        while (left := ends - time.monotonic()) > 0 and not event.wait(min(left, _LOOK)):
            pass
    scope.check()


@contextlib.contextmanager
def botocore_call() -> Iterator[None]:
    """While the block runs, cancelling this thread's scope shuts down the connections that botocore uses for it."""
    scope = _here.scope
    if scope is None:
        yield
        return
    held: list[socket.socket] = []

    def wake() -> None:
        for sock in held:
            _shut(sock)

    with scope.waking(wake):
        before, _here.held = _here.held, held
        try:
            yield
        finally:
            _here.held = before


@contextlib.contextmanager
def reading(body: Any) -> Iterator[None]:
    """While the block runs, cancelling this thread's scope shuts down the connection of a botocore body."""
    scope = _here.scope
    if scope is None:
        yield
        return
    with scope.waking(lambda: shut_body(body)):
        yield


def shut_body(body: Any) -> None:
    """Shut down the connection of a botocore body that was not read to its end; a thread that reads it goes on."""
    try:
        sock = body._raw_stream._original_response.fp.raw._sock
    except AttributeError:
        return  # it was read to its end, or it is not a body of urllib3's
    if isinstance(sock, socket.socket):
        _shut(sock)


def install(client: Any) -> None:
    """Let the connections of a boto3 client be shut down by `CancelScope.cancel`.

    Args:
        client: The client; left as it is where its botocore keeps its connection classes elsewhere.
    """
    try:
        pools = client._endpoint.http_session._pool_classes_by_scheme
        made = {scheme: _watched(pool) for scheme, pool in pools.items()}
    except AttributeError:
        return
    pools.update(made)


def _watched(pool: Any) -> Any:
    """A connection pool whose connections register themselves with the scope of the thread that uses them."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            hold(self.sock)

        def request(self, *args: Any, **options: Any) -> Any:
            hold(self.sock)
            return super().request(*args, **options)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def hold(sock: Any) -> None:
    """Within `botocore_call`: let cancelling this thread's scope shut a connection down.

    Raises:
        Cancelled: The scope was cancelled before.
    """
    scope, held = _here.scope, _here.held
    if scope is None or held is None or sock is None:
        return
    with scope._lock:
        scope.check()
        held.append(sock)


def _forget(error: BaseException | None) -> None:
    """Drop what the frames of an exception refer to: connections among it, which then are closed."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _shut(sock: socket.socket) -> None:
    # Not `sock.shutdown`: that of an SSLSocket takes the TLS state away from the thread that is reading.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
