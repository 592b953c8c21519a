"""The shared endpoint of a layout by formula: residency, loads, and the waits for loader slots and vCPUs."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.inputs import Assumptions
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.analysis import (
    LoaderQueue,
    cold_share,
    erlang_c,
    load_rates,
    loader_saturation,
    placement_imbalance,
    spilled_bursts,
    steadiness,
)
from mme_sdk.planning.simulation.inputs import FleetConfig, Floats, Ints

__all__ = ["SharedEndpoint", "balanced_wait", "download_seconds", "shared_endpoint", "usable_slots"]

_CELLS = 1 << 17  # of a table of ages and models that are in memory at a time
_FOREVER = 1e9  # load times; a wait that is longer has no end
_PRECISION = 1e-3  # of the load time: a wait is computed to this


@attrs.define
class SharedEndpoint:
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


@attrs.frozen
class _Loads:
    """The loads of each model, for a given wait for a loader slot."""

    in_memory: Floats
    from_s3: Floats
    holding: Floats
    joining: Floats
    join_left: Floats
    rates: Floats
    spilled: Floats


def balanced_wait(wait: Callable[[float], float], scale: float) -> float:
    """Return the wait W that reproduces itself: wait(W) = W.

    While loads wait longer, more requests join them, and fewer loads start: `wait` falls. `wait(W) / W` is therefore
    strictly decreasing, and is 1 at exactly one W. The search keeps a bracket and divides it where a straight line
    between the logarithms at its ends is zero, with the end that stays halved (Illinois, Dowell and Jarratt 1971);
    where that line says little, it divides the bracket in the middle. Repeated substitution would swing between two
    values if `wait` falls steeply.

    Loads of copies on further instances can make `wait` rise for a while. The search still ends at a root then, for it
    only needs the two signs; there may be others.

    Args:
        wait: The wait of a load for a loader slot, if loads are known to wait W; it may be infinite.
        scale: A usual load time, seconds.

    Returns:
        The wait, seconds, to a thousandth of `scale` or of itself.
    """

    def excess(seconds: float) -> float:
        value = wait(seconds)
        return math.log(value / seconds) if 0.0 < value < math.inf else math.inf if value > 0 else -math.inf

    low = _PRECISION * scale
    first = wait(low)
    if first <= low:
        return first
    over, high = math.log(first / low), min(first, scale)
    while (under := excess(high)) > 0 and high < _FOREVER * scale:
        low, over, high = high, under, 4.0 * high
    if under > 0:  # bursts alone keep the loader slots busy
        return high
    before, rose = 0, None
    while high - low > (least := _PRECISION * max(scale, low)):
        width = high / low
        if before > 2 or math.isinf(over - under):
            middle, before = math.sqrt(low * high), 0
        else:
            middle = low * width ** (over / (over - under))
        middle = min(max(middle, low + least / 2.0), high - least / 2.0)
        value = excess(middle)
        again, rose = (value > 0) is rose, value > 0
        if rose:
            low, over, under = middle, value, under / 2.0 if again else under
        else:
            high, under, over = middle, value, over / 2.0 if again else over
        before = before + 1 if high / low > math.sqrt(width) else 0
    return math.sqrt(low * high)


def _least(step: Callable[[float], float], most: float) -> float:
    """Return the smallest x with step(x) = x, at most `most`, for a function that rises from 0 or more.

    The repeated substitution from 0 rises and stays below the root (Kleene), so that it converges. It ends when a step
    is under 1/10,000 of `most`.
    """
    found = 0.0
    for _ in range(200):
        before, found = found, min(step(found), most)
        if found - before <= 1e-4 * most:
            break
    return found


def download_seconds(
    layout: HostingLayout, which: Ints, demand: Demand, kind: InstanceType, assumptions: Assumptions
) -> Floats:
    """Return the time to download each model of the shared endpoint, seconds.

    The network of an instance is shared by the downloads that are in progress on average while one is, not by all
    loader slots: where downloads are rare, each has the network for itself.

    Args:
        layout: The layout.
        which: Positions of the shared models.
        demand: The traffic and the models.
        kind: Instance type of the shared endpoint.
        assumptions: Figures that AWS does not document.

    Returns:
        One time for each shared model.
    """
    config = fleet_config(kind, layout.count, assumptions, cache=layout.mode != "uncached")
    rates = demand.workload.rates[which]
    lone = demand.download(kind, assumptions)[which]
    absent = 1.0 - _on_volume(layout, which, demand, config, np.ones(len(which)))[0]
    starts = load_rates(rates, 1.0 - absent, rates * (lone + demand.load[which])) / layout.count
    total = float(starts.sum())
    if total <= 0 or config.loader_slots == 1:
        return lone
    bits = float(starts @ demand.archive[which]) * 8.0
    network = kind.network_gbps * 1e9
    others = total * assumptions.s3_latency + bits / (min(assumptions.s3_gbps, kind.network_gbps) * 1e9)
    if (1.0 + others) * assumptions.s3_gbps > kind.network_gbps:  # the network is the limit
        busy = bits / network
        others = (total * assumptions.s3_latency + busy) / (1.0 - busy) if busy < 1.0 else float("inf")
    return demand.download(kind, assumptions, parallel=1.0 + min(others, config.loader_slots - 1.0))[which]


def _on_volume(
    layout: HostingLayout,
    which: Ints,
    demand: Demand,
    config: FleetConfig,
    copies: Floats,
    extra: Floats | None = None,
) -> tuple[Floats, float]:
    """Return the share of each shared model's requests whose files are on a volume, and the age of eviction (s)."""
    table = demand.residency
    if layout.mode == "uncached":
        kept = float(np.average(demand.service[which], weights=demand.workload.rates[which] + 1e-300))
        return table.hits(kept)[which], kept
    disk = demand.disk[which]
    pinned = np.isin(which, np.asarray(demand.pinned, dtype=np.int64))
    files = np.zeros(len(demand.disk))
    files[which] = np.where(pinned, 0.0, disk * copies)
    volume = _usable(config.volume_bytes, disk) * layout.count - float((disk * copies)[pinned].sum())
    age = table.age(files, max(volume, 1.0), extra)
    return np.where(pinned, 1.0, table.hits(age)[which]), age


def shared_endpoint(
    layout: HostingLayout, which: Ints, demand: Demand, kind: InstanceType, assumptions: Assumptions
) -> SharedEndpoint:
    """Return the figures of the shared endpoint by formula.

    Args:
        layout: The layout.
        which: Positions of the shared models.
        demand: The traffic and the models.
        kind: Instance type of the shared endpoint.
        assumptions: Figures that AWS does not document.

    Returns:
        The figures.
    """
    cache, count = layout.mode != "uncached", layout.count
    config = fleet_config(kind, count, assumptions, cache=cache)
    rates, service = demand.workload.rates[which], demand.service[which]
    memory, load = demand.memory[which], demand.load[which]
    s3_seconds = download_seconds(layout, which, demand, kind, assumptions) + load
    peak = assumptions.peak or demand.peak
    table = demand.residency
    pinned = np.isin(which, np.asarray(demand.pinned, dtype=np.int64))
    # A model with many outstanding requests, or many that wait for its load, has copies on several instances.
    spill = assumptions.spill_outstanding
    copies = np.clip(np.maximum(rates * service / (0.6 * spill), (1.0 + rates * load) / spill), 1.0, count)
    bursts, burst_size = np.zeros(len(which)), np.ones(len(which))
    extra = extra_files = None
    if count > 1 and table.even is None:  # bursts make copies too, which stay until they are evicted
        following = table.followers(service, which)[0]
        bursts, burst_size = spilled_bursts(rates, following, service=service, spill=spill)
        extra, extra_files = _held(table.ages, bursts, memory, demand.disk[which])
    capacity = _usable(config.memory_bytes, memory) * count - float((memory * copies)[pinned].sum())
    sizes = np.zeros(len(demand.memory))
    sizes[which] = np.where(pinned, 0.0, memory * copies)
    on_volume, volume_age = _on_volume(layout, which, demand, config, copies, extra_files)
    config = attrs.evolve(config, loader_slots=usable_slots(config, memory, rates))

    # This function runs some fifty times for each layout. Terms that are zero, and copies, are therefore left out.
    curve = table.curve(sizes, extra) if cache else sizes
    every, fixed, bursty = len(which) == len(sizes), bool(pinned.any()), bool(bursts.any())
    downloading, absent, one = s3_seconds - load, 1.0 - on_volume, np.ones(len(which))

    def loads(wait: float, taken: float) -> _Loads:
        age = table.age_of(curve, max(capacity - taken, 1.0)) if cache else 0.0
        in_memory = on_volume
        if cache:
            in_memory = table.hits(age) if every else table.hits(age)[which]
            in_memory = np.where(pinned, 1.0, in_memory) if fixed else in_memory
        missing = one - in_memory
        from_s3 = np.minimum(missing, absent)
        from_s3 /= np.maximum(missing, 1e-300)
        holding = from_s3 * downloading
        holding += load
        joining, left = table.followers(holding + wait, None if every else which)
        # A load on each instance that the model spills to.
        again = np.clip((1.0 + joining) / spill, 1.0, count) if float(joining.max()) + 1.0 > spill else one
        started = load_rates(rates, in_memory, joining)
        started *= again
        spilled = bursts
        if bursty:
            spilled = bursts * np.exp(-bursts * age)
            fetched = started * from_s3 + bursts * np.exp(-bursts * max(age, volume_age))
            started += spilled
            from_s3 = np.divide(fetched, started, out=from_s3, where=started > 0)
            holding = load + from_s3 * downloading
        return _Loads(in_memory, from_s3, holding, joining, left, started, spilled)

    loading = load * memory

    def settled(wait: float) -> _Loads:
        if not cache:
            return loads(wait, 0.0)
        most = config.loader_slots * count * float(memory.max())
        taken = _least(lambda used: float((loads(wait, used).rates * loading).sum()), min(most, capacity))
        return loads(wait, taken)

    def waited(wait: float) -> float:
        found = settled(wait)
        return _loader_wait(found.rates, found.holding, found.from_s3, config, wait)

    wait = balanced_wait(waited, float(np.average(s3_seconds, weights=rates)))
    found = settled(wait)
    imbalance = placement_imbalance(
        rates,
        found.rates,
        found.in_memory,
        sizes[which],
        instances=count,
        fitting=max(capacity, 1.0) / max(float(sizes.sum()), 1.0),
    )
    # A model that is downloaded can go to every instance.
    tied = 1.0 - float(found.rates @ found.from_s3) / max(float(found.rates.sum()), 1e-300)
    cold = cold_share(found.in_memory, found.joining)
    cold = np.minimum(1.0, cold + found.spilled * burst_size / np.maximum(rates, 1e-300))
    leads = np.minimum(found.rates / np.maximum(rates, 1e-300), cold)
    waits, queue, busiest = _worker_wait(demand, which, copies, config)
    return SharedEndpoint(
        lead_disk=leads * (1.0 - found.from_s3),
        lead_s3=leads * found.from_s3,
        join=np.maximum(cold - leads, 0.0),
        join_left=found.join_left,
        disk_seconds=load,
        s3_seconds=s3_seconds,
        disk_queue=LoaderQueue(
            servers=config.loader_slots, loads=found.rates / count, holding=found.holding, imbalance=tied * imbalance
        ),
        s3_queue=LoaderQueue(servers=config.loader_slots * count, loads=found.rates, holding=found.holding),
        wait_share=waits,
        wait_seconds=queue,
        saturation=loader_saturation(found.rates, found.holding, instances=count, slots=config.loader_slots) * peak,
        cpu=busiest * peak / config.workers,
        fill=float((memory * copies).sum()) / (config.memory_bytes * count),
    )


def usable_slots(config: FleetConfig, memory: Floats, rates: Floats) -> int:
    """Return the number of loader slots of an instance that can be in use at a time.

    Loads need memory too: where few models fit, fewer load at a time than there are loader slots.

    Args:
        config: The fleet.
        memory: Size of each model, bytes.
        rates: Requests per second of each model.
    """
    held = int(config.memory_bytes / float(np.average(memory, weights=rates)))
    return max(1, min(config.loader_slots, held))


def _held(ages: Floats, bursts: Floats, memory: Floats, disk: Floats) -> tuple[Floats, Floats]:
    """Return the memory and the volume that copies from bursts take, for each age at which a cache evicts."""
    some = np.flatnonzero(bursts > 0)
    sizes = np.stack([memory[some], disk[some]], axis=1)
    step = max(1, _CELLS // max(len(some), 1))
    held = np.concatenate(
        [-np.expm1(-ages[row : row + step, None] * bursts[some]) @ sizes for row in range(0, len(ages), step)]
    )
    return held[:, 0], held[:, 1]


def _worker_wait(demand: Demand, which: Ints, copies: Floats, config: FleetConfig) -> tuple[float, float, float]:
    """Return the share of requests that wait for a vCPU, their mean wait (s), and the vCPUs that are busy at most."""
    rates, service, count = demand.workload.rates[which], demand.service[which], config.instances
    work = rates * service
    all_work, total = float(work.sum()), float(rates.sum())
    busiest = max(all_work / count, float(np.max(work / copies)))
    others = (all_work - busiest) / max(count - 1, 1)
    square = float(rates @ (service**2 * (1.0 + demand.service_cv[which] ** 2))) / total
    mean = all_work / total
    varied = max(square / max(mean**2, 1e-300) - 1.0, 0.0)
    share = wait = 0.0
    for busy, weight in ((busiest, busiest), (others, others * (count - 1))):
        part = weight / max(all_work, 1e-300)
        # Bursts: how many requests for the model follow one, beyond its mean rate, while the queue empties.
        span = mean / max(1.0 - busy / config.workers, 0.02)
        burst = demand.residency.followers(np.full(len(which), span), which)[0] - rates * span
        extra = max(float(rates @ np.maximum(burst, 0.0)) / total, 0.0)
        waits = max(erlang_c(config.workers, busy), 1.0 - min(1.0, config.workers / (1.0 + extra)))
        queue = mean / max(config.workers - busy, 0.02 * config.workers)
        share += part * waits
        wait += part * waits * queue * (steadiness(config.workers, busy, varied) + extra)
    return share, wait / share if share > 0 else 0.0, busiest


def _usable(size: int, sizes: Floats) -> float:
    """Return the bytes that whole models can fill; half a mean model stays free on average."""
    smallest, largest = float(sizes.min()), float(sizes.max())
    lost = size % largest if smallest == largest else float(sizes.mean()) / 2.0
    return max(size - lost, largest)


def _loader_wait(loads: Floats, holding: Floats, from_s3: Floats, config: FleetConfig, known: float) -> float:
    """Return a wait of a load for a loader slot that is over a known one if the mean wait is, equal if that is equal.

    The mean wait is B / (c - u), with c loader slots of which u are in use; without end from u = c on. The result is
    (B + known·u) / c, which is finite and smooth there too, so that the balance is found in fewer steps.

    A model whose files are on no volume goes to the least busy instance, which is nearly one queue for all loader
    slots. A reload goes to the instance that has the files.
    """
    total = float(loads.sum())
    if total <= 0:
        return 0.0
    # Sums instead of `@`: BLAS starts threads for long vectors, which takes longer than the product.
    mean = float((loads * holding).sum()) / total
    varied = max(float((loads * holding**2).sum()) / total / mean**2 - 1.0, 0.0)
    anywhere = float((loads * from_s3).sum()) / total
    slots, used = config.loader_slots, total * mean / config.instances
    seconds = 0.0
    for part, instances in ((anywhere, config.instances), (1.0 - anywhere, 1)):
        servers, busy = slots * instances, used * instances
        seconds += part * erlang_c(servers, busy) * mean / instances * steadiness(servers, busy, varied)
    return (seconds + known * used) / slots
