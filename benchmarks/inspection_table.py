"""Computes `mme_sdk/runtime/cold_start/inspection.json`: when to probe a loading model.

The load time is assumed to be lognormal with median 1 and standard deviation sigma of its logarithm. One load in ten
follows a wide distribution instead (0.83, a coefficient of variation of 1), because of another instance type, an
overload or a larger archive. So the first probe relies on a precise estimate, and later probes do not become more and
more frequent when a load takes unusually long.

A probe costs `cost`. The time between the end of a load and the probe that finds it costs its share of the load time.
Dynamic programming over a logarithmic grid of times gives the best next probe for every elapsed time (Barlow, Hunter,
Proschan: Optimum Checking Procedures, 1963). All times are in units of the median, so one table serves every model.

    python benchmarks/inspection_table.py          # writes the file
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

OUT = Path(__file__).parents[1] / "mme_sdk" / "runtime" / "cold_start" / "inspection.json"
SIGMAS = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5]
COSTS = [0.01, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.75]
ELAPSED = [0.0, *np.round(np.geomspace(0.1, 20.0, 24), 4).tolist()]
UNUSUAL, WIDE = 0.1, 0.83


def best_waits(sigma: float, cost: float) -> list[float]:
    """Return the best wait until the next probe for each time of ELAPSED, in medians."""
    wide = max(sigma, WIDE)
    grid = np.concatenate([[0.0], np.geomspace(0.01, np.exp(7 * wide), 2500)])
    with np.errstate(divide="ignore"):
        above = (1 - UNUSUAL) * ndtr(-np.log(grid) / sigma) + UNUSUAL * ndtr(-np.log(grid) / wide)
    middle = np.concatenate([[grid[1] / 2], np.sqrt(grid[1:-1] * grid[2:])])
    share = -np.diff(above) / middle  # cost of a unit of lateness for a load that ends there
    shares = np.concatenate([[0.0], np.cumsum(share)])
    loads = np.concatenate([[0.0], np.cumsum(share * middle)])
    value = np.zeros(len(grid))
    waits = np.zeros(len(grid))
    for i in range(len(grid) - 2, -1, -1):
        after = slice(i + 1, None)
        late = grid[after] * (shares[after] - shares[i]) - (loads[after] - loads[i])
        total = cost * above[i] + late + value[after]
        best = int(np.argmin(total))
        value[i], waits[i] = total[best], grid[i + 1 + best] - grid[i]
    settled = np.exp(
        6 * wide
    )  # beyond this time the end of the grid distorts the waits, so they are extrapolated in proportion
    known = np.interp(np.minimum(ELAPSED, settled), grid, waits)
    return np.round(known * np.maximum(np.array(ELAPSED) / settled, 1.0), 4).tolist()


def table() -> dict[str, Any]:
    """Return the table as it is stored."""
    waits = [[best_waits(sigma, cost) for cost in COSTS] for sigma in SIGMAS]
    return {"sigmas": SIGMAS, "costs": COSTS, "elapsed": ELAPSED, "waits": waits}


if __name__ == "__main__":
    OUT.write_text(json.dumps(table(), separators=(",", ":")) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")
