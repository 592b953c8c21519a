"""The fleet model in arrival order: only cold requests enter a heap, so that warm ones cost a microsecond.

Agrees, request for request, with `mme_sdk.fleet` driven event by event (`fleet_engine`), of which this is a shortcut
for the case in which callers wait and no instance comes or goes. Unloading and deleting take no time in both.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heappop, heappush, heapreplace

import numpy as np

from mme_sdk.planning.simulation.inputs import DISK, HIT, JOINED, S3, Floats, Ints, Site, Traffic

__all__ = ["run_python"]

_ABSENT, _DOWNLOADING, _ON_DISK, _LOADING, _LOADED = range(5)
_DOWNLOADED, _LOAD_ENDED, _WAKE, _IDLE = range(4)
_NEVER = float("inf")


class _Copy:
    __slots__ = ("busy", "coming", "instance", "leader", "model", "reserved", "runs", "state", "waiting")

    def __init__(self, instance: _Instance, model: int) -> None:
        self.instance, self.model, self.state = instance, model, _ABSENT
        self.coming = self.reserved = False
        self.waiting: list[int] = []
        self.runs: list[float] = []  # when its requests end; the past is cleared when somebody counts
        self.busy = -1.0
        self.leader = 0


class _Instance:
    __slots__ = (
        "copies", "disk", "ends", "free", "lru", "memory_used", "memory_waiting", "queue", "slots", "volume_used",
        "volume_waiting", "waiting", "wake",
    )  # fmt: skip

    def __init__(self, site: Site) -> None:
        self.copies: dict[int, _Copy] = {}
        self.lru: OrderedDict[int, _Copy] = OrderedDict()
        self.disk: OrderedDict[int, _Copy] = OrderedDict()
        self.queue: deque[_Copy] = deque()
        self.memory_waiting: deque[_Copy] = deque()
        self.volume_waiting: deque[_Copy] = deque()
        self.free = [0.0] * site.workers
        self.ends: list[float] = []
        self.slots = site.loader_slots
        self.memory_used = self.volume_used = self.waiting = 0
        self.wake = _NEVER


class _Run:
    """One simulation; the methods mirror those of `mme_sdk.fleet.instance.Instance`."""

    def __init__(self, traffic: Traffic, site: Site, draws: Floats) -> None:
        self.site = site
        self.disk: list[int] = traffic.disk.tolist()
        self.memory: list[int] = traffic.memory.tolist()
        self.download: list[float] = traffic.download.tolist()
        self.load: list[float] = traffic.load.tolist()
        self.service: list[float] = traffic.service.tolist()
        self.times: list[float] = traffic.times.tolist()
        self.factors = None if traffic.factors is None else traffic.factors.tolist()
        self.draws = iter(draws.tolist())
        self.instances = [_Instance(site) for _ in range(site.instances)]
        self.held: list[list[_Copy]] = [[] for _ in self.disk]
        self.heap: list[tuple[float, int, int, _Copy | _Instance]] = []
        self.sequence = 0
        self.latency = [0.0] * len(self.times)
        self.again = False
        self.evictions = self.discards = self.duplicates = 0

    def push(self, at: float, kind: int, what: _Copy | _Instance) -> None:
        self.sequence += 1
        heappush(self.heap, (at, self.sequence, kind, what))

    def took(self, copy: _Copy, seconds: float) -> float:
        return seconds if self.factors is None else seconds * self.factors[copy.leader]

    # -- routing --------------------------------------------------------------------------------------------------

    def choose(self, copies: list[_Copy], now: float) -> _Instance:
        site = self.site
        if site.routing == "random":
            return self.draw(self.instances)
        best, best_key, spill = None, (9, 0), site.spill_outstanding
        keys = []
        for copy in copies:
            copy.runs = [end for end in copy.runs if end > now]
            outstanding = len(copy.runs) + len(copy.waiting)
            key = (0 if copy.state == _LOADED else 1 if copy.coming else 2, outstanding)
            keys.append((copy.state != _LOADED, outstanding))
            if site.routing == "scatter" and key[0]:
                continue
            if outstanding < spill and key < best_key:
                best, best_key = copy, key
        if best is not None:
            return best.instance
        if site.routing == "scatter":
            return self.draw(self.instances)
        if len(copies) == len(self.instances):
            return copies[keys.index(min(keys))].instance
        holders = [copy.instance for copy in copies]
        free = [each for each in self.instances if each not in holders]
        for each in free:
            each.ends = [end for end in each.ends if end > now]
        least = min((each.waiting + len(each.ends), each.memory_used) for each in free)
        return self.draw([each for each in free if (each.waiting + len(each.ends), each.memory_used) == least])

    def draw(self, tied: list[_Instance]) -> _Instance:
        return tied[0] if len(tied) == 1 else tied[int(next(self.draws) * len(tied))]

    # -- one request ----------------------------------------------------------------------------------------------

    def serve(self, copy: _Copy, request: int, now: float) -> None:
        instance = copy.instance
        first = instance.free[0]
        end = max(now, first) + self.service[request]
        heapreplace(instance.free, end)
        copy.runs.append(end)
        instance.ends.append(end)
        if end > copy.busy:
            copy.busy = end
        self.latency[request] = end - self.times[request]
        if not self.site.cache_enabled:
            self.push(end, _IDLE, copy)

    def cold(self, instance: _Instance, model: int, request: int, now: float) -> int:
        copies = self.held[model]
        copy = instance.copies.get(model)
        if copy is None:
            copy = instance.copies[model] = _Copy(instance, model)
            copies.append(copy)
        copy.waiting.append(request)
        instance.waiting += 1
        if copy.coming:
            return JOINED
        kind = S3 if copy.state == _ABSENT else DISK
        self.duplicates += any(each is not copy and (each.coming or each.state == _LOADED) for each in copies)
        if kind == DISK:
            del instance.disk[model]
        copy.coming = True
        copy.leader = request
        instance.queue.append(copy)
        self.pump(instance, now)
        return kind

    # -- loaders and room -----------------------------------------------------------------------------------------

    def pump(self, instance: _Instance, now: float) -> None:
        self.again = True
        while self.again:
            self.again = False
            while instance.memory_waiting and self.start_load(instance.memory_waiting[0], now):
                instance.memory_waiting.popleft()
            while instance.volume_waiting and self.reserve(instance.volume_waiting[0], now):
                instance.queue.appendleft(instance.volume_waiting.popleft())
            while instance.queue and instance.slots:
                copy = instance.queue.popleft()
                if not copy.reserved and (instance.volume_waiting or not self.reserve(copy, now)):
                    instance.volume_waiting.append(copy)
                    continue
                instance.slots -= 1
                if copy.state == _ABSENT:
                    copy.state = _DOWNLOADING
                    self.push(now + self.took(copy, self.download[copy.model]), _DOWNLOADED, copy)
                else:
                    self.load_in_turn(copy, now)
        if instance.memory_waiting or instance.volume_waiting:
            soon = min((copy.busy for copy in instance.lru.values() if copy.busy > now), default=_NEVER)
            if soon < instance.wake or (instance.wake <= now and soon < _NEVER):
                instance.wake = soon
                self.push(soon, _WAKE, instance)

    def load_in_turn(self, copy: _Copy, now: float) -> None:
        if copy.instance.memory_waiting or not self.start_load(copy, now):
            copy.instance.memory_waiting.append(copy)

    def start_load(self, copy: _Copy, now: float) -> bool:
        instance, need = copy.instance, self.memory[copy.model]
        short = instance.memory_used + need - self.site.memory_bytes
        lru = instance.lru
        for _ in range(len(lru) if short > 0 else 0):
            model, victim = next(iter(lru.items()))
            if victim.busy > now:
                lru.move_to_end(model)
                continue
            self.leave_memory(victim)
            self.evictions += 1
            self.again = True  # what waits for the volume may have its files
            instance.disk[model] = victim
            if not self.site.cache_enabled:
                self.discard(victim)
            short -= self.memory[model]
            if short <= 0:
                break
        if short > 0:
            return False
        instance.memory_used += need
        copy.state = _LOADING
        self.push(now + self.took(copy, self.load[copy.model]), _LOAD_ENDED, copy)
        return True

    def leave_memory(self, copy: _Copy) -> None:
        del copy.instance.lru[copy.model]
        copy.instance.memory_used -= self.memory[copy.model]
        copy.state = _ON_DISK

    def discard(self, copy: _Copy) -> None:
        instance = copy.instance
        del instance.disk[copy.model], instance.copies[copy.model]
        self.held[copy.model].remove(copy)
        instance.volume_used -= self.disk[copy.model]
        self.discards += 1

    def reserve(self, copy: _Copy, now: float) -> bool:
        instance, need = copy.instance, self.disk[copy.model]
        short = instance.volume_used + need - self.site.volume_bytes
        tight = short > 0
        while short > 0 and instance.disk:
            model, victim = next(iter(instance.disk.items()))
            short -= self.disk[model]
            self.discard(victim)
        for model, victim in list(instance.lru.items()) if short > 0 else ():
            if short > 0 and victim.busy <= now:
                short -= self.disk[model]
                self.leave_memory(victim)
                self.evictions += 1
                instance.disk[model] = victim
                self.discard(victim)
        if tight:
            # As in the fleet, what was deleted makes room for the next look, and others may pass meanwhile.
            self.again = self.again or short <= 0
            return False
        instance.volume_used += need
        copy.reserved = True
        return True

    # -- events ---------------------------------------------------------------------------------------------------

    def happen(self, until: float) -> None:
        heap = self.heap
        while heap and heap[0][0] <= until:
            now, _, kind, what = heappop(heap)
            if isinstance(what, _Instance):
                self.pump(what, now)
            elif kind == _DOWNLOADED:
                what.state = _ON_DISK
                self.load_in_turn(what, now)
                self.pump(what.instance, now)
            elif kind == _LOAD_ENDED:
                self.loaded(what, now)
            elif what.state == _LOADED and what.busy <= now:
                self.leave_memory(what)
                what.instance.disk[what.model] = what
                self.discard(what)
                self.pump(what.instance, now)

    def loaded(self, copy: _Copy, now: float) -> None:
        instance = copy.instance
        copy.state = _LOADED
        copy.coming = False
        instance.slots += 1
        instance.lru[copy.model] = copy
        instance.waiting -= len(copy.waiting)
        for request in copy.waiting:
            self.serve(copy, request, now)
        copy.waiting = []
        self.pump(instance, now)


def run_python(traffic: Traffic, site: Site, draws: Floats) -> tuple[Floats, Ints, tuple[int, int, int]]:
    """Simulate in pure Python.

    Args:
        traffic: The requests.
        site: The instances.
        draws: Uniform draws that break ties, one for each request at least.

    Returns:
        Latency of each request in seconds, what each met (`HIT` …), and (evictions, discards, duplicate loads).
    """
    run = _Run(traffic, site, draws)
    heap, happen, held, times, service = run.heap, run.happen, run.held, run.times, run.service
    latency, cold, choose = run.latency, run.cold, run.choose
    spill = site.spill_outstanding
    shortcut = site.routing != "random" and site.cache_enabled
    several = site.instances > 1
    kinds = [HIT] * len(times)
    for request, model in enumerate(traffic.models.tolist()):
        now = times[request]
        if heap and heap[0][0] <= now:
            happen(now)
        copies = held[model]
        if shortcut and len(copies) == 1 and copies[0].state == _LOADED:
            copy = copies[0]
            runs = copy.runs
            if len(runs) >= spill:
                runs = copy.runs = [end for end in runs if end > now]
            if len(runs) < spill or not several:
                # The usual case, written out: `serve`.
                instance = copy.instance
                instance.lru.move_to_end(model)
                free = instance.free
                first = free[0]
                end = (now if first <= now else first) + service[request]  # noqa: FURB136 - max() costs a call
                heapreplace(free, end)
                runs.append(end)
                if several:
                    instance.ends.append(end)
                if end > copy.busy:
                    copy.busy = end
                latency[request] = end - now
                continue
        instance = choose(copies, now)
        found = instance.copies.get(model)
        if found is not None and found.state == _LOADED:
            instance.lru.move_to_end(model)
            run.serve(found, request, now)
        else:
            kinds[request] = cold(instance, model, request, now)
    happen(_NEVER)
    return (
        np.asarray(latency, dtype=np.float64),
        np.asarray(kinds, dtype=np.int64),
        (run.evictions, run.discards, run.duplicates),
    )
