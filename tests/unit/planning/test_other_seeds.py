"""What a plan says of its advice holds for other draws of the requests and other placements of the models."""

import attrs
import numpy as np
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import SLO, Assumptions, Catalogue, HostingPlan, ModelProfile, Workload, plan
from mme_sdk.planning.advice import confirm, replay
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.simulated import SimulatedFigures, figures, simulate_layout
from mme_sdk.planning.synthetic import arrivals
from tests.unit.planning.typed import present, simulated

SMALL = ModelProfile(memory_bytes=60 << 20, disk_bytes=60 << 20, load_seconds=0.5)
LARGE = attrs.evolve(SMALL, memory_bytes=3 << 30, disk_bytes=3 << 30, load_seconds=5.0)


def others(found: HostingPlan, layout: HostingLayout, seeds: int = 4) -> list[SimulatedFigures]:
    """Return the figures of a layout with other seeds."""
    return [
        figures(
            present(simulate_layout(found.search, layout, requests=found.requests, seed=11 + seed)), found.search.slo
        )
        for seed in range(seeds)
    ]


def test_intervals_hold_whatever_the_placement() -> None:
    """Six models of 3 GiB and a hundred small ones just fit: some placements have cold requests, others have none."""
    models = {f"small-{number}": SMALL for number in range(100)} | {f"large-{number}": LARGE for number in range(6)}
    rates = {name: 0.016 if name.startswith("large") else 1.0 / (number + 1) for number, name in enumerate(models)}
    found = plan(
        Workload.from_rates(rates), catalogue=models, slo=SLO(p99=4.0), prices={"ml.r5.large": 0.151}, requests=22_000
    )
    seen, again = simulated(found.best), others(found, found.best.layout)
    assert seen.runs == 20
    assert max(each.cold_rate for each in again) > 0.002
    cold = float(np.mean([each.cold_rate for each in again]))
    assert seen.cold_interval[0] <= cold <= seen.cold_interval[1]
    for each in again:
        assert seen.p99_interval[0] <= each.p99_interval[1]
        assert each.p99_interval[0] <= seen.p99_interval[1]


def test_a_trace_is_replayed_with_several_placements() -> None:
    """Of ten equally busy models, five, six or more may be on one instance."""
    rng = np.random.default_rng(0)
    number = np.arange(1500)
    load = Workload.from_trace({"time": number / 100.0, "model": rng.integers(0, 10, len(number))})
    found = plan(load, catalogue=SMALL, slo=SLO(p99=2.0), prices={"ml.m5.large": 0.115}, requests=1000)
    seen = simulated(found.best)
    assert (seen.runs, seen.requests) == (20, 20 * 1500)
    for each in others(found, found.best.layout):
        assert seen.p99_interval[0] <= each.p99_interval[1]
        assert each.p99_interval[0] <= seen.p99_interval[1]
    assert "All 1,500 requests of the trace were simulated 20 times, each time from another moment on" in found.report()


def test_each_replay_has_the_whole_trace_from_another_moment_on() -> None:
    load = Workload.zipf(5, rate=10.0).sample(50.0, seed=1)
    times, index = present(load.times), present(load.index)
    runs = replay.replays(load, requests=1000, seed=0)
    assert len(runs) == 20
    for number, run in enumerate(runs):
        start = len(times) * number // 20
        assert run.index.tolist() == np.roll(index, -start).tolist()
        assert (np.diff(run.times) >= 0).all()
        assert run.times[-1] < load.duration
        latest = list(dict.fromkeys(run.index[::-1].tolist()))[::-1]
        assert run.past.tolist() == latest  # the trace repeats itself: what a run ends with, it began with
    (whole,) = replay.replays(load, requests=1000, seed=0, single=True)
    assert whole.index.tolist() == index.tolist()


def test_the_requests_of_a_daily_wave_are_of_the_whole_day() -> None:
    """One run of these requests would last 20 minutes of the day, at the mean rate; the peak has 1.9 times as many."""
    load = Workload.from_rates([1.0] * 20, diurnal=0.9)
    runs = replay.replays(load, requests=24_000, seed=0)
    length = 24_000 / 20 / load.rate
    rates = [len(run.times) / length for run in runs]
    assert len(runs) == 20
    for number, rate in enumerate(rates):
        expected = load.rate * (1.0 + 0.9 * np.sin(2.0 * np.pi * (number + 0.5) / 20))
        assert rate == pytest.approx(expected, rel=0.15, abs=1.0)
    assert sum(rates) / 20 == pytest.approx(load.rate, rel=0.03)


def test_a_wave_has_its_requests_in_the_whole_duration() -> None:
    times, _ = arrivals(np.array([1.0]), 21_600.0, diurnal=0.9, rng=np.random.default_rng(0))
    assert times[-1] > 21_500.0
    day = 86_400.0
    expected = 21_600.0 + 0.9 * day / (2 * np.pi) * (1.0 - np.cos(2 * np.pi * 21_600.0 / day))
    assert len(times) == pytest.approx(expected, rel=0.03)


def test_the_use_of_loader_slots_is_simulated() -> None:
    """By formula, copies of these models take memory that evicts others; the simulation has no cold request."""
    load = Workload.zipf(4, rate=1.26)
    models = Catalogue.uniform(memory_mb=4000, load_seconds=30)
    found = plan(load, catalogue=models, prices={"ml.m5.large": 0.115}, requests=4000)
    assert found.best.cold_rate == 0.0
    assert found.best.loaders == simulated(found.best).loaders == 0.0
    for row in found.sensitivity().to_dict("records"):
        assert row["meets the SLO"] or row["loaders"] > 0.7 or "by formula" in row["blocked by"], row
    # One model fits at a time, so that one load takes all the loader slots that can be in use.
    few = HostingLayout(mode="shared", instance_type="ml.m5.large", count=1)
    ran = present(simulate_layout(found.search, few, requests=4000, seed=0))
    seen = figures(ran, SLO(), Assumptions())
    assert seen.loaders > 0.7
    assert seen.overloads


def test_the_factor_that_is_too_much_has_a_reason() -> None:
    found = plan(
        Workload.zipf(20, rate=20.0), catalogue=Catalogue.uniform(memory_mb=100, service_ms=50), slo=SLO(p99=3.0),
        prices={"ml.m5.large": 0.115}, requests=4000,
    )  # fmt: skip
    best = found.best
    assert best.exceeded
    assert "vCPUs" in best.exceeded[0]
    assert "by formula" in best.exceeded[0]
    assert found.what_if(traffic=present(best.exceeded_at)).blockers[: len(best.exceeded)] == best.exceeded
    assert f"with all intervals within the limits). At {best.exceeded_at:.2f} times, {best.exceeded[0]}." in (
        found.report()
    )


def test_the_other_routing_is_among_the_assumptions() -> None:
    given = {
        "catalogue": Catalogue.uniform(memory_mb=400), "slo": SLO(p99=9.0), "prices": {"ml.m5.large": 0.115},
        "requests": 2000,
    }  # fmt: skip
    load = Workload.zipf(40, rate=2.0)
    one = plan(load, **given)
    two = plan(load, **given, assumptions=Assumptions(routing="sticky_to_memory"))
    assert "(routing sticky); AWS does not document it." in one.report()
    assert "(routing sticky_to_memory)" in two.report()
    for found, name in ((one, "evicted models that may move"), (two, "evicted models that return")):
        (row,) = [each for each in found.sensitivity().to_dict("records") if each["case"].startswith(name)]
        routing = "sticky_to_memory" if found is one else "sticky"
        assert row["p99"] == found.what_if(routing=routing).p99
        assert row["cold rate"] != found.best.cold_rate
    assert one.simulate(two.best).cold_rate == simulated(one.what_if(option=two.best)).cold_rate
    with pytest.raises(InvalidInputError, match="routing"):
        Assumptions(routing="nearest")  # type: ignore[arg-type]


def _alike(load: Workload, usual: ModelProfile, **changes: ModelProfile) -> dict[str, ModelProfile]:
    """Return the same profile for all models but those at given positions, `at_3` for example."""
    return {name: changes.get(f"at_{number}", usual) for number, name in enumerate(load.models)}


TRACE = Workload.zipf(50, exponent=0.8483604, rate=1.8130973).sample(6000.0 / 1.8130973, seed=7)
MEDIUM = ModelProfile(memory_bytes=432288975, disk_bytes=432288975, load_seconds=2.0442787, service_seconds=0.00580913)
GIANT = attrs.evolve(MEDIUM, memory_bytes=4194304000, disk_bytes=4194304000)
BURSTS = Workload.azure(20, rate=5.3298721, cv=2.0, seed=19)
QUICK = ModelProfile(memory_bytes=381643695, disk_bytes=381643695, load_seconds=0.3443194, service_seconds=0.01801684)
SLOW = attrs.evolve(QUICK, service_seconds=0.3603368)
CHEAP = {"ml.m5.large": 0.115, "ml.t2.medium": 0.056}


@pytest.mark.parametrize(
    ("load", "models", "slo", "requests"),
    [
        # One seed had loader slots 69.98 % busy at 2.06 times the traffic, the others up to 70.02 %.
        pytest.param(TRACE, _alike(TRACE, MEDIUM, at_25=GIANT), SLO(), 6000, marks=pytest.mark.slow),
        # One seed had a p99 below 2.15 s at 5.48 times the traffic, another 10.8 s.
        (BURSTS, _alike(BURSTS, QUICK, at_3=SLOW, at_10=SLOW, at_17=SLOW), SLO(p99=2.15165), 6000),
    ],
)
def test_the_headroom_holds_with_other_seeds(
    load: Workload, models: dict[str, ModelProfile], slo: SLO, requests: int
) -> None:
    found = plan(load, catalogue=models, slo=slo, prices=CHEAP, requests=requests)
    best = found.best
    factor = present(best.headroom)
    assert factor > 1.0
    demand = found.search.demand.faster(factor)
    for seed in range(50, 53):
        ran = present(simulate_layout(found.search, best.layout, requests=requests, seed=seed, demand=demand))
        seen = figures(ran, slo)
        assert not seen.blockers, factor
        assert not seen.overloads, factor
    assert not found.what_if(traffic=factor).risks
    assert f"at {factor:.2f} times the traffic (simulated, with all intervals within the limits)" in found.report()


def test_a_limit_inside_an_interval_is_told() -> None:
    """Of the advice, of the same without an instance and of a change, if the upper end alone is over the limit."""
    load, models = Workload.zipf(40, rate=2.0), Catalogue.uniform(memory_mb=400)
    free = plan(load, catalogue=models, prices={"ml.m5.large": 0.115}, requests=2000).best

    def planned(limit: float) -> HostingPlan:
        return plan(load, catalogue=models, slo=SLO(p99=limit), prices={"ml.m5.large": 0.115}, requests=2000)

    seen, less = simulated(free), present(free.without_one)
    found = planned((seen.p99 + seen.p99_interval[1]) / 2.0)
    assert found.best.meets
    assert found.best.layout == free.layout
    assert found.best.risks == found.best.exceeded
    assert (found.best.headroom, found.best.exceeded_at) == (1.0, 1.0)
    (risk,) = found.best.risks
    assert risk.startswith(f"p99 may be {seen.p99_interval[1]:.3g} s, over ")
    assert (
        f"With other seeds and the same traffic it may exceed a limit, as an interval does: {risk}." in found.report()
    )
    assert found.what_ifs().iloc[0]["may exceed"] == risk
    assert f"meets the SLO; with other seeds, {risk}" in found.report()

    found = planned((less.p99 + less.p99_interval[1]) / 2.0)
    assert found.best.failure == ()
    (risk,) = present(found.best.without_one).risks
    assert f"With other seeds and without that instance it may exceed a limit, as an interval does: {risk}." in (
        found.report()
    )


def test_changes_and_headroom_are_about_the_loss_of_an_instance_too() -> None:
    """If the SLO must hold after it: a change meets the SLO, and may exceed it, under the conditions of the advice."""
    load, models = Workload.zipf(40, rate=2.0), Catalogue.uniform(memory_mb=400)

    def planned(slo: SLO) -> HostingPlan:
        return plan(load, catalogue=models, slo=slo, prices={"ml.m5.large": 0.115}, requests=2000)

    free = planned(SLO())
    less = present(free.best.without_one)
    found = planned(SLO(p99=(less.p99 + less.p99_interval[1]) / 2.0, survive_failure=True))
    assert found.best.layout == free.best.layout
    again = found.what_if()
    assert (again.failure, again.without_one) == (found.best.failure, found.best.without_one)
    assert any(each.startswith("after the loss of one instance: ") for each in again.risks)
    assert again.risks == found.best.risks == found.best.exceeded
    assert found.what_ifs().iloc[0]["may exceed"] == "; ".join(again.risks)

    found = planned(SLO(p99=1.5 * less.p99_interval[1], survive_failure=True))
    factor = present(found.best.headroom)
    assert 1.0 < factor < 16.0
    held = found.what_if(traffic=factor)
    assert held.failure == ()
    assert not held.risks
    lost = found.what_if(traffic=2.0 * factor)
    assert not present(lost.simulated).blockers
    assert any(each.startswith("after the loss of one instance: ") for each in lost.blockers)


def test_a_factor_near_a_collapse_is_not_promised() -> None:
    """Nothing is exceeded up to 2.00 times the traffic, but the endpoint collapses over 1.95 times."""
    limits: tuple[str, ...] = ("p99 is 9 s",)

    def exceeded(factor: float) -> tuple[str, ...]:
        return limits if factor > 2.0 else ()

    def collapses(factor: float) -> tuple[str, ...]:
        return ("it is near a collapse",) if factor * 1.05 > 2.0 else ()

    found = confirm._retreat(2.0, 2.1, limits, exceeded=exceeded, collapses=collapses)
    assert found == (1.9, 2.0, ("it is near a collapse",))
    assert confirm._retreat(1.5, 2.1, limits, exceeded=exceeded, collapses=collapses) == (1.5, 2.1, limits)
    always = confirm._retreat(2.0, 2.1, limits, exceeded=exceeded, collapses=lambda _: ("it is near a collapse",))
    assert always == (1.0, 1.72, ("it is near a collapse",))
