"""Second requests if the first is unusually slow: when, how many, and what happens to the slower one."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import InvalidInputError, OutcomeUnknownError
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Hedge, Send
from mme_sdk.runtime.invoker import RuntimeInvoker
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.retry.budgets import HedgeBudget, SlowAnswers
from mme_sdk.runtime.retry.hedging import send_twice, send_twice_async
from mme_sdk.runtime.telemetry.hooks import AttemptMade, RetryPlanned
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.runtime.scripted import FakeClock, Middle, answer

REQUEST = InvokeRequest(endpoint="scoring", body=b"{}", target_model="m")
GOOD = answer({})


class Racing:
    """The first request waits for the second one. If the second is a `laggard`, it waits for the end of the first.

    Each request then has the given outcome.
    """

    name = "racing"

    def __init__(self, first: Any, second: Any, *, laggard: bool = False) -> None:
        self.meets = [first, second]
        self.laggard = laggard
        self.first_ends = threading.Event()
        self.second_came = threading.Event()
        self.timeouts: list[float] = []
        self.lock = threading.Lock()

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        with self.lock:
            self.timeouts.append(read_timeout)
        place = 0 if read_timeout == int(read_timeout) else 1  # either thread may send first
        if place == 0:
            self.second_came.wait()
            self.first_ends.set()
        else:
            self.second_came.set()
            if self.laggard:
                self.first_ends.wait()
        met = self.meets[place]
        if isinstance(met, Exception):
            raise met
        assert isinstance(met, InvokeResponse)
        return met

    def close(self) -> None:
        pass


class AsyncRacing:
    """The first request never ends; the second has the given outcome."""

    name = "racing"

    def __init__(self, second: Any) -> None:
        self.second = second
        self.sent = 0
        self.cancelled = 0

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        self.sent += 1
        try:
            if self.sent == 1 or self.second is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        assert isinstance(self.second, InvokeResponse)
        return self.second

    async def close(self) -> None:
        pass


def hedge(*, may: bool = True, after: float = 0.001) -> Hedge:
    return Hedge(Send(REQUEST, 5.0, 60.0), after, lambda: may)


def test_one_in_twenty_is_unusual() -> None:
    slow, rng = SlowAnswers(), random.Random(1)
    slow.observe(0.05)
    assert slow.limit is None
    above = []
    for number in range(6000):
        took = 0.05 * rng.lognormvariate(0.0, 0.5)
        if number > 1000:
            assert slow.limit is not None
            above.append(took > slow.limit)
        slow.observe(took)
    assert sum(above) / len(above) == pytest.approx(0.05, abs=0.01)


def test_hedges_do_not_exceed_their_share() -> None:
    budget, paid = HedgeBudget(), 0
    for _ in range(1000):
        budget.earn(0.02)
        paid += budget.pay()
    assert paid in (19, 20)
    for _ in range(100_000):
        budget.earn(0.02)
    assert sum(budget.pay() for _ in range(100)) <= 5, "the saved tokens are limited"


def test_the_second_answer_counts_if_it_comes_first() -> None:
    for first, second in ((answer({"status": 500, "code": "InternalFailure"}), GOOD), (OutcomeUnknownError("?"), GOOD)):
        transport = Racing(first, second)
        assert send_twice(transport, hedge()) is GOOD
        assert sorted(transport.timeouts) == [60.0 - 0.001, 60.0]


def test_the_failure_of_the_first_counts_if_both_fail() -> None:
    throttled, failed = answer({"status": 429, "code": "ThrottlingException"}), OutcomeUnknownError("the first")
    for laggard in (True, False):
        assert send_twice(Racing(throttled, failed, laggard=laggard), hedge()) is throttled
        with pytest.raises(OutcomeUnknownError, match="the first"):
            send_twice(Racing(failed, throttled, laggard=laggard), hedge())


def test_without_budget_nothing_is_sent_twice() -> None:
    transport = Racing(GOOD, None)
    transport.second_came.set()
    assert send_twice(transport, hedge(may=False)) is GOOD
    assert len(transport.timeouts) == 1


def test_the_task_that_loses_is_cancelled() -> None:
    transport = AsyncRacing(GOOD)
    assert asyncio.run(send_twice_async(transport, hedge())) is GOOD
    assert (transport.sent, transport.cancelled) == (2, 1)


def test_a_caller_that_is_cancelled_leaves_no_request_behind() -> None:
    transport = AsyncRacing(None)

    async def main() -> None:
        calling = asyncio.create_task(send_twice_async(transport, hedge()))
        while transport.sent < 2:
            await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert transport.cancelled == 2
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


class Calls:
    """Calls of one model, one effect at a time."""

    def __init__(self, share: float) -> None:
        self.clock, self.memory, self.events = FakeClock(), Memory(), []  # type: ignore[var-annotated]
        self.settings = Settings(
            timeouts=Timeouts(),
            retry=RetryPolicy(hedge=share),
            clock=self.clock,
            rng=Middle(),
            memory=self.memory,
            hooks=[self.events.append],
        )

    def begin(self, *, idempotent: bool = True) -> tuple[Attempts, Any, Any]:
        attempts = Attempts(self.settings, REQUEST, began=self.clock.now, deadline=60.0, idempotent=idempotent)
        flow = attempts.run()
        return attempts, flow, next(flow)

    def end(self, flow: Any, took: float = 0.05) -> None:
        self.clock.now += took
        with pytest.raises(StopIteration):
            flow.send(GOOD)

    def warm(self, calls: int = 40) -> None:
        for _ in range(calls):
            self.end(self.begin()[1])


def test_only_idempotent_calls_of_loaded_models_are_hedged_if_the_policy_says_so() -> None:
    off = Calls(0.0)
    off.warm()
    assert isinstance(off.begin()[2], Send)
    on = Calls(0.5)
    assert isinstance(on.begin()[2], Send), "the usual latency is unknown"
    on = Calls(0.5)
    on.warm()
    assert isinstance(on.begin(idempotent=False)[2], Send)
    assert isinstance(on.begin()[2], Hedge)
    on.clock.now += 10_000  # it may have been evicted since
    assert isinstance(on.begin()[2], Send)


def test_a_hedge_emits_events_and_is_recorded() -> None:
    calls = Calls(0.5)
    calls.warm()
    attempts, flow, effect = calls.begin()
    assert effect.after == pytest.approx(0.05, rel=0.3)
    calls.clock.now += effect.after
    while calls.memory.endpoint("scoring").hedges.pay():
        pass
    assert not effect.may(), "the budget is spent"
    calls.memory.endpoint("scoring").hedges.earn(1.0)
    calls.events.clear()
    assert effect.may()
    calls.end(flow, took=0.02)
    assert [(each.code, each.status) for each in attempts.history] == [("Hedged", None), (None, 200)]
    assert [type(each) for each in calls.events] == [RetryPlanned, AttemptMade, AttemptMade]
    assert calls.events[0].reason == "slow"


def test_through_the_invoker() -> None:
    transport = Racing(GOOD, GOOD)
    memory = Memory()
    invoker = RuntimeInvoker(
        Aws(region="us-east-1"), transport, clock=FakeClock(), memory=memory, retry=RetryPolicy(hedge=0.02)
    )
    model = memory.endpoint("scoring").model("m")
    model.last_answer, model.loaded, model.slow_answers = 1000.0, True, SlowAnswers()
    for _ in range(20):
        model.slow_answers.observe(0.001)
    memory.endpoint("scoring").hedges.earn(1.0)
    reply = invoker.invoke("scoring", {}, model="m", options=InvokeOptions(idempotent=True))
    assert (reply.attempts, reply.value) == (2, {"ok": True})


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan"), "much", True])
def test_an_invalid_share_is_rejected(share: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"RetryPolicy\.hedge"):
        RetryPolicy(hedge=share)
