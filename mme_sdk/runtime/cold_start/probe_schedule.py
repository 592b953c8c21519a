"""When to look again whether a model is loaded: an inspection schedule, read from a table.

`benchmarks/inspection_table.py` solves the dynamic programme once, in units of the median load time; what is left for a
call is a row of 25 numbers and one interpolation.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from functools import lru_cache
from importlib import resources
from typing import Any

__all__ = ["next_look"]

_MIN_WAIT = 0.02  # seconds; looking more often than the network answers tells nothing


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        resources.files("mme_sdk.runtime.cold_start").joinpath("inspection.json").read_text(encoding="utf-8")
    )
    return loaded


@lru_cache(maxsize=1)
def _axes() -> tuple[list[float], list[float], list[float]]:
    table = _table()
    # Between two rows the nearer one is taken: neighbours differ by less than the estimate is off.
    sigmas, costs = table["sigmas"], [math.log(cost) for cost in table["costs"]]
    return table["elapsed"], _middles(sigmas), _middles(costs)


def _middles(values: list[float]) -> list[float]:
    return [(left + right) / 2 for left, right in itertools.pairwise(values)]


def next_look(elapsed: float, *, median: float, sigma: float, cost: float) -> float:
    """How long to wait until the next attempt, given that the model was not ready so far.

    Args:
        elapsed: Seconds since the load began.
        median: Estimated median of the load time, seconds.
        sigma: Estimated standard deviation of its logarithm.
        cost: What one attempt is worth, as a share of the load time.

    Returns:
        Seconds to wait.

    Example:
        >>> round(next_look(0.0, median=30.0, sigma=0.2, cost=0.1), 3)  # one long wait first
        29.022
    """
    grid, between_sigmas, between_costs = _axes()
    row = _table()["waits"][bisect.bisect(between_sigmas, sigma)][bisect.bisect(between_costs, math.log(cost))]
    at = elapsed / median
    if at >= grid[-1]:
        return float(row[-1] * median * at / grid[-1])
    right = bisect.bisect_right(grid, at)
    left = right - 1
    share = (at - grid[left]) / (grid[right] - grid[left])
    wait = (row[left] + (row[right] - row[left]) * share) * median
    return float(wait) if wait > _MIN_WAIT else _MIN_WAIT
