"""What more or less money gives: the options that no other option beats in both cost and cold requests or latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from mme_sdk.planning.advice.confirm import Confirmation
from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.explain import seconds
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.analysis import monthly

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEASURES", "Measure", "frontier", "pareto_table"]

Measure: TypeAlias = Literal["cold_rate", "p50", "p95", "p99"]
MEASURES: tuple[str, ...] = get_args(Measure)

_ALIKE = 0.98  # of the best option's measure, for an option of the same cost
_NONE = 1e-9  # a smaller cold rate by formula means that no request is cold


def frontier(
    confirmation: Confirmation, options: Sequence[HostingOption], *, measure: Measure = "cold_rate", points: int = 10
) -> list[HostingOption]:
    """Return the simulated options that no other one beats in both cost and a measure, and the best option.

    An option that costs as much as the best one is left out unless its measure is better by over two percent.

    Args:
        confirmation: The simulations of the plan.
        options: The options of the plan, the best first.
        measure: What is compared with the cost: `cold_rate` (the default), `p50`, `p95` or `p99`.
        points: Number of shared endpoints that are simulated in addition to the options. Default 10.

    Returns:
        The options, cheapest first.
    """
    search, best = confirmation.search, options[0]
    found = {each.layout: each for each in options if each.simulated is not None}
    for layout, one in _spread(_undominated(_shared(search), measure), points):
        if layout not in found:
            found[layout] = confirmation.confirmed(layout, one)
    for each in options:  # one endpoint for each model has no cold requests
        if each.layout.mode == "dedicated" and each.layout not in found and not each.estimate.overloads:
            found[each.layout] = confirmation.confirmed(each.layout, each.estimate)
    usable = [each for each in found.values() if each.simulated and not each.overloads]
    kept: list[HostingOption] = []
    for option in sorted(usable, key=lambda each: (each.cost, getattr(each, measure), each.p99, each.kinds)):
        if option.layout == best.layout:
            kept.append(best)
        elif round(option.cost - best.cost, 6) == 0 and getattr(option, measure) >= _ALIKE * getattr(best, measure):
            continue
        elif not kept or getattr(option, measure) < min(getattr(each, measure) for each in kept):
            kept.append(option)
    return kept


def _shared(search: LayoutSearch) -> list[tuple[HostingLayout, HostingEstimate]]:
    """Return shared endpoints with their estimates, cheapest first, up to the first one without a cold request.

    A layout with hardly more memory than a cheaper one is left out.
    """
    least = search.assumptions.minimum_instances
    listed = [
        (
            monthly(price, count),
            -float(fleet_config(search.types[name], count, search.assumptions).memory_bytes) * count,
            name,
            count,
        )
        for name, price in search.prices.items()
        for count in range(least, max(search.max_instances, least) + 1)
    ]
    found: list[tuple[HostingLayout, HostingEstimate]] = []
    memory = 0.0
    for cost, negative_memory, name, count in sorted(listed):
        if search.budget is not None and cost > search.budget:
            break
        if -negative_memory <= 1.02 * memory:
            continue
        layout = HostingLayout(mode="shared", instance_type=name, count=count)
        one = search.estimate(layout)
        if one.overloads or one.loader_saturation > search.assumptions.loader_limit:
            continue
        memory = -negative_memory
        found.append((layout, one))
        if one.cold_rate <= _NONE:
            break
    return found


def _undominated(
    found: list[tuple[HostingLayout, HostingEstimate]], measure: Measure
) -> list[tuple[HostingLayout, HostingEstimate]]:
    kept: list[tuple[HostingLayout, HostingEstimate]] = []
    for layout, one in found:
        if not kept or getattr(one, measure) < getattr(kept[-1][1], measure):
            kept.append((layout, one))
    return kept


def _spread(
    found: list[tuple[HostingLayout, HostingEstimate]], points: int
) -> list[tuple[HostingLayout, HostingEstimate]]:
    """Return at most so many, evenly spaced, with the first and the last."""
    which = np.unique(np.linspace(0, len(found) - 1, min(points, len(found))).round().astype(np.int64))
    return [found[each] for each in which.tolist()] if found else []


def pareto_table(kept: Sequence[HostingOption], best: HostingOption, currency: str) -> pd.DataFrame:
    """Return a table with one row for each option.

    Args:
        kept: The options, cheapest first.
        best: The best option of the plan.
        currency: Currency of the prices; empty if it is not known.

    Returns:
        A DataFrame.
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "hosting": str(each.layout),
                "cost": each.cost,
                "more": each.cost - best.cost,
                "cold rate": each.cold_rate,
                "p50": each.p50,
                "p95": each.p95,
                "p99": each.p99,
                "meets the SLO": each.meets,
                "compared with the advice": _compared(each, best, currency),
            }
            for each in kept
        ]
    )


def _compared(option: HostingOption, best: HostingOption, currency: str) -> str:
    """Return what an option costs and gives, compared with the best one."""
    if option.layout == best.layout:
        return "the advice"
    apart = option.cost - best.cost
    money = f"{abs(apart):,.0f} {currency}".strip()
    how = f"{money} {'more' if apart > 0 else 'less'} a month" if round(abs(apart)) else "the same cost"
    none = option.cold_rate == 0.0
    gives = "no request is cold" if none else f"{option.cold_rate:.2%} cold"
    if none and best.cold_rate == 0.0:
        gives = f"p99 {seconds(option.p99)} instead of {seconds(best.p99)}"
    return f"{how}: {gives}" + ("" if option.meets else f"; {option.blockers[0]}")
