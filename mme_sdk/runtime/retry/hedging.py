"""Hedging: a second request where the first is unusually slow (Dean, Barroso: The Tail at Scale, CACM 2013).

Only idempotent calls of loaded models are hedged, only where the caller's policy says so, and few of them: one request
more may reach an instance that does not hold the model, and a fleet in trouble is slow everywhere.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from mme_sdk._cancellation import Cancelled, CancelScope, current_scope
from mme_sdk.runtime.transport_interface import AsyncTransport, InvokeAnswer, Transport

if TYPE_CHECKING:
    from mme_sdk.runtime.effects import Hedge

__all__ = ["send_twice", "send_twice_async"]


_GRACE = 1.0  # seconds for a thread whose connection was shut down


def send_twice(transport: Transport, hedge: Hedge) -> InvokeAnswer:
    """Send once in a thread, and once more where that takes unusually long and the budget bears it.

    Args:
        transport: Sends requests, from any thread.
        hedge: What to send, and when again.

    Returns:
        The first good answer; else that of the first request, whose errors are raised too. A request that lost the race
        ends by itself, and what it brings is dropped.
    """
    outcomes: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    send, scope = hedge.send, CancelScope()
    threads: list[threading.Thread] = []

    def run(place: int) -> None:
        try:
            # Both end by the call's deadline.
            left = send.read_timeout - place * hedge.after
            once = partial(transport.send, send.request, connect_timeout=send.connect_timeout, read_timeout=left)
            outcome: Any = scope.run(once)
        except BaseException as error:  # noqa: BLE001 - raised where the caller waits
            outcome = error
        outcomes.put((place, outcome))

    def start(place: int) -> None:
        thread = threading.Thread(target=run, args=(place,), name="mme-sdk-hedge", daemon=True)
        threads.append(thread)
        thread.start()

    def first_good() -> InvokeAnswer:
        start(0)
        flying = 1
        first: Any = None
        try:
            _, first = outcomes.get(timeout=hedge.after)
            flying = 0
        except queue.Empty:
            if hedge.may():
                start(1)
                flying = 2
        while flying:
            place, outcome = outcomes.get()
            flying -= 1
            if isinstance(outcome, Cancelled):
                raise outcome
            if _good(outcome):
                return outcome  # type: ignore[no-any-return]
            if place == 0:
                first = outcome
        if isinstance(first, BaseException):
            raise first
        return first  # type: ignore[no-any-return]

    outer = current_scope()
    try:
        with outer.waking(lambda: outcomes.put((0, Cancelled()))) if outer is not None else nullcontext():
            return first_good()
    except BaseException:
        scope.cancel()  # Ctrl-C leaves no request in flight, and no thread
        for thread in threads:
            thread.join(_GRACE)
        raise


async def send_twice_async(transport: AsyncTransport, hedge: Hedge) -> InvokeAnswer:
    """`send_twice`, in tasks; the one that lost the race is cancelled, and both are where the caller is."""
    send = hedge.send

    def start(place: int) -> asyncio.Future[InvokeAnswer]:
        left = send.read_timeout - place * hedge.after
        sending = transport.send(send.request, connect_timeout=send.connect_timeout, read_timeout=left)
        return asyncio.ensure_future(sending)

    tasks = [start(0)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=hedge.after)
        if not done and hedge.may():
            tasks.append(start(1))
        flying = set(tasks)
        while flying:
            done, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None and _good(task.result()):
                    return task.result()
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _good(outcome: Any) -> bool:
    return isinstance(outcome, InvokeAnswer) and 200 <= outcome.status < 300
