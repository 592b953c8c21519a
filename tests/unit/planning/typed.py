"""What a workload or a plan has in these tests, for the type checkers too."""

from __future__ import annotations

from typing import TypeVar

from mme_sdk.planning import HostingOption, SimulatedFigures, Workload
from mme_sdk.planning.simulation.inputs import Floats, Ints

_Value = TypeVar("_Value")


def present(value: _Value | None) -> _Value:
    assert value is not None
    return value


def arrivals(trace: Workload) -> tuple[Floats, Ints]:
    """Return the arrival times of a trace, and the model of each request."""
    return present(trace.times), present(trace.index)


def simulated(option: HostingOption) -> SimulatedFigures:
    return present(option.simulated)
