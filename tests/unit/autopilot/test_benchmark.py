"""A short version of `benchmarks/autopilot.py`: a small day in the planner's simulator."""

from __future__ import annotations

import statistics
import sys
from types import SimpleNamespace

import attrs
import pytest

from mme_sdk.autopilot import Goal, Rule
from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import autopilot as main
import autopilot_rivals as benchmark
from autopilot_days import Kind, draw, movement, with_warming, working_set
from autopilot_fleet import run_compiled, run_reference

sys.path.remove(str(ROOT / "benchmarks"))

RULE = Rule(goal=Goal(cold_seconds_per_hour=100.0), shrink_by=30)


@pytest.fixture(scope="module")
def day():
    return draw(Kind(sleep=1.0, total_mib=1.2 * 260 * 1024), seed=1, calls=8_000, models=100)


@pytest.fixture(scope="module")
def trial(day):
    return benchmark.Trial(day=day)


def test_the_autopilot_follows_the_day_and_beats_the_fleets_between_which_it_moves(trial):
    mine, wanted = trial.autopilot(RULE, every=15)
    serving = benchmark.in_service(wanted)
    noon, night = serving[120 + 14 * 60], serving[120 + 4 * 60]
    assert noon > night
    assert all(one <= other for one, other in zip(serving, wanted, strict=True)), "new instances start later"
    least, most = (trial.measure([(0.0, count)], "static") for count in (min(serving), max(serving)))
    assert least.hours < mine.hours < most.hours
    assert most.cold <= mine.cold < least.cold


def test_the_working_set_of_a_day_whose_models_sleep_moves_and_another_does_not(day):
    awake = draw(Kind(sleep=0.0), seed=1, calls=200_000, models=100)
    assert movement(awake) < 0.02
    assert movement(day) > 0.2
    assert working_set(day).min() == 0.0
    assert len(working_set(day)) == 24


def test_the_plan_for_the_average_is_one_that_the_planner_does_not_reject(trial, monkeypatch):
    asked = []

    def plan(*_, **given):
        asked.append(given["max_instances"])
        options = [
            SimpleNamespace(layout=SimpleNamespace(mode=mode, count=count), meets=meets)
            for mode, count, meets in (("hybrid", 2, True), ("shared", 3, False), ("shared", 5, True))
        ]
        return SimpleNamespace(options=options)

    monkeypatch.setattr(benchmark, "plan", plan)
    assert trial.average().detail == "5 instances"
    assert asked == [benchmark.LARGEST]


def test_models_loaded_early_make_fewer_calls_cold():
    kind = Kind(sleep=1.0, total_mib=4.0 * 260 * 1024)
    day, before = (draw(kind, seed=1, calls=8_000, models=30, week=week) for week in (0, 1))
    trial = benchmark.Trial(day=day, before=before)
    week = trial.week(RULE)
    late, early = (trial.learned(RULE, week, "learned", lead=45, warm=warm) for warm in (0, 20))
    assert early.hours == late.hours
    assert early.cold < late.cold
    assert early.cold_seconds < late.cold_seconds
    assert early.detail == "22 models loaded early"


def test_calls_that_load_models_early_are_not_counted(day, trial):
    loading = with_warming(day, [(60.0 * 1500 + number, number % 100) for number in range(400)])
    assert (loading.warming.sum(), len(loading.traffic.times)) == (400, len(day.traffic.times) + 400)
    assert loading.traffic.models[loading.warming].tolist() == [number % 100 for number in range(400)]
    steps = [(0.0, 1)]
    without, counted = (attrs.evolve(trial, day=one).measure(steps, "x") for one in (day, loading))
    all_of_them = attrs.evolve(trial, day=attrs.evolve(loading, warming=None)).measure(steps, "x")
    assert without.cold * len(day.traffic.times) > 100
    assert abs(counted.cold - without.cold) < abs(all_of_them.cold - without.cold)


@pytest.mark.parametrize("sleep", [0.0, 0.6])
def test_it_costs_no_more_than_the_best_fixed_fleet_by_hindsight_give_or_take_an_instance(sleep):
    kind = Kind(sleep=sleep, total_mib=1.0 * 260 * 1024, decades=0.2)
    trial = benchmark.Trial(day=draw(kind, seed=2, calls=6_000, models=60))
    worth = 20.0
    mine, _ = trial.autopilot(Rule(goal=Goal(cold_seconds_per_hour=worth), shrink_by=30), every=15)
    assert mine.cost(worth) <= trial.cheapest(worth).cost(worth) + 24.0


@pytest.mark.slow
def test_a_sweep_over_drawn_settings(capsys):
    pytest.importorskip("numba")
    ratios = main.sweep(8, 100_000)
    assert max(ratios) <= 1.15
    assert statistics.median(ratios) <= 1.0


def test_instances_that_are_added_start_later_and_those_removed_go_at_once():
    assert benchmark.in_service([2, 4, 4, 4, 4, 4, 4, 3, 3]) == [2, 2, 2, 2, 2, 4, 4, 3, 3]
    assert benchmark.merged([2, 2, 3, 3, 2]) == [(0.0, 2), (120.0, 3), (240.0, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("routing", ["sticky", "sticky_to_memory"])
def test_the_compiled_simulator_gives_each_call_the_latency_of_the_fleet_model(day, routing):
    pytest.importorskip("numba")
    config = attrs.evolve(benchmark.CONFIG, routing=routing)
    steps = [(0.0, 3), (9000.5, 5), (30000.5, 4), (50000.5, 7), (70000.5, 2)]
    one, other = (run(day.traffic, config, steps) for run in (run_reference, run_compiled))
    assert (one.kinds == other.kinds).all()
    assert one.latency == pytest.approx(other.latency)
