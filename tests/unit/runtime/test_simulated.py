"""Herds of callers and whole fleets in simulated time: the code of invocations against the fleet model."""

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
    """Return the module of the benchmark, with its simulator."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("cold_start")
    finally:
        sys.path.remove(folder)


def test_a_herd_causes_no_second_load(bench: Any) -> None:
    # With a load of 1 s, most callers come after the load. The model is on one instance only.
    for load in (1.0, 2.0, 20.0, 90.0, 300.0):
        herd = bench.Herd(load=load, instances=4, processes=1)
        results = bench.Results()
        for seed in range(20 if load < 10 else 5):
            bench.run_herd(herd, bench.POLICIES[3], seed, results)
        assert statistics.mean(results.extra) <= 0.1
        assert len(results.took) == results.calls, "a caller received no answer"


def test_learned_probes_are_few_and_in_time(bench: Any) -> None:
    # The endpoint answers 429 at once, so only the schedule decides when the load is noticed.
    for load in (20.0, 90.0, 300.0):
        herd = bench.Herd(load=load, instances=1, processes=1, hold=0.02, callers=1)
        results = bench.Results()
        bench.run_herd(herd, bench.POLICIES[4], 1, results)
        assert statistics.median(results.firsts) <= 1.10
        assert statistics.mean(results.attempts) <= 5


@pytest.mark.parametrize("released", [True, False])
def test_a_model_may_have_run_for_released_callers(released: bool) -> None:
    memory, clock = Memory(), FakeClock()
    leader = memory.single_flight.join(("scoring", "m"), memory.endpoint("scoring").release_limit)
    process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=memory)
    request = InvokeRequest(endpoint="scoring", body=b"", target_model="m")
    flow = Attempts(process, request, began=clock.now, deadline=360.0).run()
    assert isinstance(next(flow), Wait)
    if released:
        leader.succeeded()  # the model is loaded
    else:
        leader.leave()  # nothing is known
    effect = flow.send(True)
    assert isinstance(effect, Send)
    clock.now += effect.read_timeout
    if released:
        with pytest.raises(OutcomeUnknownError):
            flow.throw(OutcomeUnknownError("no answer in time"))
    else:
        assert isinstance(flow.throw(OutcomeUnknownError("no answer in time")), Wait)
        flow.close()


def test_probes_are_fewer_during_an_overload() -> None:
    def waits(slowness: float) -> list[float]:
        memory, clock = Memory(), FakeClock()
        memory.load_times.observe("scoring", "m", 20.0)
        memory.endpoint("scoring").load_limiter.slowness = slowness
        process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=memory)
        flow = Attempts(
            process, InvokeRequest(endpoint="scoring", body=b"", target_model="m"), began=clock.now, deadline=360.0
        ).run()
        probes, answered = [], answer(NOT_READY)
        effect = next(flow)
        while clock.now < 1060.0:
            if isinstance(effect, Send):
                probes.append(clock.now)
                effect = flow.send(answered)
            else:
                clock.now += effect.timeout
                effect = flow.send(False)
        flow.close()
        return probes

    assert len(waits(4.0)) < len(waits(1.0))


@pytest.mark.parametrize("load", [1.5, 2.0, 3.3, 7.0, 20.0, 47.0, 90.0, 180.0, 270.0])
def test_without_observations_no_caller_is_late_by_more_than_a_third(bench: Any, load: float) -> None:
    results = bench.Results()
    for seed in range(5):
        bench.run_herd(
            bench.Herd(load=load, instances=1, processes=1, hold=0.02, callers=1), bench.POLICIES[3], seed, results
        )
    assert max(results.firsts) <= 1.30 + 0.1 / load  # serving takes 0.05 s, and the answer to a probe 0.02 s
    assert max(results.attempts) <= 2 + math.log(load / 1.2) / math.log(1.25)


def test_processes_that_share_leases_share_a_load(bench: Any) -> None:
    herd = bench.Herd(load=20.0, instances=4, processes=4)
    alone, shared = bench.Results(), bench.Results()
    for seed in range(3):
        bench.run_herd(herd, bench.POLICIES[3], seed, alone)
    bench.run_herd(herd, bench.POLICIES[5], 0, shared)
    assert statistics.mean(alone.extra) >= 1
    assert statistics.mean(shared.extra) == 0
    assert len(shared.took) == shared.calls


@settings(max_examples=100, deadline=None)
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
def test_on_any_interleaving_every_call_ends_in_time_and_nothing_is_left(
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
    memory = Memory(ColdStart(concurrent_loads=2), RetryPolicy())
    process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=simulation, rng=rng, memory=memory)
    outcomes: list[Any] = []

    def come(deadline: float, model: int, cancel: bool) -> None:
        request = InvokeRequest(endpoint="scoring", body=b"", target_model=f"m{model}")
        flow = Attempts(process, request, began=simulation.now, deadline=deadline).run()
        outcome = simulated.call(simulation, endpoint, flow)
        outcomes.append((deadline, model, outcome))
        if cancel:
            simulation.after(deadline / 3, lambda: stop(flow, outcome))

    def stop(flow: Any, outcome: Any) -> None:
        if flow.gi_frame is not None:
            outcome.cancelled = True
            with pytest.raises(KeyboardInterrupt):
                flow.throw(KeyboardInterrupt())

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
        assert deadline < 200, "there was enough time"
        if isinstance(outcome.error, OutcomeUnknownError):
            # The model was evicted unnoticed. Only a model that answered before can be assumed to have run.
            answered = [one.ended for _, of, one in outcomes if of == model and one.error is None and not one.cancelled]
            assert any(ended <= outcome.ended for ended in answered)
        else:
            assert isinstance(outcome.error, ModelNotReadyError)
    assert len(memory.single_flight) == 0
    assert memory.endpoint("scoring").load_limiter.used == 0


def test_the_published_results_are_those_of_the_benchmark(bench: Any) -> None:
    folder = ROOT / "docs" / "benchmarks"
    published = bench.read(folder, "cold-start-herds")
    assert len(published) == 272
    for row in (record for record in published if record["load s"] == "20" and record["instances"] == "4"):
        if row["processes"] != "1":
            continue
        immediate = row["endpoint"] == "immediate"
        herd = bench.Herd(
            load=20.0, instances=4, processes=1, hold=0.02 if immediate else 59.9, any_while_cold=immediate
        )
        policy = next(policy for policy in bench.POLICIES if policy.name == row["policy"])
        assert bench.herd_record(herd, policy, 10).items() <= row.items()
