"""One instance: the models on its volume and in its memory, and the queues for space and loader slots.

A model gets space on the volume first, then a loader slot, which it occupies from `Download` to `loaded`, then memory.
Each queue is first come, first served. There is no deadlock: a model that waits for the volume occupies no slot, and a
loaded model waits for nothing. A wait for a slot or for memory therefore ends when a load or a request ends.

One file because the transitions of this state machine share its queues and counters.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable

from mme_sdk.fleet.commands import Command, Discard, Download, Fail, FailReason, Load, Run, Unload
from mme_sdk.fleet.instance_policy import Footprint, InstancePolicy

__all__ = ["Copy", "Instance", "State", "Tally"]


class State(enum.Enum):
    """The state of a model on an instance."""

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
    """Counts of one instance since its start."""

    __slots__ = ("arrivals", "discards", "disk_loads", "duplicate_loads", "evictions", "failures", "hits", "s3_loads")

    def __init__(self) -> None:
        self.arrivals = self.hits = self.s3_loads = self.disk_loads = 0
        self.evictions = self.discards = self.duplicate_loads = self.failures = 0


class Copy:
    """A model on an instance.

    Attributes:
        instance: The instance.
        model: Name of the model.
        footprint: Size of the model, as known so far.
        state: State of the model.
        queued: Whether the model waits for a loader slot, or occupies one.
        slot: Whether the model occupies a loader slot.
        disk: Reserved space on the volume, bytes.
        memory: Reserved memory, bytes.
        delete_files: Whether the files are deleted after the model is unloaded.
        refused: Whether the container answered the load with 507: another model must be unloaded before the next try.
        waiting: Names of the requests that wait for the model, in order.
        running: Names of the requests that the model processes, in order.
        last_used: Time at which its last request arrived or finished, seconds.
        since: Time at which it was last downloaded or loaded, seconds.

    Args:
        instance: The instance.
        model: Name of the model.
        footprint: Size of the model, as known before the download.
        now: The time, seconds.
    """

    __slots__ = (
        "delete_files",
        "disk",
        "footprint",
        "instance",
        "last_used",
        "memory",
        "model",
        "queued",
        "refused",
        "running",
        "since",
        "slot",
        "state",
        "waiting",
    )  # fmt: skip

    def __init__(self, instance: Instance, model: str, footprint: Footprint, now: float) -> None:
        self.instance = instance
        self.model = model
        self.footprint = footprint
        self.state = _ABSENT
        self.queued = self.slot = self.delete_files = self.refused = False
        self.disk = self.memory = 0
        self.waiting: dict[str, None] = {}
        self.running: dict[str, None] = {}
        self.since = self.last_used = now

    @property
    def outstanding(self) -> int:
        """Number of requests that wait or run."""
        return len(self.waiting) + len(self.running)

    @property
    def rank(self) -> int:
        """0 if the model is in memory, 1 if it is loading or requested, 2 otherwise."""
        return 0 if self.state is _LOADED else 1 if self.queued or self.waiting else 2

    @property
    def unused(self) -> bool:
        """Whether no request waits or runs, and the model is not queued for a load."""
        return not (self.waiting or self.running or self.queued)


class Instance:
    """The memory, the volume and the loader slots of one instance.

    Attributes:
        id: Name of the instance.
        policy: Sizes and rules.
        draining: Whether it accepts no new requests.
        copies: The models on the instance, by name.
        in_memory: Eviction order of the loaded models.
        on_disk: Eviction order of the unused models that are only on the volume.
        memory_used: Reserved memory, bytes.
        volume_used: Reserved space on the volume, bytes.
        outstanding: Number of requests that wait or run.
        since: Time at which the instance was added, seconds.
        tally: Counts of the instance.

    Args:
        instance_id: Name of the instance.
        policy: Sizes and rules.
        now: The time, seconds.
        on_removed: Function that is called with each copy that the instance removes.
    """

    __slots__ = (
        "_on_removed", "copies", "draining", "freeing_memory", "freeing_volume", "id", "in_memory", "memory_used",
        "memory_waiting", "on_disk", "outstanding", "policy", "queue", "reruns", "since", "slots_free", "tally",
        "unloading", "volume_used", "volume_waiting",
    )  # fmt: skip

    def __init__(
        self, instance_id: str, policy: InstancePolicy, now: float, on_removed: Callable[[Copy], None]
    ) -> None:
        self.id = instance_id
        self.policy = policy
        self._on_removed = on_removed
        self.since = now
        self.draining = False
        self.copies: dict[str, Copy] = {}
        self.in_memory = policy.eviction()  # all loaded models
        self.on_disk = policy.eviction()  # unused models that are only on the volume
        self.unloading: dict[str, Copy] = {}
        self.queue: deque[Copy] = deque()
        self.memory_waiting: deque[Copy] = deque()
        self.volume_waiting: deque[Copy] = deque()
        self.reruns: dict[str, str] = {}
        self.slots_free = policy.loader_slots
        self.memory_used = self.volume_used = self.outstanding = 0
        self.freeing_memory = self.freeing_volume = 0
        self.tally = Tally()

    # -- loading a copy -------------------------------------------------------------------------------------------

    def bring(self, copy: Copy, commands: list[Command]) -> None:
        """Queue a copy that is absent or on the volume for memory.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
        """
        if copy.state is _ON_DISK:
            self.on_disk.drop(copy.model)
        self._enqueue(copy)
        self.advance(commands)

    def _enqueue(self, copy: Copy) -> None:
        copy.queued = True
        self.tally.disk_loads += copy.state is _ON_DISK
        self.queue.append(copy)

    def advance(self, commands: list[Command]) -> None:
        """Assign free loader slots, space and memory to the copies that wait, first come, first served.

        Args:
            commands: List to which the commands are added.
        """
        while self.memory_waiting and self._load(self.memory_waiting[0], commands):
            self.memory_waiting.popleft()
        while self.volume_waiting and self._reserve_volume(self.volume_waiting[0], commands):
            copy = self.volume_waiting.popleft()
            if copy.queued:
                self.queue.appendleft(copy)
        while self.queue and self.slots_free:
            copy = self.queue.popleft()
            if not copy.disk and (self.volume_waiting or not self._reserve_volume(copy, commands)):
                self.volume_waiting.append(copy)
            elif copy.queued:
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
        """Reserve memory and load, or evict unused models; return False while there is not enough memory."""
        need = copy.footprint.memory_bytes
        short = self.memory_used - self.freeing_memory + need - self.policy.memory_bytes
        if copy.refused and not self.freeing_memory:
            short = max(short, 1)
        if short > 0:
            for model in self._unused_in_memory(short):
                self.unload(self.copies[model], commands)
                self.tally.evictions += 1
        if copy.refused and not self.freeing_memory and not self._memory_in_use():
            self.fail(
                copy,
                "out_of_memory",
                "the container has no memory for the model, with all other models unloaded",
                commands,
            )
            self._settle(copy, commands)
            self._allow_retries()
            return True
        if copy.refused or self.memory_used + need > self.policy.memory_bytes:
            return False
        copy.memory = need
        self.memory_used += need
        copy.state = _LOADING
        commands.append(Load(self.id, copy.model))
        return True

    def _allow_retries(self) -> None:
        """Allow another try for the copies that the container refused, because memory became free."""
        for copy in self.memory_waiting:
            copy.refused = False

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
        for model in passed:  # counts as use, and keeps the next search short
            self.in_memory.touch(model)
        return chosen

    def _reserve_volume(self, copy: Copy, commands: list[Command]) -> bool:
        """Reserve space on the volume, or delete unused models; return False while there is not enough space."""
        need = copy.footprint.disk_bytes - copy.disk
        short = self.volume_used - self.freeing_volume + need - self.policy.volume_bytes
        if short > 0:
            self._clear_volume(short, commands)
        if self.volume_used + need > self.policy.volume_bytes:
            return self._failed_for_space(copy, commands)
        copy.disk += need
        self.volume_used += need
        return True

    def _clear_volume(self, short: int, commands: list[Command]) -> None:
        # Delete models first that are not in memory: this causes no later miss in memory.
        victims = []
        for model in self.on_disk:
            if short <= 0:
                break
            victims.append(self.copies[model])
            short -= self.copies[model].disk
        for copy in victims:
            self._discard(copy, commands)
        for copy in self.unloading.values():  # only on the volume soon, unless requested in the meantime
            if short > 0 and not copy.delete_files and not copy.waiting:
                copy.delete_files = True
                self.freeing_volume += copy.disk
                short -= copy.disk
        for model in list(self.in_memory) if short > 0 else ():
            copy = self.copies[model]
            if short > 0 and copy.unused:
                short -= copy.disk
                self.tally.evictions += 1
                self.unload(copy, commands, delete_files=True)

    def _failed_for_space(self, copy: Copy, commands: list[Command]) -> bool:
        """Fail the copy if only waiting copies use the volume: models may be larger than announced."""
        waiting = {each.model for each in self.volume_waiting}
        if self.freeing_volume or any(
            each.disk and each is not copy and each.model not in waiting for each in self.copies.values()
        ):
            return False
        self.fail(copy, "out_of_disk", "the volume is full of models that are loading", commands)
        self._settle(copy, commands)
        return True

    # -- reports --------------------------------------------------------------------------------------------------

    def downloaded(self, copy: Copy, footprint: Footprint | None, commands: list[Command]) -> None:
        """Handle the end of a download.

        Args:
            copy: The copy.
            footprint: The size after extraction; None if it is as announced.
            commands: List to which the commands are added.
        """
        copy.state = _ON_DISK
        copy.footprint = footprint = footprint or copy.footprint
        if footprint.disk_bytes > self.policy.volume_bytes:
            self.fail(copy, "out_of_disk", "the model is larger than the volume", commands)
            self._settle(copy, commands, delete_files=True)
        elif footprint.memory_bytes > self.policy.memory_bytes:
            self.fail(copy, "out_of_memory", "the model is larger than the memory for models", commands)
            self._settle(copy, commands, delete_files=True)
        elif footprint.disk_bytes <= copy.disk:
            self.volume_used -= copy.disk - footprint.disk_bytes
            copy.disk = footprint.disk_bytes
            self._load_in_turn(copy, commands)
        elif self.volume_waiting or not self._reserve_volume(copy, commands):
            self._free_slot(copy)
            copy.queued = True
            self.volume_waiting.append(copy)
        elif copy.queued:
            self._load_in_turn(copy, commands)
        self.advance(commands)

    def download_failed(self, copy: Copy, detail: str, commands: list[Command]) -> None:
        """Handle a download that failed.

        Args:
            copy: The copy.
            detail: Description of the failure.
            commands: List to which the commands are added.
        """
        self.volume_used -= copy.disk
        copy.disk = 0
        copy.state = _ABSENT
        self.fail(copy, "download_failed", detail, commands)
        self._settle(copy, commands)
        self.advance(commands)

    def loaded(self, copy: Copy, commands: list[Command]) -> None:
        """Handle the end of a load: the waiting requests run.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
        """
        copy.state = _LOADED
        copy.refused = False
        self.in_memory.add(copy.model)
        self._free_slot(copy)
        copy.running |= copy.waiting
        commands.extend(Run(self.id, copy.model, request) for request in copy.waiting)
        copy.waiting = {}
        self.became_unused(copy, commands)
        self.advance(commands)

    def load_failed(self, copy: Copy, reason: FailReason, detail: str, commands: list[Command]) -> None:
        """Handle a load that failed; the files stay on the volume.

        Args:
            copy: The copy.
            reason: Category of the failure.
            detail: Description of the failure.
            commands: List to which the commands are added.
        """
        self._leave_memory(copy)
        self._allow_retries()
        self.fail(copy, reason, detail, commands)
        self._settle(copy, commands)
        self.advance(commands)

    def out_of_memory(self, copy: Copy, commands: list[Command]) -> None:
        """Handle a load that the container answered with 507: another model must be unloaded first.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
        """
        self._leave_memory(copy)
        copy.refused = True
        self.memory_waiting.appendleft(copy)
        self.advance(commands)

    def unload(self, copy: Copy, commands: list[Command], *, delete_files: bool = False) -> None:
        """Unload an unused model.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
            delete_files: Whether the files are deleted afterwards.
        """
        copy.state = _UNLOADING
        self.unloading[copy.model] = copy
        self.in_memory.drop(copy.model)
        self.freeing_memory += copy.memory
        if delete_files:
            copy.delete_files = True
            self.freeing_volume += copy.disk
        commands.append(Unload(self.id, copy.model))

    def unloaded(self, copy: Copy, commands: list[Command]) -> None:
        """Handle the end of an unload.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
        """
        self.freeing_memory -= copy.memory
        del self.unloading[copy.model]
        self._leave_memory(copy)
        if copy.delete_files:
            self.freeing_volume -= copy.disk
        self._allow_retries()
        commands.extend(Run(self.id, model, request) for request, model in self.reruns.items())
        self.reruns.clear()
        self._settle(copy, commands, delete_files=copy.delete_files)
        self.advance(commands)

    def discarded(self, copy: Copy, commands: list[Command]) -> None:
        """Handle the end of a deletion.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
        """
        self.freeing_volume -= copy.disk
        self.volume_used -= copy.disk
        copy.disk = 0
        copy.state = _ABSENT
        self._settle(copy, commands)
        self.advance(commands)

    def ran_out_of_memory(self, copy: Copy, request_id: str, commands: list[Command]) -> bool:
        """Handle an invocation that the container answered with 507.

        Args:
            copy: The copy.
            request_id: Name of the request.
            commands: List to which the commands are added.

        Returns:
            True if the request runs again after another model is unloaded; False if no model can be unloaded.
        """
        if not self.freeing_memory:
            for model in self._unused_in_memory(1):
                self.unload(self.copies[model], commands)
                self.tally.evictions += 1
        if not self.freeing_memory:
            return False
        self.reruns[request_id] = copy.model
        return True

    def crashed(self, commands: list[Command]) -> None:
        """Handle a crash of the container's process: memory is empty, the volume is unchanged.

        Args:
            commands: List to which the commands are added.
        """
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
                self.freeing_volume -= copy.disk if copy.delete_files else 0
            self._leave_memory(copy)
            # A model that was loading may have caused the crash: a retry could crash the container again and again.
            self.fail(copy, "crashed", "the container's process exited", commands, waiting=before is _LOADING)
            self._settle(copy, commands, delete_files=copy.delete_files)
        self._allow_retries()
        self.advance(commands)

    # -- common ---------------------------------------------------------------------------------------------------

    def became_unused(self, copy: Copy, commands: list[Command]) -> None:
        """Unload a model without requests if the model cache is disabled.

        Args:
            copy: The copy.
            commands: List to which the commands are added.
        """
        if not self.policy.cache_enabled and copy.state is _LOADED and copy.unused:
            self.unload(copy, commands, delete_files=True)

    def fail(
        self, copy: Copy, reason: FailReason, detail: str, commands: list[Command], *, waiting: bool = True
    ) -> None:
        """Fail the requests of a copy.

        Args:
            copy: The copy.
            reason: Category of the failure.
            detail: Description of the failure.
            commands: List to which the commands are added.
            waiting: Whether the waiting requests fail too.
        """
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
        copy.queued = False

    def _settle(self, copy: Copy, commands: list[Command], *, delete_files: bool = False) -> None:
        """Queue a copy again if requests wait for it; otherwise keep its files, or remove it."""
        self._free_slot(copy)
        copy.refused = copy.delete_files = False
        if copy.waiting:
            self._enqueue(copy)
        elif copy.state is _ABSENT:
            del self.copies[copy.model]
            self._on_removed(copy)
        else:
            self.on_disk.add(copy.model)
            if delete_files or not self.policy.cache_enabled:
                self._discard(copy, commands)

    def _discard(self, copy: Copy, commands: list[Command]) -> None:
        self.on_disk.drop(copy.model)
        copy.state = _DISCARDING
        self.freeing_volume += copy.disk
        self.tally.discards += 1
        commands.append(Discard(self.id, copy.model))
