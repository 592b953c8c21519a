"""Batches at an endpoint that throttles: they slow down together, and no item fails for it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk._flows.effects import Do, Interpreter, Sleep
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import InvalidInputError, MMEError, ThrottledError
from mme_sdk.local import Fault, Faults
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import RunFlow, Send
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.retry.budgets import Pace
from mme_sdk.runtime.transport_interface import InvokeRequest
from tests.support.runtime.scripted import FakeClock, Middle, answer

THROTTLED = {"status": 400, "code": "ThrottlingException", "message": "Rate exceeded"}
LATENCY = 0.02


class Job:
    """Batches of several processes in simulated time, against the fault `rate` of the embedded SageMaker."""

    def __init__(
        self,
        *,
        rate: float,
        workers: int,
        each: int,
        patient: bool = True,
        deadline: float = 360.0,
        memory: Callable[[FakeClock], Memory] = lambda _: Memory(),
    ) -> None:
        self.clock = FakeClock()
        faults = Faults(now=self.clock.monotonic)
        faults.add(Fault(kind="rate", rate=rate))
        self.faults, self.each, self.patient, self.deadline = faults, each, patient, deadline
        self.processes = [
            Settings(
                timeouts=Timeouts(), retry=RetryPolicy(), clock=self.clock, rng=Middle(), memory=memory(self.clock)
            )
            for _ in range(workers)
        ]
        self.failed: list[MMEError] = []
        self.sent = self.throttled = self.done = 0

    def run(self, items: int) -> float:
        """Run the items; return the seconds that they took."""
        began, number = self.clock.now, itertools.count()
        left = [items // len(self.processes)] * len(self.processes)
        queue: list[tuple[float, int, int, Any, Any]] = []

        def start(place: int) -> None:
            if left[place]:
                left[place] -= 1
                request = InvokeRequest(endpoint="scoring", body=b"")
                attempts = Attempts(
                    self.processes[place],
                    request,
                    began=self.clock.now,
                    deadline=self.deadline,
                    patient=self.patient,
                )
                go_on(place, attempts.run(), None)

        def go_on(place: int, flow: Any, value: Any) -> None:
            try:
                effect = flow.send(value)
            except StopIteration:
                self.done += 1
                start(place)
                return
            except MMEError as error:
                self.failed.append(error)
                start(place)
                return
            result: Any = None
            if isinstance(effect, RunFlow):
                began = self.clock.now
                result = Interpreter({Do: lambda do: do.function()}).run(effect.flow)
                took, self.clock.now = self.clock.now - began, began  # the others go on in this time
                heapq.heappush(queue, (began + took, next(number), place, flow, result))
                return
            wait = effect.seconds if isinstance(effect, Sleep) else LATENCY
            if isinstance(effect, Send):
                self.sent += 1
                result = answer({})
                if self.faults.trigger("rate") is not None:
                    self.throttled += 1
                    result = answer(THROTTLED)
            heapq.heappush(queue, (self.clock.now + wait, next(number), place, flow, result))

        for place in range(len(self.processes)):
            for _ in range(self.each):
                start(place)
        while queue:
            self.clock.now, _, place, flow, value = heapq.heappop(queue)
            go_on(place, flow, value)
        return self.clock.now - began


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("rate", [2.0, 150.0])
def test_no_item_of_a_batch_fails_while_its_deadline_lives(workers: int, rate: float) -> None:
    job = Job(rate=rate, workers=workers, each=16)
    items = int(rate * 30)
    took = job.run(items)
    assert not job.failed
    assert job.done == items // workers * workers
    assert items / took >= (0.7 if rate < 10 else 0.9) * rate
    assert job.throttled <= 0.06 * job.sent + 2 * 16 * workers


def test_single_calls_still_give_up() -> None:
    job = Job(rate=150.0, workers=4, each=16, patient=False)
    job.run(6_000)
    assert len(job.failed) > 50
    assert "retry budget" in str(job.failed[0])


def test_the_deadline_still_ends_an_item() -> None:
    job = Job(rate=1.0, workers=1, each=64, deadline=5.0)
    job.run(256)
    assert job.failed
    assert {type(error) for error in job.failed} == {ThrottledError}
    assert all("deadline of 5 s" in str(error) for error in job.failed)


def test_after_a_single_throttle_the_pace_returns() -> None:
    pace = Pace()
    for call in range(64):
        pace.answered(call / 700)
    pace.throttled(sent=0.09, now=0.1)
    assert pace.limited
    turns = [pace.take() for _ in range(101)]
    waits = [pace.wait(turn, 0.1) for turn in turns]
    assert waits[100] - waits[0] == pytest.approx(100 / (0.85 * 700), rel=0.3)
    pace.throttled(sent=0.095, now=0.11)  # sent before the decrease: it says nothing new
    assert pace.wait(turns[100], 5.2) == 0.0
    assert pace.wait(pace.take(), 12.0) == 0.0
    assert not pace.limited


def test_a_turn_comes_later_when_the_rate_falls_and_rest_saves_no_turns() -> None:
    pace = Pace()
    for call in range(64):
        pace.answered(call / 100)
    pace.throttled(sent=0.6, now=0.64)
    first, second, third = pace.take(), pace.take(), pace.take()
    before = pace.wait(third, 0.64)
    pace.throttled(sent=0.65, now=0.65)
    assert pace.wait(third, 0.65) > before - 0.01
    assert pace.wait(first, 3.0) == pace.wait(second, 3.0) == 0.0
    pace.wait(third, 4.0)
    assert [pace.wait(pace.take(), 4.0) > 0 for _ in range(4)] == [False, True, True, True]


def test_a_rate_lets_its_requests_through() -> None:
    clock = FakeClock()
    faults = Faults(now=clock.monotonic)
    faults.add(Fault(kind="rate", operation="InvokeEndpoint", rate=10))

    def passed(count: int) -> int:
        return sum(faults.trigger("rate", operation="InvokeEndpoint") is None for _ in range(count))

    assert passed(50) == 10
    assert passed(50) == 0
    assert all(faults.trigger("rate", operation="CreateModel") is None for _ in range(50))
    clock.now += 0.55
    assert passed(50) == 5
    clock.now += 60
    assert passed(50) == 10
    (shown,) = faults.list().values()
    assert (shown["matched"], shown["triggered"], shown["rate"]) == (200, 175, 10)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "rate"}, {"kind": "throttle", "rate": 3}, {"kind": "rate", "rate": 0}, {"kind": "rate", "rate": "x"}],
)
def test_an_invalid_rate_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="rate"):
        Fault(**wrong)
