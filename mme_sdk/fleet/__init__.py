"""A pure model of a multi-model endpoint's instances: events in, commands out.

The embedded SageMaker drives a `Fleet` for real and the planner drives one in simulated time, so that there is one
truth about how a multi-model endpoint behaves. What AWS documents is built in; what it does not is a field of
`FleetPolicy`.
"""

from mme_sdk.fleet.commands import Command, Discard, Download, Fail, FailReason, Load, Run, Unload
from mme_sdk.fleet.eviction import EvictionOrder, Fifo, Lru
from mme_sdk.fleet.fleet import Fleet
from mme_sdk.fleet.instance import Copy, Instance, State
from mme_sdk.fleet.policy import FleetPolicy, Footprint
from mme_sdk.fleet.records import Counters, FleetSnapshot, InstanceSnapshot, ModelSnapshot
from mme_sdk.fleet.routing import RandomRouting, Routing, Scatter, Sticky

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
    "InstanceSnapshot",
    "Load",
    "Lru",
    "ModelSnapshot",
    "RandomRouting",
    "Routing",
    "Run",
    "Scatter",
    "State",
    "Sticky",
    "Unload",
]
