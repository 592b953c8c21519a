"""What an invocation does, as effects, and the two drivers that carry them out.

Every decision of this room is made in generators that yield these effects. A thread, an event loop, or a simulator in
its own time can drive them; none of the three can decide differently.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs

from mme_sdk._cancellation import Cancelled, current_scope, leave_scope, pause
from mme_sdk._effects import Flow, pump, pump_async
from mme_sdk.aws.session import Aws
from mme_sdk.protocols import AsyncClock, AsyncModelStore, Clock, ModelStore
from mme_sdk.runtime.retry.hedging import send_twice, send_twice_async
from mme_sdk.runtime.transport_interface import AsyncTransport, InvokeRequest, Transport

__all__ = [
    "Ask",
    "Hedge",
    "Pause",
    "Resolve",
    "Send",
    "Step",
    "Steps",
    "Ticket",
    "Wait",
    "drive",
    "drive_async",
    "wait_in_thread",
    "wait_on_loop",
]

T = TypeVar("T")


class Ticket(Protocol):
    """Something to wait for, whoever waits and however."""

    def subscribe(self, wake: Callable[[], None], /) -> None:
        """Call `wake` once, from any thread, when it is time; at once where it already is."""
        ...


@attrs.frozen
class Send:
    """Send one request once; its answer comes back, or a TransportError is thrown in."""

    request: InvokeRequest
    connect_timeout: float
    read_timeout: float


@attrs.frozen
class Hedge:
    """Send, and once more where no answer came `after` so many seconds and `may` agrees; one answer comes back."""

    send: Send
    after: float
    may: Callable[[], bool]


@attrs.frozen
class Pause:
    """Wait this many seconds."""

    seconds: float


@attrs.frozen
class Wait:
    """Wait for a ticket, at most `timeout` seconds; whether it came is sent back."""

    ticket: Ticket
    timeout: float


@attrs.frozen
class Ask:
    """Ask AWS something; the flow's result comes back."""

    flow: Flow[Any]


@attrs.frozen
class Resolve:
    """Ask a registry for the target model behind a reference."""

    store: ModelStore | AsyncModelStore
    reference: str
    key: str | None = None


Step: TypeAlias = Send | Hedge | Pause | Wait | Ask | Resolve
Steps: TypeAlias = Generator[Step, Any, T]


def drive(
    steps: Steps[T],
    *,
    transport: Transport,
    clock: Clock,
    aws: Aws,
    wait: Callable[[Ticket, float], bool],
) -> T:
    """Carry out an invocation in this thread.

    Args:
        steps: The invocation.
        transport: Sends requests.
        clock: Sleeps.
        aws: Answers questions.
        wait: Waits for a ticket, so many seconds at most.

    Returns:
        What the invocation returned.
    """

    def perform(step: Step) -> Any:
        match step:
            case Send(request, connect_timeout, read_timeout):
                return transport.send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)
            case Hedge():
                return send_twice(transport, step)
            case Pause(seconds):
                return pause(seconds, clock.sleep)
            case Wait(ticket, timeout):
                return wait(ticket, timeout)
            case Ask(flow):
                return aws.run(flow)
            case Resolve(store, reference, key):
                return store.resolve(reference, key=key)

    return pump(steps, perform if current_scope() is None else _until_cancelled(perform))


def _until_cancelled(perform: Callable[[Step], Any]) -> Callable[[Step], Any]:
    """`perform`, but the first step after this thread's scope was cancelled raises `Cancelled`.

    The steps that follow it are those with which the invocation gives back what it holds: they are carried out.
    """

    def performed(step: Step) -> Any:
        scope = current_scope()
        if scope is None:
            return perform(step)
        try:
            scope.check()
            return perform(step)
        except BaseException as error:
            if not scope.cancelled:
                raise
            leave_scope()
            raise Cancelled from error

    return performed


async def drive_async(
    steps: Steps[T],
    *,
    transport: AsyncTransport,
    clock: AsyncClock,
    aws: Aws,
    wait: Callable[[Ticket, float], Awaitable[bool]],
) -> T:
    """Carry out an invocation on the running event loop.

    Args:
        steps: The invocation.
        transport: Sends requests.
        clock: Sleeps.
        aws: Answers questions.
        wait: Waits for a ticket, so many seconds at most.

    Returns:
        What the invocation returned.
    """

    async def perform(step: Step) -> Any:
        match step:
            case Send(request, connect_timeout, read_timeout):
                return await transport.send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)
            case Hedge():
                return await send_twice_async(transport, step)
            case Pause(seconds):
                return await clock.sleep(seconds)
            case Wait(ticket, timeout):
                return await wait(ticket, timeout)
            case Ask(flow):
                return await aws.arun(flow)
            case Resolve(store, reference, key):
                found = store.resolve(reference, key=key)
                return await found if isinstance(found, Awaitable) else found

    return await pump_async(steps, perform)


def wait_in_thread(ticket: Ticket, timeout: float) -> bool:
    """Wait for a ticket in this thread; whether it came."""
    event = threading.Event()
    ticket.subscribe(event.set)
    scope = current_scope()
    if scope is None:
        return event.wait(timeout)
    with scope.waking(event.set):
        return event.wait(timeout)


async def wait_on_loop(ticket: Ticket, timeout: float) -> bool:
    """Wait for a ticket on the running event loop; whether it came."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def wake() -> None:
        # The waker may be another thread, and the loop may be gone by then: then nobody waits any more.
        if not loop.is_closed():
            loop.call_soon_threadsafe(event.set)

    ticket.subscribe(wake)
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return False
    return True
