"""What a fleet shows of itself: frozen copies, for inspection and for metrics."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mme_sdk.fleet.instance import State

__all__ = ["Counters", "FleetSnapshot", "InstanceSnapshot", "ModelSnapshot"]


@attrs.frozen(kw_only=True)
class Counters:
    """Counts since the start.

    Attributes:
        arrivals: Requests routed; one that is routed again counts again.
        hits: Of these, met a model in memory: `ModelCacheHit`.
        s3_loads: Downloads started.
        disk_loads: Loads started from files that were on the volume already.
        duplicate_loads: Loads started while another instance held or was loading the model.
        evictions: Models taken out of memory to make room.
        discards: Models whose files were deleted.
        failures: Requests failed.
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
    """A model on an instance.

    Attributes:
        state: Where it is.
        waiting: Requests that wait for it.
        running: Requests that run on it.
        disk_bytes: Room it takes on the volume.
        memory_bytes: Memory it takes.
        last_used: When a request last arrived or finished.
        since: When it was last downloaded or loaded.
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
    """An instance.

    Attributes:
        id: Its name.
        draining: It takes no new requests.
        memory_used: Bytes reserved in memory.
        volume_used: Bytes reserved on the volume.
        outstanding: Requests waiting or running.
        loads_queued: Models that wait for a loader slot.
        loads_running: Loader slots taken.
        models: Every model that is not absent, or asked for.
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
        """The models in memory: `LoadedModelCount` counts these."""
        return tuple(name for name, model in self.models.items() if model.state is State.LOADED)


@attrs.frozen(kw_only=True)
class FleetSnapshot:
    """A fleet.

    Attributes:
        instances: By id.
        counters: Counts of all instances that are or were.
        instance_seconds: Time that instances existed, which is what AWS bills.
    """

    instances: Mapping[str, InstanceSnapshot]
    counters: Counters
    instance_seconds: float
