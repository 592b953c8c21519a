"""Callers who retry, and what happens to a fleet over time: collapse, deploys, crashes, lost instances, scaling."""

import numpy as np
import pytest

from mme_sdk.planning.simulation import (
    FAILED,
    HIT,
    Autoscale,
    Backoff,
    Crash,
    Deploy,
    FleetConfig,
    LoseInstance,
    NoRetries,
    ScaleIn,
    ScaleOut,
    SingleFlight,
    Traffic,
    simulate,
)

# Four instances that hold 50 of 400 models each, with two loaders that take 2.5 s a model.
FLEET = FleetConfig(
    instances=4, workers=4, memory_bytes=50, volume_bytes=400, loader_slots=2, spill_outstanding=8, routing="scatter"
)


def calls(*, rate, seconds, models=400, load=2.5, seed=0):
    rng = np.random.default_rng(seed)
    count = int(rate * seconds)
    weights = 1.0 / np.arange(1, models + 1) ** 0.9
    ones = np.ones(models, dtype=int)
    return Traffic(
        times=np.sort(rng.random(count) * seconds),
        models=rng.choice(models, count, p=weights / weights.sum()),
        service=np.full(count, 0.05),
        disk=ones,
        memory=ones,
        download=np.full(models, 0.01),
        load=np.full(models, load),
    )


@pytest.fixture(scope="module")
def collapse():
    """Ten minutes warm, then a deploy empties the caches; the traffic stays the same all the time."""
    traffic = calls(rate=16.0, seconds=2400)
    policies = {"back-off": Backoff(), "none": NoRetries(), "single flight": SingleFlight(cold_limit=16)}
    found = {
        name: simulate(traffic, FLEET, clients=each, timeline=[Deploy(at=1200)]) for name, each in policies.items()
    }
    ours = found["single flight"]  # its first cold start is over long before the deploy
    assert not (ours.kinds[(ours.times > 600) & (ours.times < 1200)] == FAILED).any()
    return found


def test_a_cold_fleet_collapses_under_naive_retries_and_not_under_single_flight(collapse):
    """The trigger is minutes gone; what keeps the fleet down is the duplicate loads that retries start."""
    late = {name: each.after(1800) for name, each in collapse.items()}
    naive, ours = late["back-off"], late["single flight"]
    assert ours.success == 1.0
    assert late["none"].success < 0.95
    assert naive.quantile(0.95)[0] > 4 * ours.quantile(0.95)[0]
    assert collapse["back-off"].duplicate_loads > 50 * collapse["single flight"].duplicate_loads
    assert naive.attempts[naive.skip :].mean() > 1.3
    assert ours.attempts[ours.skip :].mean() < 1.1


def test_the_effect_is_conditional_with_less_traffic_everybody_recovers():
    traffic = calls(rate=8.0, seconds=900)
    for policy in (Backoff(), SingleFlight(cold_limit=16)):
        found = simulate(traffic, FLEET, clients=policy).after(600)
        assert found.success == 1.0
        assert found.quantile(0.5)[0] < 0.2


def test_a_slow_load_is_answered_429_after_a_minute_and_goes_on():
    one = Traffic(
        times=[0.0, 200.0], models=[0, 0], service=[0.1, 0.1], disk=[1], memory=[1], download=[1.0], load=[90.0]
    )
    config = FleetConfig(instances=1, workers=1, memory_bytes=1, volume_bytes=1)
    found = simulate(one, config, clients=NoRetries(), skip=0.0)
    assert found.kinds.tolist() == [FAILED, HIT]
    assert found.latency[0] == pytest.approx(60.0)
    patient = simulate(one, config, clients=Backoff(base=1e-9), skip=0.0)
    assert patient.success == 1.0
    assert patient.attempts.tolist() == [2, 1]
    assert patient.latency[0] == pytest.approx(91.1, abs=0.01)


def test_followers_do_not_ask_until_their_leader_knows():
    many = Traffic(
        times=np.arange(20) * 0.1, models=np.zeros(20, int), service=np.full(20, 0.01), disk=[1], memory=[1],
        download=[1.0], load=[9.0],
    )  # fmt: skip
    config = FleetConfig(instances=4, workers=4, memory_bytes=1, volume_bytes=1, spill_outstanding=2, routing="scatter")
    alone = simulate(many, config, clients=Backoff(), skip=0.0)
    flight = simulate(many, config, clients=SingleFlight(), skip=0.0)
    assert alone.duplicate_loads == 3
    assert flight.duplicate_loads <= 1  # those who go on together may spill once
    assert flight.success == 1.0


def steady(seconds=600, rate=20.0):
    return calls(rate=rate, seconds=seconds, models=40, load=0.5)


ROOMY = FleetConfig(instances=2, workers=4, memory_bytes=100, volume_bytes=100)


def test_a_deploy_starts_cold():
    found = simulate(steady(), ROOMY, timeline=[Deploy(at=300.0)], skip=0.0)
    cold = found.kinds != HIT
    late = (found.times > 200) & (found.times < 300)
    after = (found.times > 300) & (found.times < 310)
    assert cold[late].mean() < 0.01
    assert cold[after].mean() > 0.2
    assert found.success == 1.0


def test_a_crash_fails_what_runs_and_reloads_from_the_volume():
    found = simulate(steady(), ROOMY, timeline=[Crash(at=300.0, restart=5.0)], skip=0.0)
    failed = found.times[found.kinds == FAILED]
    assert ((failed > 295) & (failed < 301)).all()
    after = found.kinds[(found.times > 301) & (found.times < 400)]
    # From the volume, not from S3; but for what spilled to the other instance meanwhile.
    assert (after == 2).sum() > 5 * (after == 3).sum()


def test_a_lost_instance_is_replaced_and_waiting_calls_go_elsewhere():
    found = simulate(steady(), ROOMY, timeline=[LoseInstance(at=300.0, replaced_after=60.0)], skip=0.0)
    assert [count for _, count in found.capacity] == [2, 1, 2]
    assert found.success > 0.999
    assert (found.kinds[(found.times > 300) & (found.times < 320)] == 3).any()


def test_scaling_out_and_in():
    found = simulate(steady(), ROOMY, timeline=[ScaleOut(at=100.0, count=2), ScaleIn(at=300.0, count=3)], skip=0.0)
    assert [count for _, count in found.capacity] == [2, 4, 1]
    assert found.success == 1.0


def test_autoscaling_follows_the_traffic_with_its_delays():
    rising = np.concatenate([np.arange(0, 600, 0.5), np.arange(600, 1800, 0.05)])
    count = len(rising)
    traffic = Traffic(
        times=rising, models=np.zeros(count, int), service=np.full(count, 0.01), disk=[1], memory=[1], download=[0.1],
        load=[0.1],
    )  # fmt: skip
    config = FleetConfig(instances=1, workers=4, memory_bytes=10, volume_bytes=10)
    found = simulate(traffic, config, timeline=[Autoscale(target=310, minimum=1, maximum=6, provisioning=100.0)])
    moments = {count: time for time, count in found.capacity}
    assert max(moments) == 4  # 1200 a minute over 310
    assert 700 <= moments[4] <= 840
    assert found.success == 1.0
