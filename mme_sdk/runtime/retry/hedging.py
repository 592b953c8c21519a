"""Hedging: a second request if the first is unusually slow (Dean, Barroso: The Tail at Scale, CACM 2013).

Only idempotent calls to loaded models are hedged, only if the retry policy asks for it, and only few of them. A second
request can reach an instance that does not hold the model, and an overloaded fleet is slow for every request.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import nullcontext
from functools import partial
from typing import Any

from mme_sdk._flows.cancellation import Cancelled, CancelScope, current_scope
from mme_sdk.runtime.effects import Hedge
from mme_sdk.runtime.transport_interface import AsyncTransport, InvokeResponse, Transport

__all__ = ["send_twice", "send_twice_async"]

_GRACE = 1.0  # seconds for a thread to end after its connection was shut down


def send_twice(transport: Transport, hedge: Hedge) -> InvokeResponse:
    """Send a request in a thread, and once more if the answer is late and the budget allows it.

    Args:
        transport: Sends requests, from any thread.
        hedge: The request, and when to send it again.

    Returns:
        The first successful answer. If there is none, the answer to the first request. The slower request is not
        cancelled; its answer is dropped.

    Raises:
        TransportError: Neither request was answered successfully; this is the error of the first.
    """
    outcomes: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    send, scope = hedge.send, CancelScope()
    threads: list[threading.Thread] = []

    def run(number: int) -> None:
        try:
            # Both requests end at the deadline of the call.
            left = send.read_timeout - number * hedge.after
            once = partial(transport.send, send.request, connect_timeout=send.connect_timeout, read_timeout=left)
            outcome: Any = scope.run(once)
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller
            outcome = error
        outcomes.put((number, outcome))

    def start(number: int) -> None:
        thread = threading.Thread(target=run, args=(number,), name="mme-sdk-hedge", daemon=True)
        threads.append(thread)
        thread.start()

    def first_success() -> InvokeResponse:
        start(0)
        pending = 1
        first: Any = None
        try:
            _, first = outcomes.get(timeout=hedge.after)
            pending = 0
        except queue.Empty:
            if hedge.may():
                start(1)
                pending = 2
        while pending:
            number, outcome = outcomes.get()
            pending -= 1
            if isinstance(outcome, Cancelled):
                raise outcome
            if _succeeded(outcome):
                return outcome  # type: ignore[no-any-return]
            if number == 0:
                first = outcome
        if isinstance(first, BaseException):
            raise first
        return first  # type: ignore[no-any-return]

    outer = current_scope()
    try:
        with outer.waking(lambda: outcomes.put((0, Cancelled()))) if outer is not None else nullcontext():
            return first_success()
    except BaseException:
        scope.cancel()  # Ctrl-C must leave no request and no thread behind
        for thread in threads:
            thread.join(_GRACE)
        raise


async def send_twice_async(transport: AsyncTransport, hedge: Hedge) -> InvokeResponse:
    """Send a request in a task, and once more if the answer is late and the budget allows it.

    Args:
        transport: Sends requests.
        hedge: The request, and when to send it again.

    Returns:
        The first successful answer. If there is none, the answer to the first request. The slower request is cancelled.

    Raises:
        TransportError: Neither request was answered successfully; this is the error of the first.
    """
    send = hedge.send

    def start(number: int) -> asyncio.Future[InvokeResponse]:
        left = send.read_timeout - number * hedge.after
        sending = transport.send(send.request, connect_timeout=send.connect_timeout, read_timeout=left)
        return asyncio.ensure_future(sending)

    tasks = [start(0)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=hedge.after)
        if not done and hedge.may():
            tasks.append(start(1))
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None and _succeeded(task.result()):
                    return task.result()
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _succeeded(outcome: Any) -> bool:
    return isinstance(outcome, InvokeResponse) and 200 <= outcome.status < 300
