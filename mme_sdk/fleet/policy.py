"""The sizes of a fleet's instances, and the rules that AWS does not document."""

from __future__ import annotations

import attrs

from mme_sdk._validation import number
from mme_sdk.fleet.instance_policy import InstancePolicy
from mme_sdk.fleet.routing import Routing, RoutingName, Sticky, routing_named

__all__ = ["FleetPolicy"]


def _routing(value: Routing | RoutingName) -> Routing:
    return routing_named(value) if isinstance(value, str) else value


@attrs.frozen(kw_only=True)
class FleetPolicy(InstancePolicy):
    """The sizes of the instances of one production variant, and the rules that AWS does not document.

    Attributes:
        memory_bytes: Memory for models on each instance, bytes.
        volume_bytes: Space for models on each instance's volume, bytes.
        loader_slots: Number of models that an instance downloads and loads at a time (undocumented). Default 2.
        cache_enabled: False for `ModelCacheSetting=Disabled`: a model is unloaded and deleted after each invocation.
            Default True.
        eviction: Function that makes the order in which unused models are evicted, one for the memory and one for the
            volume of each instance (undocumented). Default `Lru`.
        spill_outstanding: Number of outstanding requests for a model on one instance from which the model is loaded on
            another instance (undocumented). Default 8.
        routing: Rule that selects the instance for a request (undocumented), or its name: `sticky`, `sticky_to_memory`,
            `scatter` or `random`. Default `Sticky()`.

    Example:
        >>> FleetPolicy(memory_bytes=8 << 30, volume_bytes=30 << 30).loader_slots
        2
    """

    spill_outstanding: int = attrs.field(default=8, validator=number(at_least=1, integer=True))
    routing: Routing = attrs.field(factory=Sticky, converter=_routing)
