"""Simulate a day on a fleet whose number of instances changes: the planner's compiled kernel, with a timeline.

The functions of `mme_sdk.planning.simulation.numba_kernel` serve the requests. This file adds instances that come into
service empty, and instances that accept no new requests and stop when their requests have finished. Without numba, the
planner's `fleet` engine gives the same results, about a hundred times slower.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mme_sdk.planning.simulation import FleetConfig, ScaleIn, ScaleOut, SimulationResult, Traffic, simulate

try:
    import numba

    from mme_sdk.planning.simulation import numba_kernel as kernel
except ImportError:
    numba = None

__all__ = ["SHORT", "Compiled", "Steps", "run"]

SHORT = 20_000
"""Calls below which the compilation takes longer than the planner's engine."""

Steps = list[tuple[float, int]]
"""The number of instances from a time (seconds) on; the first is at 0."""


def run(traffic: Traffic, config: FleetConfig, steps: Steps, *, seed: int = 0) -> SimulationResult:
    """Simulate the requests of a day.

    Args:
        traffic: The requests.
        config: The fleet, with routing `sticky` or `sticky_to_memory`; its number of instances is ignored.
        steps: The number of instances over time.
        seed: Seed of the choice between equally good instances.
    """
    if numba is None or len(traffic.times) < SHORT:
        return run_reference(traffic, config, steps, seed=seed)
    return run_compiled(traffic, config, steps, seed=seed)


def run_reference(traffic: Traffic, config: FleetConfig, steps: Steps, *, seed: int = 0) -> SimulationResult:
    """Simulate with the planner's `fleet` engine."""
    from attrs import evolve

    events: list[ScaleIn | ScaleOut] = []
    for (_, before), (at, after) in itertools.pairwise(steps):
        if after > before:
            events.append(ScaleOut(at=at, count=after - before))
        elif after < before:
            events.append(ScaleIn(at=at, count=before - after))
    config = evolve(config, instances=steps[0][1])
    if not events:
        return simulate(traffic, config, engine="python", skip=0.0, seed=seed)
    return simulate(traffic, config, engine="fleet", timeline=events, skip=0.0, seed=seed)


if numba is not None:
    _compile: Any = numba.njit(cache=True, nogil=True)
    _LOADED, _NONE, _ABSENT, _ON_DISK = kernel._LOADED, kernel._NONE, kernel._ABSENT, kernel._ON_DISK
    _MEMORY, _VOLUME, _BORN, _LISTS = kernel._MEMORY, kernel._VOLUME, kernel._BORN, kernel.LISTS
    _outstanding, _load_of, _draw, _drop = kernel._outstanding, kernel._load_of, kernel._draw, kernel._drop
    _append, _serve, _cold, _process_events = kernel._append, kernel._serve, kernel._cold, kernel._process_events
    _at, _is_free = kernel._at, kernel._is_free

    @_compile
    def _choose(model, now, c, s, serving):  # type: ignore[no-untyped-def]
        """Return the copy to which a request goes, among the instances in service; as `numba_kernel._choose`."""
        base = model * c.instances
        best, best_rank, best_count, best_born = -1, 9, 0, 0
        short, short_rank, short_count, short_born = -1, 9, 0, 0
        for copy in range(base, base + c.instances):
            if not serving[copy - base] or _is_free(copy, c, s):
                continue
            count = _outstanding(copy, now, s)
            rank = 0 if s.state[copy] == _LOADED else 1 if s.waiting[copy] > 0 else 2
            born = s.born[copy]
            if count < c.spill and (
                rank < best_rank
                or (rank == best_rank and (count < best_count or (count == best_count and born < best_born)))
            ):
                best, best_rank, best_count, best_born = copy, rank, count, born
            rank = min(rank, 1)
            if rank < short_rank or (
                rank == short_rank and (count < short_count or (count == short_count and born < short_born))
            ):
                short, short_rank, short_count, short_born = copy, rank, count, born
        if best >= 0:
            return best
        least, least_memory, tied = -1, 0, 0
        for instance in range(c.instances):
            if not serving[instance] or not _is_free(base + instance, c, s):
                continue
            count = _load_of(instance, now, c, s)
            s.load_of[instance] = count
            if least < 0 or count < least or (count == least and s.memory_used[instance] < least_memory):
                least, least_memory, tied = count, s.memory_used[instance], 1
            elif count == least and s.memory_used[instance] == least_memory:
                tied += 1
        if least < 0:
            return short
        skip = _draw(tied, s)
        for instance in range(c.instances):
            if not serving[instance] or not _is_free(base + instance, c, s):
                continue
            if s.load_of[instance] == least and s.memory_used[instance] == least_memory:
                if skip == 0:
                    return base + instance
                skip -= 1
        return -1

    @_compile
    def _serve_all(c, s, serving, first, last):  # type: ignore[no-untyped-def]
        for request in range(first, last):
            now, model = s.times[request], s.models[request]
            if s.at[0] <= now:
                _process_events(now, c, s)
            copy = s.only[model]
            if copy < 0 or not serving[s.home[copy]] or _is_free(copy, c, s) or _outstanding(copy, now, s) >= c.spill:
                copy = _choose(model, now, c, s, serving)
            if s.state[copy] == _LOADED:
                head = c.heads + _LISTS * s.home[copy] + _MEMORY
                if s.after[copy] != head:
                    _drop(copy, s)
                    _append(copy, head, s)
                _serve(copy, request, now, c, s)
            else:
                s.kinds[request] = _cold(copy, request, now, c, s)

    @_compile
    def _is_idle(c, s, instance, models):  # type: ignore[no-untyped-def]
        for model in range(models):
            state = s.state[model * c.instances + instance]
            if state != _NONE and state != _LOADED and state != _ON_DISK:
                return False
            if s.waiting[model * c.instances + instance] > 0:
                return False
        return True

    @_compile
    def _empty(c, s, instance, models, slots):  # type: ignore[no-untyped-def]
        """Make an instance that is out of service a new one."""
        for model in range(models):
            copy = model * c.instances + instance
            if s.state[copy] == _NONE:
                continue
            _drop(copy, s)
            s.before[copy] = s.after[copy] = copy
            s.state[copy] = _NONE
            s.reserved[copy] = 0
            s.running[copy] = -1
            s.copies[model] -= 1
            s.only[model] = -1
            if s.copies[model] == 1:
                for other in range(model * c.instances, (model + 1) * c.instances):
                    if s.state[other] != _NONE:
                        s.only[model] = other
        s.memory_used[instance] = s.volume_used[instance] = 0
        s.loaded[instance] = s.late[instance] = 0
        s.slots[instance] = slots
        for worker in range(instance * c.workers, (instance + 1) * c.workers):
            s.free[worker] = 0.0

    @_compile
    def _pointers(a):  # type: ignore[no-untyped-def]
        return kernel.State(
            _at(a.times), _at(a.service), _at(a.factors), _at(a.draws), _at(a.download), _at(a.load), _at(a.busy),
            _at(a.wake), _at(a.free), _at(a.at), _at(a.ends), _at(a.starts),
            _at(a.models), _at(a.disk), _at(a.memory), _at(a.memory_used), _at(a.volume_used), _at(a.sequence),
            _at(a.event), _at(a.tally), _at(a.kinds),
            _at(a.copies), _at(a.only), _at(a.state), _at(a.home), _at(a.model_of), _at(a.reserved), _at(a.born),
            _at(a.leader), _at(a.before), _at(a.after), _at(a.waiting), _at(a.wait_first), _at(a.wait_last),
            _at(a.running), _at(a.slots), _at(a.loaded), _at(a.waiting_at), _at(a.late), _at(a.late_first),
            _at(a.late_last), _at(a.load_of), _at(a.following), _at(a.late_next),
        )  # fmt: skip

    @_compile
    def _segment(c, a, serving, first, last, now, added, models, slots):  # type: ignore[no-untyped-def]
        """Serve the requests of one step; before that, empty the instances that it adds."""
        s = _pointers(a)
        if s.at[0] <= now:
            _process_events(now, c, s)
        for instance in range(c.instances):
            if added[instance]:
                _empty(c, s, instance, models, slots)
        _serve_all(c, s, serving, first, last)

    @_compile
    def _idle(c, a, models, idle, now):  # type: ignore[no-untyped-def]
        s = _pointers(a)
        _process_events(now, c, s)
        for instance in range(c.instances):
            idle[instance] = _is_idle(c, s, instance, models)

    @_compile
    def _finish(c, a):  # type: ignore[no-untyped-def]
        _process_events(kernel.NEVER, c, _pointers(a))


def run_compiled(traffic: Traffic, config: FleetConfig, steps: Steps, *, seed: int = 0) -> SimulationResult:
    """Simulate with the compiled kernel."""
    fleet = Compiled(traffic, config, largest=max(count for _, count in steps), seed=seed)
    for number, (start, count) in enumerate(steps):
        fleet.serve(count, start, steps[number + 1][0] if number + 1 < len(steps) else np.inf)
    return fleet.result(steps)


class Compiled:
    """A simulation that goes on step by step, so that the number of instances may depend on what was seen.

    Args:
        traffic: The requests.
        config: The fleet; its number of instances is ignored.
        largest: Largest number of instances.
        seed: Seed of the choice between equally good instances.
    """

    def __init__(self, traffic: Traffic, config: FleetConfig, *, largest: int, seed: int = 0) -> None:
        requests, models = len(traffic.times), len(traffic.disk)
        instances = largest + 4  # four may still finish requests while others start
        copies = models * instances
        self._traffic, self._models, self._slots = traffic, models, int(config.loader_slots)
        self._rules = kernel.Rules(
            requests=requests, instances=instances, workers=int(config.workers), spill=int(config.spill_outstanding),
            memory_bytes=int(config.memory_bytes), volume_bytes=int(config.volume_bytes), cached=True,
            routing=kernel.ROUTINGS.index(config.routing), varied=traffic.factors is not None, heads=copies,
        )  # fmt: skip

        def int64s(count: int) -> NDArray[np.int64]:
            return np.zeros(count, dtype=np.int64)

        def int32s(count: int, value: int = 0) -> NDArray[np.int32]:
            return np.full(count, value, dtype=np.int32)

        events = 4 * copies + 65_536
        model_of, home = np.divmod(np.arange(copies, dtype=np.int32), np.int32(instances))
        lists = np.arange(copies + kernel.LISTS * instances, dtype=np.int32)
        self._arrays = kernel.State(
            times=traffic.times, service=traffic.service, draws=np.random.default_rng(seed).random(requests + 1),
            download=traffic.download, load=traffic.load,
            factors=np.empty(0) if traffic.factors is None else traffic.factors, busy=np.zeros(copies),
            wake=np.full(instances, kernel.NEVER), free=np.zeros(instances * config.workers),
            at=np.full(events, kernel.NEVER), ends=np.empty(requests), starts=np.empty(requests),
            models=traffic.models, disk=traffic.disk, memory=traffic.memory, memory_used=int64s(instances),
            volume_used=int64s(instances), sequence=int64s(events), event=int64s(events),
            tally=int64s(kernel.TALLIES), kinds=int64s(requests),
            copies=int32s(models), only=int32s(models, -1), state=int32s(copies), home=home, model_of=model_of,
            reserved=int32s(copies), born=int32s(copies), leader=int32s(copies), before=lists.copy(), after=lists,
            waiting=int32s(copies), wait_first=int32s(copies), wait_last=int32s(copies), running=int32s(copies, -1),
            slots=int32s(instances, config.loader_slots), loaded=int32s(instances), waiting_at=int32s(instances),
            late=int32s(instances), late_first=int32s(instances), late_last=int32s(instances),
            load_of=int32s(instances), following=int32s(requests), late_next=int32s(requests),
        )  # fmt: skip
        self._serving = np.zeros(instances, dtype=np.int8)
        self._order: list[int] = []  # instances in service, oldest first

    def serve(self, count: int, start: float, end: float) -> None:
        """Serve the requests of a time (seconds) with a number of instances."""
        rules, arrays, serving, order = self._rules, self._arrays, self._serving, self._order
        added = np.zeros(rules.instances, dtype=np.int8)
        if count > len(order):
            idle = np.ones(rules.instances, dtype=np.int8)
            if start > 0:
                _idle(rules, arrays, self._models, idle, float(start))
            free = [one for one in range(rules.instances) if not serving[one] and idle[one]]
            if len(free) < count - len(order):
                raise RuntimeError("instances that were removed have not finished their requests")
            for one in free[: count - len(order)]:
                added[one] = serving[one] = 1
                order.append(one)
        while len(order) > count:
            serving[order.pop()] = 0
        first, last = np.searchsorted(self._traffic.times, (start, end))
        _segment(rules, arrays, serving, int(first), int(last), float(start), added, self._models, self._slots)

    def cold_share(self, start: float, end: float) -> float | None:
        """Return the share of cold calls among those that arrived in a time (seconds) that was served."""
        first, last = np.searchsorted(self._traffic.times, (max(start, 0.0), end))
        return float((self._arrays.kinds[first:last] > 0).mean()) if last > first else None

    def result(self, steps: Steps) -> SimulationResult:
        """Finish the requests and return what happened."""
        arrays = self._arrays
        _finish(self._rules, arrays)
        tally = arrays.tally
        return SimulationResult(
            times=self._traffic.times, latency=arrays.ends - self._traffic.times, kinds=arrays.kinds,
            attempts=np.ones(0, dtype=np.int64), evictions=int(tally[kernel.EVICTIONS]),
            discards=int(tally[kernel.DISCARDS]), duplicate_loads=int(tally[kernel.DUPLICATES]), skip=0,
            capacity=tuple(steps), engine="numba",
        )  # fmt: skip
