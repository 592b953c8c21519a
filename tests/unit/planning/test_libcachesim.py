"""The hits are those of libCacheSim: of stack distances and of an instance exactly, of the formulas nearly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mme_sdk.planning import Workload
from mme_sdk.planning.analysis import Empirical, Gamma, Poisson, Residency, characteristic_time, stack_distances
from mme_sdk.planning.simulation import DISK, HIT, JOINED, FleetConfig, Traffic, simulate
from mme_sdk.planning.simulation.inputs import Ints
from tests.unit.planning.typed import arrivals

libcachesim: Any = pytest.importorskip("libcachesim", reason="libcachesim is not installed")

MODELS = 200


def _scan(length: int) -> Ints:
    """Requests in a circle over more models than fit, the worst case of LRU, mixed with busy models."""
    rng = np.random.default_rng(3)
    order = np.arange(length) % 150
    return np.where(rng.random(length) < 0.4, rng.zipf(1.5, length) % 30, order).astype(np.int64)


def _shifting(length: int) -> Ints:
    """The busy models change during the trace."""
    rng = np.random.default_rng(4)
    return (rng.zipf(1.4, length) + np.arange(length) // 500 * 17).astype(np.int64) % MODELS


TRACES: dict[str, Ints] = {
    "Zipf": arrivals(Workload.zipf(MODELS, exponent=0.9, rate=10.0).sample(200.0, seed=1))[1],
    "bursts": arrivals(Workload.zipf(MODELS, exponent=0.7, rate=10.0, cv=4.0).sample(200.0, seed=2))[1],
    "uniform": np.random.default_rng(5).integers(0, MODELS, 2000),
    "scan": _scan(2000),
    "shifting": _shifting(2000),
    "once each": np.arange(MODELS, dtype=np.int64),
}


def missed(index: Ints, sizes: Ints, capacity: int) -> list[bool]:
    """Return whether each request misses in libCacheSim's LRU cache."""
    cache = libcachesim.LRU(cache_size=capacity)
    request, misses = libcachesim.Request(), []
    for moment, model in enumerate(index.tolist()):
        request.obj_id, request.obj_size, request.clock_time = model + 1, int(sizes[model]), moment
        misses.append(not cache.get(request))
    return misses


@pytest.mark.parametrize("capacity", [1, 40, 120])
@pytest.mark.parametrize("name", TRACES)
def test_stack_distances_hit_and_miss_as_libcachesim_does(name: str, capacity: int) -> None:
    index = TRACES[name]
    expected = missed(index, np.ones(MODELS, dtype=np.int64), capacity)
    assert (stack_distances(index) > capacity).tolist() == expected


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("name", TRACES)
def test_an_instance_evicts_as_libcachesim_does(name: str, alike: bool) -> None:
    """Requests that come one after another: no model is in use when another one loads."""
    index, rng = TRACES[name], np.random.default_rng(6)
    sizes = np.full(MODELS, 10) if alike else rng.integers(5, 15, MODELS)
    count = len(index)
    traffic = Traffic(
        times=np.arange(count, dtype=float), models=index, service=np.full(count, 0.01), disk=sizes, memory=sizes,
        download=np.full(MODELS, 0.01), load=np.full(MODELS, 0.01),
    )  # fmt: skip
    for capacity in (200, 900):
        config = FleetConfig(instances=1, workers=1, memory_bytes=capacity, volume_bytes=10**6)
        seen = simulate(traffic, config, engine="python", skip=0.0)
        assert not (seen.kinds == JOINED).any()
        assert (seen.kinds != HIT).tolist() == missed(index, sizes, capacity)
        larger = simulate(traffic, FleetConfig(instances=1, workers=1, memory_bytes=20, volume_bytes=capacity),
                          engine="python", skip=0.0)  # fmt: skip
        from_s3 = (larger.kinds != HIT) & (larger.kinds != DISK)
        assert from_s3.tolist() == missed(index, sizes, capacity)  # the volume evicts by the same order


@pytest.mark.parametrize(("name", "exponent", "cv"), [("Zipf", 0.9, 1.0), ("bursts", 0.7, 4.0)])
def test_formulas_are_near_to_libcachesim(name: str, exponent: float, cv: float) -> None:
    load = Workload.zipf(MODELS, exponent=exponent, rate=10.0, cv=cv)
    times, index = arrivals(load.sample(2000.0, seed=7))
    kinds: list[Residency] = [Poisson(load.rates) if cv == 1.0 else Gamma(load.rates, cv)]
    kinds.append(Empirical.of(times, index, MODELS, 2000.0))
    for capacity in (20, 80):
        seen = float(np.mean(missed(index, np.ones(MODELS, dtype=np.int64), capacity)[4000:]))
        for kind in kinds:
            hits = kind.hits(characteristic_time(kind, np.ones(MODELS), float(capacity)))
            rates = np.bincount(index, minlength=MODELS) if isinstance(kind, Empirical) else load.rates
            assert 1.0 - float(hits @ rates) / float(rates.sum()) == pytest.approx(seen, abs=0.015), name
