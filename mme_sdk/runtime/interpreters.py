"""The interpreters that perform the effects of invocations, in the calling thread and on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

from mme_sdk._flows.cancellation import current_scope, pause
from mme_sdk._flows.effects import AsyncInterpreter, Call, Do, Interpreter, Sleep
from mme_sdk.aws.session import Aws
from mme_sdk.errors import ClosedError
from mme_sdk.protocols import AsyncClock, Clock
from mme_sdk.runtime.effects import Release, Resolve, RunFlow, Send, Wait, Waitable
from mme_sdk.runtime.transport_interface import AsyncTransport, InvokeResponse, Transport

__all__ = ["async_interpreter", "interpreter", "wait_in_thread", "wait_on_loop"]


def wait_in_thread(event: Waitable, timeout: float) -> bool:
    """Block this thread until an event occurs, or its `CancelScope` is cancelled.

    Args:
        event: The event.
        timeout: Longest wait in seconds.

    Returns:
        Whether the event occurred in time.
    """
    woken = threading.Event()
    event.subscribe(woken.set)
    scope = current_scope()
    if scope is None:
        return woken.wait(timeout)
    with scope.waking(woken.set):
        return woken.wait(timeout)


async def wait_on_loop(event: Waitable, timeout: float) -> bool:
    """Wait for an event on the running event loop.

    Args:
        event: The event.
        timeout: Longest wait in seconds.

    Returns:
        Whether the event occurred in time.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        # Another thread may call this after the loop has been closed.
        if not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    event.subscribe(wake)
    try:
        async with asyncio.timeout(timeout):
            await woken.wait()
    except TimeoutError:
        return False
    return True


def interpreter(
    transport: Transport, *, clock: Clock, aws: Aws, wait: Callable[[Waitable, float], bool] = wait_in_thread
) -> Interpreter:
    """Return an interpreter that runs invocations in the calling thread.

    Args:
        transport: Sends requests.
        clock: Sleeps.
        aws: Runs flows of AWS calls.
        wait: Waits for an event, for a number of seconds at most; `wait_in_thread` by default.

    Returns:
        The interpreter; threads may share it.
    """

    def send(effect: Send) -> InvokeResponse:
        return transport.send(effect.request, connect_timeout=effect.connect_timeout, read_timeout=effect.read_timeout)

    def release(effect: Release) -> None:
        try:
            aws.run(effect.make())
        except ClosedError:
            _apart(aws).run(effect.make())

    return Interpreter(
        {
            Send: send,
            Sleep: lambda effect: pause(effect.seconds, clock.sleep),
            Wait: lambda effect: wait(effect.event, effect.timeout),
            RunFlow: lambda effect: aws.run(effect.flow),
            Release: release,
            Resolve: lambda effect: effect.store.resolve(effect.reference, key=effect.key),
        }
    )


def async_interpreter(
    transport: AsyncTransport,
    *,
    clock: AsyncClock,
    aws: Aws,
    wait: Callable[[Waitable, float], Awaitable[bool]] = wait_on_loop,
) -> AsyncInterpreter:
    """Return an interpreter that runs invocations on the event loop.

    Args:
        transport: Sends requests.
        clock: Sleeps.
        aws: Runs flows of AWS calls.
        wait: Waits for an event, for a number of seconds at most; `wait_on_loop` by default.

    Returns:
        The interpreter; tasks may share it.
    """

    def send(effect: Send) -> Awaitable[InvokeResponse]:
        return transport.send(effect.request, connect_timeout=effect.connect_timeout, read_timeout=effect.read_timeout)

    async def release(effect: Release) -> None:
        try:
            await aws.arun(effect.make())
        except ClosedError:
            import asyncio

            await asyncio.to_thread(_apart(aws).run, effect.make())

    async def resolve(effect: Resolve) -> Any:
        found = effect.store.resolve(effect.reference, key=effect.key)
        return await found if isinstance(found, Awaitable) else found

    return AsyncInterpreter(
        {
            Send: send,
            Sleep: lambda effect: clock.sleep(effect.seconds),
            Wait: lambda effect: wait(effect.event, effect.timeout),
            RunFlow: lambda effect: aws.arun(effect.flow),
            Release: release,
            Resolve: resolve,
        }
    )


def _apart(aws: Aws) -> Interpreter:
    """Return an interpreter for flows without calls to AWS, which `Aws.close` does not end."""
    return Interpreter({Call: aws.call, Do: lambda effect: effect.function()})
