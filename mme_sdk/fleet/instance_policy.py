"""The size of a model, and the sizes and rules of one instance."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mme_sdk._validation import number
from mme_sdk.fleet.eviction import EvictionOrder, Lru

__all__ = ["Footprint", "InstancePolicy"]

_count = number(at_least=1, integer=True)


@attrs.frozen
class Footprint:
    """The size of a model.

    Attributes:
        disk_bytes: Size on the volume after extraction, bytes.
        memory_bytes: Size in the container's memory, bytes.

    Example:
        >>> Footprint(disk_bytes=40 << 20, memory_bytes=60 << 20).memory_bytes
        62914560
    """

    disk_bytes: int = attrs.field(validator=_count)
    memory_bytes: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class InstancePolicy:
    """The part of `FleetPolicy` that concerns a single instance.

    Attributes:
        memory_bytes: Memory for models, bytes.
        volume_bytes: Space for models on the volume, bytes.
        loader_slots: Number of models that the instance downloads and loads at a time. Default 2.
        cache_enabled: False for `ModelCacheSetting=Disabled`. Default True.
        eviction: Function that makes an eviction order. Default `Lru`.
    """

    memory_bytes: int = attrs.field(validator=_count)
    volume_bytes: int = attrs.field(validator=_count)
    loader_slots: int = attrs.field(default=2, validator=_count)
    cache_enabled: bool = True
    eviction: Callable[[], EvictionOrder] = Lru
