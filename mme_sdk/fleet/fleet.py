"""The state machine of a fleet: it takes events and returns commands."""

from __future__ import annotations

from collections.abc import Callable

from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet.commands import Command, Fail, Run
from mme_sdk.fleet.instance import Copy, Instance, State, Tally
from mme_sdk.fleet.instance_policy import Footprint
from mme_sdk.fleet.policy import FleetPolicy
from mme_sdk.fleet.records import FleetSnapshot, counters, instance_snapshot
from mme_sdk.protocols import Rng

__all__ = ["Fleet"]

_LOADED = State.LOADED
_QUEUED_STATE = {State.ABSENT: State.DOWNLOADING, State.ON_DISK: State.LOADING}


class Fleet:
    """The instances of one production variant: caches, loader slots and routing, without I/O, clock or threads.

    Every method takes one event and returns the commands that it causes, in order. Execute each command and report its
    end once, with an event that the command's docstring names. Two events also end commands: `crashed` ends every
    `Load`, `Unload` and `Run` of the instance, and `remove_instance` all its commands; do not report those. Execute the
    commands that `crashed` returns after the container has started again.

    An arrival is a hit (`ModelCacheHit`) if and only if `arrive` returns a `Run`.

    Attributes:
        policy: The sizes and rules.
        routed_to: Name of the instance that got the latest arrival; empty if the request failed.
        found_state: State of the model on that instance at the arrival; `DOWNLOADING` or `LOADING` also for a model
            that waits for a loader slot.

    Args:
        policy: The sizes and rules.
        rng: Source of randomness, to choose between equally good instances, such as `random.Random(seed)`.

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
        self.policy, self._rng = policy, rng
        self._instances: dict[str, Instance] = {}
        self._serving: list[Instance] = []
        self._models: dict[str, dict[str, Copy]] = {}
        self._requests: dict[str, Copy] = {}
        self._removed = Tally()
        self._removed_seconds = 0.0
        self._choose = policy.routing.choose
        self.routed_to = ""
        self.found_state = State.ABSENT

    def add_instance(self, instance: str, now: float) -> list[Command]:
        """Add an empty instance to the fleet.

        Args:
            instance: Name of the instance.
            now: The time, seconds.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet has an instance of this name.
        """
        if instance in self._instances:
            raise InvalidInputError(f"the fleet already has an instance {instance!r}")
        self._instances[instance] = Instance(instance, self.policy, now, self._remove_copy)
        self._update_serving()
        return []

    def drain(self, instance: str) -> list[Command]:
        """Send no new requests to an instance; its current requests continue.

        Args:
            instance: Name of the instance.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not have the instance.
        """
        self._instance(instance).draining = True
        self._update_serving()
        return []

    def remove_instance(self, instance: str, now: float) -> list[Command]:
        """Remove an instance; its requests fail as `instance_lost` and may arrive again.

        Args:
            instance: Name of the instance.
            now: The time, seconds.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not have the instance.
        """
        gone = self._instance(instance)
        commands: list[Command] = []
        for copy in list(gone.copies.values()):
            gone.fail(copy, "instance_lost", f"instance {instance} is gone", commands)
            self._remove_copy(copy)
        del self._instances[instance]
        self._update_serving()
        self._removed_seconds += now - gone.since
        for name in Tally.__slots__:
            setattr(self._removed, name, getattr(self._removed, name) + getattr(gone.tally, name))
        return self._after(commands)

    def arrive(self, request_id: str, model: str, footprint: Footprint, now: float) -> list[Command]:
        """Route a request to an instance.

        Args:
            request_id: Name of the request; no unfinished request may have the same name.
            model: Name of the target model.
            footprint: Size of the model, as known before the download.
            now: The time, seconds.

        Returns:
            A `Run` if the model is in memory; a `Fail` if no instance can serve it; otherwise the commands that start
            the load, or none if the model is loading or waits.

        Raises:
            InvalidInputError: The fleet has an unfinished request of this name.
        """
        if request_id in self._requests:
            raise InvalidInputError(f"the fleet already has an unfinished request {request_id!r}")
        if not self._serving:
            self.routed_to, self.found_state = "", State.ABSENT
            return [Fail(request_id, model, "no_instances", "no instance accepts requests")]
        copies = self._models.get(model)
        if copies is None:
            copies = self._models[model] = {}
        instance = self._choose(copies, self._serving, self.policy.spill_outstanding, self._rng)
        tally = instance.tally
        tally.arrivals += 1
        copy = copies.get(instance.id)
        self.routed_to = instance.id
        if copy is not None and copy.state is _LOADED:
            self.found_state = _LOADED
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
                self.routed_to, self.found_state = "", State.ABSENT
                tally.failures += 1
                if not copies:
                    del self._models[model]
                return [refused]
            copy = Copy(instance, model, footprint, now)
            copies[instance.id] = instance.copies[model] = copy
        return self._wait(request_id, copy, now)

    def _too_large(self, request_id: str, model: str, footprint: Footprint) -> Fail | None:
        if footprint.disk_bytes > self.policy.volume_bytes:
            return Fail(request_id, model, "out_of_disk", "the model is larger than the volume")
        if footprint.memory_bytes > self.policy.memory_bytes:
            return Fail(request_id, model, "out_of_memory", "the model is larger than the memory for models")
        return None

    def _wait(self, request_id: str, copy: Copy, now: float) -> list[Command]:
        commands: list[Command] = []
        instance = copy.instance
        at_rest = copy.unused and copy.state in (State.ABSENT, State.ON_DISK)
        self.found_state = copy.state if at_rest else _QUEUED_STATE.get(copy.state, copy.state)
        copy.waiting[request_id] = None
        copy.last_used = now
        instance.outstanding += 1
        self._requests[request_id] = copy
        if at_rest:
            others = self._models[copy.model].values()
            if any(other is not copy and (other.queued or other.state is _LOADED) for other in others):
                instance.tally.duplicate_loads += 1
            instance.bring(copy, commands)
        return self._after(commands)

    def finished(self, request_id: str, now: float) -> list[Command]:
        """Handle the end of an invocation, successful or not; ignore a request that has failed already.

        Args:
            request_id: Name of the request.
            now: The time, seconds.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The request has not run: it waits for its model.
        """
        copy = self._requests.pop(request_id, None)
        if copy is None:
            return []
        if request_id not in copy.running:
            self._requests[request_id] = copy
            raise InvalidInputError(f"request {request_id!r} has not run: it waits for {copy.model!r}")
        instance, commands = copy.instance, list[Command]()
        del copy.running[request_id]
        copy.last_used = now
        instance.outstanding -= 1
        if not copy.running:
            instance.became_unused(copy, commands)
            if instance.memory_waiting or instance.volume_waiting:
                instance.advance(commands)
                return self._after(commands)
        return commands

    def cancel(self, request_id: str) -> list[Command]:
        """Remove a request that waits, because its caller gave up; the load continues. A running request is unchanged.

        Args:
            request_id: Name of the request.

        Returns:
            The commands.
        """
        copy = self._requests.get(request_id)
        if copy is not None and request_id in copy.waiting:
            del copy.waiting[request_id], self._requests[request_id]
            copy.instance.outstanding -= 1
        return []

    def ran_out_of_memory(self, request_id: str) -> list[Command]:
        """Handle an invocation that the container answered with 507: it runs again after an unused model is unloaded.

        Args:
            request_id: Name of the request.

        Returns:
            The commands.
        """
        copy = self._requests.get(request_id)
        if copy is None:
            return []
        commands: list[Command] = []
        if not copy.instance.ran_out_of_memory(copy, request_id, commands):
            del self._requests[request_id], copy.running[request_id]
            copy.instance.outstanding -= 1
            copy.instance.tally.failures += 1
            detail = "the container has no memory to run the request, and no other model can be unloaded"
            commands.append(Fail(request_id, copy.model, "out_of_memory", detail, ran=True))
            if not copy.running:
                copy.instance.became_unused(copy, commands)
                copy.instance.advance(commands)
        return self._after(commands)

    def downloaded(self, instance: str, model: str, footprint: Footprint | None, now: float) -> list[Command]:
        """Handle a `Download` that succeeded.

        Args:
            instance: Name of the instance.
            model: Name of the model.
            footprint: The size after extraction; None if it is as announced.
            now: The time, seconds.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.DOWNLOADING)
        copy.since = now
        return self._run(copy.instance.downloaded, copy, footprint)

    def download_failed(self, instance: str, model: str, reason: str) -> list[Command]:
        """Handle a `Download` that failed: the waiting requests fail.

        Args:
            instance: Name of the instance.
            model: Name of the model.
            reason: Description of the failure, for the callers.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.DOWNLOADING)
        return self._run(copy.instance.download_failed, copy, reason)

    def loaded(self, instance: str, model: str, now: float) -> list[Command]:
        """Handle a `Load` that succeeded: the waiting requests run.

        Args:
            instance: Name of the instance.
            model: Name of the model.
            now: The time, seconds.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.LOADING)
        copy.since = now
        return self._run(copy.instance.loaded, copy)

    def load_failed(self, instance: str, model: str, reason: str) -> list[Command]:
        """Handle a `Load` that failed: the waiting requests fail; the files stay on the volume.

        Args:
            instance: Name of the instance.
            model: Name of the model.
            reason: Description of the failure, for the callers.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.LOADING)
        return self._run(copy.instance.load_failed, copy, "load_failed", reason)

    def out_of_memory(self, instance: str, model: str) -> list[Command]:
        """Handle a `Load` that the container answered with 507: unload an unused model and try again.

        Args:
            instance: Name of the instance.
            model: Name of the model.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.LOADING)
        return self._run(copy.instance.out_of_memory, copy)

    def unloaded(self, instance: str, model: str) -> list[Command]:
        """Handle the end of an `Unload`.

        Args:
            instance: Name of the instance.
            model: Name of the model.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.UNLOADING)
        return self._run(copy.instance.unloaded, copy)

    def discarded(self, instance: str, model: str) -> list[Command]:
        """Handle the end of a `Discard`.

        Args:
            instance: Name of the instance.
            model: Name of the model.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not expect this report.
        """
        copy = self._copy(instance, model, State.DISCARDING)
        return self._run(copy.instance.discarded, copy)

    def crashed(self, instance: str) -> list[Command]:
        """Handle a crash of the container: running and loading requests fail, memory is empty, the volume is unchanged.

        Args:
            instance: Name of the instance.

        Returns:
            The commands.

        Raises:
            InvalidInputError: The fleet does not have the instance.
        """
        return self._run(self._instance(instance).crashed)

    def snapshot(self, now: float = 0.0) -> FleetSnapshot:
        """Return an immutable snapshot of the fleet.

        Args:
            now: The time, seconds; it counts for `instance_seconds`. Default 0.

        Returns:
            The snapshot.
        """
        instances = self._instances.values()
        return FleetSnapshot(
            instances={each.id: instance_snapshot(each) for each in instances},
            counters=counters([self._removed, *(each.tally for each in instances)]),
            instance_seconds=self._removed_seconds + sum(max(0.0, now - each.since) for each in instances),
        )

    def _run(self, transition: Callable[..., object], *arguments: object) -> list[Command]:
        commands: list[Command] = []
        transition(*arguments, commands)
        return self._after(commands)

    def _after(self, commands: list[Command]) -> list[Command]:
        for command in commands:
            if isinstance(command, Fail):
                self._requests.pop(command.request_id, None)
        return commands

    def _remove_copy(self, copy: Copy) -> None:
        copies = self._models[copy.model]
        del copies[copy.instance.id]
        if not copies:
            del self._models[copy.model]

    def _update_serving(self) -> None:
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
