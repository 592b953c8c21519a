"""Faults of a simulated fleet are found; nothing is found in random healthy fleets."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

from mme_sdk.diagnosis import Diagnosis, ObservedPolicy, ObservedScaling, diagnose
from mme_sdk.diagnosis.working_set import best_hit_ratio, instances_for
from mme_sdk.fleet import RoutingName
from mme_sdk.planning.analysis import che
from mme_sdk.planning.simulation import Deploy, ScaleOut, simulate
from mme_sdk.planning.simulation.inputs import Floats
from tests.support.diagnosis.simulated import fleet, healthy, observed, target, traffic_of

HOUR = 3600.0


def zipf(count: int, exponent: float) -> Floats:
    return np.asarray(np.arange(1, count + 1, dtype=float) ** -exponent)


def thrashing_fleet(instances: int = 2) -> Any:
    """60 models in use, and memory for 15 on each instance."""
    traffic = traffic_of(np.random.default_rng(1), zipf(60, 0.3), calls=6000, seconds=2 * HOUR, service=0.3)
    return observed(traffic, fleet(instances, 15, loader_slots=4), 2 * HOUR)


def bursts(
    count: int, size: int, length: float, every: float, rate: float, *, seconds: float, others: int
) -> tuple[Any, Any]:
    """Calls of model 0, steady and in bursts, among those of other models."""
    rng = np.random.default_rng(1)
    rest = rng.random(others) * seconds
    steady = rng.random(int(rate * seconds)) * seconds
    hot = [first + rng.random(size) * length for first in np.arange(900.0, seconds - length, every)]
    times = np.concatenate([rest, steady, *hot])
    models = np.concatenate([rng.integers(1, count, others), np.zeros(len(times) - others, dtype=int)])
    order = np.argsort(times)
    return times[order], models[order]


def only(found: Diagnosis, kind: str) -> Any:
    assert [one.kind for one in found] == [kind], repr(found)
    return found.findings[0]


def test_thrashing_is_found_and_the_command_cures_it() -> None:
    finding = only(diagnose(thrashing_fleet()), "thrashing")
    numbers = {one.name: one.value for one in finding.evidence}
    assert numbers["unloads"] > 2000
    assert numbers["hit ratio"] < 0.6
    assert numbers["hit ratio that the memory of 2 can give"] == pytest.approx(numbers["hit ratio"], abs=0.08)
    assert finding.command.python == 'client.endpoint("scoring").scale(4, variant="AllTraffic", replace=True)'
    assert finding.command.shell == "mme endpoints scale scoring 4 --variant AllTraffic --replace"
    assert finding.cost.unit == "cold seconds"
    assert finding.cost.value > 1000
    assert diagnose(thrashing_fleet(4)).of("thrashing") == ()


@pytest.mark.parametrize(("routing", "added"), [("sticky", True), ("sticky_to_memory", False)])
def test_new_instances_end_thrashing_and_added_ones_only_if_evicted_models_go_anywhere(
    routing: RoutingName, added: bool
) -> None:
    """The remedy says both; the command is the one that the simulation upholds under both rules."""
    load = traffic_of(np.random.default_rng(1), zipf(60, 0.3), calls=6000, seconds=2 * HOUR, service=0.3)
    config = fleet(2, 15, loader_slots=4, routing=routing)
    half = HOUR
    more = ScaleOut(at=half, count=2)
    cold = {
        name: simulate(load, config, timeline=timeline, skip=0.6).cold_rate
        for name, timeline in {"as it is": (), "added": (more,), "replaced": (more, Deploy(at=half))}.items()
    }
    assert cold["as it is"] > 0.4
    assert (cold["added"] > 0.4) is added, cold
    assert cold["replaced"] < 0.1, cold
    assert "added instances stay nearly empty" in only(diagnose(thrashing_fleet()), "thrashing").remedy


def test_thrashing_is_found_with_less_confidence_without_recordings() -> None:
    finding = only(diagnose(attrs.evolve(thrashing_fleet(), minutes=None)), "thrashing")
    assert finding.confidence < 0.7
    assert "scale(3" in finding.command.python
    assert finding.cost.value == pytest.approx(only(diagnose(thrashing_fleet()), "thrashing").cost.value, rel=0.3)


def test_autoscaling_that_does_not_see_the_memory_is_found() -> None:
    seen = thrashing_fleet()
    variant = seen.variants[0]
    policy = ObservedPolicy(
        name="cpu", metric="/aws/sagemaker/Endpoints CPUUtilization", target=240.0, values=variant.metrics.cpu
    )
    scaling = ObservedScaling(min=2, max=6, policies=(policy,), settings={"min": 2, "max": 6, "metric": "cpu"})
    found: Any = diagnose(attrs.evolve(seen, variants=(attrs.evolve(variant, scaling=scaling),)))
    assert [one.kind for one in found] == ["thrashing", "autoscaling_cannot_move"]
    expected = 'client.endpoint("scoring").autoscale(Autoscaling(min=4, max=6, metric="cpu"), variant="AllTraffic")'
    assert {one.command.python for one in found} == {expected}


def test_recordings_that_do_not_name_every_model_count_less() -> None:
    """A recorder keeps the busiest models; the others are one sum without a name."""
    seen = thrashing_fleet()
    rest = tuple(attrs.evolve(one, model=None) if one.model > target(40) else one for one in seen.minutes)
    found = diagnose(attrs.evolve(seen, minutes=rest))
    assert only(found, "thrashing").confidence < 0.7


def test_models_that_are_called_once_are_not_thrashing() -> None:
    """No memory gives hits for them: the finding would be wrong."""
    rng = np.random.default_rng(1)
    models = np.concatenate([np.arange(400), rng.integers(0, 3, 250)])
    times = np.sort(rng.random(650)) * 2 * HOUR
    rng.shuffle(models)
    traffic = traffic_of(
        rng, np.ones(400), calls=0, seconds=2 * HOUR, service=0.3, times=times, models=models, load=0.5
    )
    seen: Any = observed(traffic, fleet(2, 15, loader_slots=4), 2 * HOUR)
    assert seen.variants[0].metrics.unloads.total > 250
    assert diagnose(seen).of("thrashing") == ()
    assert len(diagnose(attrs.evolve(seen, minutes=None)).of("thrashing")) == 1  # then it cannot be told apart


def test_too_few_loader_slots_are_found() -> None:
    rng = np.random.default_rng(1)
    traffic = traffic_of(rng, np.ones(80), calls=4000, seconds=HOUR, service=0.1, load=20.0)
    finding = only(diagnose(observed(traffic, fleet(1, 100, loader_slots=1), HOUR)), "loader_slots")
    numbers = {one.name: one.value for one in finding.evidence}
    assert numbers["load"] == pytest.approx(20.0)
    assert numbers["wait of a cold request"] > 100
    assert "scale(4" in finding.command.python
    assert diagnose(observed(traffic, fleet(1, 100, loader_slots=80), HOUR)).of("loader_slots") == ()


def test_an_oversized_fleet_is_found_with_what_it_costs() -> None:
    rng = np.random.default_rng(1)
    traffic = traffic_of(rng, zipf(20, 0.5), calls=5000, seconds=24 * HOUR, service=0.5, daily=0.5)
    seen: Any = observed(traffic, fleet(6, 20), 24 * HOUR)
    finding = only(diagnose(seen), "oversized_fleet")
    assert "scale(2" in finding.command.python
    assert (finding.cost.value, finding.cost.unit) == (pytest.approx(0.23 * 730 * 4), "USD per month")
    assert only(diagnose(attrs.evolve(seen, prices=None)), "oversized_fleet").cost is None
    assert diagnose(observed(traffic, fleet(2, 20), 24 * HOUR)).findings == ()


def test_a_fleet_whose_cpu_is_not_known_is_not_called_oversized() -> None:
    rng = np.random.default_rng(1)
    traffic = traffic_of(rng, zipf(20, 0.5), calls=5000, seconds=24 * HOUR, service=0.5)
    seen: Any = observed(traffic, fleet(6, 20), 24 * HOUR)
    variant = seen.variants[0]
    blind = attrs.evolve(variant.metrics, cpu=attrs.evolve(variant.metrics.cpu, times=(), values=()))
    found = diagnose(attrs.evolve(seen, variants=(attrs.evolve(variant, metrics=blind),)))
    assert found.findings == ()
    assert any("too large is not known" in one for one in found.missing)


def test_a_hot_model_whose_latency_suffers_is_found() -> None:
    times, models = bursts(20, 420, 120.0, 1500.0, 0.16, seconds=2 * HOUR, others=3000)
    rng = np.random.default_rng(1)
    traffic = traffic_of(rng, np.ones(20), calls=0, seconds=2 * HOUR, service=1.0, times=times, models=models)
    finding = only(diagnose(observed(traffic, fleet(1, 30), 2 * HOUR)), "hot_model")
    assert finding.subject == target(0)
    numbers = {one.name: one.value for one in finding.evidence}
    assert numbers["latency in its busiest quarter of the minutes"] > 2
    assert 'artifact="s3://ml-models/prod/tenant-000/v2.tar.gz"' in finding.command.python
    assert diagnose(observed(traffic, fleet(6, 30, spill_outstanding=4), 2 * HOUR)).of("hot_model") == ()


def test_a_model_that_spills_again_and_again_is_found() -> None:
    times, models = bursts(80, 80, 60.0, 1200.0, 0.25, seconds=4 * HOUR, others=16_000)
    rng = np.random.default_rng(1)
    traffic = traffic_of(rng, np.ones(80), calls=0, seconds=4 * HOUR, service=2.0, times=times, models=models, load=3.0)
    finding: Any
    (finding,) = diagnose(observed(traffic, fleet(2, 29), 4 * HOUR)).of("spilling_model")
    assert finding.subject == target(0)
    assert finding.cost.value > 1
    roomy = diagnose(observed(traffic, fleet(2, 90), 4 * HOUR))
    assert roomy.of("spilling_model") == ()  # each instance loads its copy once


def findings_in_healthy(seeds: range) -> list[str]:
    found = [(seed, diagnose(healthy(seed))) for seed in seeds]
    return [f"seed {seed}:\n{one!r}" for seed, one in found if one.findings]


def test_nothing_is_found_in_healthy_fleets() -> None:
    assert findings_in_healthy(range(20)) == []


@pytest.mark.slow
def test_under_two_percent_of_200_healthy_fleets_have_a_finding() -> None:
    wrong = findings_in_healthy(range(200))
    assert len(wrong) < 4, "\n\n".join(wrong)


@pytest.mark.parametrize("capacity", [1, 5, 20, 39])
def test_the_hit_ratio_of_a_memory_is_that_of_the_planner(capacity: int) -> None:
    calls = [int(one) for one in 1e6 * zipf(40, 0.8)]
    rates = np.array(calls) / HOUR
    expected = float(np.average(che(rates, np.ones(40), float(capacity)), weights=rates))
    assert best_hit_ratio(calls, HOUR, capacity) == pytest.approx(expected, abs=1e-4)


def test_no_memory_is_better_than_one_miss_for_each_model() -> None:
    assert best_hit_ratio([10, 10], HOUR, 2) == pytest.approx(0.9)
    assert best_hit_ratio([], HOUR, 2) == 1.0
    assert best_hit_ratio([1, 1, 1], HOUR, 2) == 0.0
    assert instances_for([100] * 40, HOUR, 10, 2) == (4, pytest.approx(0.99))
