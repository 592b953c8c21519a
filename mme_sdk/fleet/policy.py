"""How a fleet behaves where AWS leaves it open, and how large its instances are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet.eviction import EvictionOrder, Lru
from mme_sdk.fleet.routing import Routing, Sticky

__all__ = ["FleetPolicy", "Footprint"]


def _count(minimum: int) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            name = f"{type(instance).__name__}.{attribute.name}"
            raise InvalidInputError(f"{name} must be a whole number of at least {minimum}, not {value!r}")

    return check


@attrs.frozen
class Footprint:
    """What a model takes.

    Attributes:
        disk_bytes: On the volume, once extracted.
        memory_bytes: In the container, once loaded.
    """

    disk_bytes: int = attrs.field(validator=_count(1))
    memory_bytes: int = attrs.field(validator=_count(1))


@attrs.frozen(kw_only=True)
class FleetPolicy:
    """The instances of one production variant, and the rules that AWS does not document.

    Attributes:
        memory_bytes: Memory for models on each instance.
        volume_bytes: Room for models on each instance's volume.
        loader_slots: Models that an instance may download and load at a time (undocumented).
        spill_outstanding: Requests of one model on one instance from which on another instance is tried (undocumented).
        cache_enabled: False for `ModelCacheSetting=Disabled`: unload and delete right after the invocation.
        eviction: Makes the order in which unused models leave, one per instance and level (undocumented).
        routing: Chooses the instance for a request (undocumented).

    Example:
        >>> FleetPolicy(memory_bytes=8 << 30, volume_bytes=30 << 30).loader_slots
        2
    """

    memory_bytes: int = attrs.field(validator=_count(1))
    volume_bytes: int = attrs.field(validator=_count(1))
    loader_slots: int = attrs.field(default=2, validator=_count(1))
    spill_outstanding: int = attrs.field(default=8, validator=_count(1))
    cache_enabled: bool = True
    eviction: Callable[[], EvictionOrder] = Lru
    routing: Routing = attrs.field(factory=Sticky)
