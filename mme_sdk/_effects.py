"""Effects and the two drivers: what to do is decided in generators, how to wait and send is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import attrs

from mme_sdk._cancellation import Cancelled, CleanUp, add_notes, check
from mme_sdk._workers import side_by_side
from mme_sdk.errors import MMEError

__all__ = [
    "CLEANUP",
    "Call",
    "Do",
    "Effect",
    "Flow",
    "Sleep",
    "Together",
    "cleaned",
    "drive",
    "drive_async",
    "pump",
    "pump_async",
]

CLEANUP = 5.0  # seconds for all that interrupted flows still do
T = TypeVar("T")
E = TypeVar("E")


@attrs.frozen(kw_only=True)
class Call:
    """One API call, made with retries; the parsed answer is sent back.

    Attributes:
        service: boto3's service name, such as `sagemaker`.
        operation: boto3's method name, such as `describe_endpoint`.
        params: Its keyword arguments.
        endpoint: Endpoint the call is about, for error messages.
        model: Model the call is about, for error messages.
        replay: Whether a call whose outcome is unknown may be made again.
    """

    service: str
    operation: str
    params: dict[str, Any] = attrs.field(factory=dict)
    endpoint: str | None = None
    model: str | None = None
    replay: bool = True


@attrs.frozen
class Sleep:
    """Wait this many seconds."""

    seconds: float


@attrs.frozen
class Do:
    """Blocking work that is no API call (packing, an upload); its result is sent back."""

    function: Callable[[], Any]


@attrs.frozen
class Together:
    """Several flows at a time, at most `width`; a list of results or exceptions, in order, is sent back."""

    flows: Sequence[Flow[Any]]
    width: int = 8


Effect: TypeAlias = Call | Sleep | Do | Together
Flow: TypeAlias = Generator[Effect, Any, T]


def drive(
    flow: Flow[T],
    *,
    call: Callable[[Call], Any],
    sleep: Callable[[float], None],
    cleanup: CleanUp,
) -> T:
    """Run a flow in this thread.

    Ctrl-C, SystemExit and the end of this thread's `CancelScope` are raised inside the flow. The effects that follow
    are its clean-up: they end after some time, or at the next Ctrl-C.

    Args:
        flow: The generator.
        call: Makes an API call.
        sleep: Waits.
        cleanup: The clean-up of this flow and of those within it.

    Returns:
        What the generator returned.
    """
    stop: BaseException | None = None

    def perform(effect: Effect) -> Any:
        match effect:
            case Call():
                return call(effect)
            case Sleep(seconds):
                return sleep(seconds)
            case Do(function):
                return function()
            case Together(flows, width):
                if not flows:
                    return []
                again = partial(drive, call=call, sleep=sleep, cleanup=cleanup)
                return side_by_side([partial(again, one) for one in flows], width, cleanup)

    def until_ended(effect: Effect) -> Any:
        try:
            check()
            return perform(effect)
        except Exception:
            check()  # a connection that was shut down fails like one that was lost
            raise

    def step(effect: Effect) -> Any:
        nonlocal stop
        try:
            return until_ended(effect) if stop is None else cleanup.run(lambda: perform(effect))
        except Exception:
            raise
        except BaseException as error:
            if stop is None:
                stop = error
                cleanup.begin()
            elif not isinstance(error, Cancelled):
                cleanup.cancel()
            raise

    try:
        return pump(flow, step)
    except Cancelled as late:
        if stop is None or isinstance(stop, Cancelled):
            raise
        add_notes(stop, late)
        raise stop from None
    finally:
        if stop is not None:
            cleanup.end()
        stop = None  # its traceback refers to this frame


async def drive_async(
    flow: Flow[T],
    *,
    call: Callable[[Call], Awaitable[Any]],
    sleep: Callable[[float], Awaitable[None]],
    offload: Callable[[Callable[[], Any]], Awaitable[Any]],
    cleanup: float = CLEANUP,
) -> T:
    """Run a flow on the event loop; cancellation is raised inside the flow.

    Args:
        flow: The generator.
        call: Makes an API call.
        sleep: Waits.
        offload: Runs blocking work off the loop.
        cleanup: Seconds for the clean-up that follows a cancellation; another cancellation ends it too.

    Returns:
        What the generator returned.
    """
    stop: BaseException | None = None
    ends: float | None = None

    async def perform(effect: Effect) -> Any:
        match effect:
            case Call():
                return await call(effect)
            case Sleep(seconds):
                return await sleep(seconds)
            case Do(function):
                return await offload(function)
            case Together(flows, width):
                gate = asyncio.Semaphore(width)

                async def one(inner: Flow[Any]) -> Any:
                    async with gate:
                        return await drive_async(inner, call=call, sleep=sleep, offload=offload, cleanup=cleanup)

                tasks = [asyncio.ensure_future(one(inner)) for inner in flows]
                try:
                    return await asyncio.gather(*tasks, return_exceptions=True)
                except BaseException as error:
                    for task in tasks:
                        if task.done() and not task.cancelled() and (ended := task.exception()) is not None:
                            add_notes(error, ended)
                    raise

    async def step(effect: Effect) -> Any:
        nonlocal stop, ends
        try:
            if stop is None:
                return await perform(effect)
            timer = asyncio.timeout_at(ends)
            try:
                async with timer:
                    return await perform(effect)
            except TimeoutError:
                if timer.expired():
                    raise asyncio.CancelledError from None
                raise
        except Exception:
            raise
        except BaseException as error:
            now = asyncio.get_running_loop().time()
            if stop is None:
                stop, ends = error, now + cleanup
            else:
                ends = now  # nothing more is done
            raise

    try:
        return await pump_async(flow, step)
    finally:
        stop = None  # its traceback refers to this frame


def pump(flow: Generator[E, Any, T], perform: Callable[[E], Any]) -> T:
    """Run any generator of effects: perform what it yields, send back the result or throw in the error.

    Args:
        flow: The generator.
        perform: Carries out one effect.

    Returns:
        What the generator returned.
    """
    value: Any = None
    error: BaseException | None = None
    while True:
        # One try for all: Ctrl-C may come between any two steps, and the flow must get it in order to clean up.
        try:
            effect = flow.send(value) if error is None else flow.throw(error)
            value, error = None, None
            value = perform(effect)
        except StopIteration as stop:
            if flow.gi_frame is None:  # type: ignore[attr-defined]
                return stop.value  # type: ignore[no-any-return]
            value, error = None, stop
        except BaseException as caught:
            error = None  # of an exception that is raised, no reference stays: its traceback holds connections
            if flow.gi_frame is None:  # type: ignore[attr-defined]
                raise
            value, error = None, caught


def cleaned(flow: Flow[Any], error: BaseException, left: str) -> Flow[None]:
    """Clean up after an error, which remains the one to raise.

    Args:
        flow: The clean-up.
        error: The error; where the clean-up fails, or Ctrl-C or its time ends it, a note says what is left behind.
        left: What is left then, and what removes it.
    """
    try:
        yield from flow
    except MMEError as trouble:
        error.add_note(f"left behind: {left} ({trouble.message})")
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the first one is raised
        error.add_note(f"left behind: {left} (the clean-up was ended)")


async def pump_async(flow: Generator[E, Any, T], perform: Callable[[E], Awaitable[Any]]) -> T:
    """`pump`, on the event loop."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            effect = flow.send(value) if error is None else flow.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        try:
            value, error = await perform(effect), None
        except BaseException as caught:  # noqa: BLE001 - the flow decides, cancellation included
            value, error = None, caught
