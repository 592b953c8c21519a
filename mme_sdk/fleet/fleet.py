"""The machine: events in, commands out."""

from __future__ import annotations

from collections.abc import Iterable

from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet.commands import Command, Fail, Run
from mme_sdk.fleet.instance import Copy, Instance, State, Tally
from mme_sdk.fleet.policy import FleetPolicy, Footprint
from mme_sdk.fleet.records import Counters, FleetSnapshot, InstanceSnapshot, ModelSnapshot
from mme_sdk.protocols import Rng

__all__ = ["Fleet"]

_LOADED = State.LOADED
_ON_THE_WAY = {State.ABSENT: State.DOWNLOADING, State.ON_DISK: State.LOADING}


class Fleet:
    """The instances of one production variant: caches, loaders and routing, without I/O, clock or threads.

    Every method takes an event and returns the commands that it causes, in order. Perform each command and report how
    it ended with the event that its docstring names; a command is reported once. Two events answer commands for you:
    `crashed` all `Load`, `Unload` and `Run` of the instance, and `remove_instance` all of its commands; do not report
    those afterwards. After `crashed`, commands may come at once: perform them when the container is up again.

    An arrival was a hit (`ModelCacheHit`) if and only if `arrive` returned a `Run`.

    Attributes:
        placed: The instance that the latest arrival was sent to; empty where it was refused.
        met: What it found of its model there; `DOWNLOADING` or `LOADING` also for a model whose turn is yet to come.

    Args:
        policy: Sizes and rules.
        rng: Breaks ties between instances that are equally good; `random.Random(seed)` is one.

    Example:
        >>> import random
        >>> fleet = Fleet(FleetPolicy(memory_bytes=100, volume_bytes=1000), random.Random(0))
        >>> fleet.add_instance("i-1", now=0.0)
        []
        >>> fleet.arrive("r-1", "fraud", Footprint(disk_bytes=40, memory_bytes=60), now=1.0)
        [Download(instance='i-1', model='fraud')]
        >>> fleet.downloaded("i-1", "fraud", None, now=2.0)
        [Load(instance='i-1', model='fraud')]
        >>> fleet.loaded("i-1", "fraud", now=3.0)
        [Run(instance='i-1', model='fraud', request_id='r-1')]
        >>> fleet.finished("r-1", now=3.1)
        []
    """

    def __init__(self, policy: FleetPolicy, rng: Rng) -> None:
        self.policy = policy
        self._rng = rng
        self._instances: dict[str, Instance] = {}
        self._serving: list[Instance] = []
        self._models: dict[str, dict[str, Copy]] = {}
        self._requests: dict[str, Copy] = {}
        self._gone = Tally()
        self._gone_seconds = 0.0
        self._choose = policy.routing.choose
        self.placed = ""
        self.met = State.ABSENT

    # -- instances ------------------------------------------------------------------------------------------------

    def add_instance(self, instance: str, now: float) -> list[Command]:
        """An instance came into service, empty.

        Raises:
            InvalidInputError: There is one of this name.
        """
        if instance in self._instances:
            raise InvalidInputError(f"the fleet has an instance {instance!r} already")
        self._instances[instance] = Instance(instance, self.policy, now, self._forget_copy)
        self._reckon_serving()
        return []

    def drain(self, instance: str) -> list[Command]:
        """Send an instance no new requests; those that it has go on."""
        self._instance(instance).draining = True
        self._reckon_serving()
        return []

    def remove_instance(self, instance: str, now: float) -> list[Command]:
        """An instance is gone: its requests fail as `instance_lost`, and may arrive again elsewhere."""
        gone = self._instance(instance)
        commands: list[Command] = []
        for copy in list(gone.copies.values()):
            gone.fail(copy, "instance_lost", f"instance {instance} is gone", commands)
            self._forget_copy(copy)
        del self._instances[instance]
        self._reckon_serving()
        self._gone_seconds += now - gone.since
        for name in Tally.__slots__:
            setattr(self._gone, name, getattr(self._gone, name) + getattr(gone.tally, name))
        return self._after(commands)

    # -- requests -------------------------------------------------------------------------------------------------

    def arrive(self, request_id: str, model: str, footprint: Footprint, now: float) -> list[Command]:
        """A request for a model came.

        Args:
            request_id: A name that no unfinished request has.
            model: The target model.
            footprint: What it takes, as far as is known before it is downloaded.
            now: The time, seconds.

        Returns:
            A `Run` if the model is in memory, a `Fail` if it cannot be served at all; else what must happen first.

        Raises:
            InvalidInputError: The request is here already.
        """
        if request_id in self._requests:
            raise InvalidInputError(f"request {request_id!r} is in the fleet already")
        if not self._serving:
            self.placed, self.met = "", State.ABSENT
            return [Fail(request_id, model, "no_instances", "no instance takes requests")]
        copies = self._models.get(model)
        if copies is None:
            copies = self._models[model] = {}
        instance = self._choose(copies, self._serving, self.policy.spill_outstanding, self._rng)
        tally = instance.tally
        tally.arrivals += 1
        copy = copies.get(instance.id)
        self.placed = instance.id
        if copy is not None and copy.state is _LOADED:
            self.met = _LOADED
            tally.hits += 1
            instance.in_memory.touch(model)
            instance.outstanding += 1
            copy.running[request_id] = None
            copy.last_used = now
            self._requests[request_id] = copy
            return [Run(instance.id, model, request_id)]
        if copy is None:
            refused = self._too_large(request_id, model, footprint)
            if refused is not None:
                self.placed, self.met = "", State.ABSENT
                tally.failures += 1
                if not copies:
                    del self._models[model]
                return [refused]
            copy = Copy(instance, model, footprint, now)
            copies[instance.id] = instance.copies[model] = copy
        return self._wait(request_id, copy, now)

    def _too_large(self, request_id: str, model: str, footprint: Footprint) -> Fail | None:
        if footprint.disk_bytes > self.policy.volume_bytes:
            return Fail(request_id, model, "out_of_disk", "larger than the whole volume")
        if footprint.memory_bytes > self.policy.memory_bytes:
            return Fail(request_id, model, "out_of_memory", "larger than the whole memory")
        return None

    def _wait(self, request_id: str, copy: Copy, now: float) -> list[Command]:
        commands: list[Command] = []
        instance = copy.instance
        at_rest = copy.unused and copy.state in (State.ABSENT, State.ON_DISK)
        self.met = copy.state if at_rest else _ON_THE_WAY.get(copy.state, copy.state)
        copy.waiting[request_id] = None
        copy.last_used = now
        instance.outstanding += 1
        self._requests[request_id] = copy
        if at_rest:
            others = self._models[copy.model].values()
            if any(other is not copy and (other.coming or other.state is _LOADED) for other in others):
                instance.tally.duplicate_loads += 1
            instance.want(copy, commands)
        return self._after(commands)

    def finished(self, request_id: str, now: float) -> list[Command]:
        """An invocation ended, well or not; unknown (failed by a crash, say) is fine."""
        copy = self._requests.pop(request_id, None)
        if copy is None:
            return []
        if request_id not in copy.running:
            self._requests[request_id] = copy
            raise InvalidInputError(f"request {request_id!r} has not run: it waits for {copy.model!r}")
        commands: list[Command] = []
        instance = copy.instance
        del copy.running[request_id]
        copy.last_used = now
        instance.outstanding -= 1
        if not copy.running:
            instance.became_unused(copy, commands)
            if instance.memory_waiting or instance.volume_waiting:
                instance.pump(commands)
                return self._after(commands)
        return commands

    def forget(self, request_id: str) -> list[Command]:
        """Nobody waits for this request any more: its load goes on. One that runs goes on to `finished`."""
        copy = self._requests.get(request_id)
        if copy is not None and request_id in copy.waiting:
            del copy.waiting[request_id], self._requests[request_id]
            copy.instance.outstanding -= 1
        return []

    def ran_out_of_memory(self, request_id: str) -> list[Command]:
        """The container answered an invocation with 507: the request runs again once an unused model has left."""
        copy = self._requests.get(request_id)
        if copy is None:
            return []
        commands: list[Command] = []
        if not copy.instance.ran_out_of_memory(copy, request_id, commands):
            del self._requests[request_id], copy.running[request_id]
            copy.instance.outstanding -= 1
            copy.instance.tally.failures += 1
            detail = "the container has no memory to run it, and no other model can be unloaded"
            commands.append(Fail(request_id, copy.model, "out_of_memory", detail, ran=True))
            if not copy.running:
                copy.instance.became_unused(copy, commands)
                copy.instance.pump(commands)
        return self._after(commands)

    # -- answers to commands --------------------------------------------------------------------------------------

    def downloaded(self, instance: str, model: str, footprint: Footprint | None, now: float) -> list[Command]:
        """A `Download` ended well; give the true footprint where extraction showed it."""
        copy = self._copy(instance, model, State.DOWNLOADING)
        copy.since = now
        commands: list[Command] = []
        copy.instance.downloaded(copy, footprint, commands)
        return self._after(commands)

    def download_failed(self, instance: str, model: str, reason: str) -> list[Command]:
        """A `Download` ended badly: everyone who waits for it fails with this reason."""
        copy = self._copy(instance, model, State.DOWNLOADING)
        commands: list[Command] = []
        copy.instance.download_failed(copy, reason, commands)
        return self._after(commands)

    def loaded(self, instance: str, model: str, now: float) -> list[Command]:
        """A `Load` ended well: everyone who waits for it runs."""
        copy = self._copy(instance, model, State.LOADING)
        copy.since = now
        commands: list[Command] = []
        copy.instance.loaded(copy, commands)
        return self._after(commands)

    def load_failed(self, instance: str, model: str, reason: str) -> list[Command]:
        """A `Load` ended badly: everyone who waits for it fails with this reason; the files stay."""
        copy = self._copy(instance, model, State.LOADING)
        commands: list[Command] = []
        copy.instance.load_failed(copy, "load_failed", reason, commands)
        return self._after(commands)

    def out_of_memory(self, instance: str, model: str) -> list[Command]:
        """A `Load` met a 507: an unused model is unloaded and the load tried again, until nothing can leave."""
        copy = self._copy(instance, model, State.LOADING)
        commands: list[Command] = []
        copy.instance.out_of_memory(copy, commands)
        return self._after(commands)

    def unloaded(self, instance: str, model: str) -> list[Command]:
        """An `Unload` ended."""
        copy = self._copy(instance, model, State.UNLOADING)
        commands: list[Command] = []
        copy.instance.unloaded(copy, commands)
        return self._after(commands)

    def discarded(self, instance: str, model: str) -> list[Command]:
        """A `Discard` ended."""
        copy = self._copy(instance, model, State.DISCARDING)
        commands: list[Command] = []
        copy.instance.discarded(copy, commands)
        return self._after(commands)

    def crashed(self, instance: str) -> list[Command]:
        """The container's process died: what ran or was loading fails, memory is empty, the volume stays."""
        commands: list[Command] = []
        self._instance(instance).crashed(commands)
        return self._after(commands)

    # -- to look at -----------------------------------------------------------------------------------------------

    def snapshot(self, now: float = 0.0) -> FleetSnapshot:
        """A frozen picture of the fleet at this time."""
        instances = self._instances.values()
        tallies = [self._gone, *(each.tally for each in instances)]
        return FleetSnapshot(
            instances={each.id: _picture(each) for each in instances},
            counters=_counters(tallies),
            instance_seconds=self._gone_seconds + sum(max(0.0, now - each.since) for each in instances),
        )

    # -- common ---------------------------------------------------------------------------------------------------

    def _after(self, commands: list[Command]) -> list[Command]:
        for command in commands:
            if isinstance(command, Fail):
                self._requests.pop(command.request_id, None)
        return commands

    def _forget_copy(self, copy: Copy) -> None:
        copies = self._models[copy.model]
        del copies[copy.instance.id]
        if not copies:
            del self._models[copy.model]

    def _reckon_serving(self) -> None:
        self._serving = [each for each in self._instances.values() if not each.draining]

    def _instance(self, instance: str) -> Instance:
        found = self._instances.get(instance)
        if found is None:
            raise InvalidInputError(f"the fleet has no instance {instance!r}")
        return found

    def _copy(self, instance: str, model: str, expected: State) -> Copy:
        copy = self._instance(instance).copies.get(model)
        state = State.ABSENT if copy is None else copy.state
        if copy is None or state is not expected:
            raise InvalidInputError(f"{model!r} on {instance!r} is {state.value}, not {expected.value}")
        return copy


def _counters(tallies: Iterable[Tally]) -> Counters:
    tallies = list(tallies)
    return Counters(**{name: sum(getattr(tally, name) for tally in tallies) for name in Tally.__slots__})


def _picture(instance: Instance) -> InstanceSnapshot:
    return InstanceSnapshot(
        id=instance.id,
        draining=instance.draining,
        memory_used=instance.memory_used,
        volume_used=instance.volume_used,
        outstanding=instance.outstanding,
        loads_queued=len(instance.queue),
        loads_running=instance.policy.loader_slots - instance.slots_free,
        models={
            name: ModelSnapshot(
                state=copy.state,
                waiting=len(copy.waiting),
                running=len(copy.running),
                disk_bytes=copy.disk,
                memory_bytes=copy.memory,
                last_used=copy.last_used,
                since=copy.since,
            )
            for name, copy in instance.copies.items()
        },
        counters=_counters([instance.tally]),
    )
