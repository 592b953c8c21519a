"""One instance: which models are on its volume and in its memory, and who waits for what.

Room is given in order of asking: first on the volume, then a loader slot, which is held from `Download` to `loaded`,
then in memory. Whoever waits for the volume holds no slot, and nothing that is loaded waits for anything, so whoever
waits for a slot or for memory waits for something that ends.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from mme_sdk.fleet.commands import Command, Discard, Download, Fail, FailReason, Load, Run, Unload

if TYPE_CHECKING:
    from mme_sdk.fleet.policy import FleetPolicy, Footprint

__all__ = ["Copy", "Instance", "State", "Tally"]


class State(enum.Enum):
    """Where a model is on an instance."""

    ABSENT = "absent"
    DOWNLOADING = "downloading"
    ON_DISK = "on_disk"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    DISCARDING = "discarding"


_ABSENT, _DOWNLOADING, _ON_DISK = State.ABSENT, State.DOWNLOADING, State.ON_DISK
_LOADING, _LOADED, _UNLOADING, _DISCARDING = State.LOADING, State.LOADED, State.UNLOADING, State.DISCARDING


class Tally:
    """Counts of one instance since it came."""

    __slots__ = ("arrivals", "discards", "disk_loads", "duplicate_loads", "evictions", "failures", "hits", "s3_loads")

    def __init__(self) -> None:
        self.arrivals = self.hits = self.s3_loads = self.disk_loads = 0
        self.evictions = self.discards = self.duplicate_loads = self.failures = 0


class Copy:
    """A model on an instance.

    Attributes:
        coming: Queued for a loader slot, or holding one.
        slot: Holding a loader slot.
        disk: Bytes reserved on the volume.
        memory: Bytes reserved in memory.
        leaving: The files are to be deleted once the model is unloaded.
        pressed: The container had no memory for it (507): something must go before it is tried again.
    """

    __slots__ = (
        "coming", "disk", "footprint", "instance", "last_used", "leaving", "memory", "model", "pressed", "running",
        "since", "slot", "state", "waiting",
    )  # fmt: skip

    def __init__(self, instance: Instance, model: str, footprint: Footprint, now: float) -> None:
        self.instance = instance
        self.model = model
        self.footprint = footprint
        self.state = _ABSENT
        self.coming = self.slot = self.leaving = self.pressed = False
        self.disk = self.memory = 0
        self.waiting: dict[str, None] = {}
        self.running: dict[str, None] = {}
        self.since = self.last_used = now

    @property
    def outstanding(self) -> int:
        """Requests that wait for this copy or run on it."""
        return len(self.waiting) + len(self.running)

    @property
    def rank(self) -> int:
        """How near to serving: 0 in memory, 1 coming, 2 files on the volume."""
        return 0 if self.state is _LOADED else 1 if self.coming or self.waiting else 2

    @property
    def unused(self) -> bool:
        """Nothing waits for it, runs on it or brings it."""
        return not (self.waiting or self.running or self.coming)


class Instance:
    """The caches and loaders of one instance."""

    __slots__ = (
        "_forget", "copies", "draining", "freeing_memory", "freeing_volume", "id", "in_memory", "memory_used",
        "memory_waiting", "on_disk", "outstanding", "policy", "queue", "reruns", "since", "slots_free", "tally",
        "unloading", "volume_used", "volume_waiting",
    )  # fmt: skip

    def __init__(self, instance_id: str, policy: FleetPolicy, now: float, forget: Callable[[Copy], None]) -> None:
        self.id = instance_id
        self.policy = policy
        self._forget = forget
        self.since = now
        self.draining = False
        self.copies: dict[str, Copy] = {}
        self.in_memory = policy.eviction()  # every loaded model
        self.on_disk = policy.eviction()  # unused models that are on the volume alone
        self.unloading: dict[str, Copy] = {}
        self.queue: deque[Copy] = deque()
        self.memory_waiting: deque[Copy] = deque()
        self.volume_waiting: deque[Copy] = deque()
        self.reruns: dict[str, str] = {}
        self.slots_free = policy.loader_slots
        self.memory_used = self.volume_used = self.outstanding = 0
        self.freeing_memory = self.freeing_volume = 0
        self.tally = Tally()

    # -- a copy comes ---------------------------------------------------------------------------------------------

    def want(self, copy: Copy, commands: list[Command]) -> None:
        """Bring a copy that is absent or on the volume into memory, in turn."""
        if copy.state is _ON_DISK:
            self.on_disk.drop(copy.model)
        self._enqueue(copy)
        self.pump(commands)

    def _enqueue(self, copy: Copy) -> None:
        copy.coming = True
        self.tally.disk_loads += copy.state is _ON_DISK
        self.queue.append(copy)

    def pump(self, commands: list[Command]) -> None:
        """Give what has become free, slots and room, to those who wait for it, first come first served."""
        while self.memory_waiting and self._load(self.memory_waiting[0], commands):
            self.memory_waiting.popleft()
        while self.volume_waiting and self._reserve_volume(self.volume_waiting[0], commands):
            copy = self.volume_waiting.popleft()
            if copy.coming:
                self.queue.appendleft(copy)
        while self.queue and self.slots_free:
            copy = self.queue.popleft()
            if not copy.disk and (self.volume_waiting or not self._reserve_volume(copy, commands)):
                self.volume_waiting.append(copy)
            elif copy.coming:
                self._start(copy, commands)

    def _start(self, copy: Copy, commands: list[Command]) -> None:
        self.slots_free -= 1
        copy.slot = True
        if copy.state is _ABSENT:
            copy.state = _DOWNLOADING
            self.tally.s3_loads += 1
            commands.append(Download(self.id, copy.model))
        else:
            self._load_in_turn(copy, commands)

    def _load_in_turn(self, copy: Copy, commands: list[Command]) -> None:
        if self.memory_waiting or not self._load(copy, commands):
            self.memory_waiting.append(copy)

    def _load(self, copy: Copy, commands: list[Command]) -> bool:
        """Reserve memory and load, or ask unused models to leave; False while there is no room."""
        need = copy.footprint.memory_bytes
        short = self.memory_used - self.freeing_memory + need - self.policy.memory_bytes
        if copy.pressed and not self.freeing_memory:
            short = max(short, 1)
        if short > 0:
            for model in self._unused_in_memory(short):
                self.unload(self.copies[model], commands)
                self.tally.evictions += 1
        if copy.pressed and not self.freeing_memory and not self._memory_in_use():
            self.fail(copy, "out_of_memory", "the container has no memory for it, with all others unloaded", commands)
            self._settle(copy, commands)
            self._relieve()
            return True
        if copy.pressed or self.memory_used + need > self.policy.memory_bytes:
            return False
        copy.memory = need
        self.memory_used += need
        copy.state = _LOADING
        commands.append(Load(self.id, copy.model))
        return True

    def _relieve(self) -> None:
        """Something left memory: what the container had no memory for is worth another try."""
        for copy in self.memory_waiting:
            copy.pressed = False

    def _memory_in_use(self) -> bool:
        return any(copy.state is _LOADING or copy.state is _LOADED for copy in self.copies.values())

    def _unused_in_memory(self, short: int) -> list[str]:
        chosen, passed = [], []
        for model in self.in_memory:
            if short <= 0:
                break
            copy = self.copies[model]
            if copy.unused:
                chosen.append(model)
                short -= copy.memory
            else:
                passed.append(model)
        for model in passed:  # in use now is used now; and the next search need not pass them again
            self.in_memory.touch(model)
        return chosen

    def _reserve_volume(self, copy: Copy, commands: list[Command]) -> bool:
        """Reserve the volume, or ask unused models to leave; False while there is no room."""
        need = copy.footprint.disk_bytes - copy.disk
        short = self.volume_used - self.freeing_volume + need - self.policy.volume_bytes
        if short > 0:
            self._clear_volume(short, commands)
        if self.volume_used + need > self.policy.volume_bytes:
            return self._gave_up(copy, commands)
        copy.disk += need
        self.volume_used += need
        return True

    def _clear_volume(self, short: int, commands: list[Command]) -> None:
        # Files of models that are not in memory go first: deleting them costs no later hit in memory.
        victims = []
        for model in self.on_disk:
            if short <= 0:
                break
            victims.append(self.copies[model])
            short -= self.copies[model].disk
        for copy in victims:
            self._discard(copy, commands)
        for copy in self.unloading.values():  # on their way to the volume alone, unless somebody asked meanwhile
            if short > 0 and not copy.leaving and not copy.waiting:
                copy.leaving = True
                self.freeing_volume += copy.disk
                short -= copy.disk
        for model in list(self.in_memory) if short > 0 else ():
            copy = self.copies[model]
            if short > 0 and copy.unused:
                short -= copy.disk
                self.tally.evictions += 1
                self.unload(copy, commands, leaving=True)

    def _gave_up(self, copy: Copy, commands: list[Command]) -> bool:
        """Extracted larger than announced, several models can hold the volume while each waits for more of it."""
        waiting = {each.model for each in self.volume_waiting}
        if self.freeing_volume or any(
            each.disk and each is not copy and each.model not in waiting for each in self.copies.values()
        ):
            return False
        self.fail(copy, "out_of_disk", "the volume is full of models that are being loaded", commands)
        self._settle(copy, commands)
        return True

    # -- answers --------------------------------------------------------------------------------------------------

    def downloaded(self, copy: Copy, footprint: Footprint | None, commands: list[Command]) -> None:
        """The files are there, and their true size is known."""
        copy.state = _ON_DISK
        copy.footprint = footprint = footprint or copy.footprint
        if footprint.disk_bytes > self.policy.volume_bytes:
            self.fail(copy, "out_of_disk", "larger than the whole volume", commands)
            self._settle(copy, commands, leaving=True)
        elif footprint.memory_bytes > self.policy.memory_bytes:
            self.fail(copy, "out_of_memory", "larger than the whole memory", commands)
            self._settle(copy, commands, leaving=True)
        elif footprint.disk_bytes <= copy.disk:
            self.volume_used -= copy.disk - footprint.disk_bytes
            copy.disk = footprint.disk_bytes
            self._load_in_turn(copy, commands)
        elif self.volume_waiting or not self._reserve_volume(copy, commands):
            self._free_slot(copy)
            copy.coming = True
            self.volume_waiting.append(copy)
        elif copy.coming:
            self._load_in_turn(copy, commands)
        self.pump(commands)

    def download_failed(self, copy: Copy, detail: str, commands: list[Command]) -> None:
        """No files; the room is free again."""
        self.volume_used -= copy.disk
        copy.disk = 0
        copy.state = _ABSENT
        self.fail(copy, "download_failed", detail, commands)
        self._settle(copy, commands)
        self.pump(commands)

    def loaded(self, copy: Copy, commands: list[Command]) -> None:
        """In memory: whoever waited runs."""
        copy.state = _LOADED
        copy.pressed = False
        self.in_memory.add(copy.model)
        self._free_slot(copy)
        copy.running |= copy.waiting
        commands.extend(Run(self.id, copy.model, request) for request in copy.waiting)
        copy.waiting = {}
        self.became_unused(copy, commands)
        self.pump(commands)

    def load_failed(self, copy: Copy, reason: FailReason, detail: str, commands: list[Command]) -> None:
        """Not in memory; the files stay."""
        self._leave_memory(copy)
        self._relieve()
        self.fail(copy, reason, detail, commands)
        self._settle(copy, commands)
        self.pump(commands)

    def out_of_memory(self, copy: Copy, commands: list[Command]) -> None:
        """The container answered 507: it takes more than was thought, so something else must go."""
        self._leave_memory(copy)
        copy.pressed = True
        self.memory_waiting.appendleft(copy)
        self.pump(commands)

    def unload(self, copy: Copy, commands: list[Command], *, leaving: bool = False) -> None:
        """Take an unused model out of memory."""
        copy.state = _UNLOADING
        self.unloading[copy.model] = copy
        self.in_memory.drop(copy.model)
        self.freeing_memory += copy.memory
        if leaving:
            copy.leaving = True
            self.freeing_volume += copy.disk
        commands.append(Unload(self.id, copy.model))

    def unloaded(self, copy: Copy, commands: list[Command]) -> None:
        """The memory is free."""
        self.freeing_memory -= copy.memory
        del self.unloading[copy.model]
        self._leave_memory(copy)
        if copy.leaving:
            self.freeing_volume -= copy.disk
        self._relieve()
        commands.extend(Run(self.id, model, request) for request, model in self.reruns.items())
        self.reruns.clear()
        self._settle(copy, commands, leaving=copy.leaving)
        self.pump(commands)

    def discarded(self, copy: Copy, commands: list[Command]) -> None:
        """The room on the volume is free."""
        self.freeing_volume -= copy.disk
        self.volume_used -= copy.disk
        copy.disk = 0
        copy.state = _ABSENT
        self._settle(copy, commands)
        self.pump(commands)

    def ran_out_of_memory(self, copy: Copy, request_id: str, commands: list[Command]) -> bool:
        """An invocation was answered 507: run it again once something has left; False where nothing can leave."""
        if not self.freeing_memory:
            for model in self._unused_in_memory(1):
                self.unload(self.copies[model], commands)
                self.tally.evictions += 1
        if not self.freeing_memory:
            return False
        self.reruns[request_id] = copy.model
        return True

    def crashed(self, commands: list[Command]) -> None:
        """The container's process is gone, and with it everything in memory; the volume stays."""
        self.reruns.clear()
        self.unloading.clear()
        for copy in list(self.copies.values()):
            before = copy.state
            if before not in (_LOADING, _LOADED, _UNLOADING):
                continue
            if before is _LOADED:
                self.in_memory.drop(copy.model)
            elif before is _UNLOADING:
                self.freeing_memory -= copy.memory
                self.freeing_volume -= copy.disk if copy.leaving else 0
            self._leave_memory(copy)
            # A model that was loading may be what killed it: trying again unasked could go on for ever.
            self.fail(copy, "crashed", "the container's process died", commands, waiting=before is _LOADING)
            self._settle(copy, commands, leaving=copy.leaving)
        self._relieve()
        self.pump(commands)

    # -- common ---------------------------------------------------------------------------------------------------

    def became_unused(self, copy: Copy, commands: list[Command]) -> None:
        """A loaded model has nothing to do: it may go, or must."""
        if not self.policy.cache_enabled and copy.state is _LOADED and copy.unused:
            self.unload(copy, commands, leaving=True)

    def fail(
        self, copy: Copy, reason: FailReason, detail: str, commands: list[Command], *, waiting: bool = True
    ) -> None:
        """Fail the requests of a copy."""
        lost = [Fail(request, copy.model, reason, detail, ran=True) for request in copy.running]
        copy.running = {}
        if waiting:
            lost += [Fail(request, copy.model, reason, detail) for request in copy.waiting]
            copy.waiting = {}
        self.outstanding -= len(lost)
        self.tally.failures += len(lost)
        commands.extend(lost)

    def _leave_memory(self, copy: Copy) -> None:
        self.memory_used -= copy.memory
        copy.memory = 0
        copy.state = _ON_DISK

    def _free_slot(self, copy: Copy) -> None:
        if copy.slot:
            copy.slot = False
            self.slots_free += 1
        copy.coming = False

    def _settle(self, copy: Copy, commands: list[Command], *, leaving: bool = False) -> None:
        """A copy that is not in memory and not coming: bring it again for those who wait, or put it to rest."""
        self._free_slot(copy)
        copy.pressed = copy.leaving = False
        if copy.waiting:
            self._enqueue(copy)
        elif copy.state is _ABSENT:
            del self.copies[copy.model]
            self._forget(copy)
        else:
            self.on_disk.add(copy.model)
            if leaving or not self.policy.cache_enabled:
                self._discard(copy, commands)

    def _discard(self, copy: Copy, commands: list[Command]) -> None:
        self.on_disk.drop(copy.model)
        copy.state = _DISCARDING
        self.freeing_volume += copy.disk
        self.tally.discards += 1
        commands.append(Discard(self.id, copy.model))
