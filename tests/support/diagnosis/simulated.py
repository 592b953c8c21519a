"""What a diagnosis would see of a simulated fleet: CloudWatch's series and recordings, from a simulation's outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import numpy as np

from mme_sdk.diagnosis import (
    ObservedAlias,
    ObservedEndpoint,
    ObservedPolicy,
    ObservedRegistry,
    ObservedScaling,
    ObservedVariant,
)
from mme_sdk.diagnosis.working_set import best_hit_ratio
from mme_sdk.metrics import EndpointMetrics, Series
from mme_sdk.planning.simulation import FleetConfig, Traffic, simulate
from mme_sdk.planning.simulation.inputs import DISK, HIT, S3, Floats, Ints
from mme_sdk.planning.simulation.result import SimulationResult
from mme_sdk.recording import RecordedMinute

START = datetime(2026, 3, 2, tzinfo=UTC)
VCPUS = 4  # of ml.m5.xlarge
MB = 1_000_000
URI = "s3://ml-models/prod/"


def target(model: int) -> str:
    return f"tenant-{model:03}/v2.tar.gz"


def traffic_of(
    rng: np.random.Generator,
    shares: Floats,
    *,
    calls: int,
    seconds: float,
    service: float,
    load: float = 2.0,
    download: float = 1.0,
    daily: float = 0.0,
    times: Floats | None = None,
    models: Ints | None = None,
) -> Traffic:
    """Independent calls of models with given shares of the traffic; `daily` is the amplitude of a wave."""
    if times is None:
        drawn = np.sort(rng.random(calls)) * seconds
        wave = np.cumsum(1.0 + daily * np.sin(np.linspace(0, 2 * np.pi, 1001)))
        times = np.interp(drawn / seconds, np.concatenate([[0.0], wave]) / wave[-1], np.linspace(0, seconds, 1002))
    if models is None:
        models = rng.choice(len(shares), len(times), p=shares / shares.sum())
    return Traffic(
        times=times,
        models=models,
        service=rng.gamma(8.0, service / 8.0, len(times)),
        disk=np.full(len(shares), 100 * MB),
        memory=np.full(len(shares), 100 * MB),
        download=np.full(len(shares), download),
        load=np.full(len(shares), load),
    )


def fleet(instances: int, models_in_memory: int, **more: Any) -> FleetConfig:
    """Instances whose memory holds a number of models."""
    memory = models_in_memory * 100 * MB
    return FleetConfig(instances=instances, workers=VCPUS, memory_bytes=memory, volume_bytes=1000 * 100 * MB, **more)


def metrics_of(
    traffic: Traffic, result: SimulationResult, config: FleetConfig, seconds: float, before: int = 0
) -> EndpointMetrics:
    """CloudWatch's series of the variant `AllTraffic`; `before` models were loaded earlier."""
    minute = (traffic.times // 60).astype(int)
    cold = result.kinds != HIT
    loads = np.isin(result.kinds, (DISK, S3))
    fetched = result.kinds == S3
    some = np.unique(minute)

    def series(values: Floats, chosen: Any = None, how: str = "mean", unit: str = "s") -> Series:
        chosen = np.ones(len(minute), dtype=bool) if chosen is None else chosen
        sums = np.bincount(minute[chosen], weights=values[chosen], minlength=some[-1] + 1)
        counts = np.bincount(minute[chosen], minlength=some[-1] + 1)
        kept = [int(at) for at in some if counts[at]]
        found = [sums[at] if how == "sum" else sums[at] / counts[at] for at in kept]
        return Series(tuple(START + timedelta(minutes=at) for at in kept), tuple(map(float, found)), unit)

    ones = np.ones(len(minute))
    loaded = before + np.cumsum(np.bincount(minute[loads], minlength=some[-1] + 1))
    evicted = np.zeros(0)
    unloads = Series((), (), "count")
    if result.evictions:  # at the loads after those that filled the memory
        room = config.instances * config.memory_bytes // int(traffic.memory[0])
        late = loads & (before + np.cumsum(loads) > room)
        unloads = series(ones * result.evictions / max(1, late.sum()), late, "sum", "count")
        evicted = np.cumsum(np.bincount(minute[late], minlength=some[-1] + 1)) * result.evictions / max(1, late.sum())
    in_memory = (loaded - evicted if len(evicted) else loaded) / config.instances
    used = in_memory * traffic.memory[0] / config.memory_bytes
    cpu = np.bincount(minute, weights=traffic.service, minlength=some[-1] + 1) / 60 / config.instances * 100
    times = tuple(START + timedelta(minutes=at) for at in range(int(seconds // 60)))

    def each_minute(values: Any, unit: str) -> Series:
        padded = np.concatenate([values, np.full(max(0, len(times) - len(values)), values[-1])])[: len(times)]
        return Series(times, tuple(map(float, padded)), unit)

    none = Series((), (), "count")
    return EndpointMetrics(
        endpoint="scoring",
        variant="AllTraffic",
        start=START,
        end=START + timedelta(seconds=seconds),
        period=60,
        invocations=series(ones, how="sum", unit="count"),
        cache_hit=series(np.where(result.kinds == HIT, 1.0, 0.0), unit="share"),
        model_latency=series(np.where(cold, traffic.service, result.latency)),
        model_latency_p95=series(result.latency),
        overhead=series(ones * 0.004),
        loading_wait=series(result.latency - traffic.service, cold),
        downloading=series(traffic.download[traffic.models], fetched),
        loading=series(traffic.load[traffic.models], loads),
        loads=series(ones, loads, "sum", "count"),
        unloads=unloads,
        loaded_models=each_minute(in_memory, "count"),
        cpu=each_minute(np.pad(cpu, (0, max(0, len(times) - len(cpu)))), "percent"),
        memory=each_minute(10 + 85 * used, "percent"),
        disk=none,
        errors_4xx=none,
        errors_5xx=none,
        model_errors=none,
    )


def minutes_of(traffic: Traffic, result: SimulationResult) -> tuple[RecordedMinute, ...]:
    """The recordings of the callers."""
    minute = (traffic.times // 60).astype(int)
    key = minute * len(traffic.disk) + traffic.models
    keys, place = np.unique(key, return_inverse=True)
    cold = result.kinds != HIT
    calls = np.bincount(place)
    colds = np.bincount(place, weights=cold)
    cold_seconds = np.bincount(place, weights=result.latency * cold)
    warm_seconds = np.bincount(place, weights=result.latency * ~cold)
    return tuple(
        RecordedMinute(
            endpoint="scoring",
            at=START + timedelta(minutes=int(one // len(traffic.disk))),
            model=target(int(one % len(traffic.disk))),
            tenant=f"tenant-{one % len(traffic.disk):03}",
            variant="AllTraffic",
            calls=int(calls[at]),
            cold=int(colds[at]),
            cold_seconds=float(cold_seconds[at]),
            warm_seconds=float(warm_seconds[at]),
        )
        for at, one in enumerate(keys)
    )


def registry_of(count: int) -> ObservedRegistry:
    """A registry whose aliases have moved from v1 to v2 before the time range."""
    before = START - timedelta(days=3)
    return ObservedRegistry(
        uri=URI,
        versions={
            f"tenant-{model:03}/{version}.tar.gz": (f"tenant-{model:03}", version, before)
            for model in range(count)
            for version in ("v1", "v2")
        },
        aliases=tuple(
            ObservedAlias(name=f"tenant-{model:03}", alias="live", versions=("v2",), since=before, before=("v1",))
            for model in range(count)
        ),
    )


def observed(
    traffic: Traffic, config: FleetConfig, seconds: float, *, warm: float = 0.0, seed: int = 0
) -> ObservedEndpoint:
    """Simulate a fleet, and return what a diagnosis sees of it in the last `seconds`, after `warm` seconds."""
    result = simulate(traffic, config, skip=0.0, seed=seed, engine="python")
    shown = traffic.times >= warm
    before = int(np.isin(result.kinds[~shown], (DISK, S3)).sum())
    traffic = attrs.evolve(
        traffic, times=traffic.times[shown] - warm, models=traffic.models[shown], service=traffic.service[shown]
    )
    result = attrs.evolve(result, times=traffic.times, latency=result.latency[shown], kinds=result.kinds[shown])
    variant = ObservedVariant(
        name="AllTraffic",
        instance_type="ml.m5.xlarge",
        instance_count=config.instances,
        weight=1.0,
        model_name="scoring",
        metrics=metrics_of(traffic, result, config, seconds, before),
    )
    return ObservedEndpoint(
        name="scoring",
        status="InService",
        start=START,
        end=START + timedelta(seconds=seconds),
        modified=START - timedelta(days=3),
        config_name="scoring-1",
        variants=(variant,),
        registry=registry_of(len(traffic.disk)),
        minutes=minutes_of(traffic, result),
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
        role="arn:aws:iam::123456789012:role/sagemaker",
        prices={"ml.m5.xlarge": 0.23},
        quotas={"ml.m5.xlarge": 50},
    )


def healthy(seed: int) -> ObservedEndpoint:
    """A random fleet with nothing wrong: the models fit, the CPU is neither full nor idle, and calls hardly fail."""
    rng = np.random.default_rng([20_261_128, seed])
    instances = int(rng.integers(1, 6))
    models = int(rng.integers(3, 150))
    shares: Floats = np.asarray(np.arange(1, models + 1) ** -float(rng.uniform(0.3, 1.2)), dtype=np.float64)
    seconds = float(rng.choice([3600.0, 8 * 3600.0, 24 * 3600.0]))
    calls = int(rng.integers(1_500, 5_000))
    used = float(rng.uniform(0.35 if instances > 2 else 0.03, 0.5))  # mean CPU
    service = used * VCPUS * instances * seconds / calls
    load, download = float(rng.uniform(0.5, 8.0)), float(rng.uniform(0.2, 5.0))
    warm = 0.3 * seconds
    traffic = traffic_of(
        rng,
        shares,
        calls=int(calls * (seconds + warm) / seconds),
        seconds=seconds + warm,
        service=service,
        load=load,
        download=download,
        daily=float(rng.uniform(0.0, 0.6)),
    )
    if rng.random() < 0.5:  # models are added in the course of the time
        born = rng.random(models) * (seconds + warm) * 0.8
        born[: models // 3 + 1] = 0.0
        there = traffic.times >= born[traffic.models]
        traffic = attrs.evolve(
            traffic, times=traffic.times[there], models=traffic.models[there], service=traffic.service[there]
        )
    fits = int(np.ceil(models / instances * rng.uniform(1.6, 3.0))) + 4
    if rng.random() < 0.25:  # the rare models do not fit
        expected = [int(one) for one in shares / shares.sum() * calls]
        while fits > 5 and best_hit_ratio(expected, seconds, (fits - 1) * instances) > 0.97:
            fits -= 1
    config = fleet(instances, fits, loader_slots=int(rng.integers(2, 5)))
    found = observed(traffic, config, seconds, warm=warm, seed=seed)
    found = attrs.evolve(found, minutes=_blemished(rng, found.minutes or ()))
    if rng.random() < 0.5:
        variant = found.variants[0]
        assert variant.metrics is not None
        policy = ObservedPolicy(
            name="p", metric="/aws/sagemaker/Endpoints CPUUtilization", target=60.0 * VCPUS, values=variant.metrics.cpu
        )
        settings = {"min": instances, "max": 2 * instances, "target": 60.0, "metric": "cpu"}
        scaling = ObservedScaling(min=instances, max=2 * instances, policies=(policy,), settings=settings)
        found = attrs.evolve(found, variants=(attrs.evolve(variant, scaling=scaling),))
    if rng.random() < 0.3:
        found = _two_variants(rng, found)
    return found


def _blemished(rng: np.random.Generator, minutes: tuple[RecordedMinute, ...]) -> tuple[RecordedMinute, ...]:
    """Let a call in 200 fail by its input, and one in 500 be throttled once."""
    calls = [one.calls for one in minutes]
    bad, throttled = rng.binomial(calls, 0.005), rng.binomial(calls, 0.002)
    return tuple(
        attrs.evolve(one, errors={"ModelInputError": int(failed)} if failed else {}, throttles=int(late))
        if failed or late
        else one
        for one, failed, late in zip(minutes, bad, throttled, strict=True)
    )


def _two_variants(rng: np.random.Generator, found: ObservedEndpoint) -> ObservedEndpoint:
    """Split the traffic over two variants by weight, each with its own noise."""
    share = float(rng.uniform(0.1, 0.9))
    (variant,) = found.variants
    assert variant.metrics is not None
    variants = []
    for name, part in (("blue", share), ("green", 1.0 - share)):
        seen = variant.metrics
        calls = tuple(float(rng.binomial(int(value), part)) for value in seen.invocations.values)
        slow = tuple(value * float(rng.normal(1.0, 0.1)) for value in seen.model_latency.values)
        errors = tuple(float(rng.binomial(int(value), 0.01)) for value in calls)
        seen = attrs.evolve(
            seen,
            variant=name,
            invocations=attrs.evolve(seen.invocations, values=calls),
            model_latency=attrs.evolve(seen.model_latency, values=slow),
            model_errors=Series(seen.invocations.times, errors, "count"),
        )
        variants.append(attrs.evolve(variant, name=name, weight=part, metrics=seen))
    minutes = [attrs.evolve(one, variant="blue" if rng.random() < share else "green") for one in found.minutes or ()]
    return attrs.evolve(found, variants=tuple(variants), minutes=tuple(minutes))
