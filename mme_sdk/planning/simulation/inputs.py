"""What a simulation runs on, checked once; every engine takes the same arrays."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet import FleetPolicy, RandomRouting, Routing, Scatter, Sticky
from mme_sdk.planning.checks import whole

__all__ = ["DISK", "FAILED", "HIT", "JOINED", "S3", "Floats", "Ints", "RoutingName", "Site", "Traffic"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
RoutingName = Literal["sticky", "scatter", "random"]

HIT, JOINED, DISK, S3, FAILED = range(5)
"""What a request met: its model in memory, a load under way, files on the volume, nothing; or an error."""


@attrs.frozen(kw_only=True)
class Site:
    """The instances that a simulation runs on.

    Attributes:
        instances: How many.
        workers: Requests that an instance works on at a time, usually its vCPUs; further ones queue.
        memory_bytes: Memory for models on each.
        volume_bytes: Room for models on each volume.
        loader_slots: Models that an instance downloads and loads at a time.
        spill_outstanding: Outstanding requests of a model on an instance from which on another is tried.
        cache_enabled: False for `ModelCacheSetting=Disabled`.
        routing: `sticky` as AWS documents; `scatter`, which sticks to copies in memory only; `random`, the worst case.
    """

    instances: int = attrs.field(validator=whole())
    workers: int = attrs.field(validator=whole())
    memory_bytes: int = attrs.field(validator=whole())
    volume_bytes: int = attrs.field(validator=whole())
    loader_slots: int = attrs.field(default=2, validator=whole())
    spill_outstanding: int = attrs.field(default=8, validator=whole())
    cache_enabled: bool = True
    routing: RoutingName = "sticky"

    def __attrs_post_init__(self) -> None:
        if self.routing not in ("sticky", "scatter", "random"):
            raise InvalidInputError(f"Site.routing must be sticky, scatter or random, not {self.routing!r}")

    def policy(self) -> FleetPolicy:
        """The same, as the fleet model takes it."""
        choices: dict[str, Routing] = {"sticky": Sticky(), "scatter": Scatter(), "random": RandomRouting()}
        return FleetPolicy(
            memory_bytes=int(self.memory_bytes),
            volume_bytes=int(self.volume_bytes),
            loader_slots=int(self.loader_slots),
            spill_outstanding=int(self.spill_outstanding),
            cache_enabled=self.cache_enabled,
            routing=choices[self.routing],
        )


def _floats(value: npt.ArrayLike) -> Floats:
    try:
        found = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"traffic is made of numbers: {error}") from error
    if found.ndim != 1:
        raise InvalidInputError(f"traffic is made of columns, not of arrays of shape {found.shape}")
    return found


def _ints(value: npt.ArrayLike) -> Ints:
    if isinstance(value, np.ndarray) and value.dtype == np.int64 and value.ndim == 1:
        return np.ascontiguousarray(value)
    numbers = _floats(value)
    if not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        raise InvalidInputError("models, disk and memory must be whole numbers")
    return np.ascontiguousarray(value, dtype=np.int64)


@attrs.frozen(kw_only=True, eq=False)
class Traffic:
    """Requests in order of arrival, and the models they ask for.

    Attributes:
        times: Arrival times, seconds, ascending.
        models: Index of each request's model.
        service: Seconds that each request keeps a worker.
        disk: Bytes of each model on the volume.
        memory: Bytes of each model in memory.
        download: Seconds to bring each model from S3 to the volume.
        load: Seconds to load each model from the volume into memory.
        factors: For each request, what its load takes relative to the above, should it be the one that starts it.
    """

    times: Floats = attrs.field(converter=_floats)
    models: Ints = attrs.field(converter=_ints)
    service: Floats = attrs.field(converter=_floats)
    disk: Ints = attrs.field(converter=_ints)
    memory: Ints = attrs.field(converter=_ints)
    download: Floats = attrs.field(converter=_floats)
    load: Floats = attrs.field(converter=_floats)
    factors: Floats | None = attrs.field(default=None, converter=attrs.converters.optional(_floats))

    def __attrs_post_init__(self) -> None:
        if not len(self.times):
            raise InvalidInputError("there are no requests to simulate")
        if not len(self.times) == len(self.models) == len(self.service):
            raise InvalidInputError("times, models and service must be as many")
        if not len(self.disk) == len(self.memory) == len(self.download) == len(self.load):
            raise InvalidInputError("disk, memory, download and load must be as many: one for each model")
        if not len(self.disk):
            raise InvalidInputError("there are no models to ask for")
        for name in ("times", "service", "download", "load"):
            if not np.isfinite(getattr(self, name)).all():
                raise InvalidInputError(f"{name} must be finite numbers")
        if (np.diff(self.times) < 0).any():
            raise InvalidInputError("times must ascend", hint="Workload.from_trace sorts for you")
        if min(self.service.min(), self.download.min(), self.load.min()) < 0:
            raise InvalidInputError("service, download and load must not be negative")
        if self.models.min() < 0 or self.models.max() >= len(self.disk):
            raise InvalidInputError("models must be indices into the models' sizes")
        if min(self.disk.min(), self.memory.min()) < 1:
            raise InvalidInputError("models must have a size of at least one byte")
        if self.factors is not None:
            if len(self.factors) != len(self.times):
                raise InvalidInputError("factors must be as many as requests")
            if not (np.isfinite(self.factors).all() and self.factors.min() >= 0):
                raise InvalidInputError("factors must be finite numbers, and not negative")

    def check_fits(self, site: Site) -> None:
        """Refuse models that no instance could ever hold.

        Raises:
            InvalidInputError: A model that is asked for is larger than the memory or the volume.
        """
        for what, sizes, limit in (
            ("memory", self.memory, site.memory_bytes),
            ("volume", self.disk, site.volume_bytes),
        ):
            large = np.flatnonzero(sizes > limit)  # usually none, so that the requests need no look
            large = large[np.isin(large, self.models)]
            if len(large):
                raise InvalidInputError(
                    f"model {int(large[0])} takes {int(sizes[large[0]]):,} bytes, more than the {what} of an instance "
                    f"({int(limit):,}); {len(large)} such models are asked for"
                )
