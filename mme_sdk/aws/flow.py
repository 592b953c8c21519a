"""Effects and the two drivers: what to do is decided in generators, how to wait and send is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias, TypeVar

import attrs

__all__ = ["Call", "Do", "Effect", "Flow", "Sleep", "Together", "drive", "drive_async", "pump", "pump_async"]

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
    pool: Callable[[int], Executor],
) -> T:
    """Run a flow in this thread.

    Args:
        flow: The generator.
        call: Makes an API call.
        sleep: Waits.
        pool: Makes an executor of so many workers, for `Together`.

    Returns:
        What the generator returned.
    """

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
                again = partial(drive, call=call, sleep=sleep, pool=pool)
                with pool(min(width, len(flows))) as executor:
                    futures = [executor.submit(again, one) for one in flows]
                    try:
                        return [future.exception() or future.result() for future in futures]
                    except BaseException:
                        for future in futures:
                            future.cancel()
                        raise

    return pump(flow, perform)


async def drive_async(
    flow: Flow[T],
    *,
    call: Callable[[Call], Awaitable[Any]],
    sleep: Callable[[float], Awaitable[None]],
    offload: Callable[[Callable[[], Any]], Awaitable[Any]],
) -> T:
    """Run a flow on the event loop.

    Args:
        flow: The generator.
        call: Makes an API call.
        sleep: Waits.
        offload: Runs blocking work off the loop.

    Returns:
        What the generator returned.
    """

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
                        return await drive_async(inner, call=call, sleep=sleep, offload=offload)

                return await asyncio.gather(*(one(inner) for inner in flows), return_exceptions=True)

    return await pump_async(flow, perform)


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
