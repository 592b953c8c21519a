"""The state machine of a multi-model endpoint's instances: it takes events and returns commands.

The embedded SageMaker executes the commands of a `Fleet`; the planner executes them in simulated time. Both therefore
follow the same rules. The documented behaviour of AWS is fixed; each undocumented rule is a field of `FleetPolicy`.
"""

from mme_sdk.fleet.commands import Command, Discard, Download, Fail, FailReason, Load, Run, Unload
from mme_sdk.fleet.eviction import EvictionOrder, Fifo, Lru
from mme_sdk.fleet.fleet import Fleet
from mme_sdk.fleet.instance import Copy, Instance, State
from mme_sdk.fleet.instance_policy import Footprint, InstancePolicy
from mme_sdk.fleet.policy import FleetPolicy
from mme_sdk.fleet.records import Counters, FleetSnapshot, InstanceSnapshot, ModelSnapshot
from mme_sdk.fleet.routing import RandomRouting, Routing, RoutingName, Scatter, Sticky

__all__ = [
    "Command",
    "Copy",
    "Counters",
    "Discard",
    "Download",
    "EvictionOrder",
    "Fail",
    "FailReason",
    "Fifo",
    "Fleet",
    "FleetPolicy",
    "FleetSnapshot",
    "Footprint",
    "Instance",
    "InstancePolicy",
    "InstanceSnapshot",
    "Load",
    "Lru",
    "ModelSnapshot",
    "RandomRouting",
    "Routing",
    "RoutingName",
    "Run",
    "Scatter",
    "State",
    "Sticky",
    "Unload",
]
