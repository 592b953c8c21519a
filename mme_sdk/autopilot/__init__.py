"""The autopilot: a multi-model endpoint whose number of instances follows the traffic of its models.

It needs the extra `planning`. Without `apply`, it only says what it would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.autopilot.autopilot import Autopilot
    from mme_sdk.autopilot.decision import Decision, decide
    from mme_sdk.autopilot.demand import Demand, Machine
    from mme_sdk.autopilot.journal import Journal
    from mme_sdk.autopilot.rule import Forecast, Goal, Rule
    from mme_sdk.autopilot.schedule import learned_floor, learned_models, learned_schedule
    from mme_sdk.autopilot.state import Bounds, Observed, State

__all__ = [
    "Autopilot",
    "Bounds",
    "Decision",
    "Demand",
    "Forecast",
    "Goal",
    "Journal",
    "Machine",
    "Observed",
    "Rule",
    "State",
    "decide",
    "learned_floor",
    "learned_models",
    "learned_schedule",
]

_HOMES = {
    "Autopilot": "autopilot.autopilot",
    "Bounds": "autopilot.state",
    "Decision": "autopilot.decision",
    "Demand": "autopilot.demand",
    "Forecast": "autopilot.rule",
    "Goal": "autopilot.rule",
    "Journal": "autopilot.journal",
    "Machine": "autopilot.demand",
    "Observed": "autopilot.state",
    "Rule": "autopilot.rule",
    "State": "autopilot.state",
    "decide": "autopilot.decision",
    "learned_floor": "autopilot.schedule",
    "learned_models": "autopilot.schedule",
    "learned_schedule": "autopilot.schedule",
}

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
