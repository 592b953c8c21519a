"""What is wrong with an endpoint, and the command that mends it.

`endpoint.diagnose()` gathers the data and returns a `Diagnosis`. The functions here make no call: `diagnose` finds the
same in an `ObservedEndpoint` that another program has filled in.
"""

from mme_sdk.diagnosis.diagnosing import diagnose
from mme_sdk.diagnosis.findings import Command, Cost, Diagnosis, Evidence, Finding, FindingKind, Severity
from mme_sdk.diagnosis.observation import (
    MinuteOfModel,
    ObservedAlias,
    ObservedEndpoint,
    ObservedPolicy,
    ObservedRegistry,
    ObservedScaling,
    ObservedVariant,
    RecordedMinute,
)

__all__ = [
    "Command",
    "Cost",
    "Diagnosis",
    "Evidence",
    "Finding",
    "FindingKind",
    "MinuteOfModel",
    "ObservedAlias",
    "ObservedEndpoint",
    "ObservedPolicy",
    "ObservedRegistry",
    "ObservedScaling",
    "ObservedVariant",
    "RecordedMinute",
    "Severity",
    "diagnose",
]
