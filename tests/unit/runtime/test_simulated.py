"""Whole herds and fleets in simulated time: the very code of invocations against the fleet model, hours in seconds."""

from __future__ import annotations

import importlib
import math
import random
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
from mme_sdk.errors import ModelNotReadyError, OutcomeUnknownError
from mme_sdk.fleet import FleetPolicy
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Send, Wait
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.transport_interface import InvokeRequest
from tests.support.paths import ROOT
from tests.support.runtime.scripted import FakeClock, Middle, answer
from tests.unit.runtime.test_calls import NOT_READY

MB = 1_000_000


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The benchmark's module, which has the simulator."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("cold_start")
    finally:
        sys.path.remove(folder)


def test_a_herd_causes_no_second_load(bench: Any) -> None:
    # Most of the herd comes after a load of 1 s: what is there is there on one instance only.
    for load in (1.0, 2.0, 20.0, 90.0, 300.0):
        herd = bench.Herd(load=load, instances=4, processes=1)
        seen = bench.Seen()
        for seed in range(20 if load < 10 else 5):
            bench.run_herd(herd, bench.RIVALS[3], seed, seen)
        assert statistics.mean(seen.extra) <= 0.1
        assert len(seen.took) == seen.calls, "somebody was left without an answer"


def test_learned_looks_are_few_and_in_time(bench: Any) -> None:
    # 429 at once: nothing but the schedule decides when the model is found to be there.
    for load in (20.0, 90.0, 300.0):
        herd = bench.Herd(load=load, instances=1, processes=1, hold=0.02, callers=1)
        seen = bench.Seen()
        bench.run_herd(herd, bench.RIVALS[4], 1, seen)
        assert statistics.median(seen.firsts) <= 1.10
        assert statistics.mean(seen.attempts) <= 5


@pytest.mark.parametrize("goes", [True, False])
def test_a_model_may_have_run_for_those_who_go_after_the_leader(goes: bool) -> None:
    memory, clock = Memory(), FakeClock()
    leader = memory.flights.join(("scoring", "m"), memory.endpoint("scoring").pace)
    process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=memory)
    request = InvokeRequest(endpoint="scoring", body=b"", target_model="m")
    steps = Attempts(process, request, began=clock.now, deadline=360.0).run()
    assert isinstance(next(steps), Wait)
    if goes:
        leader.ready()  # it was answered: the model is loaded
    else:
        leader.leave()  # nobody knows
    step = steps.send(True)
    assert isinstance(step, Send)
    clock.now += step.read_timeout
    if goes:
        with pytest.raises(OutcomeUnknownError):
            steps.throw(OutcomeUnknownError("no answer in time"))
    else:
        assert isinstance(steps.throw(OutcomeUnknownError("no answer in time")), Wait)
        steps.close()


def test_looks_are_fewer_in_a_jam() -> None:
    def waits(slowness: float) -> list[float]:
        memory, clock = Memory(), FakeClock()
        memory.estimates.observe("scoring", "m", 20.0)
        memory.endpoint("scoring").slots.slowness = slowness
        process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=memory)
        steps = Attempts(
            process, InvokeRequest(endpoint="scoring", body=b"", target_model="m"), began=clock.now, deadline=360.0
        ).run()
        looks, answered = [], answer(NOT_READY)
        step = next(steps)
        while clock.now < 1060.0:
            if isinstance(step, Send):
                looks.append(clock.now)
                step = steps.send(answered)
            else:
                clock.now += step.timeout
                step = steps.send(False)
        steps.close()
        return looks

    assert len(waits(4.0)) < len(waits(1.0))


@pytest.mark.parametrize("load", [1.5, 2.0, 3.3, 7.0, 20.0, 47.0, 90.0, 180.0, 270.0])
def test_at_first_sight_nobody_is_late_by_more_than_a_third(bench: Any, load: float) -> None:
    seen = bench.Seen()
    for seed in range(5):
        bench.run_herd(
            bench.Herd(load=load, instances=1, processes=1, hold=0.02, callers=1), bench.RIVALS[3], seed, seen
        )
    assert max(seen.firsts) <= 1.30 + 0.1 / load  # serving takes 0.05 s, and the answer to a look 0.02 s
    assert max(seen.attempts) <= 2 + math.log(load / 1.2) / math.log(1.25)


def test_processes_that_share_leases_share_a_load(bench: Any) -> None:
    herd = bench.Herd(load=20.0, instances=4, processes=4)
    alone, shared = bench.Seen(), bench.Seen()
    for seed in range(3):
        bench.run_herd(herd, bench.RIVALS[3], seed, alone)
    bench.run_herd(herd, bench.RIVALS[5], 0, shared)
    assert statistics.mean(alone.extra) >= 1
    assert statistics.mean(shared.extra) == 0
    assert len(shared.took) == shared.calls


@settings(deadline=None)
@example(  # two more models push out the one that the caller at 7 s believes to be loaded
    [
        (0.0, 5.0, 0, False),
        *([(0.0, 1.0, 0, False)] * 13),
        (0.0, 200.0, 0, False),
        *([(0.0, 1.0, 0, False)] * 4),
        (0.0, 1.0, 1, True),
        (0.0, 1.0, 2, False),
        (1.0, 1.0, 1, False),
        (7.0, 1.0, 0, False),
        (0.5, 1.0, 1, True),
    ],
    3.0,
    2,
)
@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.floats(0.05, 60) | st.just(200.0), st.integers(0, 3), st.booleans()),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([0.02, 3.0, 59.9]),
    st.integers(0, 1000),
)
def test_on_any_interleaving_everybody_ends_in_time_and_nothing_is_left(
    bench_calls: list[tuple[float, float, int, bool]], hold: float, seed: int
) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        simulated = importlib.import_module("simulated_endpoint")
    finally:
        sys.path.pop(0)
    rng = random.Random(seed)
    simulation = simulated.Simulation()
    policy = FleetPolicy(memory_bytes=200 * MB, volume_bytes=1000 * MB, spill_outstanding=2)  # two models fit
    times = simulated.Times(download=2.0, load=2.0, spread=0.5, hold=hold)
    endpoint = simulated.SimulatedEndpoint(simulation, policy, 2, times, rng)
    memory = Memory(ColdStart(slots=2), RetryPolicy())
    process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=simulation, rng=rng, memory=memory)
    outcomes: list[Any] = []

    def come(deadline: float, model: int, cancel: bool) -> None:
        request = InvokeRequest(endpoint="scoring", body=b"", target_model=f"m{model}")
        steps = Attempts(process, request, began=simulation.now, deadline=deadline).run()
        outcome = simulated.call(simulation, endpoint, steps)
        outcomes.append((deadline, model, outcome))
        if cancel:
            simulation.after(deadline / 3, lambda: stop(steps, outcome))

    def stop(steps: Any, outcome: Any) -> None:
        if steps.gi_frame is not None:
            outcome.cancelled = True
            with pytest.raises(KeyboardInterrupt):
                steps.throw(KeyboardInterrupt())

    for at, deadline, model, cancel in bench_calls:
        simulation.after(at, lambda d=deadline, m=model, c=cancel: come(d, m, c))
    simulation.run(1000.0)
    assert len(outcomes) == len(bench_calls)
    for deadline, model, outcome in outcomes:
        if outcome.cancelled:
            continue
        assert outcome.ended > outcome.began, "it never ended"
        assert outcome.ended - outcome.began <= deadline + 0.1
        if outcome.error is None:
            continue
        assert deadline < 200, "there was time enough"
        if isinstance(outcome.error, OutcomeUnknownError):
            # Evicted behind the caller's back; only a model that answered before may be believed to have run.
            answered = [one.ended for _, of, one in outcomes if of == model and one.error is None and not one.cancelled]
            assert any(ended <= outcome.ended for ended in answered)
        else:
            assert isinstance(outcome.error, ModelNotReadyError)
    assert len(memory.flights) == 0
    assert memory.endpoint("scoring").slots.used == 0
