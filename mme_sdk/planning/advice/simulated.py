"""The simulation of a layout as a whole: the shared endpoint, and each endpoint of one model."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from heapq import heapreplace
from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from mme_sdk.errors import InvalidInputError
from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.inputs import SLO, Assumptions, missed, overloaded_loaders
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.replay import Replay
from mme_sdk.planning.advice.shared import download_seconds, usable_slots
from mme_sdk.planning.analysis import p95_of
from mme_sdk.planning.simulation import FAILED, HIT, ClientPolicy, Engine, Event, SimulationResult, Traffic, simulate
from mme_sdk.planning.simulation.inputs import DISK, S3, FleetConfig, Floats, Ints

if TYPE_CHECKING:
    from mme_sdk.planning.advice.search import LayoutSearch

__all__ = ["SimulatedFigures", "figures", "simulate_layout"]

_COMPILED = 50_000  # requests; a plan simulates so many at least five times, which pays for the compiled engine
_FEWEST = 100  # requests; fewer say nothing about a p99
_STEPS = 6  # of the search for the end of an interval
_BATCHES = 20  # of the requests, for the intervals; at most so many runs


@attrs.frozen(kw_only=True)
class SimulatedFigures:
    """The simulated figures of the whole workload. Intervals hold the figure of a long simulation in 95 % of the cases.

    Attributes:
        requests: Number of requests that were simulated and counted.
        runs: Number of independent runs; each places the models on the instances anew.
        cold_rate: Share of requests that waited while their model loaded, 0 to 1.
        hit_ratio: Share of requests whose model was in memory, 0 to 1.
        p50: Median latency, seconds.
        p95: 95th percentile of the latency, seconds.
        p99: 99th percentile of the latency, seconds.
        warm_p95: 95th percentile of the latency of requests whose model was in memory, seconds; infinite if there
            were none.
        cold_p95: 95th percentile of the latency of requests that waited while their model loaded, seconds; 0 if there
            were none.
        cold_interval: Interval of the cold rate.
        p95_interval: Interval of the 95th percentile, seconds.
        p99_interval: Interval of the 99th percentile, seconds.
        loaders: Utilisation of the loader slots of the shared endpoint at the peak, 0 to 1; 0 without one.
        loaders_interval: Interval of that utilisation.
        blockers: The limits of the SLO that the simulation exceeds, in words.
        overloads: That the use of the loader slots is over its limit, in words; else empty.
        risks: The limits that the upper end of an interval exceeds, in words: of the use of the loader slots and of
            all that the SLO limits. If it is empty, other seeds meet the limits too, in most cases.
    """

    requests: int
    runs: int
    cold_rate: float
    hit_ratio: float
    p50: float
    p95: float
    p99: float
    warm_p95: float
    cold_p95: float
    cold_interval: tuple[float, float]
    p95_interval: tuple[float, float]
    p99_interval: tuple[float, float]
    loaders: float
    loaders_interval: tuple[float, float]
    blockers: tuple[str, ...]
    overloads: tuple[str, ...]
    risks: tuple[str, ...]


def simulate_layout(
    search: LayoutSearch,
    layout: HostingLayout,
    *,
    requests: int,
    seed: int,
    demand: Demand | None = None,
    assumptions: Assumptions | None = None,
    clients: ClientPolicy | None = None,
    timeline: Iterable[Event] = (),
    engine: Engine = "auto",
    skip: float | None = None,
) -> SimulationResult | None:
    """Simulate all endpoints of a layout with the same requests as every other layout of the search.

    Args:
        search: The search.
        layout: The layout.
        requests: Approximate number of requests that are drawn from rates.
        seed: Seed of the draws.
        demand: Traffic and models; None (the default) for those of the search.
        assumptions: Assumptions; None (the default) for those of the search.
        clients: How callers of the shared endpoint react while their model loads; None (the default) if they wait.
        timeline: Events at the shared endpoint; empty by default.
        engine: Simulation engine. Default `auto`.
        skip: Share of the requests at the start that do not count; None (the default) for those that fill the caches.

    Returns:
        The outcome of each request in order of arrival; None if there are fewer than 100 requests.

    Raises:
        InvalidInputError: `clients` or `timeline` is given, and the layout has no shared endpoint with requests; or
            `timeline` is given for a trace that is replayed in parts.
    """
    timeline = tuple(timeline)
    if engine == "auto" and requests >= _COMPILED and clients is None and not timeline:
        engine = "numba" if importlib.util.find_spec("numba") is not None else engine
    demand, assumptions = demand or search.demand, assumptions or search.assumptions
    parts = demand.replays(requests, seed, single=bool(timeline))
    if sum(len(part.times) for part in parts) < _FEWEST:
        return None
    if len(parts) > 1 and timeline:
        raise InvalidInputError(
            f"a timeline needs a replay without gaps, but the trace of {demand.workload.requests:,} requests is "
            "replayed in parts",
            hint="simulate a part of the trace: Workload.sample(duration) returns the first one",
        )
    found, offset = [], 0.0
    for number, part in enumerate(parts):
        own = seed * _BATCHES + number
        one = _simulate(part, search.types, layout, demand, assumptions, own, clients, timeline, engine)
        if skip is not None:
            one = attrs.evolve(one, skip=int(skip * len(one.times)))
        found.append(attrs.evolve(one, times=one.times + offset))
        offset = float(found[-1].times[-1])
    if len(found) == 1:
        return found[0]
    names = ("times", "latency", "kinds", "attempts")
    times, latency, kinds, attempts = (
        np.concatenate([getattr(each, name)[each.skip :] for each in found]) for name in names
    )
    return attrs.evolve(
        found[0],
        loaders=float(np.average([each.loaders or 0.0 for each in found], weights=[_span(each) for each in found])),
        loaders_of_runs=tuple(each.loaders or 0.0 for each in found),
        runs=np.repeat(np.arange(len(found)), [len(each.times) - each.skip for each in found]),
        times=times,
        latency=latency,
        kinds=kinds,
        attempts=attempts,
        evictions=sum(each.evictions for each in found),
        discards=sum(each.discards for each in found),
        duplicate_loads=sum(each.duplicate_loads for each in found),
        skip=0,
    )


def _simulate(
    part: Replay,
    types: dict[str, InstanceType],
    layout: HostingLayout,
    demand: Demand,
    assumptions: Assumptions,
    seed: int,
    clients: ClientPolicy | None,
    timeline: tuple[Event, ...],
    engine: Engine,
) -> SimulationResult:
    alone = np.zeros(len(demand.memory), dtype=bool)
    alone[[each.model for each in layout.dedicated]] = True
    service = _service(part, demand)
    together = np.flatnonzero(~alone)
    shared = None
    start, before = 0.0, 0
    past = part.past[~alone[part.past]]
    if layout.instance_type is not None and len(past):
        kind = types[layout.instance_type]
        download = download_seconds(layout, together, demand, kind, assumptions)
        position = np.zeros(len(alone), dtype=np.int64)
        position[together] = np.arange(len(together))
        apart = 3.0 * float(np.max(download + demand.load[together]))
        before, start = len(past), len(past) * apart
        mine = ~alone[part.index]
        traffic = Traffic(
            times=np.concatenate([np.arange(before) * apart, part.times[mine] + start]),
            models=position[np.concatenate([past, part.index[mine]])],
            service=np.concatenate([demand.service[past], service[mine]]),
            disk=demand.disk[together],
            memory=demand.memory[together],
            download=download,
            load=demand.load[together],
        )
        config = fleet_config(kind, layout.count, assumptions, cache=layout.mode != "uncached")
        shared = simulate(traffic, config, seed=seed, clients=clients, timeline=timeline, engine=engine, skip=0.0)
        since = start + (float(part.times[part.uncounted]) if part.filling else 0.0)
        use = _loader_use(shared, traffic, config, since) * (assumptions.peak or demand.peak)
        shared = attrs.evolve(shared, loaders=use)
        if not alone.any():
            return attrs.evolve(shared, skip=before + part.uncounted)
    elif clients is not None or timeline:
        raise InvalidInputError(
            "the option has no shared endpoint, or no requests for it; clients and timeline concern that endpoint",
            hint="simulate an option with a shared endpoint",
        )
    latency, kinds = np.empty(len(part.times)), np.full(len(part.times), HIT, dtype=np.int64)
    attempts = np.ones(len(part.times), dtype=np.int64)
    head: tuple[Floats, Floats, Ints, Ints] = (np.empty(0), np.empty(0), kinds[:0], attempts[:0])
    if shared is not None:
        mine = ~alone[part.index]
        for own, column in ((latency, shared.latency), (kinds, shared.kinds), (attempts, shared.attempts)):
            own[mine] = column[before:]
        head = (
            shared.times[:before],
            shared.latency[:before],
            shared.kinds[:before],
            shared.attempts[:before],
        )
    order = np.argsort(part.index, kind="stable")
    bounds = np.searchsorted(part.index[order], np.arange(len(alone) + 1))
    for each in layout.dedicated:
        which = order[bounds[each.model] : bounds[each.model + 1]]
        servers = types[each.instance_type].vcpus * each.count
        latency[which] = _queue(part.times[which], service[which], servers)
    return SimulationResult(
        times=np.concatenate([head[0], part.times + start]),
        latency=np.concatenate([head[1], latency]),
        kinds=np.concatenate([head[2], kinds]),
        attempts=np.concatenate([head[3], attempts]),
        evictions=shared.evictions if shared else 0,
        discards=shared.discards if shared else 0,
        duplicate_loads=shared.duplicate_loads if shared else 0,
        skip=before + part.uncounted,
        capacity=shared.capacity if shared else ((0.0, sum(each.count for each in layout.dedicated)),),
        engine=shared.engine if shared else "python",
        loaders=shared.loaders if shared else 0.0,
    )


def _span(result: SimulationResult) -> float:
    """Return the time from the first counted request to the last, seconds."""
    counted = result.times[result.skip :]
    return float(counted[-1] - counted[0]) + 1e-9 if len(counted) else 1e-9


def _loader_use(result: SimulationResult, traffic: Traffic, config: FleetConfig, since: float) -> float:
    """Return the share of the time since a moment in which loader slots were in use, by loads that started since."""
    first = int(np.searchsorted(result.times, since))
    kinds, models = result.kinds[first:], traffic.models[first:]
    if not len(kinds):
        return 0.0
    loads, downloads = np.isin(kinds, (DISK, S3)), kinds == S3
    seconds = float(traffic.load[models[loads]].sum()) + float(traffic.download[models[downloads]].sum())
    until = float(np.max(result.times[first:] + result.latency[first:]))  # loads may outlast the last request
    slots = usable_slots(config, traffic.memory[models].astype(np.float64), np.ones(len(models)))
    return seconds / (max(until - since, 1e-9) * slots * config.instances)


def _service(part: Replay, demand: Demand) -> Floats:
    """Return the time of each request on a vCPU: the measured one, or one of a lognormal distribution."""
    if part.service is not None:
        return part.service * demand.slower
    sigma = np.sqrt(np.log1p(demand.service_cv[part.index] ** 2))
    return np.asarray(demand.service[part.index] * np.exp(sigma * part.noise - sigma**2 / 2.0))


def _queue(times: Floats, service: Floats, servers: int) -> Floats:
    """Return the latency of each request at an endpoint of one model: first come, first served, at the next vCPU."""
    free, ends = [0.0] * servers, []
    for now, work in zip(times.tolist(), service.tolist(), strict=True):
        first = free[0]
        end = (max(now, first)) + work
        heapreplace(free, end)
        ends.append(end)
    return np.asarray(ends, dtype=np.float64) - times


def figures(result: SimulationResult, slo: SLO, assumptions: Assumptions | None = None) -> SimulatedFigures:
    """Return the figures of a simulation, with intervals.

    The intervals are from twenty consecutive batches of the requests. If there are three to nineteen runs, they are at
    least as wide as those from the figures of the runs: within a run, every batch has the same placement.

    Args:
        result: The simulation.
        slo: The limits to compare with. A figure over its limit is a blocker; there is no tolerance.
        assumptions: The limit of the loader slots; None (the default) for the default one.

    Returns:
        The figures.
    """
    kinds, latency = result.kinds[result.skip :], result.latency[result.skip :]
    counted = kinds != FAILED
    answered = latency[counted]
    cold = (kinds != HIT) & counted
    runs = np.zeros(len(kinds), dtype=np.int64) if result.runs is None else result.runs[result.skip :]
    p50, p95, p99 = (float(each) for each in np.quantile(answered, (0.5, 0.95, 0.99)))
    rate = float(cold.mean())
    # Without any cold request, the rule of three.
    spread = _Parts.of(runs).half(cold) if cold.any() else 3.0 / len(cold)
    assumptions, loaders = assumptions or Assumptions(), result.loaders or 0.0
    around = _loader_spread(result, np.isin(kinds, (DISK, S3)), runs)
    found = SimulatedFigures(
        requests=len(latency),
        runs=len(np.unique(runs)),
        cold_rate=rate,
        hit_ratio=float(np.mean(kinds == HIT)),
        p50=p50,
        p95=p95,
        p99=p99,
        warm_p95=p95_of(latency[kinds == HIT], none=float("inf")),
        cold_p95=p95_of(latency[cold], none=0.0),
        cold_interval=(max(0.0, rate - spread), min(1.0, rate + spread)),
        p95_interval=_interval(answered, runs[counted], 0.95),
        p99_interval=_interval(answered, runs[counted], 0.99),
        loaders=loaders,
        loaders_interval=(max(0.0, loaders - around), loaders + around),
        blockers=(),
        overloads=overloaded_loaders(loaders, assumptions),
        risks=(),
    )

    def end(value: float, limit: float | None, which: npt.NDArray[np.bool_], share: float) -> float:
        """Return the upper end of the interval of a quantile; the value itself if that is not needed."""
        return _interval(latency[which], runs[which], share)[1] if limit is not None and which.any() else value

    upper = attrs.evolve(
        found,
        cold_rate=found.cold_interval[1],
        p50=end(p50, slo.p50, counted, 0.5),
        p95=found.p95_interval[1],
        p99=found.p99_interval[1],
        warm_p95=end(found.warm_p95, slo.warm_p95, kinds == HIT, 0.95),
        cold_p95=end(found.cold_p95, slo.cold_p95, cold, 0.95),
    )
    risks = overloaded_loaders(found.loaders_interval[1], assumptions, verb="may be")
    return attrs.evolve(found, blockers=missed(slo, found), risks=(*risks, *missed(slo, upper, verb="may be")))


def _loader_spread(result: SimulationResult, started: npt.NDArray[np.bool_], runs: Ints) -> float:
    """Return half the interval of the use of the loader slots, from the runs or from the loads of the batches."""
    if len(result.loaders_of_runs) >= 3:
        return _half_of(np.asarray(result.loaders_of_runs))
    if not result.loaders or not started.any():
        return 0.0
    return result.loaders * _Parts.of(runs).half(started) / float(started.mean())


@attrs.frozen(eq=False)
class _Parts:
    """Positions at which the runs and the batches of the requests begin."""

    runs: Ints
    batches: Ints
    count: int

    @classmethod
    def of(cls, runs: Ints) -> _Parts:
        """Divide each run into batches; their sizes differ by one request at most."""
        starts = np.append(0, np.flatnonzero(np.diff(runs)) + 1)
        size, larger = np.divmod(np.diff(starts, append=len(runs)), number := max(1, _BATCHES // len(starts)))
        at = np.arange(number)
        batches = starts[:, None] + at * size[:, None] + np.minimum(at, larger[:, None])
        batches = np.unique(batches)  # a run may have fewer requests than batches
        return cls(starts, batches[batches < len(runs)], len(runs))

    def half(self, happened: npt.NDArray[np.bool_]) -> float:
        """Return half the interval of the share of requests to which something happened."""
        half = _half_of(self._shares(happened, self.batches))
        if 3 <= len(self.runs) < _BATCHES:
            return max(half, _half_of(self._shares(happened, self.runs)))
        return half

    def _shares(self, happened: npt.NDArray[np.bool_], starts: Ints) -> Floats:
        counts = np.add.reduceat(happened, starts, dtype=np.int64)
        return np.asarray(counts / np.diff(starts, append=self.count))


def _half_of(shares: Floats) -> float:
    from scipy.special import stdtrit

    count = len(shares)
    if count < 2:
        return 1.0
    return float(stdtrit(count - 1, 0.975) * np.std(shares, ddof=1) / np.sqrt(count))


def _interval(latency: Floats, runs: Ints, share: float) -> tuple[float, float]:
    """Return the interval of a quantile: the values that at most so many requests exceed within the interval of theirs.

    The share of the requests over a value is less certain at some values than at others. The search therefore goes
    outwards until the interval of the share over the value does not reach beyond it.
    """
    parts, ordered, found = _Parts.of(runs), np.sort(latency), []
    for sign in (-1.0, 1.0):
        value, reach = float(np.quantile(ordered, share)), 0.0
        for _ in range(_STEPS):
            half = parts.half(latency > value)
            if half <= reach:
                break
            reach = half
            value = float(np.quantile(ordered, min(1.0, max(0.0, share + sign * reach))))
        found.append(value)
    return found[0], found[1]
