"""Learned load times and the probe schedule."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import statistics
from importlib import resources
from pathlib import Path

import pytest

from mme_sdk.config import ColdStart
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.cold_start.load_times import LoadTimes
from mme_sdk.runtime.cold_start.probe_schedule import probe_delay
from tests.support.paths import ROOT


def cost_of(waits: object, median: float, sigma: float, seed: int = 1) -> tuple[float, float]:
    """Return the mean attempts of a schedule and its mean lateness as a share of the load, for 2000 lognormal loads."""
    rng = random.Random(seed)
    attempts, overshoot = [], []
    for _ in range(2000):
        load, at, count = median * math.exp(rng.gauss(0, sigma)), 0.0, 1
        while at < load:
            at += waits(at)  # type: ignore[operator]
            count += 1
        attempts.append(count)
        overshoot.append(at / load - 1)
    return statistics.mean(attempts), statistics.mean(overshoot)


def test_the_stored_table_is_that_of_the_program() -> None:
    spec = importlib.util.spec_from_file_location("inspection_table", ROOT / "benchmarks" / "inspection_table.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    stored = json.loads(resources.files("mme_sdk.runtime.cold_start").joinpath("inspection.json").read_text())
    assert stored["sigmas"] == program.SIGMAS
    for row, column in ((0, 0), (4, 2), (11, 4)):
        computed = program.best_waits(program.SIGMAS[row], program.COSTS[column])
        assert stored["waits"][row][column] == pytest.approx(computed, abs=2e-3)


def test_the_schedule_beats_full_jitter_and_every_fixed_interval() -> None:
    median, sigma, probe = 30.0, math.sqrt(math.log(1 + 0.4**2)), 0.05
    rng = random.Random(2)

    def total(waits: object) -> float:
        attempts, overshoot = cost_of(waits, median, sigma)
        return probe * attempts + overshoot

    ours = total(lambda at: probe_delay(at, median=median, sigma=sigma, cost=probe))
    jitter = total(lambda at: rng.uniform(0, 20))
    fixed = min(total(lambda at, every=every: every) for every in (2.0, 4.0, 6.0, 7.7, 10.0, 15.0, 20.0))
    assert ours < 0.85 * fixed
    assert ours < 0.75 * jitter


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_estimate_costs_less_than_full_jitter(factor: float) -> None:
    median, sigma, probe = 30.0, 0.385, 0.05
    rng = random.Random(2)
    wrong = cost_of(lambda at: probe_delay(at, median=median * factor, sigma=0.63, cost=probe), median, sigma)
    jitter = cost_of(lambda at: rng.uniform(0, 20), median, sigma)
    assert probe * wrong[0] + wrong[1] < 1.2 * (probe * jitter[0] + jitter[1])


def test_unusually_long_loads_are_not_probed_more_and_more_often() -> None:
    # The load takes five times as long as a precise estimate. A schedule that relied on it would probe all the time.
    at, probes = 0.0, []
    while at < 5.0:
        at += probe_delay(at, median=1.0, sigma=0.1, cost=0.07)
        probes.append(at)
    assert 1.0 <= probes[0] <= 1.1
    assert len(probes) < 12


@pytest.mark.parametrize("elapsed", [0.0, 0.001, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("median", [0.001, 1.0, 1e4])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 5.0])
def test_every_wait_is_positive_and_finite(elapsed: float, median: float, sigma: float) -> None:
    wait = probe_delay(elapsed, median=median, sigma=sigma, cost=0.1)
    assert math.isfinite(wait)
    assert wait > 0


def test_the_closest_observations_are_used() -> None:
    load_times = LoadTimes(ColdStart(expected=4, bandwidth=100e6, overhead=2))
    assert load_times.expected("e", "m").source == "prior"
    by_bytes = load_times.expected("e", "m", size=1_000_000_000)
    assert by_bytes.source == "bytes"
    assert by_bytes.median == pytest.approx(12.0)
    for number in range(5):
        load_times.observe("e", f"m{number}", 30.0, size=500_000_000)
    assert load_times.expected("e", "m3").source == "model"
    like_it = load_times.expected("e", "new", size=400_000_000)
    assert like_it.source == "size"
    assert like_it.median == pytest.approx(30.0)
    # For another size, the estimate is that of the bytes, scaled by the observations of this endpoint.
    other = load_times.expected("e", "new", size=5_000_000_000)
    assert other.source == "bytes"
    assert other.median == pytest.approx(52 * 30 / 7, rel=0.01)
    assert load_times.expected("e", "new").source == "endpoint"
    assert load_times.expected("other", "new").source == "prior"
    load_times.forget("e")
    assert load_times.expected("e", "m3").source == "prior"


def test_many_observations_narrow_the_estimate_but_not_below_the_floor() -> None:
    load_times = LoadTimes()
    widths = []
    for _ in range(30):
        load_times.observe("e", "m", 20.0)
        widths.append(load_times.expected("e", "m").sigma)
    assert widths == sorted(widths, reverse=True)
    assert 0.1 <= widths[-1] < 0.2


def test_reloads_are_learned_separately() -> None:
    load_times = LoadTimes()
    for _ in range(4):
        load_times.observe("e", "m", 60.0)
        load_times.observe("e", "m", 5.0, reload=True)
    assert load_times.expected("e", "m").median == pytest.approx(60.0)
    assert load_times.expected("e", "m", reload=True).median == pytest.approx(5.0)


@pytest.mark.parametrize(("waited", "moves"), [(2.0, False), (60.0, True)])
def test_a_wait_without_success_is_a_lower_bound(waited: float, moves: bool) -> None:
    load_times = LoadTimes()
    load_times.observe("e", "m", 20.0)
    before = load_times.expected("e", "m").median
    load_times.observe("e", "m", waited, finished=False)
    after = load_times.expected("e", "m").median
    assert (after > 1.2 * before) == moves
    assert after >= before


def test_lower_bounds_alone_raise_the_estimate() -> None:
    # With deadlines of 30 s and a load of 100 s, no call ever finds the model loaded.
    load_times = LoadTimes()
    for _ in range(20):
        load_times.observe("e", "m", 30.0, finished=False)
    assert load_times.expected("e", "m").median > 30


def test_probes_alone_find_the_load_time() -> None:
    # Of each load of 20 s, only the last early probe and the first late one are known.
    load_times, rng, late = LoadTimes(), random.Random(3), []
    for _ in range(40):
        expected = load_times.expected("e", "m")
        too_early, at = 0.0, 0.02
        while at < 20.0:
            too_early = at
            at += probe_delay(at, median=expected.median, sigma=expected.sigma, cost=0.07) * rng.uniform(0.95, 1.05)
        late.append(at / 20.0 - 1)
        load_times.observe("e", "m", at, at_least=too_early)
    assert load_times.expected("e", "m").median == pytest.approx(20.0, rel=0.1)
    assert statistics.median(late[10:]) < 0.11


def test_bounds_that_were_expected_add_little() -> None:
    load_times = LoadTimes()
    for _ in range(5):
        load_times.observe("e", "m", 20.0)
    before = load_times.expected("e", "m")
    load_times.observe("e", "m", 60.0, at_least=0.02)
    after = load_times.expected("e", "m")
    assert after.median == pytest.approx(before.median, rel=0.01)
    load_times.observe("e", "m", 60.0, at_least=55.0)
    assert load_times.expected("e", "m").median > 1.1 * after.median


@pytest.mark.parametrize("at_least", [0.0, 1e-9, 20.0, 1e9])
@pytest.mark.parametrize("seconds", [1e-9, 20.0, 1e9])
def test_extreme_bounds_keep_the_estimate_finite(seconds: float, at_least: float) -> None:
    load_times = LoadTimes()
    for _ in range(3):
        load_times.observe("e", "m", seconds, at_least=at_least)
        expected = load_times.expected("e", "m")
        assert 0 < expected.median < math.inf
        assert 0.1 <= expected.sigma < math.inf


def test_memory_is_bounded() -> None:
    load_times = LoadTimes(max_models=100)
    for number in range(1000):
        load_times.observe("e", f"m{number}", 10.0)
        load_times.observe("e", "often", 10.0)
    assert len(load_times) == 100
    assert load_times.expected("e", "often").source == "model"


def test_load_times_are_saved_and_loaded(tmp_path: Path) -> None:
    source, target = LoadTimes(), LoadTimes()
    for _ in range(3):
        source.observe("e", "m", 40.0)
        source.observe("e", "m", 8.0, reload=True)
    target.observe("e", "mine", 12.0)
    path = tmp_path / "loads.json"
    source.save(path)
    assert target.load(path) == 1
    assert target.expected("e", "m") == source.expected("e", "m")
    assert target.expected("e", "m", reload=True) == source.expected("e", "m", reload=True)
    assert target.expected("e", "mine").source == "model"
    assert [each.name for each in tmp_path.iterdir()] == ["loads.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"version": 2, "models": []}',
        '{"models": [{"endpoint": "e", "model": "m", "curves": [1]}]}',
        '{"models": [{"endpoint": "e", "model": "m", "curves": [1, NaN, 0, 0, 0, 0]}]}',
    ],
)
def test_an_invalid_file_is_rejected_and_changes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "loads.json"
    path.write_text(text)
    load_times = LoadTimes()
    with pytest.raises(InvalidInputError, match="load times"):
        load_times.load(path)
    assert len(load_times) == 0
    with pytest.raises(InvalidInputError):
        load_times.load(tmp_path / "absent.json")
