"""Effects, and the two interpreters that perform them.

A flow is a generator that yields effects and receives their results. An effect says what to do; an interpreter does it.
`Interpreter` works in the calling thread and `AsyncInterpreter` on the event loop, so each flow is written once for
both.

Other modules define further effects as subclasses of `Effect`. They pass an interpreter one handler for each of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import attrs

from mme_sdk._flows.cancellation import Cancelled, CleanUp, add_notes, check
from mme_sdk.errors import MMEError

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "CLEANUP",
    "AsyncInterpreter",
    "Call",
    "Do",
    "Effect",
    "Flow",
    "Interpreter",
    "Kept",
    "Sleep",
    "Together",
    "cleaned",
    "finished",
    "noting",
]

CLEANUP = 5.0  # seconds for everything that an interrupted flow still does
T = TypeVar("T")


class Effect:
    """Base class of what a flow can ask its interpreter to do."""

    __slots__ = ()


Flow: TypeAlias = Generator[Effect, Any, T]


@attrs.frozen(kw_only=True)
class Call(Effect):
    """One API call with retries; its result is the parsed response.

    Attributes:
        service: boto3's service name, such as `sagemaker`.
        operation: boto3's method name, such as `describe_endpoint`.
        params: Keyword arguments of the method; none by default.
        endpoint: Endpoint that the call concerns, for error messages; None by default.
        model: Model that the call concerns, for error messages; None by default.
        replay: Whether to repeat a call whose outcome is unknown; True by default.
    """

    service: str
    operation: str
    params: dict[str, Any] = attrs.field(factory=dict)
    endpoint: str | None = None
    model: str | None = None
    replay: bool = True


@attrs.frozen
class Sleep(Effect):
    """A pause.

    Attributes:
        seconds: Length of the pause, in seconds.
    """

    seconds: float


@attrs.frozen
class Do(Effect):
    """Blocking work other than an API call, such as packing or an upload; its result is the function's result.

    Attributes:
        function: The work.
    """

    function: Callable[[], Any]


@attrs.frozen
class Together(Effect):
    """Several flows that run concurrently; its result is a list of their results or exceptions, in order.

    Attributes:
        flows: The flows.
        width: How many of them run at a time, at most; 8 by default.
        within: Seconds after which those that have not ended are cancelled; their result is TimeoutError. None by
            default, no limit.
    """

    flows: Sequence[Flow[Any]]
    width: int = 8
    within: float | None = None


class _Closable(Protocol):
    @property
    def close(self) -> Callable[[], object]: ...


C = TypeVar("C", bound=_Closable)


class Kept:
    """What the work of a `Do` opens for a flow. It is closed at the end of the `with` block.

    If the flow is interrupted during the work, the flow never receives the result. So the work itself passes the result
    to this object, which closes it at once if the `with` block has ended.
    """

    def __init__(self) -> None:
        self._stack: ExitStack | None = ExitStack()
        self._lock = Lock()

    def __call__(self, made: C) -> C:
        """Close an object at the end of the block; return it."""
        with self._lock:
            if self._stack is not None:
                self._stack.callback(made.close)
                return made
        made.close()
        return made

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()


class Interpreter:
    """Runs flows in the calling thread.

    Args:
        handlers: A function for each class of effects. It receives the effect, performs it and returns its result.
            `Together` needs none.
    """

    __slots__ = ("_handlers",)

    def __init__(self, handlers: Mapping[type[Effect], Callable[[Any], Any]]) -> None:
        self._handlers = dict(handlers)

    def run(self, flow: Flow[T], *, cleanup: CleanUp | None = None) -> T:
        """Run a flow to its end.

        Ctrl-C, SystemExit and the cancellation of this thread's `CancelScope` are raised inside the flow. The effects
        that the flow yields afterwards are its clean-up. They end when their time is over, or at the next Ctrl-C.

        Args:
            flow: The flow.
            cleanup: The clean-up that this flow shares with others; one of its own with 5 seconds by default.

        Returns:
            What the flow returned.
        """
        handlers, owned = self._handlers, cleanup is None
        value: Any = None
        error: BaseException | None = None
        stop: BaseException | None = None
        began = False
        try:
            while True:
                # One try statement for everything: Ctrl-C can come between any two steps, and the flow must receive it.
                # Its handlers call no function, since a call is where Python would raise the next Ctrl-C.
                try:
                    if error is None:
                        effect = flow.send(value)
                    else:
                        if not isinstance(error, Exception):
                            cleanup = cleanup or CleanUp(CLEANUP)
                            if stop is None:
                                stop = error
                                if not owned:  # `Aws.close` waits for clean-ups that have begun
                                    began = True
                                    cleanup.begin()
                            elif not isinstance(error, Cancelled):
                                cleanup.cancel()
                        effect = flow.throw(error)
                    value, error = None, None
                    if type(effect) is Together:
                        cleanup = cleanup or CleanUp(CLEANUP)
                        perform: Callable[[Any], Any] = partial(self._together, cleanup=cleanup)
                    else:
                        perform = handlers[type(effect)]
                    if stop is None:
                        try:
                            check()
                            value = perform(effect)
                        except Exception:
                            check()  # a connection that was shut down fails like one that was lost
                            raise
                    else:
                        assert cleanup is not None
                        if not began:
                            began = True
                            cleanup.begin()
                        value = cleanup.run(partial(perform, effect))
                except StopIteration as end:
                    if flow.gi_frame is None:  # type: ignore[attr-defined]
                        return end.value  # type: ignore[no-any-return]
                    value, error = None, end
                except BaseException as caught:
                    error = None  # the traceback of an exception refers to connections, so keep no reference to it
                    if flow.gi_frame is None:  # type: ignore[attr-defined]
                        raise
                    value, error = None, caught
        except Cancelled as late:
            if stop is None or isinstance(stop, Cancelled):
                raise
            add_notes(stop, late)
            raise stop from None
        finally:
            if began and cleanup is not None:
                cleanup.end()
            if owned and cleanup is not None:
                cleanup.stop()
            stop = None  # its traceback refers to this frame

    def _together(self, effect: Effect, *, cleanup: CleanUp) -> list[Any]:
        assert isinstance(effect, Together)
        if not effect.flows:
            return []
        from mme_sdk._flows.workers import run_concurrently

        calls = [partial(self.run, flow, cleanup=cleanup) for flow in effect.flows]
        return run_concurrently(calls, effect.width, cleanup, effect.within)


class AsyncInterpreter:
    """Runs flows on the event loop.

    Args:
        handlers: A function for each class of effects. It receives the effect and returns an awaitable of its result.
            `Together` needs none.
    """

    __slots__ = ("_handlers",)

    def __init__(self, handlers: Mapping[type[Effect], Callable[[Any], Awaitable[Any]]]) -> None:
        self._handlers = dict(handlers)

    async def run(self, flow: Flow[T], *, cleanup: float = CLEANUP) -> T:
        """Run a flow to its end; cancellation is raised inside the flow.

        Args:
            flow: The flow.
            cleanup: Seconds for the clean-up that follows a cancellation; 5 by default. A second cancellation ends it.

        Returns:
            What the flow returned.
        """
        import asyncio

        handlers = self._handlers
        value: Any = None
        error: BaseException | None = None
        stopped = False
        ends: float | None = None
        try:
            while True:
                try:
                    effect = flow.send(value) if error is None else flow.throw(error)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                value, error = None, None
                try:
                    if stopped and ends is None:
                        ends = asyncio.get_running_loop().time() + cleanup
                    if type(effect) is Together:
                        performing: Awaitable[Any] = self._together(effect, cleanup)
                    else:
                        performing = handlers[type(effect)](effect)
                    value = await (performing if ends is None else _until(ends, performing))
                except Exception as caught:  # noqa: BLE001 - the flow handles it
                    error = caught
                except BaseException as caught:  # noqa: BLE001 - the flow handles it, cancellation included
                    error = caught
                    if stopped:
                        ends = asyncio.get_running_loop().time()  # no time is left for further effects
                    stopped = True
        finally:
            error = None  # its traceback refers to this frame

    async def _together(self, effect: Together, cleanup: float) -> list[Any]:
        import asyncio

        limit = asyncio.Semaphore(effect.width)

        async def run(flow: Flow[Any]) -> Any:
            async with limit:
                return await self.run(flow, cleanup=cleanup)

        tasks = [asyncio.ensure_future(run(flow)) for flow in effect.flows]
        try:
            if effect.within is None or not tasks:
                return await asyncio.gather(*tasks, return_exceptions=True)
            _, late = await asyncio.wait(tasks, timeout=effect.within)
            for task in late:
                _LATE.add(task)
                task.add_done_callback(_ended)
                task.cancel()
            return [TimeoutError() if task in late else task.exception() or task.result() for task in tasks]
        except BaseException as error:
            for task in tasks:
                task.cancel()
                if task.done() and not task.cancelled() and (ended := task.exception()) is not None:
                    add_notes(error, ended)
            raise


_LATE: set[asyncio.Future[Any]] = set()  # cancelled flows that still end; the event loop keeps no reference to them


def _ended(task: asyncio.Future[Any]) -> None:
    _LATE.discard(task)
    if not task.cancelled():
        task.exception()  # it is of no interest any more


async def _until(ends: float, performing: Awaitable[Any]) -> Any:
    import asyncio

    timer = asyncio.timeout_at(ends)
    try:
        async with timer:
            return await performing
    except TimeoutError:
        if timer.expired():
            raise asyncio.CancelledError from None
        raise


def cleaned(flow: Flow[Any], error: BaseException, left: str) -> Flow[None]:
    """Run a clean-up after an error, and keep the error as the one to raise.

    A clean-up that fails or is interrupted adds a note to the error, which names what is left behind.

    Args:
        flow: The clean-up.
        error: The error.
        left: What is left behind if the clean-up does not finish, and how to remove it.
    """
    try:
        yield from flow
    except MMEError as failure:
        error.add_note(f"left behind: {left} ({failure.message})")
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the caller raises the first error
        error.add_note(f"left behind: {left} (the clean-up was ended)")


def finished(make: Callable[[], Flow[T]], left: str) -> Flow[T]:
    """Run a flow. If it is interrupted, it runs again as the clean-up.

    Args:
        make: Makes the flow. Two runs must do no more than one.
        left: What is left behind if the clean-up does not finish, and how to remove it.
    """
    try:
        return (yield from make())
    except (Exception, GeneratorExit):
        raise
    except BaseException as stop:
        yield from cleaned(make(), stop, left)
        raise


@contextmanager
def noting(left: str) -> Iterator[None]:
    """Add a note to an interruption of the `with` block of a flow, such as Ctrl-C. Errors stay as they are.

    Args:
        left: What the interrupted flow leaves, and what completes or removes it.
    """
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except BaseException as stop:
        stop.add_note(left)
        raise
