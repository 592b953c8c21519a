"""What is wrong with an endpoint, and the command that mends it.

`endpoint.diagnose()` gathers the data and returns a `Diagnosis`. The functions here make no call: `diagnose` finds the
same in an `ObservedEndpoint` that another program has filled in.
"""

from mme_sdk.diagnosis.diagnosing import diagnose
from mme_sdk.diagnosis.findings import Command, Cost, Diagnosis, Evidence, Finding, FindingKind, Severity
from mme_sdk.diagnosis.observation import (
    ObservedAlias,
    ObservedEndpoint,
    ObservedPolicy,
    ObservedRegistry,
    ObservedScaling,
    ObservedVariant,
)

__all__ = [
    "Command",
    "Cost",
    "Diagnosis",
    "Evidence",
    "Finding",
    "FindingKind",
    "ObservedAlias",
    "ObservedEndpoint",
    "ObservedPolicy",
    "ObservedRegistry",
    "ObservedScaling",
    "ObservedVariant",
    "Severity",
    "diagnose",
]
