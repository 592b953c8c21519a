"""When to probe a loading model next: an inspection schedule, read from a table.

`benchmarks/inspection_table.py` computes the table by dynamic programming, in units of the median load time. A call
needs one row of 25 numbers and one interpolation.
"""

from __future__ import annotations

import bisect
import itertools
import math
from functools import lru_cache
from typing import Any

__all__ = ["probe_delay"]

_MIN_DELAY = 0.02  # seconds; about the time of one answer


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    import json
    from importlib import resources

    loaded: dict[str, Any] = json.loads(
        resources.files("mme_sdk.runtime.cold_start").joinpath("inspection.json").read_text(encoding="utf-8")
    )
    return loaded


@lru_cache(maxsize=1)
def _axes() -> tuple[list[float], list[float], list[float]]:
    """Return the elapsed times, and the limits between neighbouring rows. A call uses the nearest row."""
    table = _table()
    sigmas, costs = table["sigmas"], [math.log(cost) for cost in table["costs"]]
    return table["elapsed"], _midpoints(sigmas), _midpoints(costs)


def _midpoints(values: list[float]) -> list[float]:
    return [(left + right) / 2 for left, right in itertools.pairwise(values)]


def probe_delay(elapsed: float, *, median: float, sigma: float, cost: float) -> float:
    """Return how long to wait before the next probe of a model that is still loading.

    Args:
        elapsed: Seconds since the load began.
        median: Estimated median of the load time, in seconds.
        sigma: Estimated standard deviation of the logarithm of the load time.
        cost: Cost of one probe, as a share of the load time.

    Returns:
        Seconds to wait.

    Example:
        >>> round(probe_delay(0.0, median=30.0, sigma=0.2, cost=0.1), 3)  # one long wait first
        29.022
    """
    elapsed_grid, between_sigmas, between_costs = _axes()
    row = _table()["waits"][bisect.bisect(between_sigmas, sigma)][bisect.bisect(between_costs, math.log(cost))]
    at = elapsed / median
    if at >= elapsed_grid[-1]:
        return float(row[-1] * median * at / elapsed_grid[-1])
    right = bisect.bisect_right(elapsed_grid, at)
    left = right - 1
    share = (at - elapsed_grid[left]) / (elapsed_grid[right] - elapsed_grid[left])
    delay = (row[left] + (row[right] - row[left]) * share) * median
    return float(delay) if delay > _MIN_DELAY else _MIN_DELAY
