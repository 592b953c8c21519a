"""The fast engines agree with the fleet model driven event by event, call for call, bit for bit."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation import FAILED, HIT, FleetConfig, Traffic, simulate


def traffic(*, requests=2500, models=60, rate=60.0, exponent=0.9, work=0.02, load=0.3, seed=0, vary=True):
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, models + 1) ** exponent
    return Traffic(
        times=np.cumsum(rng.exponential(1.0 / rate, requests)),
        models=rng.choice(models, requests, p=weights / weights.sum()),
        service=rng.exponential(work, requests),
        disk=rng.integers(50, 150, models),
        memory=rng.integers(50, 150, models),
        download=rng.uniform(0.5, 1.5, models) * load,
        load=rng.uniform(0.5, 1.5, models) * load,
        factors=rng.lognormal(0.0, 0.3, requests) if vary else None,
    )


SITES = {
    "one instance, memory tight": {"instances": 1, "workers": 4, "memory_bytes": 2000, "volume_bytes": 9000},
    "one instance, both tight": {"instances": 1, "workers": 4, "memory_bytes": 2000, "volume_bytes": 2600},
    "volume smaller than memory": {"instances": 2, "workers": 2, "memory_bytes": 3000, "volume_bytes": 1500},
    "four instances": {"instances": 4, "workers": 2, "memory_bytes": 900, "volume_bytes": 3000, "loader_slots": 1},
    "hot models spill": {
        "instances": 3,
        "workers": 1,
        "memory_bytes": 1500,
        "volume_bytes": 2500,
        "spill_outstanding": 2,
    },
    "everything fits": {"instances": 2, "workers": 2, "memory_bytes": 10**6, "volume_bytes": 10**6},
    "all in use": {"instances": 2, "workers": 8, "memory_bytes": 300, "volume_bytes": 700, "loader_slots": 3},
    "scattered": {
        "instances": 3,
        "workers": 2,
        "memory_bytes": 1500,
        "volume_bytes": 2500,
        "routing": "scatter",
        "spill_outstanding": 3,
    },
    "to memory": {
        "instances": 3,
        "workers": 2,
        "memory_bytes": 900,
        "volume_bytes": 2500,
        "routing": "sticky_to_memory",
        "spill_outstanding": 3,
    },
    "random": {"instances": 3, "workers": 2, "memory_bytes": 1500, "volume_bytes": 2500, "routing": "random"},
    "no cache": {"instances": 2, "workers": 2, "memory_bytes": 1500, "volume_bytes": 2500, "cache_enabled": False},
}


def same(one, other):
    assert (one.kinds == other.kinds).all()
    assert (one.latency == other.latency).all()  # to the last bit
    for name in ("evictions", "discards", "duplicate_loads"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("engine", ["python", "numba"])
@pytest.mark.parametrize("config", SITES.values(), ids=SITES)
@pytest.mark.parametrize("rate", [20.0, 80.0], ids=["calm", "saturated"])
def test_fast_engines_agree_with_the_fleet(config, engine, rate):
    load = traffic(rate=rate)
    config = FleetConfig(**config)
    same(simulate(load, config, engine=engine), simulate(load, config, engine="fleet"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    models=st.integers(1, 30),
    rate=st.sampled_from([2.0, 20.0, 200.0]),
    work=st.sampled_from([0.001, 0.05, 1.0]),
    load=st.sampled_from([0.01, 0.5, 5.0]),
    config=st.fixed_dictionaries(
        {
            "instances": st.integers(1, 5),
            "workers": st.integers(1, 6),
            "memory_bytes": st.integers(150, 1500),
            "volume_bytes": st.integers(150, 2500),
            "loader_slots": st.integers(1, 4),
            "spill_outstanding": st.integers(1, 9),
            "cache_enabled": st.booleans(),
            "routing": st.sampled_from(["sticky", "sticky_to_memory", "scatter", "random"]),
        }
    ),
)
def test_engines_agree_on_anything(seed, models, rate, work, load, config):
    calls = traffic(requests=300, models=models, rate=rate, work=work, load=load, seed=seed)
    reference = simulate(calls, FleetConfig(**config), engine="fleet", seed=seed)
    same(simulate(calls, FleetConfig(**config), engine="python", seed=seed), reference)
    same(simulate(calls, FleetConfig(**config), engine="numba", seed=seed), reference)


def test_every_call_is_answered_and_takes_at_least_its_work():
    load = traffic()
    found = simulate(load, FleetConfig(**SITES["four instances"]), engine="python")
    assert (found.latency >= load.service - 1e-12).all()
    assert found.success == 1.0
    assert FAILED not in found.kinds


def test_first_calls_come_from_s3_and_what_fits_is_loaded_once():
    load = traffic()
    found = simulate(load, FleetConfig(**SITES["everything fits"] | {"instances": 1}), engine="python", skip=0.0)
    assert (found.kinds == 3).sum() == len(np.unique(load.models))
    assert found.evictions == 0


@pytest.mark.parametrize("engine", ["python", "numba"])
def test_arrays_that_may_not_be_written_or_are_strided_will_do(engine):
    load = traffic(requests=500)
    given = {}
    for name in ("times", "models", "service", "disk", "memory", "download", "load", "factors"):
        given[name] = np.repeat(getattr(load, name), 2)[::2]
        given[name].flags.writeable = False
    config = FleetConfig(**SITES["four instances"])
    same(simulate(Traffic(**given), config, engine=engine), simulate(load, config, engine="fleet"))


def test_a_warm_call_on_an_idle_instance_takes_its_work_alone():
    calls = Traffic(
        times=[0.0, 10.0, 20.0], models=[0, 0, 0], service=[0.5, 0.25, 0.125], disk=[1], memory=[1], download=[2.0],
        load=[1.0],
    )  # fmt: skip
    found = simulate(calls, FleetConfig(instances=1, workers=1, memory_bytes=1, volume_bytes=1), skip=0.0)
    assert found.latency.tolist() == [3.5, 0.25, 0.125]
    assert found.kinds.tolist() == [3, HIT, HIT]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.0, 2.0, 1.0]}, "ascending"),
        ({"times": [0.0, float("nan"), 1.0]}, "finite"),
        ({"service": [1.0, -1.0, 1.0]}, "negative"),
        ({"models": [0, 1, 0]}, "positions"),
        ({"times": [], "models": [], "service": []}, "no requests"),
        ({"memory": [0]}, "size"),
        ({"models": [0, 0]}, "same length"),
        ({"factors": [1.0]}, "one element for each request"),
        ({"factors": [1.0, float("nan"), 1.0]}, "factors must be finite"),
        ({"factors": [1.0, -1.0, 1.0]}, "not negative"),
    ],
)
def test_bad_traffic_is_refused(change, message):
    good = {
        "times": [0.0, 1.0, 2.0],
        "models": [0, 0, 0],
        "service": [1.0] * 3,
        "disk": [1],
        "memory": [1],
        "download": [1.0],
        "load": [1.0],
    }
    with pytest.raises(InvalidInputError, match=message):
        Traffic(**good | change)


def test_a_model_larger_than_an_instance_and_a_wrong_engine_are_refused():
    calls = traffic(requests=10)
    with pytest.raises(InvalidInputError, match="more than the memory"):
        simulate(calls, FleetConfig(instances=1, workers=1, memory_bytes=10, volume_bytes=10**6))
    from mme_sdk.planning.simulation import NoRetries

    with pytest.raises(InvalidInputError, match="does not support"):
        simulate(calls, FleetConfig(**SITES["everything fits"]), engine="python", clients=NoRetries())
    with pytest.raises(InvalidInputError, match="instances must be"):
        FleetConfig(instances=0, workers=1, memory_bytes=1, volume_bytes=1)
