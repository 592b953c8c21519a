"""Discrete-event simulation of a fleet, with three engines that give the same results."""

from mme_sdk.planning.simulation.clients import Backoff, ClientPolicy, NoRetries, SingleFlight, WaitForAnswer
from mme_sdk.planning.simulation.events import Autoscale, Crash, Deploy, Event, LoseInstance, ScaleIn, ScaleOut
from mme_sdk.planning.simulation.inputs import DISK, FAILED, HIT, JOINED, S3, FleetConfig, Traffic
from mme_sdk.planning.simulation.result import Engine, SimulationResult, simulate

__all__ = [
    "DISK",
    "FAILED",
    "HIT",
    "JOINED",
    "S3",
    "Autoscale",
    "Backoff",
    "ClientPolicy",
    "Crash",
    "Deploy",
    "Engine",
    "Event",
    "FleetConfig",
    "LoseInstance",
    "NoRetries",
    "ScaleIn",
    "ScaleOut",
    "SimulationResult",
    "SingleFlight",
    "Traffic",
    "WaitForAnswer",
    "simulate",
]
