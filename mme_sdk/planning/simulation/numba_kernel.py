"""The functions of `numba_engine` that numba compiles: the same algorithm as `python_engine`.

One file because numba's cache notices changes only in the file of the cached function, not in functions that it calls.

A copy (a model on an instance) is a number, `model * instances + instance`. It is in at most one of its instance's five
lists at a time: the two eviction orders and the three queues. The lists are circular through `before` and `after`; the
number of a list's head follows those of the copies. `c` holds the constants. `s` holds a pointer to each array of the
state, because numba's reference counting of arrays between functions took nine tenths of the time.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numba
import numpy as np

__all__ = ["DISCARDS", "DUPLICATES", "EVICTIONS", "LISTS", "NEVER", "ROUTINGS", "TALLIES", "Rules", "State", "simulate"]

_NONE, _ABSENT, _DOWNLOADING, _ON_DISK, _LOADING, _LOADED = range(6)
_DOWNLOADED, _LOAD_ENDED, _WAKE, _IDLE = range(4)
_HIT, _JOINED, _DISK, _S3 = range(4)
ROUTINGS = ("sticky", "scatter", "random", "sticky_to_memory")
_STICKY, _SCATTER, _RANDOM, _TO_MEMORY = range(4)
_MEMORY, _VOLUME, _QUEUE, _MEMORY_QUEUE, _VOLUME_QUEUE = range(5)  # the lists of an instance
LISTS = 5
TALLIES = 8
_EVENTS, _SEQUENCE, _BORN, _DRAWN, _AGAIN, EVICTIONS, DISCARDS, DUPLICATES = range(TALLIES)  # positions in `tally`
NEVER = np.inf

Rules = namedtuple("Rules", "requests instances workers spill memory_bytes volume_bytes cached routing varied heads")
State = namedtuple(
    "State",
    # float64
    "times service factors draws download load busy wake free at ends starts "
    # int64
    "models disk memory memory_used volume_used sequence event tally kinds "
    # int32
    "copies only state home model_of reserved born leader before after waiting wait_first wait_last running slots "
    "loaded waiting_at late late_first late_last load_of following late_next",
)

_njit: Any = numba.njit
_types: Any = numba.types
_compile = _njit(cache=True, nogil=True)


@_compile
def _drop(copy, s):  # type: ignore[no-untyped-def]
    """Remove a copy from its list."""
    before, after = s.before[copy], s.after[copy]
    s.after[before] = after
    s.before[after] = before


@_compile
def _insert(copy, before, s):  # type: ignore[no-untyped-def]
    """Insert a copy into a list, after a member or the head."""
    after = s.after[before]
    s.before[copy] = before
    s.after[copy] = after
    s.after[before] = copy
    s.before[after] = copy


@_compile
def _append(copy, head, s):  # type: ignore[no-untyped-def]
    """Append a copy to a list."""
    _insert(copy, s.before[head], s)


@_compile
def _move(source, target, s):  # type: ignore[no-untyped-def]
    s.at[target], s.sequence[target], s.event[target] = s.at[source], s.sequence[source], s.event[source]


@_compile
def _push(at, kind, what, s):  # type: ignore[no-untyped-def]
    """Add an event; events of the same time keep their order."""
    position = s.tally[_EVENTS]
    s.tally[_EVENTS] = position + 1
    s.tally[_SEQUENCE] += 1
    while position > 0:
        parent = (position - 1) >> 1
        if s.at[parent] <= at:
            break
        _move(parent, position, s)
        position = parent
    s.at[position], s.sequence[position], s.event[position] = at, s.tally[_SEQUENCE], 4 * what + kind


@_compile
def _sooner(one, other, s):  # type: ignore[no-untyped-def]
    return s.at[one] < s.at[other] or (s.at[one] == s.at[other] and s.sequence[one] < s.sequence[other])


@_compile
def _pop(s):  # type: ignore[no-untyped-def]
    """Remove the first event."""
    s.tally[_EVENTS] -= 1
    last = s.tally[_EVENTS]
    position = 0
    while True:
        child = 2 * position + 1
        if child >= last:
            break
        if child + 1 < last and _sooner(child + 1, child, s):
            child += 1
        if _sooner(last, child, s):
            break
        _move(child, position, s)
        position = child
    _move(last, position, s)
    s.at[last] = NEVER


@_compile
def _outstanding(copy, now, s):  # type: ignore[no-untyped-def]
    """Return the number of a copy's requests that wait or run; remove those that ended."""
    if s.busy[copy] <= now:  # nothing runs; no request waits for a loaded copy
        s.running[copy] = -1
        return s.waiting[copy]
    count, previous, request = 0, -1, s.running[copy]
    while request >= 0:
        following = s.following[request]
        if s.ends[request] > now:
            count += 1
            previous = request
        elif previous < 0:
            s.running[copy] = following
        else:
            s.following[previous] = following
        request = following
    return count


@_compile
def _load_of(instance, now, c, s):  # type: ignore[no-untyped-def]
    """Return the number of an instance's requests that wait for a model, wait for a worker, or run."""
    while s.late[instance] > 0 and s.starts[s.late_first[instance]] <= now:
        s.late_first[instance] = s.late_next[s.late_first[instance]]
        s.late[instance] -= 1
    count = s.waiting_at[instance] + s.late[instance]
    for worker in range(instance * c.workers, (instance + 1) * c.workers):
        if s.free[worker] > now:
            count += 1
    return count


@_compile
def _discard(copy, c, s):  # type: ignore[no-untyped-def]
    """Delete the files of an unused copy, which is in the eviction order of the volume."""
    model = s.model_of[copy]
    _drop(copy, s)
    s.state[copy] = _NONE
    s.reserved[copy] = 0
    s.volume_used[s.home[copy]] -= s.disk[model]
    s.tally[DISCARDS] += 1
    s.copies[model] -= 1
    s.only[model] = -1
    if s.copies[model] == 1:
        for other in range(model * c.instances, (model + 1) * c.instances):
            if s.state[other] != _NONE:
                s.only[model] = other


@_compile
def _leave_memory(copy, c, s):  # type: ignore[no-untyped-def]
    instance = s.home[copy]
    _drop(copy, s)
    s.memory_used[instance] -= s.memory[s.model_of[copy]]
    s.loaded[instance] -= 1
    s.state[copy] = _ON_DISK
    _append(copy, c.heads + LISTS * instance + _VOLUME, s)


@_compile
def _duration(copy, seconds, c, s):  # type: ignore[no-untyped-def]
    return seconds * s.factors[s.leader[copy]] if c.varied else seconds


@_compile
def _start_load(copy, now, c, s):  # type: ignore[no-untyped-def]
    instance, model = s.home[copy], s.model_of[copy]
    short = s.memory_used[instance] + s.memory[model] - c.memory_bytes
    if short > 0:
        head = c.heads + LISTS * instance + _MEMORY
        for _ in range(s.loaded[instance]):
            victim = s.after[head]
            if s.busy[victim] > now:
                _drop(victim, s)
                _append(victim, head, s)
                continue
            _leave_memory(victim, c, s)
            s.tally[EVICTIONS] += 1
            s.tally[_AGAIN] = 1  # a model that waits for the volume may take its space
            if not c.cached:
                _discard(victim, c, s)
            short -= s.memory[s.model_of[victim]]
            if short <= 0:
                break
        if short > 0:
            return False
    s.memory_used[instance] += s.memory[model]
    s.state[copy] = _LOADING
    _push(now + _duration(copy, s.load[model], c, s), _LOAD_ENDED, copy, s)
    return True


@_compile
def _load_in_turn(copy, now, c, s):  # type: ignore[no-untyped-def]
    head = c.heads + LISTS * s.home[copy] + _MEMORY_QUEUE
    if s.after[head] != head or not _start_load(copy, now, c, s):
        _append(copy, head, s)


@_compile
def _reserve(copy, now, c, s):  # type: ignore[no-untyped-def]
    """Return 1 if there was space, 0 if deleting files made space, -1 if there is none."""
    instance, need = s.home[copy], s.disk[s.model_of[copy]]
    short = s.volume_used[instance] + need - c.volume_bytes
    if short <= 0:
        s.volume_used[instance] += need
        s.reserved[copy] = 1
        return 1
    head = c.heads + LISTS * instance + _VOLUME
    while short > 0 and s.after[head] != head:
        victim = s.after[head]
        short -= s.disk[s.model_of[victim]]
        _discard(victim, c, s)
    head = c.heads + LISTS * instance + _MEMORY
    victim = s.after[head]
    while short > 0 and victim != head:
        following = s.after[victim]
        if s.busy[victim] <= now:
            short -= s.disk[s.model_of[victim]]
            _leave_memory(victim, c, s)
            s.tally[EVICTIONS] += 1
            _discard(victim, c, s)
        victim = following
    return 0 if short <= 0 else -1


@_compile
def _advance(instance, now, c, s):  # type: ignore[no-untyped-def]
    lists = c.heads + LISTS * instance
    queue, memory_queue, volume_queue = lists + _QUEUE, lists + _MEMORY_QUEUE, lists + _VOLUME_QUEUE
    again = True
    while again or s.tally[_AGAIN]:
        again = False
        s.tally[_AGAIN] = 0
        while s.after[memory_queue] != memory_queue:
            copy = s.after[memory_queue]
            _drop(copy, s)
            if not _start_load(copy, now, c, s):
                _insert(copy, memory_queue, s)
                break
        while s.after[volume_queue] != volume_queue:
            copy = s.after[volume_queue]
            space = _reserve(copy, now, c, s)
            again = again or space == 0
            if space != 1:
                break
            _drop(copy, s)
            _insert(copy, queue, s)
        while s.after[queue] != queue and s.slots[instance] > 0:
            copy = s.after[queue]
            _drop(copy, s)
            if not s.reserved[copy]:
                space = -1 if s.after[volume_queue] != volume_queue else _reserve(copy, now, c, s)
                again = again or space == 0
                if space != 1:
                    _append(copy, volume_queue, s)
                    continue
            s.slots[instance] -= 1
            if s.state[copy] == _ABSENT:
                s.state[copy] = _DOWNLOADING
                _push(now + _duration(copy, s.download[s.model_of[copy]], c, s), _DOWNLOADED, copy, s)
            else:
                _load_in_turn(copy, now, c, s)
    if s.after[memory_queue] != memory_queue or s.after[volume_queue] != volume_queue:
        soon = NEVER
        copy = s.after[lists + _MEMORY]
        while copy != lists + _MEMORY:
            if now < s.busy[copy] < soon:
                soon = s.busy[copy]
            copy = s.after[copy]
        if soon < s.wake[instance] or (s.wake[instance] <= now and soon < NEVER):
            s.wake[instance] = soon
            _push(soon, _WAKE, instance, s)


@_compile
def _serve(copy, request, now, c, s):  # type: ignore[no-untyped-def]
    """Run a request of a loaded copy."""
    instance = s.home[copy]
    least = instance * c.workers
    for worker in range(least, least + c.workers):
        if s.free[worker] <= now:  # all idle workers are equal
            least = worker
            break
        if s.free[worker] < s.free[least]:
            least = worker
    start = s.free[least]
    if start <= now:
        start = now
    elif c.instances > 1:
        s.starts[request] = start
        if s.late[instance] == 0:
            s.late_first[instance] = request
        else:
            s.late_next[s.late_last[instance]] = request
        s.late_last[instance] = request
        s.late[instance] += 1
    end = start + s.service[request]
    s.free[least] = end
    s.ends[request] = end
    if c.instances > 1:
        s.following[request] = s.running[copy]
        s.running[copy] = request
    s.busy[copy] = max(s.busy[copy], end)
    if not c.cached:
        _push(end, _IDLE, copy, s)


@_compile
def _process_events(until, c, s):  # type: ignore[no-untyped-def]
    while s.tally[_EVENTS] > 0 and s.at[0] <= until:
        now, what, kind = s.at[0], s.event[0] >> 2, s.event[0] & 3
        _pop(s)
        instance = what if kind == _WAKE else s.home[what]
        if kind == _DOWNLOADED:
            s.state[what] = _ON_DISK
            _load_in_turn(what, now, c, s)
        elif kind == _LOAD_ENDED:
            s.state[what] = _LOADED
            s.slots[instance] += 1
            s.loaded[instance] += 1
            s.waiting_at[instance] -= s.waiting[what]
            _append(what, c.heads + LISTS * instance + _MEMORY, s)
            request = s.wait_first[what]
            for _ in range(s.waiting[what]):
                following = s.following[request]
                _serve(what, request, now, c, s)
                request = following
            s.waiting[what] = 0
        elif kind == _IDLE:
            if s.state[what] != _LOADED or s.busy[what] > now:
                continue
            _leave_memory(what, c, s)
            _discard(what, c, s)
        _advance(instance, now, c, s)


@_compile
def _draw(count, s):  # type: ignore[no-untyped-def]
    if count == 1:
        return 0
    s.tally[_DRAWN] += 1
    return int(s.draws[s.tally[_DRAWN] - 1] * count)


@_compile
def _is_free(copy, c, s):  # type: ignore[no-untyped-def]
    """Return whether the instance of a copy counts as one without the model."""
    if s.state[copy] == _NONE:
        return True
    return c.routing == _TO_MEMORY and s.state[copy] != _LOADED and s.waiting[copy] == 0


@_compile
def _choose(model, now, c, s):  # type: ignore[no-untyped-def]
    """Return the copy to which a request goes; it may not exist yet."""
    base = model * c.instances
    if c.routing == _RANDOM:
        return base + _draw(c.instances, s)
    best, best_rank, best_count, best_born = -1, 9, 0, 0
    short, short_rank, short_count, short_born = -1, 9, 0, 0
    held = 0
    if s.copies[model] > 0:
        for copy in range(base, base + c.instances):
            if _is_free(copy, c, s):
                continue
            held += 1
            count = _outstanding(copy, now, s)
            rank = 0 if s.state[copy] == _LOADED else 1 if s.waiting[copy] > 0 else 2
            born = s.born[copy]
            if c.routing == _SCATTER and rank > 0:
                continue
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
    if c.routing == _SCATTER:
        return base + _draw(c.instances, s)
    if held == c.instances:
        return short
    least, least_memory, tied = -1, 0, 0
    for instance in range(c.instances):
        if not _is_free(base + instance, c, s):
            continue
        count = _load_of(instance, now, c, s)
        s.load_of[instance] = count
        if least < 0 or count < least or (count == least and s.memory_used[instance] < least_memory):
            least, least_memory, tied = count, s.memory_used[instance], 1
        elif count == least and s.memory_used[instance] == least_memory:
            tied += 1
    skip = _draw(tied, s)
    for instance in range(c.instances):
        if not _is_free(base + instance, c, s):
            continue
        if s.load_of[instance] == least and s.memory_used[instance] == least_memory:
            if skip == 0:
                return base + instance
            skip -= 1
    return -1


@_compile
def _cold(copy, request, now, c, s):  # type: ignore[no-untyped-def]
    instance, model = s.home[copy], s.model_of[copy]
    if s.state[copy] == _NONE:
        s.state[copy] = _ABSENT
        s.busy[copy] = -1.0
        s.tally[_BORN] += 1
        s.born[copy] = s.tally[_BORN]
        s.copies[model] += 1
        s.only[model] = copy if s.copies[model] == 1 else -1
    joins = s.waiting[copy] > 0
    if joins:
        s.following[s.wait_last[copy]] = request
    else:
        s.wait_first[copy] = request
    s.wait_last[copy] = request
    s.waiting[copy] += 1
    s.waiting_at[instance] += 1
    if joins:
        return _JOINED
    if s.copies[model] > 1:
        for other in range(model * c.instances, (model + 1) * c.instances):
            if other != copy and (s.waiting[other] > 0 or s.state[other] == _LOADED):
                s.tally[DUPLICATES] += 1
                break
    kind = _S3
    if s.state[copy] == _ON_DISK:
        kind = _DISK
        _drop(copy, s)
    s.leader[copy] = request
    _append(copy, c.heads + LISTS * instance + _QUEUE, s)
    _advance(instance, now, c, s)
    return kind


@_compile
def _run(c, s):  # type: ignore[no-untyped-def]
    several = c.instances > 1
    for request in range(c.requests):
        now, model = s.times[request], s.models[request]
        if s.at[0] <= now:
            _process_events(now, c, s)
        copy = s.only[model]
        if copy < 0 or (
            several
            and (
                c.routing == _RANDOM
                or (c.routing == _SCATTER and s.state[copy] != _LOADED)
                or _is_free(copy, c, s)
                or _outstanding(copy, now, s) >= c.spill
            )
        ):
            copy = _choose(model, now, c, s)
        if s.state[copy] == _LOADED:
            head = c.heads + LISTS * s.home[copy] + _MEMORY
            if s.after[copy] != head:
                _drop(copy, s)
                _append(copy, head, s)
            _serve(copy, request, now, c, s)
        else:
            s.kinds[request] = _cold(copy, request, now, c, s)
    _process_events(NEVER, c, s)


_kinds = [_types.CPointer(kind)(_types.CPointer(kind)) for kind in (_types.float64, _types.int64, _types.int32)]


@_njit(_kinds, cache=True)
def _as_pointer(pointer):  # type: ignore[no-untyped-def]
    return pointer  # the declared signatures convert `array.ctypes` into a pointer


@_compile
def _at(array):  # type: ignore[no-untyped-def]
    return _as_pointer(array.ctypes)


@_compile
def simulate(c, a):  # type: ignore[no-untyped-def]
    """Simulate; `c` holds the `Rules`, `a` a `State` of arrays that the caller owns."""
    pointers = State(
        _at(a.times), _at(a.service), _at(a.factors), _at(a.draws), _at(a.download), _at(a.load), _at(a.busy),
        _at(a.wake), _at(a.free), _at(a.at), _at(a.ends), _at(a.starts),
        _at(a.models), _at(a.disk), _at(a.memory), _at(a.memory_used), _at(a.volume_used), _at(a.sequence),
        _at(a.event), _at(a.tally), _at(a.kinds),
        _at(a.copies), _at(a.only), _at(a.state), _at(a.home), _at(a.model_of), _at(a.reserved), _at(a.born),
        _at(a.leader), _at(a.before), _at(a.after), _at(a.waiting), _at(a.wait_first), _at(a.wait_last),
        _at(a.running), _at(a.slots), _at(a.loaded), _at(a.waiting_at), _at(a.late), _at(a.late_first),
        _at(a.late_last), _at(a.load_of), _at(a.following), _at(a.late_next),
    )  # fmt: skip
    _run(c, pointers)
