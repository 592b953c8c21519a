"""Cancellation of blocking work in other threads: it shuts down their sockets and ends their waits.

A thread that works within a `CancelScope` registers what it blocks on. `CancelScope.cancel` wakes the thread, and its
next operation within the scope raises `Cancelled`. A thread without a scope only reads one attribute.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import socket

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
    "pause",
    "reading",
    "shut_body",
]

_POLL = 0.1  # seconds; CPython does not run a signal handler that comes just before a wait until the wait ends
R = TypeVar("R")


class Cancelled(BaseException):
    """Raised in a thread whose work was cancelled. It is not an `Exception`, so no code retries the work."""


class _ThreadState(threading.local):
    scope: CancelScope | None = None
    held: list[socket.socket] | None = None


_thread = _ThreadState()


def current_scope() -> CancelScope | None:
    """Return the scope that this thread works in, or None."""
    return _thread.scope


def check() -> None:
    """Raise `Cancelled` if the scope of this thread was cancelled."""
    if _thread.scope is not None:
        _thread.scope.check()


class CancelScope:
    """Work that another thread can cancel. `run` runs a function of this work in the calling thread.

    Attributes:
        cancelled: Whether `cancel` was called.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._lock = threading.RLock()
        self._wakers: dict[int, Callable[[], None]] = {}
        self._number = 0

    def cancel(self) -> None:
        """End all blocking work within the scope, now and in future. Idempotent; any thread may call it."""
        with self._lock:
            self.cancelled = True
            # Under the lock, because a connection that is no longer registered may already serve another call.
            for wake in self._wakers.values():
                wake()

    def check(self) -> None:
        """Raise `Cancelled` if the scope was cancelled."""
        if self.cancelled:
            raise Cancelled

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Let `cancel` call a function while the `with` block runs.

        Args:
            wake: The function. It must not block.

        Raises:
            Cancelled: The scope has been cancelled already.
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
        """Let `cancel` shut down a socket while the `with` block runs, which ends its reads and writes."""
        return self.waking(lambda: _shut(sock))

    def run(self, call: Callable[[], R]) -> R:
        """Do a part of the work in this thread.

        Args:
            call: The work.

        Returns:
            The result of the work.

        Raises:
            Cancelled: The scope was cancelled before the work ended.
        """
        before = _thread.scope
        ended = Cancelled()
        try:
            self.check()
            _thread.scope = self
            return call()
        except BaseException as error:
            if not self.cancelled or isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            add_notes(ended, error)
            _clear_frames(error)
        finally:
            _thread.scope = before
        raise ended


class CleanUp(CancelScope):
    """The clean-up of interrupted flows, in all their threads. It cancels itself after some time.

    Args:
        seconds: Time for the whole clean-up.

    Attributes:
        busy: Number of flows that are cleaning up.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.busy = 0
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """Record that a flow begins to clean up. The first one starts the timer."""
        with self._lock:
            self.busy += 1
            if self._timer is None and not self.cancelled:
                self._timer = threading.Timer(self.seconds, self.cancel)
                self._timer.daemon = True
                with contextlib.suppress(RuntimeError):  # Python is shutting down and starts no thread
                    self._timer.start()

    def end(self) -> None:
        """Record that a flow has finished its clean-up."""
        with self._lock:
            self.busy -= 1

    def stop(self) -> None:
        """Cancel what is left of the clean-up, after the flows have ended."""
        self.cancel()
        if self._timer is not None:
            self._timer.cancel()


def add_notes(to: BaseException, source: BaseException) -> None:
    """Copy the notes of an exception to another one. They say what an interrupted flow leaves behind."""
    for note in getattr(source, "__notes__", ()):
        if note not in getattr(to, "__notes__", ()):
            to.add_note(note)


def attach_partial(stop: BaseException, value: Any) -> None:
    """Set the attribute `partial` of an exception to the results that were complete when it ended the work."""
    with contextlib.suppress(AttributeError, TypeError):  # an exception class of the caller may have slots
        stop.partial = value  # type: ignore[attr-defined]


def pause(seconds: float, sleep: Callable[[float], None]) -> None:
    """Sleep. Within a scope, the sleep ends when the scope is cancelled.

    Args:
        seconds: Seconds to sleep.
        sleep: The sleep function of the clock. Only `time.sleep` can be interrupted.

    Raises:
        Cancelled: The scope was cancelled.
    """
    scope = _thread.scope
    if scope is None or sleep is not time.sleep:
        sleep(seconds)
        return
    event, ends = threading.Event(), time.monotonic() + seconds
    with scope.waking(event.set):
        while (left := ends - time.monotonic()) > 0 and not event.wait(min(left, _POLL)):
            pass
    scope.check()


@contextlib.contextmanager
def botocore_call() -> Iterator[None]:
    """Let cancellation of this thread's scope shut down the connections that botocore uses in the `with` block."""
    scope = _thread.scope
    if scope is None:
        yield
        return
    held: list[socket.socket] = []

    def wake() -> None:
        for sock in held:
            _shut(sock)

    with scope.waking(wake):
        before, _thread.held = _thread.held, held
        try:
            yield
        finally:
            _thread.held = before


@contextlib.contextmanager
def reading(body: Any) -> Iterator[None]:
    """Let cancellation of this thread's scope shut down the connection of a botocore body in the `with` block."""
    scope = _thread.scope
    if scope is None:
        yield
        return
    with scope.waking(lambda: shut_body(body)):
        yield


def shut_body(body: Any) -> None:
    """Shut down the connection of a botocore body that was not read completely. A thread that reads it is woken."""
    try:
        sock = body._raw_stream._original_response.fp.raw._sock
    except AttributeError:
        return  # it was read completely, or it is not a body of urllib3
    import socket

    if isinstance(sock, socket.socket):
        _shut(sock)


def install(client: Any) -> None:
    """Let `CancelScope.cancel` shut down the connections of a boto3 client.

    Args:
        client: The client. It is not changed if its version of botocore keeps its connection classes elsewhere.
    """
    try:
        pools = client._endpoint.http_session._pool_classes_by_scheme
        made = {scheme: _watched(pool) for scheme, pool in pools.items()}
    except AttributeError:
        return
    pools.update(made)


def _watched(pool: Any) -> Any:
    """Return a class of connection pools whose connections register with the scope of the thread that uses them."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            hold(self.sock)

        def request(self, *args: Any, **options: Any) -> Any:
            hold(self.sock)
            return super().request(*args, **options)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def hold(sock: Any) -> None:
    """Register a connection of the current `botocore_call`, so that cancellation of this thread's scope shuts it down.

    Args:
        sock: The socket of the connection; None if it is not connected.

    Raises:
        Cancelled: The scope has been cancelled already.
    """
    scope, held = _thread.scope, _thread.held
    if scope is None or held is None or sock is None:
        return
    with scope._lock:
        scope.check()
        held.append(sock)


def _clear_frames(error: BaseException | None) -> None:
    """Clear the local variables in an exception's traceback. This closes connections that they refer to."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _shut(sock: socket.socket) -> None:
    import socket

    # Not `sock.shutdown`: `SSLSocket.shutdown` removes the TLS state that a reading thread still uses.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
