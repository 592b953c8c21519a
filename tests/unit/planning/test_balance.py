"""The balance of residency, joins and waits for loader slots: it is found, and better conditions are never worse."""

import numpy as np
import pytest

from mme_sdk.instance_types import known
from mme_sdk.planning import SLO, Assumptions, Catalogue, HostingLayout, Workload
from mme_sdk.planning.advice.demand import Demand
from mme_sdk.planning.advice.estimate import estimate
from mme_sdk.planning.advice.shared import balanced_wait

TYPES = {name: known()[name] for name in ("ml.m5.large", "ml.m5.xlarge", "ml.r5.large")}
PRICES = dict.fromkeys(TYPES, 1.0)


def figures(load, profile, *, kind="ml.m5.large", count=2, **assumptions):
    layout = HostingLayout(mode="shared", instance_type=kind, count=count)
    demand = Demand(load, Catalogue.uniform(**profile))
    return estimate(layout, demand, TYPES, PRICES, SLO(), Assumptions(**assumptions), draws=100)


def test_loaders_that_are_overloaded_are_found_to_be():
    """Repeated substitution swings between 15 % and 171 % here; the simulated p99 is 120 s."""
    found = figures(Workload.zipf(4, rate=1.26), {"memory_mb": 4000, "load_seconds": 30}, count=1)
    assert found.loader_saturation > 0.8
    assert found.cold_rate > 0.95
    assert "loader slots" in found.blockers[0]


@pytest.mark.parametrize("steep", [0.1, 1.0, 30.0, 1e4])
def test_a_wait_that_reproduces_itself_is_found_however_steep_its_function(steep):
    def wait(seconds):
        return steep / (1.0 + steep * seconds)

    exact = (np.sqrt(1.0 + 4.0 * steep * steep) - 1.0) / (2.0 * steep)
    assert balanced_wait(wait, 1.0) == pytest.approx(exact, abs=2e-3)


def test_a_wait_that_is_infinite_for_short_waits_is_found():
    assert balanced_wait(lambda seconds: np.inf if seconds < 40.0 else 0.0, 1.0) == pytest.approx(40.0, rel=2e-3)


@pytest.mark.parametrize("excess", [1.0, 0.0])
def test_a_wait_that_never_reproduces_itself_is_without_end(excess):
    """Copies from bursts overload the loader slots however long the loads wait."""
    assert balanced_wait(lambda seconds: (1.0 + 1e-9) * seconds + excess, 1.0) >= 1e9
    assert balanced_wait(lambda _: np.inf, 1.0) >= 1e9


def test_the_wait_is_found_within_a_thousandth_whatever_its_function():
    rng = np.random.default_rng(0)
    for number in range(150):
        height, steep, power = rng.lognormal(0, 2), rng.lognormal(0, 2), rng.uniform(0.3, 6)
        scale = rng.lognormal(0, 1)

        def wait(seconds, height=height, steep=steep, power=power, kind=number % 3):
            if kind == 0:
                return height / (1.0 + steep * seconds) ** power
            if kind == 1:
                return np.inf if seconds < height else height * np.exp(steep * (height - seconds)) + 0.01
            return height if seconds < steep else height / 50.0

        found = balanced_wait(wait, scale)
        apart = 1e-3 * max(scale, found)
        assert found <= apart or wait(found - apart) > found - apart
        assert wait(found + apart) <= found + apart


def _settings(number):
    rng = np.random.default_rng(18)
    for _ in range(number):
        load = Workload.zipf(int(rng.integers(2, 60)), exponent=rng.uniform(0, 1.3), rate=rng.lognormal(0, 1.5))
        profile = {
            "memory_mb": float(rng.integers(50, 2500)),
            "load_seconds": float(rng.lognormal(1, 1.2)),
            "service_ms": float(rng.integers(5, 100)),
        }
        yield load, profile, int(rng.integers(1, 5))


@pytest.mark.parametrize("number", [25, pytest.param(1500, marks=pytest.mark.slow)])
def test_more_instances_more_memory_and_quicker_loads_are_never_worse(number):
    for load, profile, count in _settings(number):
        base = figures(load, profile, count=count)
        quicker = profile | {"load_seconds": profile["load_seconds"] * 0.7}
        for better in (
            figures(load, profile, count=count + 1),
            figures(load, profile, kind="ml.r5.large", count=count),
            figures(load, quicker, count=count),
            figures(load.scaled(traffic=0.8), profile, count=count),
        ):
            known = f"{load!r} {profile} {count}: {base} {better}"
            assert better.cold_rate <= base.cold_rate * 1.01 + 1e-4, known
            assert better.loader_saturation <= base.loader_saturation * 1.01 + 1e-3, known


@pytest.mark.parametrize(("cv", "about"), [(1.0, 0.013), (4.0, 0.027), (6.0, 0.085)])
def test_bursts_load_copies_on_further_instances(cv, about):
    """Simulated shares (`simulate_layout`, 40,000 requests). Without such copies the formula gives 0.002 at 6."""
    load = Workload.zipf(258, exponent=0.6, rate=5.0, cv=cv)
    found = estimate(
        HostingLayout(mode="shared", instance_type="ml.r5.xlarge", count=2),
        Demand(load, Catalogue.uniform(memory_mb=200)),
        {"ml.r5.xlarge": known()["ml.r5.xlarge"]},
        {"ml.r5.xlarge": 1.0},
        SLO(),
        Assumptions(),
    )
    assert found.cold_rate == pytest.approx(about, rel=0.3)
