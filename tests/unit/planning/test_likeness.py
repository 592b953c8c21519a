"""Models that are too unlike to share an endpoint: which, what they do to the others, and what a split gives."""

import attrs
import numpy as np
import pytest

from mme_sdk.planning import SLO, Catalogue, HostingPlan, ModelProfile, Workload, plan
from mme_sdk.planning.questions.likeness import _larger_group
from mme_sdk.planning.simulation import HIT
from mme_sdk.planning.simulation.inputs import Ints
from tests.unit.planning.typed import arrivals

PRICES = {"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23}
SMALL = ModelProfile(memory_bytes=60 << 20, disk_bytes=60 << 20, load_seconds=0.5)
LARGE = attrs.evolve(SMALL, memory_bytes=3 << 30, disk_bytes=3 << 30, load_seconds=8.0)
SLOW = attrs.evolve(SMALL, service_seconds=1.5, service_cv=0.1)


RATES = {f"usual-{number}": 6.0 / (number + 1) ** 0.8 for number in range(100)}
RATES |= {f"odd-{number}": 0.15 for number in range(6)}


def planned(group: ModelProfile) -> HostingPlan:
    profiles = {name: group if name.startswith("odd") else SMALL for name in RATES}
    return _advice(Workload.from_rates(RATES), Catalogue(profiles))


def _advice(load: Workload, models: Catalogue) -> HostingPlan:
    return plan(load, catalogue=models, slo=SLO(p95=8.0), prices=PRICES, requests=6000)


@pytest.fixture(scope="module")
def by_size() -> HostingPlan:
    return planned(LARGE)


def _asked(found: HostingPlan) -> Ints:
    """Return the model of each request that counts."""
    return np.concatenate([run.index[run.uncounted :] for run in found.search.demand.replays(6000, 0)])


def test_models_that_are_alike_get_no_warning() -> None:
    found = planned(attrs.evolve(SMALL, memory_bytes=150 << 20))
    assert found.unlike_models() == ()
    assert "unlike" not in found.report()


def test_large_models_are_found_and_their_effect_is_that_of_the_simulation(by_size: HostingPlan) -> None:
    (group,) = by_size.unlike_models()
    assert (group.by, group.models) == ("size", tuple(f"odd-{number}" for number in range(6)))
    assert len(group.others) == 100
    assert group.means == (pytest.approx(3 << 30), pytest.approx(60 << 20))
    ran = by_size.simulate()
    usual = _asked(by_size) < 100
    latency, kinds = ran.latency[ran.skip :][usual], ran.kinds[ran.skip :][usual]
    assert group.together.requests == len(latency)
    assert group.together.cold_rate == np.mean(kinds != HIT)
    assert group.together.p99 == np.quantile(latency, 0.99)
    assert group.together.cold_rate > 1.1 * group.alike.cold_rate


def test_what_it_would_be_if_they_were_alike_is_the_plan_of_models_that_are(by_size: HostingPlan) -> None:
    (group,) = by_size.unlike_models()
    alike = planned(SMALL).simulate(by_size.best)
    usual = _asked(by_size) < 100
    assert group.alike.cold_rate == np.mean(alike.kinds[alike.skip :][usual] != HIT)
    assert group.alike.p99 == pytest.approx(np.quantile(alike.latency[alike.skip :][usual], 0.99))


def test_the_split_is_what_plans_for_the_parts_say(by_size: HostingPlan) -> None:
    (group,) = by_size.unlike_models()
    assert group.split is not None
    demand = by_size.search.demand
    for which, option in zip((range(100), range(100, 106)), group.split, strict=True):
        own = plan(
            demand.workload.only(list(which)), catalogue=demand.catalogue, slo=by_size.search.slo, prices=PRICES,
            requests=6000,
        )  # fmt: skip
        assert (option.layout, option.cost) == (own.best.layout, own.best.cost)
        assert option.simulated == own.best.simulated
    assert group.split_cost == sum(each.cost for each in group.split)
    others = group.split[0]
    assert others.cold_rate < group.together.cold_rate


def test_the_report_tells_it(by_size: HostingPlan) -> None:
    (group,) = by_size.unlike_models()
    assert str(group) in by_size.report()
    assert str(group).startswith(
        f"6 models with {group.share:.1%} of the requests are 51 times as large as the other 100"
    )
    assert "A split by size costs " in str(group)
    assert f"({group.split_cost:,.0f} instead of {group.cost:,.0f})" in str(group)


@pytest.mark.parametrize("trace", [False, True])
def test_slow_models_are_found(trace: bool) -> None:
    if trace:  # with measured times, which count instead of the catalogue's
        load = Workload.from_rates(RATES).sample(300.0, seed=1)
        times = np.where(arrivals(load)[1] < 100, 0.02, 1.5)
        found = _advice(attrs.evolve(load, service=times), Catalogue({}, SMALL))
    else:
        found = planned(SLOW)
    (group,) = found.unlike_models()
    assert group.by == "latency"
    assert group.means == (pytest.approx(1.5), pytest.approx(0.02))
    assert group.together.p99 > 1.1 * group.alike.p99
    assert "75 times as slow as the other 100" in str(group)


def test_groups_are_separated_at_the_widest_gap_or_where_they_differ_most() -> None:
    one = np.concatenate([np.geomspace(40.0, 160.0, 200), [20_000.0]])
    assert _larger_group(np.arange(201), one).tolist() == [200]
    rng = np.random.default_rng(0)
    halves = np.concatenate([rng.lognormal(0.0, 0.5, 500), rng.lognormal(3.0, 0.5, 500)])
    found = _larger_group(np.arange(1000), halves)
    assert np.mean(found >= 500) > 0.98
    assert 480 < len(found) < 520
    assert not len(_larger_group(np.arange(50), np.full(50, 7.0)))
    assert not len(_larger_group(np.arange(1), np.ones(1)))
    assert not len(_larger_group(np.arange(2), np.array([1.0, 3.9])))
    assert _larger_group(np.arange(2), np.array([4.1, 1.0])).tolist() == [0]
