"""Batches at an endpoint whose containers refuse calls while their queues are full: the calls slow down together."""

from __future__ import annotations

import heapq
import itertools
from typing import Any

import pytest

from mme_sdk._flows.effects import Sleep
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import MMEError, ModelServerError
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Send
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.runtime.scripted import FakeClock, Middle, answer

BUSY = {
    "status": 424,
    "code": "ModelError",
    "message": "Received server error (503) from model",
    "original_status": 503,
}


class Container:
    """A container that works on some calls at a time and keeps some more waiting, in simulated time."""

    def __init__(self, clock: FakeClock, *, workers: int, seconds: float, queue: int) -> None:
        self.clock, self.seconds, self.most = clock, seconds, workers + queue
        self.free = [0.0] * workers
        self.ends: list[float] = []
        self.refused = 0

    def call(self) -> float | None:
        """Return the seconds until the answer of a call that arrives now. None: it is refused."""
        now = self.clock.now
        while self.ends and self.ends[0] <= now:
            heapq.heappop(self.ends)
        if len(self.ends) >= self.most:
            self.refused += 1
            return None
        end = max(heapq.heappop(self.free), now) + self.seconds
        heapq.heappush(self.free, end)
        heapq.heappush(self.ends, end)
        return end - now


def run(
    container: Container, items: int, *, processes: int, each: int, patient: bool = True
) -> tuple[float, list[MMEError]]:
    """Send items from some processes, `each` at a time; return the seconds, and the errors."""
    clock, number, failed = container.clock, itertools.count(), list[MMEError]()
    began, left = clock.now, [items // processes] * processes
    settings = [
        Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=Memory())
        for _ in range(processes)
    ]
    queue: list[tuple[float, int, int, Any, InvokeResponse | None]] = []

    def start(place: int) -> None:
        if left[place]:
            left[place] -= 1
            request = InvokeRequest(endpoint="scoring", body=b"")
            attempts = Attempts(settings[place], request, began=clock.now, deadline=600.0, patient=patient)
            go_on(place, attempts.run(), None)

    def go_on(place: int, flow: Any, value: InvokeResponse | None) -> None:
        try:
            effect = flow.send(value)
        except StopIteration:
            start(place)
            return
        except MMEError as error:
            failed.append(error)
            start(place)
            return
        if isinstance(effect, Sleep):
            wait, result = effect.seconds, None
        else:
            assert isinstance(effect, Send)
            took = container.call()
            wait, result = (0.005, answer(BUSY)) if took is None else (took, answer({}))
        heapq.heappush(queue, (clock.now + wait, next(number), place, flow, result))

    for place in range(processes):
        for _ in range(each):
            start(place)
    while queue:
        clock.now, _, place, flow, value = heapq.heappop(queue)
        go_on(place, flow, value)
    return clock.now - began, failed


@pytest.mark.parametrize(("processes", "each"), [(1, 64), (4, 16), (4, 64)])
@pytest.mark.parametrize(("workers", "seconds"), [(4, 0.05), (2, 1.0)])
def test_no_item_of_a_batch_fails_because_a_container_is_busy(
    processes: int, each: int, workers: int, seconds: float
) -> None:
    container = Container(FakeClock(), workers=workers, seconds=seconds, queue=8)
    rate = workers / seconds
    items = int(rate * 40) // processes * processes
    took, failed = run(container, items, processes=processes, each=each)
    assert not failed
    assert items / took >= 0.75 * rate
    assert container.refused <= 0.15 * items + 2 * processes * each


def test_a_container_that_refuses_every_call_does_not_hold_a_batch_until_its_deadlines() -> None:
    container = Container(FakeClock(), workers=0, seconds=1.0, queue=0)
    took, failed = run(container, 400, processes=1, each=16)
    assert len(failed) == 400
    assert {type(error) for error in failed} == {ModelServerError}
    assert took < 90  # one minute for the first ones, and four attempts for each of the others


def test_a_container_that_rests_for_a_while_loses_no_item() -> None:
    container = Container(FakeClock(), workers=4, seconds=1.0, queue=8)
    container.free = [container.clock.now + 40.0] * 4
    _, failed = run(container, 200, processes=1, each=64)
    assert not failed


def test_a_single_call_at_a_busy_container_still_gives_up() -> None:
    container = Container(FakeClock(), workers=4, seconds=1.0, queue=8)
    _, failed = run(container, 256, processes=1, each=64, patient=False)
    assert failed
    assert {type(error) for error in failed} == {ModelServerError}
