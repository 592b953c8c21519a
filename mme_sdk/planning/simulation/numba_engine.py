"""`python_engine` again, in arrays, compiled by numba: the same results, request for request, some twenty times faster.

A copy is a number, `instance * models + model`. Queues are linked lists through `after`; both orders of eviction are
doubly linked lists, in memory the even and on the volume the odd heads of `first` and `last`. The state is a tuple of
arrays, so that small functions can share it; numba inlines them.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numba as nb
import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints, Site, Traffic

__all__ = ["run_numba"]

_ABSENT, _DOWNLOADING, _ON_DISK, _LOADING, _LOADED = range(5)
_DOWNLOADED, _LOAD_ENDED, _WAKE, _IDLE = range(4)
_HIT, _JOINED, _DISK, _S3 = range(4)
_NEVER = np.inf
_MEMORY, _VOLUME = 0, 1  # levels of caching
_QUEUE, _MEMORY_QUEUE, _VOLUME_QUEUE = 0, 1, 2

_Constants = namedtuple(
    "_Constants",
    "instances models spill memory_bytes volume_bytes cache random_routing scatter "
    "times service disk memory download load factors draws",
)
_State = namedtuple(
    "_State",
    "state exists coming reserved leader born busy waiting wait_first wait_last wait_next run_first run_next all_first "
    "all_next ends before after first last front back behind copies only loaded memory volume waiting_at load_of wake "
    "slots free heap keys size counts latency",
)

# Without numba's reference counts, which took nine tenths of the time: nothing here allocates, and run_numba holds
# every array until the simulation is over.
_numba: Any = nb  # its stubs do not know the option
_compile: Any = _numba.njit(cache=True, nogil=True, _nrt=False)


@_compile
def _push(heap, keys, size, at, kind, what):  # type: ignore[no-untyped-def]
    """Add an event; size[0] is how many there are, size[1] the next sequence number."""
    position = size[0]
    size[0] += 1
    size[1] += 1
    sequence = size[1]
    while position > 0:
        parent = (position - 1) >> 1
        if heap[parent] < at or (heap[parent] == at and keys[parent, 0] < sequence):
            break
        heap[position] = heap[parent]
        for field in range(3):  # a slice would make an object
            keys[position, field] = keys[parent, field]
        position = parent
    heap[position] = at
    keys[position, 0] = sequence
    keys[position, 1] = kind
    keys[position, 2] = what


@_compile
def _pop(heap, keys, size):  # type: ignore[no-untyped-def]
    """Remove the first event, which the caller has read."""
    size[0] -= 1
    last = size[0]
    at, sequence = heap[last], keys[last, 0]
    position = 0
    while True:
        child = 2 * position + 1
        if child >= last:
            break
        right = child + 1
        if right < last and (
            heap[right] < heap[child] or (heap[right] == heap[child] and keys[right, 0] < keys[child, 0])
        ):
            child = right
        if at < heap[child] or (at == heap[child] and sequence < keys[child, 0]):
            break
        heap[position] = heap[child]
        for field in range(3):
            keys[position, field] = keys[child, field]
        position = child
    heap[position] = at
    for field in range(3):
        keys[position, field] = keys[last, field]


@_compile
def _append(copy, head, first, last, before, after):  # type: ignore[no-untyped-def]
    """To the end of an order of eviction."""
    before[copy] = last[head]
    after[copy] = -1
    if last[head] >= 0:
        after[last[head]] = copy
    else:
        first[head] = copy
    last[head] = copy


@_compile
def _drop(copy, head, first, last, before, after):  # type: ignore[no-untyped-def]
    """Out of an order of eviction."""
    if before[copy] >= 0:
        after[before[copy]] = after[copy]
    else:
        first[head] = after[copy]
    if after[copy] >= 0:
        before[after[copy]] = before[copy]
    else:
        last[head] = before[copy]


@_compile
def _enqueue(copy, queue, front, back, behind):  # type: ignore[no-untyped-def]
    behind[copy] = -1
    if front[queue] < 0:
        front[queue] = copy
    else:
        behind[back[queue]] = copy
    back[queue] = copy


@_compile
def _dequeue(queue, front, behind):  # type: ignore[no-untyped-def]
    copy = front[queue]
    front[queue] = behind[copy]
    return copy


@_compile
def _outstanding(now, head, chain, ends):  # type: ignore[no-untyped-def]
    """How many of a chain of requests still run; those that ended are unlinked."""
    count = 0
    previous = -1
    request = chain[0][head]
    while request >= 0:
        following = chain[1][request]
        if ends[request] > now:
            count += 1
            previous = request
        elif previous < 0:
            chain[0][head] = following
        else:
            chain[1][previous] = following
        request = following
    return count


@_compile
def _discard(copy, c, s):  # type: ignore[no-untyped-def]
    """Delete the files of an unused copy; it is in the volume's order."""
    instance, model = copy // c.models, copy % c.models
    _drop(copy, 2 * instance + _VOLUME, s.first, s.last, s.before, s.after)
    s.state[copy] = _ABSENT
    s.reserved[copy] = 0
    s.volume[instance] -= c.disk[model]
    s.copies[model] -= 1
    s.counts[1] += 1
    if s.copies[model] == 1:
        for other in range(c.instances):
            if s.exists[other * c.models + model] and other != instance:
                s.only[model] = other
    s.exists[copy] = 0


@_compile
def _leave_memory(copy, c, s):  # type: ignore[no-untyped-def]
    instance, model = copy // c.models, copy % c.models
    _drop(copy, 2 * instance + _MEMORY, s.first, s.last, s.before, s.after)
    s.memory[instance] -= c.memory[model]
    s.state[copy] = _ON_DISK
    _append(copy, 2 * instance + _VOLUME, s.first, s.last, s.before, s.after)
    s.loaded[instance] -= 1


@_compile
def _start_load(copy, now, c, s):  # type: ignore[no-untyped-def]
    instance, model = copy // c.models, copy % c.models
    short = s.memory[instance] + c.memory[model] - c.memory_bytes
    if short > 0:
        head = 2 * instance + _MEMORY
        for _ in range(s.loaded[instance]):
            victim = s.first[head]
            if s.busy[victim] > now:
                _drop(victim, head, s.first, s.last, s.before, s.after)
                _append(victim, head, s.first, s.last, s.before, s.after)
                continue
            _leave_memory(victim, c, s)
            s.counts[0] += 1
            s.size[3] = 1  # what waits for the volume may have its files
            if not c.cache:
                _discard(victim, c, s)
            short -= c.memory[victim % c.models]
            if short <= 0:
                break
        if short > 0:
            return False
    s.memory[instance] += c.memory[model]
    s.state[copy] = _LOADING
    seconds = c.load[model] * c.factors[s.leader[copy]] if c.factors.size else c.load[model]
    _push(s.heap, s.keys, s.size, now + seconds, _LOAD_ENDED, copy)
    return True


@_compile
def _load_in_turn(copy, now, c, s):  # type: ignore[no-untyped-def]
    queue = 3 * (copy // c.models) + _MEMORY_QUEUE
    if s.front[queue] >= 0 or not _start_load(copy, now, c, s):
        _enqueue(copy, queue, s.front, s.back, s.behind)


@_compile
def _reserve(copy, now, c, s):  # type: ignore[no-untyped-def]
    """1 where there is room, 0 where files had to be deleted and now there is, -1 where there is none."""
    instance, model = copy // c.models, copy % c.models
    short = s.volume[instance] + c.disk[model] - c.volume_bytes
    if short <= 0:
        s.volume[instance] += c.disk[model]
        s.reserved[copy] = 1
        return 1
    while short > 0 and s.first[2 * instance + _VOLUME] >= 0:
        victim = s.first[2 * instance + _VOLUME]
        short -= c.disk[victim % c.models]
        _discard(victim, c, s)
    victim = s.first[2 * instance + _MEMORY]
    while short > 0 and victim >= 0:
        following = s.after[victim]
        if s.busy[victim] <= now:
            short -= c.disk[victim % c.models]
            _leave_memory(victim, c, s)
            s.counts[0] += 1
            _discard(victim, c, s)
        victim = following
    return 0 if short <= 0 else -1


@_compile
def _pump(instance, now, c, s):  # type: ignore[no-untyped-def]
    queue, memory_queue, volume_queue = 3 * instance, 3 * instance + _MEMORY_QUEUE, 3 * instance + _VOLUME_QUEUE
    again = True
    while again or s.size[3]:
        again = False
        s.size[3] = 0
        while s.front[memory_queue] >= 0 and _start_load(s.front[memory_queue], now, c, s):
            _dequeue(memory_queue, s.front, s.behind)
        while s.front[volume_queue] >= 0:
            room = _reserve(s.front[volume_queue], now, c, s)
            again = again or room == 0
            if room != 1:
                break
            copy = _dequeue(volume_queue, s.front, s.behind)
            s.behind[copy] = s.front[queue]
            if s.front[queue] < 0:
                s.back[queue] = copy
            s.front[queue] = copy
        while s.front[queue] >= 0 and s.slots[instance] > 0:
            copy = _dequeue(queue, s.front, s.behind)
            if not s.reserved[copy]:
                room = -1 if s.front[volume_queue] >= 0 else _reserve(copy, now, c, s)
                again = again or room == 0
                if room != 1:
                    _enqueue(copy, volume_queue, s.front, s.back, s.behind)
                    continue
            s.slots[instance] -= 1
            if s.state[copy] == _ABSENT:
                s.state[copy] = _DOWNLOADING
                model = copy % c.models
                seconds = c.download[model] * c.factors[s.leader[copy]] if c.factors.size else c.download[model]
                _push(s.heap, s.keys, s.size, now + seconds, _DOWNLOADED, copy)
            else:
                _load_in_turn(copy, now, c, s)
    if s.front[memory_queue] >= 0 or s.front[volume_queue] >= 0:
        soon = _NEVER
        copy = s.first[2 * instance + _MEMORY]
        while copy >= 0:
            if now < s.busy[copy] < soon:
                soon = s.busy[copy]
            copy = s.after[copy]
        if soon < s.wake[instance] or (s.wake[instance] <= now and soon < _NEVER):
            s.wake[instance] = soon
            _push(s.heap, s.keys, s.size, soon, _WAKE, instance)


@_compile
def _serve(copy, request, now, c, s):  # type: ignore[no-untyped-def]
    instance = copy // c.models
    free = s.free[instance]
    least = 0
    for worker in range(1, free.size):
        if free[worker] < free[least]:
            least = worker
    end = max(now, free[least]) + c.service[request]
    free[least] = end
    s.ends[request] = end
    if c.instances > 1:
        s.run_next[request] = s.run_first[copy]
        s.run_first[copy] = request
        s.all_next[request] = s.all_first[instance]
        s.all_first[instance] = request
    if end > s.busy[copy]:
        s.busy[copy] = end
    s.latency[request] = end - c.times[request]
    if not c.cache:
        _push(s.heap, s.keys, s.size, end, _IDLE, copy)


@_compile
def _happen(until, c, s):  # type: ignore[no-untyped-def]
    while s.size[0] > 0 and s.heap[0] <= until:
        now, kind, what = s.heap[0], s.keys[0, 1], s.keys[0, 2]
        _pop(s.heap, s.keys, s.size)
        if kind == _WAKE:
            _pump(what, now, c, s)
        elif kind == _DOWNLOADED:
            s.state[what] = _ON_DISK
            _load_in_turn(what, now, c, s)
            _pump(what // c.models, now, c, s)
        elif kind == _LOAD_ENDED:
            instance = what // c.models
            s.state[what] = _LOADED
            s.coming[what] = 0
            s.slots[instance] += 1
            _append(what, 2 * instance + _MEMORY, s.first, s.last, s.before, s.after)
            s.loaded[instance] += 1
            s.waiting_at[instance] -= s.waiting[what]
            request = s.wait_first[what]
            while request >= 0:
                _serve(what, request, now, c, s)
                request = s.wait_next[request]
            s.waiting[what] = 0
            s.wait_first[what] = -1
            _pump(instance, now, c, s)
        elif s.state[what] == _LOADED and s.busy[what] <= now:
            _leave_memory(what, c, s)
            _discard(what, c, s)
            _pump(what // c.models, now, c, s)


@_compile
def _draw(count, c, s):  # type: ignore[no-untyped-def]
    if count == 1:
        return 0
    s.counts[3] += 1
    return int(c.draws[s.counts[3] - 1] * count)


@_compile
def _choose(model, now, c, s):  # type: ignore[no-untyped-def]
    if c.random_routing:
        return _draw(c.instances, c, s)
    best, best_rank, best_count, best_born = -1, 9, 0, 0
    short, short_rank, short_count, short_born = -1, 9, 0, 0
    if s.copies[model]:
        for instance in range(c.instances):
            copy = instance * c.models + model
            if not s.exists[copy]:
                continue
            count = s.waiting[copy] + _outstanding(now, copy, (s.run_first, s.run_next), s.ends)
            rank = 0 if s.state[copy] == _LOADED else 1 if s.coming[copy] else 2
            born = s.born[copy]
            if c.scatter and rank:
                continue
            if count < c.spill and (
                rank < best_rank
                or (rank == best_rank and (count < best_count or (count == best_count and born < best_born)))
            ):
                best, best_rank, best_count, best_born = instance, rank, count, born
            rank = min(rank, 1)
            if rank < short_rank or (
                rank == short_rank and (count < short_count or (count == short_count and born < short_born))
            ):
                short, short_rank, short_count, short_born = instance, rank, count, born
    if best >= 0:
        return best
    if c.scatter:
        return _draw(c.instances, c, s)
    if s.copies[model] == c.instances:
        return short
    least, least_memory, tied = -1, 0, 0
    for instance in range(c.instances):
        if s.exists[instance * c.models + model]:
            continue
        count = s.waiting_at[instance] + _outstanding(now, instance, (s.all_first, s.all_next), s.ends)
        s.load_of[instance] = count
        if least < 0 or count < least or (count == least and s.memory[instance] < least_memory):
            least, least_memory, tied = count, s.memory[instance], 1
        elif count == least and s.memory[instance] == least_memory:
            tied += 1
    skip = _draw(tied, c, s)
    for instance in range(c.instances):
        if s.exists[instance * c.models + model]:
            continue
        if s.load_of[instance] == least and s.memory[instance] == least_memory:
            if skip == 0:
                return instance
            skip -= 1
    return -1


@_compile
def _cold(instance, model, request, now, c, s):  # type: ignore[no-untyped-def]
    copy = instance * c.models + model
    if not s.exists[copy]:
        s.exists[copy] = 1
        s.busy[copy] = -1.0
        s.run_first[copy] = -1
        s.size[2] += 1
        s.born[copy] = s.size[2]
        s.copies[model] += 1
        s.only[model] = instance
    if s.wait_first[copy] < 0:
        s.wait_first[copy] = request
    else:
        s.wait_next[s.wait_last[copy]] = request
    s.wait_last[copy] = request
    s.waiting[copy] += 1
    s.waiting_at[instance] += 1
    if s.coming[copy]:
        return _JOINED
    if s.copies[model] > 1:
        for other in range(c.instances):
            each = other * c.models + model
            if other != instance and s.exists[each] and (s.coming[each] or s.state[each] == _LOADED):
                s.counts[2] += 1
                break
    kind = _S3
    if s.state[copy] == _ON_DISK:
        kind = _DISK
        _drop(copy, 2 * instance + _VOLUME, s.first, s.last, s.before, s.after)
    s.coming[copy] = 1
    s.leader[copy] = request
    _enqueue(copy, 3 * instance, s.front, s.back, s.behind)
    _pump(instance, now, c, s)
    return kind


@_compile
def _simulate(models, c, s, kinds):  # type: ignore[no-untyped-def]
    # The usual case is written out with plain arrays: handing the whole state to a function costs more than the work.
    times, service, busy, state, only, copies = c.times, c.service, s.busy, s.state, s.only, s.copies
    first, last, before, after, ends, latency = s.first, s.last, s.before, s.after, s.ends, s.latency
    run_first, run_next, all_first, all_next, all_free = s.run_first, s.run_next, s.all_first, s.all_next, s.free
    heap, size = s.heap, s.size
    several, total, shortcut, spill = c.instances > 1, c.models, c.cache and not c.random_routing, c.spill
    workers = all_free.shape[1]
    for request in range(models.size):
        now, model = times[request], models[request]
        if size[0] > 0 and heap[0] <= now:
            _happen(now, c, s)
        if shortcut and copies[model] == 1:
            instance = only[model]
            copy = instance * total + model
            if state[copy] == _LOADED and (not several or _outstanding(now, copy, (run_first, run_next), ends) < spill):
                head = 2 * instance + _MEMORY
                if last[head] != copy:
                    _drop(copy, head, first, last, before, after)
                    _append(copy, head, first, last, before, after)
                least = 0
                for worker in range(1, workers):
                    if all_free[instance, worker] < all_free[instance, least]:
                        least = worker
                start = all_free[instance, least]
                end = max(now, start) + service[request]
                all_free[instance, least] = end
                ends[request] = end
                if several:
                    run_next[request] = run_first[copy]
                    run_first[copy] = request
                    all_next[request] = all_first[instance]
                    all_first[instance] = request
                if end > busy[copy]:
                    busy[copy] = end
                latency[request] = end - now
                continue
        instance = _choose(model, now, c, s)
        copy = instance * total + model
        if state[copy] == _LOADED:
            head = 2 * instance + _MEMORY
            _drop(copy, head, first, last, before, after)
            _append(copy, head, first, last, before, after)
            _serve(copy, request, now, c, s)
        else:
            kinds[request] = _cold(instance, model, request, now, c, s)
    _happen(_NEVER, c, s)


def run_numba(traffic: Traffic, site: Site, draws: Floats) -> tuple[Floats, Ints, tuple[int, int, int]]:
    """Simulate compiled; see `python_engine.run_python`.

    Args:
        traffic: The requests.
        site: The instances.
        draws: Uniform draws that break ties, one for each request at least.

    Returns:
        Latency of each request in seconds, what each met, and (evictions, discards, duplicate loads).
    """
    requests, models, instances = len(traffic.times), len(traffic.disk), site.instances
    copies = instances * models
    constants = _Constants(
        instances=instances,
        models=models,
        spill=site.spill_outstanding,
        memory_bytes=int(site.memory_bytes),
        volume_bytes=int(site.volume_bytes),
        cache=site.cache_enabled,
        random_routing=site.routing == "random",
        scatter=site.routing == "scatter",
        times=traffic.times,
        service=traffic.service,
        disk=traffic.disk,
        memory=traffic.memory,
        download=traffic.download,
        load=traffic.load,
        factors=np.empty(0) if traffic.factors is None else traffic.factors,
        draws=draws,
    )

    def none(count: int) -> Ints:
        return np.full(count, -1, dtype=np.int64)

    def zeros(count: int) -> Ints:
        return np.zeros(count, dtype=np.int64)

    events = copies + 4 * requests + 1024
    state = _State(
        state=zeros(copies), exists=zeros(copies), coming=zeros(copies), reserved=zeros(copies), leader=zeros(copies),
        born=zeros(copies), busy=np.full(copies, -1.0), waiting=zeros(copies), wait_first=none(copies),
        wait_last=none(copies), wait_next=none(requests), run_first=none(copies), run_next=none(requests),
        all_first=none(instances), all_next=none(requests), ends=np.empty(requests), before=none(copies),
        after=none(copies), first=none(2 * instances), last=none(2 * instances), front=none(3 * instances),
        back=none(3 * instances), behind=none(copies), copies=zeros(models), only=zeros(models),
        loaded=zeros(instances), memory=zeros(instances), volume=zeros(instances), waiting_at=zeros(instances),
        load_of=zeros(instances), wake=np.full(instances, np.inf),
        slots=np.full(instances, site.loader_slots, dtype=np.int64), free=np.zeros((instances, site.workers)),
        heap=np.empty(events), keys=np.empty((events, 3), dtype=np.int64), size=zeros(4), counts=zeros(4),
        latency=np.zeros(requests),
    )  # fmt: skip
    kinds = zeros(requests)
    _simulate(traffic.models, constants, state, kinds)
    evictions, discards, duplicates, _ = (int(each) for each in state.counts)
    return state.latency, kinds, (evictions, discards, duplicates)
