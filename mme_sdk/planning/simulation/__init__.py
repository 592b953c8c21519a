"""Discrete-event simulation of a fleet: exact, in arrival order, with three engines that agree."""

from mme_sdk.planning.simulation.clients import Backoff, ClientPolicy, NoRetries, Patient, SingleFlight
from mme_sdk.planning.simulation.events import Autoscale, Crash, Deploy, Event, LoseInstance, ScaleIn, ScaleOut
from mme_sdk.planning.simulation.inputs import DISK, FAILED, HIT, JOINED, S3, Site, Traffic
from mme_sdk.planning.simulation.result import SimulationResult, simulate

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
    "Event",
    "LoseInstance",
    "NoRetries",
    "Patient",
    "ScaleIn",
    "ScaleOut",
    "SimulationResult",
    "SingleFlight",
    "Site",
    "Traffic",
    "simulate",
]
