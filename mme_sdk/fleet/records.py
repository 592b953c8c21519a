"""Immutable snapshots of a fleet, for inspection and for metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from mme_sdk.fleet.instance import Instance, State, Tally

__all__ = ["Counters", "FleetSnapshot", "InstanceSnapshot", "ModelSnapshot", "counters", "instance_snapshot"]


@attrs.frozen(kw_only=True)
class Counters:
    """Counts since the start; each is 0 by default.

    Attributes:
        arrivals: Number of routed requests; a request that is routed again counts again.
        hits: Number of these whose model was in memory: CloudWatch's `ModelCacheHit`.
        s3_loads: Number of started downloads.
        disk_loads: Number of started loads of models whose files were on the volume.
        duplicate_loads: Number of loads that started while another instance had the model or was loading it.
        evictions: Number of models that were unloaded to free memory.
        discards: Number of models whose files were deleted.
        failures: Number of failed requests.
    """

    arrivals: int = 0
    hits: int = 0
    s3_loads: int = 0
    disk_loads: int = 0
    duplicate_loads: int = 0
    evictions: int = 0
    discards: int = 0
    failures: int = 0


@attrs.frozen(kw_only=True)
class ModelSnapshot:
    """The state of a model on an instance.

    Attributes:
        state: State of the model.
        waiting: Number of requests that wait for it.
        running: Number of requests that it processes.
        disk_bytes: Reserved space on the volume, bytes.
        memory_bytes: Reserved memory, bytes.
        last_used: Time at which its last request arrived or finished, seconds.
        since: Time at which it was last downloaded or loaded, seconds.
    """

    state: State
    waiting: int
    running: int
    disk_bytes: int
    memory_bytes: int
    last_used: float
    since: float


@attrs.frozen(kw_only=True)
class InstanceSnapshot:
    """The state of an instance.

    Attributes:
        id: Name of the instance.
        draining: Whether it accepts no new requests.
        memory_used: Reserved memory, bytes.
        volume_used: Reserved space on the volume, bytes.
        outstanding: Number of requests that wait or run.
        loads_queued: Number of models that wait for a loader slot.
        loads_running: Number of used loader slots.
        models: Every model that has files or memory on the instance, or was requested, by name.
        counters: Counts of this instance.
    """

    id: str
    draining: bool
    memory_used: int
    volume_used: int
    outstanding: int
    loads_queued: int
    loads_running: int
    models: Mapping[str, ModelSnapshot]
    counters: Counters

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the models in memory; CloudWatch's `LoadedModelCount` is their number."""
        return tuple(name for name, model in self.models.items() if model.state is State.LOADED)


@attrs.frozen(kw_only=True)
class FleetSnapshot:
    """The state of a fleet.

    Attributes:
        instances: The instances in service or draining, by name.
        counters: Counts of all instances, removed ones included.
        instance_seconds: Sum of the times in which the instances existed, seconds; AWS bills this time.
    """

    instances: Mapping[str, InstanceSnapshot]
    counters: Counters
    instance_seconds: float


def counters(tallies: Iterable[Tally]) -> Counters:
    """Return the sums of the counts."""
    tallies = list(tallies)
    return Counters(**{name: sum(getattr(tally, name) for tally in tallies) for name in Tally.__slots__})


def instance_snapshot(instance: Instance) -> InstanceSnapshot:
    """Return an immutable snapshot of an instance."""
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
        counters=counters([instance.tally]),
    )
