"""The formulas against exact counts, simulations and published figures."""

from collections import OrderedDict
from heapq import heapreplace

import numpy as np
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import Workload
from mme_sdk.planning.analysis import (
    Empirical,
    Gamma,
    LatencyMix,
    LoaderQueue,
    Poisson,
    Tabulated,
    aet_miss_ratio,
    characteristic_time,
    che,
    cold_share,
    dedicated_instances,
    delayed_share,
    erlang_c,
    load_rates,
    mean_wait,
    miss_ratio_at,
    monthly,
    placement_imbalance,
    renewal_che,
    routing_bounds,
    stack_distances,
    two_levels,
)
from mme_sdk.planning.analysis.stack import _distances
from tests.unit.planning.typed import arrivals

ONES = np.ones(1000)
ZIPF = Workload.zipf(1000, exponent=0.9, rate=100.0)
WEIGHTS = ZIPF.rates / ZIPF.rate


def lru_misses(index, sizes, capacity):
    cache, used, misses = OrderedDict(), 0.0, 0
    for model in index:
        if model in cache:
            cache.move_to_end(model)
            continue
        misses += 1
        cache[model] = None
        used += sizes[model]
        while used > capacity:
            used -= sizes[cache.popitem(last=False)[0]]
    return misses / len(index)


def test_stack_distances_are_what_an_lru_cache_does_at_every_capacity():
    rng = np.random.default_rng(1)
    index, sizes = rng.zipf(1.3, 4000) % 50, np.ones(50)
    distances = stack_distances(index, sizes)
    for capacity in (1, 3, 10, 49):
        assert miss_ratio_at(distances, [capacity])[0] == pytest.approx(lru_misses(index, sizes, capacity))


def test_compiled_and_plain_stack_distances_are_the_same():
    rng = np.random.default_rng(2)
    index, sizes = rng.integers(0, 80, 3000), rng.integers(1, 9, 80).astype(float)
    assert (stack_distances(index, sizes) == _distances(index.tolist(), sizes.tolist())).all()


def test_che_gives_the_published_miss_ratio_and_that_of_a_trace():
    miss = 1.0 - WEIGHTS @ che(ZIPF.rates, ONES, 100.0)
    assert miss == pytest.approx(0.52449, abs=5e-5)
    trace = ZIPF.sample(10_000.0, seed=1)
    seen = miss_ratio_at(stack_distances(arrivals(trace)[1])[200_000:], [100.0])[0]
    assert miss == pytest.approx(seen, abs=0.003)


@pytest.mark.parametrize(("cv", "published"), [(2.0, 0.2920), (4.0, 0.1006), (8.0, 0.0276)])
def test_renewal_che_and_aet_are_right_where_poisson_is_far_off(cv, published):
    miss = 1.0 - WEIGHTS @ renewal_che(ZIPF.rates, ONES, 100.0, cv=cv)
    assert miss == pytest.approx(published, abs=3e-4)
    trace = Workload.zipf(1000, exponent=0.9, rate=100.0, cv=cv).sample(6_000.0, seed=2)
    distances = stack_distances(arrivals(trace)[1])
    seen = miss_ratio_at(distances, [100.0])[0]
    assert miss == pytest.approx(seen, abs=0.005)
    assert aet_miss_ratio(arrivals(trace)[1], [100.0])[0] == pytest.approx(seen, abs=0.002)
    gaps = Empirical.of(*arrivals(trace), 1000, trace.duration)
    hits = gaps.hits(characteristic_time(gaps, ONES, 100.0))
    assert 1.0 - hits @ gaps.counts / gaps.counts.sum() == pytest.approx(seen, abs=0.002)
    poisson = 1.0 - WEIGHTS @ che(ZIPF.rates, ONES, 100.0)
    assert poisson > 1.5 * seen  # what assuming Poisson would have said
    assert trace.cv == cv
    assert Workload.from_trace({"time": trace.times, "model": trace.index}).cv == pytest.approx(cv, rel=0.05)


def test_two_levels_give_the_published_shares():
    shares = [float(WEIGHTS @ part) for part in two_levels(Poisson(ZIPF.rates), ONES, ONES, 100.0, 300.0)]
    assert shares == pytest.approx([0.4755, 0.2239, 0.3006], abs=2e-4)
    assert sum(shares) == pytest.approx(1.0)


def test_lognormal_sizes_stay_within_the_published_error():
    rng = np.random.default_rng(3)
    sizes = rng.lognormal(0.0, 0.8, 1000)
    capacity = 0.15 * sizes.sum()
    trace = ZIPF.sample(10_000.0, seed=4)
    seen = miss_ratio_at(stack_distances(arrivals(trace)[1], sizes)[200_000:], [capacity])[0]
    assert 1.0 - WEIGHTS @ che(ZIPF.rates, sizes, capacity) == pytest.approx(seen, abs=0.006)


@pytest.mark.parametrize("residency", [Poisson(ZIPF.rates), Gamma(ZIPF.rates, 3.0)])
def test_tables_say_what_they_were_made_from(residency):
    table = Tabulated.of(residency)
    age = characteristic_time(residency, ONES, 100.0)
    assert table.age(ONES, 100.0) == pytest.approx(age, rel=0.02)
    assert table.hits(age) == pytest.approx(residency.hits(age), abs=0.01)
    counts, left = table.followers(np.full(1000, 2.0))
    assert counts == pytest.approx(residency.followers(2.0), rel=0.05)
    assert ((left >= 0.45) & (left < 1.0)).all()


def test_followers_of_bursty_traffic_as_counted_in_a_trace():
    bursty = Workload.from_rates([1.0], cv=4.0).sample(50_000.0, seed=5)
    counted = Empirical.of(*arrivals(bursty), 1, bursty.duration).followers(2.0)[0]
    assert Gamma(np.ones(1), 4.0).followers(2.0)[0] == pytest.approx(counted, rel=0.08)
    assert counted > 2 * 2.0  # Poisson would say 2


@pytest.mark.parametrize(
    ("servers", "load", "expected"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (4, 3.0, 0.5094), (10, 10.0, 1.0), (3, 0.0, 0.0)]
)
def test_erlang_c(servers, load, expected):
    assert erlang_c(servers, load) == pytest.approx(expected, abs=1e-4)


def test_waits_are_those_of_known_queues():
    assert mean_wait(1, 0.5, 1.0) == pytest.approx(1.0)  # M/M/1: u/(1-u)
    assert mean_wait(1, 0.5, 1.0, cv=0.0) == pytest.approx(0.5)  # M/D/1: half of it
    assert mean_wait(1, 0.5, 1.0, cv=3.0) == pytest.approx(5.0)  # Pollaczek-Khinchine
    assert mean_wait(2, 5.0, 1.0) == float("inf")


def queue_by_hand(rate, servers, works, count, rng):
    free, now, waits = [0.0] * servers, 0.0, []
    for gap, work in zip(rng.exponential(1.0 / rate, count), rng.choice(works, count), strict=True):
        now += gap
        start = max(now, free[0])
        heapreplace(free, start + work)
        waits.append(start - now)
    return waits


@pytest.mark.parametrize(("servers", "rate", "works"), [(1, 0.6, [1.0]), (2, 1.3, [1.0]), (3, 0.9, [1.0, 3.0])])
def test_waits_for_a_loader_have_the_distribution_of_their_queue(servers, rate, works):
    queue = LoaderQueue(servers=servers, loads=np.full(len(works), rate / len(works)), holding=np.array(works))
    drawn = queue.draw(300_000, np.random.default_rng(1))
    seen = queue_by_hand(rate, servers, works, 300_000, np.random.default_rng(2))
    for q in (0.5, 0.8, 0.95, 0.99):
        assert np.quantile(drawn, q) == pytest.approx(np.quantile(seen, q), rel=0.04, abs=0.02)
    assert np.mean(drawn > 0) == pytest.approx(np.mean(np.asarray(seen) > 0), abs=0.01)


def test_uneven_queues_are_those_that_more_loads_see():
    rng = np.random.default_rng(3)
    even = {"servers": 2, "loads": np.array([0.8]), "holding": np.array([1.0])}
    assert len(LoaderQueue(**even).draw(7, rng)) == 7
    assert not LoaderQueue(servers=2, loads=np.zeros(1), holding=np.ones(1)).draw(5, rng).any()
    uneven = LoaderQueue(**even, imbalance=0.25).draw(300_000, rng).mean()
    factors = rng.gamma(16.0, 1 / 16.0, 4000)
    mean = np.average([mean_wait(2, 0.8 * each, 1.0, cv=0.0) for each in factors], weights=factors)
    assert uneven == pytest.approx(mean, rel=0.05)
    assert uneven > 1.15 * LoaderQueue(**even).draw(300_000, rng).mean()


def test_a_rare_load_that_is_long_delays_those_behind_it():
    """One model of 16,384 loads in 400 s, the others in 0.1 s: without it, the mean wait is 0.006 s."""
    holding = np.full(16_384, 0.1)
    holding[7] = 400.0
    queue = LoaderQueue(servers=1, loads=np.full(len(holding), 1.0 / len(holding)), holding=holding)
    assert 0.5 < queue.draw(200_000, np.random.default_rng(0)).mean() < 5.0


@pytest.mark.parametrize("evenly", [False, True])
def test_imbalance_is_that_of_models_dealt_out_to_caches(evenly):
    rng, count = np.random.default_rng(4), 4
    whole = Poisson(ZIPF.rates)
    age = characteristic_time(whole, ONES, 400.0)
    loads, seen = ZIPF.rates * (1.0 - whole.hits(age)), []
    for _ in range(60):
        order = rng.permutation(1000)
        dealt = order % count if evenly else rng.integers(0, count, 1000)
        for instance in range(count):
            part = Poisson(ZIPF.rates[dealt == instance])
            age_here = characteristic_time(part, np.ones(len(part.rates)), 400.0 / count)
            seen.append(float(part.rates @ (1.0 - part.hits(age_here))))
    expected = float(np.std(seen) / np.mean(seen))
    found = placement_imbalance(
        ZIPF.rates, loads, whole.present(age), ONES, instances=count, fitting=1.0 if evenly else 0.0
    )
    assert found == pytest.approx(expected, rel=0.15)
    assert placement_imbalance(ZIPF.rates, loads, whole.present(age), ONES, instances=1, fitting=0.0) == 0.0


def test_a_load_is_started_once_and_joined_by_those_who_come_meanwhile():
    rng = np.random.default_rng(6)
    rate, alive, load = 1.0, 1.0, 2.0  # characteristic time 1 s
    hits = 1.0 - np.exp(-rate * alive)
    started = joined = 0
    loaded_until = loading_until = -1.0
    now, count = 0.0, 200_000
    for gap in rng.exponential(1.0 / rate, count):
        now += gap
        if now < loading_until:
            joined += 1
        elif now < loaded_until:
            loaded_until = now + alive
        else:
            started += 1
            loading_until = now + load
            loaded_until = loading_until + alive
    rates, hit = np.array([rate]), np.array([hits])
    assert load_rates(rates, hit, rates * load)[0] / rate == pytest.approx(started / count, rel=0.02)
    assert cold_share(hit, rates * load)[0] == pytest.approx((started + joined) / count, rel=0.02)


def test_ignoring_those_who_join_a_load_underestimates_waiting():
    """Delayed hits (Atre et al., SIGCOMM 2020): with long loads, many wait who started nothing."""
    hits = che(ZIPF.rates, ONES, 300.0)
    naive = float(WEIGHTS @ (1.0 - hits))
    true = delayed_share(ZIPF.rates, hits, np.full(1000, 3.0))
    assert true > 1.2 * naive


def test_routing_bounds_enclose():
    worst, best = routing_bounds(ZIPF.rates, ONES, 50.0, 4)
    assert best < worst
    assert best == pytest.approx(1.0 - WEIGHTS @ che(ZIPF.rates, ONES, 200.0))
    assert worst == pytest.approx(1.0 - WEIGHTS @ che(ZIPF.rates, ONES, 50.0))


def test_costs():
    assert monthly(0.23, 2) == pytest.approx(335.8)
    counts = dedicated_instances(np.array([0.0, 1.0, 100.0]), np.full(3, 0.06), workers=2, utilisation=0.6)
    assert counts.tolist() == [1, 1, 5]


def test_latencies_are_drawn_from_the_mix():
    one = np.ones(1)
    mix = LatencyMix(
        rates=one, service=0.1 * one, service_cv=0 * one, lead_disk=0 * one, lead_s3=0.25 * one, join=0.25 * one,
        join_left=0.5 * one, disk_seconds=one, s3_seconds=4 * one, disk_queue=None, s3_queue=None,
        wait_share=0 * one, wait_seconds=0 * one,
    )  # fmt: skip
    drawn = mix.draw(200_000, np.random.default_rng(0))
    assert np.mean(drawn < 0.11) == pytest.approx(0.5, abs=0.01)
    assert np.mean(drawn > 4.05) == pytest.approx(0.25, abs=0.01)
    assert drawn[(drawn > 0.11) & (drawn < 4.05)].mean() == pytest.approx(2.1, abs=0.05)


def test_nonsense_is_refused():
    with pytest.raises(InvalidInputError, match="over 0"):
        characteristic_time(Poisson(np.ones(3)), np.ones(3), 0.0)
    with pytest.raises(InvalidInputError, match="server"):
        erlang_c(0, 1.0)
    with pytest.raises(InvalidInputError, match="no requests"):
        aet_miss_ratio(np.array([], dtype=int), [1.0])
    assert characteristic_time(Poisson(np.ones(3)), np.ones(3), 10.0) == float("inf")
