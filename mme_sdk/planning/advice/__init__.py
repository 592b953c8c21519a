"""The advice: estimate hosting layouts, simulate the cheapest, choose one, and explain the choice."""

from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.advice.layout import DedicatedEndpoint, HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.plan import HostingPlan
from mme_sdk.planning.advice.planner import instance_types, plan
from mme_sdk.planning.advice.simulated import SimulatedFigures

__all__ = [
    "SLO",
    "Assumptions",
    "DedicatedEndpoint",
    "HostingEstimate",
    "HostingLayout",
    "HostingOption",
    "HostingPlan",
    "SimulatedFigures",
    "instance_types",
    "plan",
]
