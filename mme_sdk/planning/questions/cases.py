"""The changes that the tables of a plan show, and a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mme_sdk.planning.advice.demand import Demand
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.inputs import Assumptions
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.catalogue import Catalogue, ModelProfile

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["break_even", "changed_assumptions", "changed_conditions", "other_routing", "row", "spread"]


def changed_conditions(hottest: Sequence[str]) -> list[tuple[str, dict[str, Any] | None]]:
    """Return the rows of `HostingPlan.what_ifs`: a name, and the arguments of `what_if`; None for no change.

    Args:
        hottest: The busiest models.
    """
    return [
        ("no change", None),
        ("twice the models", {"models": 2.0}),
        ("twice the traffic", {"traffic": 2.0}),
        ("half the load time", {"load_time": 0.5}),
        ("the five busiest kept warm", {"bound_by_slo": hottest}),
    ]


def changed_assumptions(given: Assumptions) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of `HostingPlan.sensitivity`: a name, and the arguments of `what_if`.

    Args:
        given: The assumptions of the plan.
    """
    return [
        ("half the loader slots", {"loader_slots": max(1, given.loader_slots // 2)}),
        ("twice the loader slots", {"loader_slots": given.loader_slots * 2}),
        ("a quarter of the spill threshold", {"spill_outstanding": max(1, given.spill_outstanding // 4)}),
        other_routing(given),
        ("a fifth less memory for models", {"memory_share": given.memory_share * 0.8}),
        ("half the download speed", {"s3_gbps": given.s3_gbps / 2}),
        ("twice the load time", {"load_time": 2.0}),
        ("1.5 times the service time", {"service_time": 1.5}),
        ("a fifth more traffic", {"traffic": 1.2}),
    ]


def other_routing(given: Assumptions) -> tuple[str, dict[str, Any]]:
    """Return the row for the rule that AWS does not document: where a model goes that was evicted.

    Args:
        given: The assumptions of the plan.
    """
    if given.routing == "sticky_to_memory":
        return "evicted models that return", {"routing": "sticky"}
    return "evicted models that may move", {"routing": "sticky_to_memory"}


def row(name: str, option: HostingOption) -> dict[str, Any]:
    """Return the row of a table of changes.

    Args:
        name: What changed.
        option: The option after the change.
    """
    return {
        "case": name,
        "cold rate": option.cold_rate,
        "p50": option.p50,
        "p95": option.p95,
        "p99": option.p99,
        "simulated": option.simulated is not None,
        "loaders": option.loaders,
        "vCPUs": option.estimate.cpu,
        "meets the SLO": option.meets,
        "blocked by": "; ".join(option.blockers),
        "may exceed": "; ".join(option.risks) if option.meets else "",
    }


def break_even(estimates: Sequence[tuple[HostingLayout, HostingEstimate]]) -> pd.DataFrame:
    """Return the table of `HostingPlan.break_even`.

    Args:
        estimates: Every layout that was estimated, with its figures.
    """
    import pandas as pd

    rows = [
        {
            "dedicated": len(layout.dedicated),
            "cost": found.cost,
            "layout": str(layout),
            "p99": found.p99,
            "cold rate": found.cold_rate,
        }
        for layout, found in estimates
        if not found.blockers and layout.mode != "uncached"
    ]
    if not rows:
        return pd.DataFrame(columns=["dedicated", "cost", "layout", "p99", "cold rate"])
    frame = pd.DataFrame(rows).sort_values(["dedicated", "cost"])
    return frame.groupby("dedicated", as_index=False).first()


def spread(demand: Demand, models: float) -> Catalogue:
    """Return a catalogue in which each added model has the profile of the known model that it copies.

    Args:
        demand: The traffic and the models.
        models: Factor on the number of models.
    """
    if models <= 1.0:
        return demand.catalogue
    copies = max(1, round(models))
    profiles: dict[str, ModelProfile] = {name: demand.catalogue[name] for name in demand.workload.models}
    for copy in range(1, copies):
        profiles |= {f"{name}#{copy + 1}": demand.catalogue[name] for name in demand.workload.models}
    return Catalogue(profiles, demand.catalogue.default)
