"""A trace is used as a whole: its parts that differ, its waves, and models that appear late."""

import tracemalloc

import numpy as np
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import SLO, Catalogue, Workload, plan
from mme_sdk.planning.advice import replay
from mme_sdk.planning.advice.demand import Demand
from mme_sdk.planning.analysis import Empirical, Tabulated, miss_ratio_at, stack_distances
from mme_sdk.planning.simulation import Deploy
from tests.unit.planning.typed import arrivals, simulated

MODEL = Catalogue.uniform(memory_mb=100)


def test_models_that_appear_late_share_the_endpoint():
    """Ten endpoints of one model would be the advice, if only the first part of the trace were replayed."""
    rng = np.random.default_rng(0)
    number = np.arange(10_000)
    model = np.where(number < 8500, rng.integers(0, 5, len(number)), rng.integers(5, 10, len(number)))
    load = Workload.from_trace({"time": number / 100.0, "model": model})
    found = plan(load, catalogue=MODEL, slo=SLO(p99=2.0), prices={"ml.m5.large": 0.115}, requests=1000)
    assert str(found.best.layout) == "shared: 2 x ml.m5.large"
    assert simulated(found.best).requests == 10 * len(number)
    assert found.best.cold_rate == 0.0


def test_a_busy_second_half_counts():
    rng = np.random.default_rng(1)
    idle, busy = np.sort(rng.random(8000)) * 4000.0, 4000.0 + np.sort(rng.random(8000)) * 400.0
    load = Workload.from_trace({"time": np.concatenate([idle, busy]), "model": rng.zipf(1.3, 16_000) % 300})
    found = plan(load, catalogue=MODEL, slo=SLO(p99=5.0), prices={"ml.m5.large": 0.115}, requests=1000)
    assert simulated(found.best).requests == 6 * 16_000
    seen = found.simulate()
    assert found.best.p99 == seen.quantile(0.99)[0]
    assert seen.quantile(0.99)[0] <= 5.0
    # The formulas count time in requests, so that the two halves do not differ for the cache.
    assert found.best.estimate.cold_rate == pytest.approx(seen.cold_rate, rel=0.15)


def test_one_pass_over_the_gaps_gives_the_same_tables():
    trace = Workload.zipf(40, rate=5.0, cv=3.0).sample(400.0, seed=1)
    gaps = Empirical.of(*arrivals(trace), 40, trace.duration)
    table = Tabulated.of(gaps, steps=20)
    for row, age in enumerate(table.ages):
        assert table.hit_table[row] == pytest.approx(gaps.hits(age))
        assert table.present_table[row] == pytest.approx(gaps.present(age))


def test_followers_counted_after_some_requests_are_those_after_all(monkeypatch):
    trace = Workload.zipf(20, rate=10.0, cv=3.0).sample(3000.0, seed=2)
    whole = Empirical.of(*arrivals(trace), 20, trace.duration).followers(2.0)
    monkeypatch.setattr("mme_sdk.planning.analysis.gaps._STARTS", 6000)
    part = Empirical.of(*arrivals(trace), 20, trace.duration)
    assert len(part.starts) < 8000
    assert part.followers(2.0) == pytest.approx(whole, rel=0.25)


def test_a_day_wave_is_not_a_burst():
    wave = Workload.from_rates(Workload.zipf(400, rate=2.0).rates.tolist(), diurnal=0.95).sample(86400.0, seed=3)
    found = Workload.from_trace({"time": wave.times, "model": wave.index})
    assert found.cv == pytest.approx(1.0, abs=0.06)
    misses = miss_ratio_at(stack_distances(arrivals(wave)[1]), [100.0])[0]
    demand = Demand(Workload.from_rates(found.rates.tolist(), cv=found.cv), MODEL)
    table = demand.residency
    hits = table.hits(table.age(np.ones(len(found.models)), 100.0))
    assert 1.0 - float(hits @ found.rates) / found.rate == pytest.approx(misses, abs=0.01)


def test_caches_begin_with_what_was_requested_last():
    load = Workload.from_trace({"time": [0.0, 1.0, 2.0, 3.0, 4.0], "model": ["a", "b", "c", "b", "a"]})
    (found,) = replay.replays(load, requests=10, seed=0, single=True)
    assert [load.models[each] for each in found.past] == ["c", "b", "a"]


def test_a_long_trace_is_replayed_in_parts_each_with_its_own_past(monkeypatch):
    monkeypatch.setattr(replay, "_WHOLE", 2000)
    monkeypatch.setattr(replay, "_OFTEN", 2000)
    monkeypatch.setattr(replay, "_SELDOM", 2000)
    load = Workload.zipf(30, rate=10.0).sample(1000.0, seed=4)
    parts = replay.replays(load, requests=10, seed=0)
    assert sum(len(each.times) for each in parts) == 2000
    size = 2000 // len(parts)
    starts = np.linspace(0, len(arrivals(load)[0]) - size, len(parts)).astype(int)
    for part, start in zip(parts[1:], starts[1:], strict=True):
        before = arrivals(load)[1][:start]
        latest = list(dict.fromkeys(before[::-1].tolist()))[::-1]
        assert part.past[-len(latest) :].tolist() == latest
        assert part.index.tolist() == arrivals(load)[1][start : start + size].tolist()


def test_an_endpoint_of_one_model_is_sized_by_the_models_own_peak():
    times = np.concatenate([np.arange(600) * 60.0, 36_000 + np.arange(30_000) / 50.0])
    load = Workload.from_trace({"time": times, "model": ["quiet"] * 600 + ["late"] * 30_000})
    peaks = dict(zip(load.models, Demand(load, MODEL).peaks, strict=True))
    assert load.rates[load.models.index("late")] * peaks["late"] == pytest.approx(50.0, rel=0.05)
    assert peaks["quiet"] == pytest.approx(1.0, abs=0.2)


def test_a_trace_in_parts_is_said_to_be_and_takes_no_timeline(monkeypatch):
    monkeypatch.setattr(replay, "_WHOLE", 2000)
    monkeypatch.setattr(replay, "_OFTEN", 2000)
    monkeypatch.setattr(replay, "_SELDOM", 2000)
    load = Workload.zipf(30, rate=10.0).sample(1000.0, seed=4)
    found = plan(load, catalogue=MODEL, prices={"ml.m5.large": 0.115}, requests=1000)
    assert any(f"use all {load.requests:,} requests of the trace; 2,000 were" in each for each in found.best.why)
    seen = found.simulate()
    assert len(seen.times) == 2000
    assert (np.diff(seen.times) >= 0).all()
    with pytest.raises(InvalidInputError, match="replayed in parts"):
        found.simulate(timeline=[Deploy(at=1.0)])


@pytest.mark.parametrize("cv", [1.0, 3.0])
def test_the_tables_of_many_models_take_little_memory(cv):
    load = Workload.zipf(6000, rate=10.0, cv=cv)
    if cv > 1.0:
        load = load.sample(20_000 / load.rate, seed=1)
    demand = Demand(load, MODEL)
    demand.peaks  # noqa: B018 - what the demand needs otherwise
    tracemalloc.start()
    table = demand.residency
    table.filled(demand.memory)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    cells = len(table.ages) * len(load.models)
    assert most < (8 if cv == 1.0 else 16) * cells  # two tables in double precision are 16 bytes, plus their copies
