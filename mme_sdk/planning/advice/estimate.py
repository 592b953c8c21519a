"""Layouts (which models share which endpoint) and their figures by formula."""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.analysis import (
    LatencyMix,
    LoaderQueue,
    cold_share,
    erlang_c,
    load_rates,
    loader_saturation,
    monthly,
    placement_imbalance,
    steadiness,
)
from mme_sdk.planning.simulation.inputs import FleetConfig, Floats, Ints

__all__ = ["DedicatedEndpoint", "HostingEstimate", "HostingLayout", "Mode", "estimate"]

Mode = Literal["shared", "uncached", "dedicated", "hybrid"]
_DRAWS = 12_000


@attrs.frozen
class DedicatedEndpoint:
    """An endpoint with a single model.

    Attributes:
        model: Position of the model in the workload.
        instance_type: Instance type.
        count: Number of instances.
    """

    model: int
    instance_type: str
    count: int


@attrs.frozen(kw_only=True)
class HostingLayout:
    """Which models share an endpoint, which have their own, and on which instances.

    Attributes:
        mode: `shared` (one multi-model endpoint), `uncached` (the same with ModelCacheSetting=Disabled), `dedicated`
            (one endpoint for each model) or `hybrid` (the busiest models dedicated, the others shared).
        instance_type: Instance type of the shared endpoint; None (the default) without one.
        count: Number of instances of the shared endpoint. Default 0.
        dedicated: The endpoints with a single model. Default empty.
    """

    mode: Mode
    instance_type: str | None = None
    count: int = 0
    dedicated: tuple[DedicatedEndpoint, ...] = ()

    def __str__(self) -> str:
        shared = f"{self.count} x {self.instance_type}" if self.instance_type else ""
        alone = f"{sum(each.count for each in self.dedicated)} dedicated instances" if self.dedicated else ""
        return f"{self.mode}: {' + '.join(part for part in (shared, alone) if part)}"


@attrs.frozen(kw_only=True, eq=False)
class HostingEstimate:
    """The figures of a layout by formula.

    Attributes:
        cost: Cost per month of 730 hours, in the currency of the prices.
        cold_rate: Share of all requests that wait while their model loads, 0 to 1.
        s3_rate: Share of all requests that wait while their model is downloaded from S3, 0 to 1.
        p50: Median latency, seconds.
        p95: 95th percentile of the latency, seconds.
        p99: 99th percentile of the latency, seconds.
        loader_saturation: Utilisation of the shared endpoint's loader slots at the peak; 1 is fully busy.
        cpu: vCPU utilisation of its busiest instance at the peak; 1 is fully busy.
        memory_fill: Memory that all shared models need, relative to the memory for models.
        cold_by_model: Share of each model's requests that wait while it loads, 0 to 1; one element for each model.
        loading: Mean time of a load, seconds; one element for each model.
        mix: The distribution from which latencies are drawn; None if a model does not fit.
        blockers: The limits that the layout exceeds, in words; empty if it meets the SLO.
    """

    cost: float
    cold_rate: float
    s3_rate: float
    p50: float
    p95: float
    p99: float
    loader_saturation: float
    cpu: float
    memory_fill: float
    cold_by_model: Floats = attrs.field(repr=False)
    loading: Floats = attrs.field(repr=False)
    mix: LatencyMix | None = attrs.field(repr=False)
    blockers: tuple[str, ...]


@attrs.define
class _Shared:
    """The shared endpoint's part of the figures; arrays have one element for each shared model."""

    lead_disk: Floats
    lead_s3: Floats
    join: Floats
    join_left: Floats
    disk_seconds: Floats
    s3_seconds: Floats
    disk_queue: LoaderQueue
    s3_queue: LoaderQueue
    wait_share: float
    wait_seconds: float
    saturation: float
    cpu: float
    fill: float


def estimate(
    layout: HostingLayout,
    demand: Demand,
    types: dict[str, InstanceType],
    prices: dict[str, float],
    slo: SLO,
    assumptions: Assumptions,
    *,
    seed: int = 0,
    draws: int = _DRAWS,
) -> HostingEstimate:
    """Return the figures of a layout by formula.

    Args:
        layout: The layout.
        demand: The traffic and the models.
        types: Instance types by name.
        prices: Price per instance and hour, by type.
        slo: The service level objective.
        assumptions: Figures that AWS does not document.
        seed: Seed of the draws that give the quantiles. Default 0.
        draws: Number of draws. Default 12,000.

    Returns:
        Cost, cold rate, latencies, utilisation, and the limits that are exceeded.
    """
    models = len(demand.workload.models)
    alone = np.asarray([each.model for each in layout.dedicated], dtype=np.int64)
    mask = np.ones(models, dtype=bool)
    mask[alone] = False
    together = np.flatnonzero(mask)
    cost = sum(monthly(prices[each.instance_type], each.count) for each in layout.dedicated)
    wait_share, wait_seconds = np.zeros(models), np.zeros(models)
    lead_disk, lead_s3, join, join_left = np.zeros(models), np.zeros(models), np.zeros(models), np.full(models, 0.5)
    disk_seconds, s3_seconds = demand.load.copy(), demand.load.copy()
    shared = None
    if layout.instance_type is not None:
        kind = types[layout.instance_type]
        cost += monthly(prices[kind.name], layout.count)
        large = _too_large(together, demand, kind, assumptions)
        if large:
            return _impossible(cost, models, large)
        shared = _shared(layout, together, demand, kind, assumptions)
        lead_disk[together], lead_s3[together], join[together] = shared.lead_disk, shared.lead_s3, shared.join
        join_left[together] = shared.join_left
        disk_seconds[together], s3_seconds[together] = shared.disk_seconds, shared.s3_seconds
        wait_share[together], wait_seconds[together] = shared.wait_share, shared.wait_seconds
    for each in layout.dedicated:
        rate = demand.workload.rates[each.model] / each.count
        servers, service = types[each.instance_type].vcpus, demand.service[each.model]
        if rate * service < servers:
            wait_share[each.model] = erlang_c(servers, rate * service)
            steady = steadiness(servers, rate * service, float(demand.service_cv[each.model]) ** 2)
            wait_seconds[each.model] = service / (servers - rate * service) * steady
    rates = demand.workload.rates
    cold = lead_disk + lead_s3 + join
    mix = LatencyMix(
        rates=rates,
        service=demand.service,
        service_cv=demand.service_cv,
        lead_disk=lead_disk,
        lead_s3=lead_s3,
        join=join,
        join_left=join_left,
        disk_seconds=disk_seconds,
        s3_seconds=s3_seconds,
        disk_queue=shared.disk_queue if shared else None,
        s3_queue=shared.s3_queue if shared else None,
        wait_share=wait_share,
        wait_seconds=wait_seconds,
    )
    p50, p95, p99 = np.quantile(mix.draw(draws, np.random.default_rng(seed)), (0.5, 0.95, 0.99))
    leads = np.maximum(lead_disk + lead_s3, 1e-300)
    found = HostingEstimate(
        cost=cost,
        cold_rate=float(rates @ cold / rates.sum()),
        s3_rate=float(rates @ lead_s3 / rates.sum()),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        loader_saturation=shared.saturation if shared else 0.0,
        cpu=shared.cpu if shared else 0.0,
        memory_fill=shared.fill if shared else 0.0,
        cold_by_model=cold,
        loading=np.where(
            lead_disk + lead_s3 > 0, (lead_disk * disk_seconds + lead_s3 * s3_seconds) / leads, s3_seconds
        ),
        mix=mix,
        blockers=(),
    )
    return attrs.evolve(found, blockers=exceeded(found, slo, assumptions))


def exceeded(found: HostingEstimate, slo: SLO, assumptions: Assumptions) -> tuple[str, ...]:
    """Return the limits that a layout exceeds, in words."""
    blockers = []
    if found.loader_saturation > assumptions.loader_limit:
        blockers.append(
            f"loader slots are {_busy(found.loader_saturation)} busy at the peak, over the limit of "
            f"{assumptions.loader_limit:.0%}: the fleet may not recover from a burst"
        )
    if found.cpu > assumptions.cpu_limit:
        blockers.append(f"vCPUs are {_busy(found.cpu)} busy at the peak, over the limit of {assumptions.cpu_limit:.0%}")
    for name in ("p50", "p95", "p99"):
        limit, value = getattr(slo, name), getattr(found, name)
        if limit is not None and value > limit:
            blockers.append(f"{name} is {value:.3g} s, over {limit:g} s")
    if slo.cold_rate is not None and found.cold_rate > slo.cold_rate:
        blockers.append(f"{found.cold_rate:.2%} of the requests are cold, over {slo.cold_rate:.2%}")
    return tuple(blockers)


def _busy(share: float) -> str:
    return f"{share:.0%}" if share < 10 else "over 1000%"


def _too_large(which: Ints, demand: Demand, kind: InstanceType, assumptions: Assumptions) -> str | None:
    config = fleet_config(kind, 1, assumptions)
    for what, sizes, limit in (
        ("memory", demand.memory, config.memory_bytes),
        ("volume", demand.disk, config.volume_bytes),
    ):
        worst = int(which[np.argmax(sizes[which])])
        if sizes[worst] > limit:
            return (
                f"{demand.workload.models[worst]} needs {sizes[worst] / 2**30:.2f} GiB, more than the {what} for "
                f"models on {kind.name} ({limit / 2**30:.2f} GiB)"
            )
    return None


def _impossible(cost: float, models: int, why: str) -> HostingEstimate:
    never = float("inf")
    return HostingEstimate(
        cost=cost, cold_rate=1.0, s3_rate=1.0, p50=never, p95=never, p99=never, loader_saturation=never, cpu=never,
        memory_fill=never, cold_by_model=np.ones(models), loading=np.zeros(models), mix=None, blockers=(why,),
    )  # fmt: skip


def _shared(
    layout: HostingLayout, which: Ints, demand: Demand, kind: InstanceType, assumptions: Assumptions
) -> _Shared:
    cache, count = layout.mode != "uncached", layout.count
    config = fleet_config(kind, count, assumptions, cache=cache)
    rates, service = demand.workload.rates[which], demand.service[which]
    memory, disk, load = demand.memory[which], demand.disk[which], demand.load[which]
    s3_seconds = demand.download(kind, assumptions)[which] + load
    peak = assumptions.peak or demand.peak
    total = float(rates.sum())
    # A model with many concurrent requests has copies on several instances, which share its traffic.
    copies = np.clip(rates * service / (0.6 * assumptions.spill_outstanding), 1.0, count)
    pinned = np.isin(which, np.asarray(demand.pinned, dtype=np.int64))
    capacity = _usable(config.memory_bytes, memory) * count - float((memory * copies)[pinned].sum())
    volume = _usable(config.volume_bytes, disk) * count - float((disk * copies)[pinned].sum())
    table = demand.residency.only(which)
    sizes, files = np.where(pinned, 0.0, memory * copies), np.where(pinned, 0.0, disk * copies)
    in_memory = on_volume = np.zeros(len(which))
    queue_seconds = 0.0
    loads = np.zeros(len(which))
    holding, from_s3 = s3_seconds, np.ones(len(which))
    loading, joining, join_left = s3_seconds, np.zeros(len(which)), np.full(len(which), 0.5)
    for _ in range(6 if cache else 1):  # loading models use memory too, and wait for each other
        if cache:
            taken = float((loads * load) @ memory)
            age = table.age(sizes, max(capacity - taken, 1.0))
            in_memory = np.where(pinned, 1.0, table.hits(age))
            age = table.age(files, max(volume, 1.0))
            on_volume = np.maximum(in_memory, np.where(pinned, 1.0, table.hits(age)))
        else:
            in_memory = on_volume = table.hits(float(np.average(service, weights=rates + 1e-300)))
        missing = np.maximum(1.0 - in_memory, 1e-300)
        from_s3 = (1.0 - on_volume) / missing
        holding = load + from_s3 * (s3_seconds - load)
        loading = holding + queue_seconds
        joining, join_left = table.followers(loading)
        loads = load_rates(rates, in_memory, joining)
        queue_seconds = _loader_wait(loads, holding, from_s3, config)
    imbalance = placement_imbalance(
        rates, loads, in_memory, sizes, instances=count, fitting=max(capacity, 1.0) / max(float(sizes.sum()), 1.0)
    )
    tied = 1.0 - float(loads @ from_s3) / max(
        float(loads.sum()), 1e-300
    )  # a model that is downloaded can go to every instance
    cold = cold_share(in_memory, joining)
    leads = loads / np.maximum(rates, 1e-300)
    work = rates * service
    top = float(np.max(work / copies))
    busiest = max(float(work.sum()) / count, top)
    others = (float(work.sum()) - busiest) / max(count - 1, 1)
    square = float(rates @ (service**2 * (1.0 + demand.service_cv[which] ** 2))) / total
    varied = max(square / max((float(work.sum()) / total) ** 2, 1e-300) - 1.0, 0.0)
    mean_service = float(work.sum()) / total
    wait_share = wait = 0.0
    for load_of, weight in ((busiest, busiest), (others, others * (count - 1))):
        part = weight / max(float(work.sum()), 1e-300)
        waits = erlang_c(config.workers, load_of)
        wait_share += part * waits
        queue = mean_service / max(config.workers - load_of, 0.02 * config.workers)
        wait += part * waits * queue * steadiness(config.workers, load_of, varied)
    return _Shared(
        lead_disk=leads * (1.0 - from_s3),
        lead_s3=leads * from_s3,
        join=np.maximum(cold - leads, 0.0),
        join_left=join_left,
        disk_seconds=load,
        s3_seconds=s3_seconds,
        disk_queue=LoaderQueue(
            servers=config.loader_slots, loads=loads / count, holding=holding, imbalance=tied * imbalance
        ),
        s3_queue=LoaderQueue(servers=config.loader_slots * count, loads=loads, holding=holding),
        wait_share=wait_share,
        wait_seconds=wait / wait_share if wait_share > 0 else 0.0,
        saturation=loader_saturation(loads, holding, instances=count, slots=config.loader_slots) * peak,
        cpu=busiest * peak / config.workers,
        fill=float((memory * copies).sum()) / (config.memory_bytes * count),
    )


def _usable(size: int, sizes: Floats) -> float:
    """Return the bytes that whole models can fill; half a mean model stays free on average."""
    smallest, largest = float(sizes.min()), float(sizes.max())
    lost = size % largest if smallest == largest else float(sizes.mean()) / 2.0
    return max(size - lost, largest)


def _loader_wait(loads: Floats, holding: Floats, from_s3: Floats, config: FleetConfig) -> float:
    """Return the mean wait of a load for a loader slot, seconds.

    A model whose files are on no volume goes to the least busy instance, which is nearly one queue for all loader
    slots. A reload goes to the instance that has the files.
    """
    total = float(loads.sum())
    if total <= 0:
        return 0.0
    mean = float(loads @ holding) / total
    varied = max(float(loads @ holding**2) / total / mean**2 - 1.0, 0.0)
    anywhere = float(loads @ from_s3) / total
    seconds = 0.0
    for part, instances in ((anywhere, config.instances), (1.0 - anywhere, 1)):
        servers, busy = config.loader_slots * instances, total * mean / config.instances * instances
        wait = erlang_c(servers, busy) * mean / max(servers - busy, 0.02 * servers)
        seconds += part * wait * steadiness(servers, busy, varied)
    return seconds
