"""The inputs of a simulation: the configuration of the fleet, and the requests as arrays."""

from __future__ import annotations

from typing import TypeAlias, get_args

import attrs
import numpy as np
import numpy.typing as npt

from mme_sdk._validation import number, one_of
from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet import FleetPolicy, RoutingName

__all__ = [
    "DISK",
    "FAILED",
    "HIT",
    "JOINED",
    "S3",
    "FleetConfig",
    "Floats",
    "Ints",
    "RoutingName",
    "Singles",
    "Traffic",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Singles: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]

_count = number(at_least=1, integer=True)

HIT, JOINED, DISK, S3, FAILED = range(5)
"""The outcome of a request: its model was in memory, was loading, was on the volume, was only in S3; or it failed."""


@attrs.frozen(kw_only=True)
class FleetConfig:
    """The fleet of a simulation: equal instances, and the rules of SageMaker.

    Attributes:
        instances: Number of instances.
        workers: Number of requests that an instance processes at a time, usually its vCPUs; other requests wait.
        memory_bytes: Memory for models on each instance, bytes.
        volume_bytes: Space for models on each volume, bytes.
        loader_slots: Number of models that an instance downloads and loads at a time. Default 2.
        spill_outstanding: Number of outstanding requests for a model on one instance from which SageMaker loads the
            model on another instance. Default 8.
        cache_enabled: False for `ModelCacheSetting=Disabled`. Default True.
        routing: `sticky` (the default): a request goes to an instance that has the model, as AWS documents.
            `sticky_to_memory`: the same, but a model that is in no memory is placed as if no instance had its files.
            `scatter`: only to an instance that has it in memory, else to a random one. `random`: to every instance, the
            worst case.

    Example:
        >>> FleetConfig(instances=2, workers=4, memory_bytes=12 << 30, volume_bytes=30 << 30).loader_slots
        2
    """

    instances: int = attrs.field(validator=_count)
    workers: int = attrs.field(validator=_count)
    memory_bytes: int = attrs.field(validator=_count)
    volume_bytes: int = attrs.field(validator=_count)
    loader_slots: int = attrs.field(default=2, validator=_count)
    spill_outstanding: int = attrs.field(default=8, validator=_count)
    cache_enabled: bool = True
    routing: RoutingName = attrs.field(default="sticky", validator=one_of(*get_args(RoutingName)))

    def policy(self) -> FleetPolicy:
        """Return the policy for `mme_sdk.fleet`."""
        return FleetPolicy(
            memory_bytes=int(self.memory_bytes),
            volume_bytes=int(self.volume_bytes),
            loader_slots=int(self.loader_slots),
            spill_outstanding=int(self.spill_outstanding),
            cache_enabled=self.cache_enabled,
            routing=self.routing,
        )


def _floats(value: npt.ArrayLike) -> Floats:
    try:
        found = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"traffic must be arrays of numbers: {error}") from error
    if found.ndim != 1:
        raise InvalidInputError(f"traffic must be one-dimensional arrays, not of shape {found.shape}")
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
    """Requests in order of arrival, and their models.

    Attributes:
        times: Arrival time of each request, seconds, ascending.
        models: Position of each request's model in the arrays below.
        service: Time that each request uses a worker, seconds.
        disk: Size of each model on the volume, bytes.
        memory: Size of each model in memory, bytes.
        download: Time to download each model from S3 to the volume, seconds.
        load: Time to load each model from the volume into memory, seconds.
        factors: Factor on the download and load time, one for each request; it applies if this request starts the load.
            None (the default) for no variation.

    Example:
        >>> calls = Traffic(times=[0.0, 1.0], models=[0, 0], service=[0.1, 0.1], disk=[10], memory=[10],
        ...                 download=[2.0], load=[0.5])
        >>> len(calls.times)
        2
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
            raise InvalidInputError("times, models and service must have the same length")
        if not len(self.disk) == len(self.memory) == len(self.download) == len(self.load):
            raise InvalidInputError(
                "disk, memory, download and load must have the same length: one element for each model"
            )
        if not len(self.disk):
            raise InvalidInputError("there are no models")
        for name in ("times", "service", "download", "load"):
            if not np.isfinite(getattr(self, name)).all():
                raise InvalidInputError(f"{name} must be finite numbers")
        if (np.diff(self.times) < 0).any():
            raise InvalidInputError("times must be in ascending order", hint="Workload.from_trace sorts a trace")
        if min(self.service.min(), self.download.min(), self.load.min()) < 0:
            raise InvalidInputError("service, download and load must not be negative")
        if self.models.min() < 0 or self.models.max() >= len(self.disk):
            raise InvalidInputError("models must be positions in disk, memory, download and load")
        if min(self.disk.min(), self.memory.min()) < 1:
            raise InvalidInputError("models must have a size of at least one byte")
        if self.factors is not None:
            if len(self.factors) != len(self.times):
                raise InvalidInputError("factors must have one element for each request")
            if not (np.isfinite(self.factors).all() and self.factors.min() >= 0):
                raise InvalidInputError("factors must be finite numbers, and not negative")

    def check_fits(self, config: FleetConfig) -> None:
        """Raise InvalidInputError if a requested model is larger than an instance.

        Args:
            config: The fleet.

        Raises:
            InvalidInputError: A requested model is larger than the memory or the volume for models.
        """
        for what, sizes, limit in (
            ("memory", self.memory, config.memory_bytes),
            ("volume", self.disk, config.volume_bytes),
        ):
            large = np.flatnonzero(sizes > limit)  # usually empty, so that the next line has nothing to search
            large = large[np.isin(large, self.models)]
            if len(large):
                raise InvalidInputError(
                    f"model {int(large[0])} needs {int(sizes[large[0]]):,} bytes, more than the {what} of an instance "
                    f"({int(limit):,}); {len(large)} requested models are too large"
                )
