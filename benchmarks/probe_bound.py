"""Compares the probe schedule with the best possible schedule, if each probe can start another load.

    python benchmarks/probe_bound.py
    python benchmarks/probe_bound.py --write docs/benchmarks

An endpoint of n instances answers 429 at once and routes each request to any of them. The first request starts the
load. The k-th probe that comes too early reaches an instance without the model with probability ((n-1)/n)^k, and starts
another load there. So early probes cost loads, and late probes cost time.

If the distribution of the load time is known exactly (lognormal), dynamic programming over the time and the number of
probes finds the schedule with the fewest extra loads, of those that find half of the loads within a tenth. A
Lagrange multiplier represents this condition. `mme_sdk` only knows what it learned from ten
earlier loads. It is measured with a probe cost of 0.07, the default, and of 0.3.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import attrs
import numpy as np
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).parent))
import cold_start

from mme_sdk.config import ColdStart

WITHIN, HALF = 1.10, 0.5
MAX_PROBES = 12


def frontier_point(sigma: float, instances: int, price: float) -> tuple[float, float]:
    """Return extra loads, and the share of loads found too late, of the best schedule if a late one costs `price`."""
    grid = np.concatenate([[0.0], np.exp(sigma * np.linspace(-4, 4.5, 500))])
    with np.errstate(divide="ignore"):
        below = ndtr(np.log(grid) / sigma)
    late_below = ndtr((np.log(np.maximum(grid, 1e-300)) - np.log(WITHIN)) / sigma)
    other = (instances - 1) / instances
    # late[i, j]: share of loads that end between i and j, and more than a tenth before j.
    late = np.maximum(late_below[None, :] - below[:, None], 0.0)
    value = np.zeros((MAX_PROBES + 1, len(grid)))
    extra, missed = value.copy(), value.copy()
    for k in range(MAX_PROBES, 0, -1):
        for i in range(len(grid) - 2, -1, -1):
            j = slice(i + 1, None)
            following = k + 1 if k < MAX_PROBES else k
            early = other**k * (1 - below[j])
            total = early + price * late[i, j] + value[following, j]
            best = int(np.argmin(total))
            value[k, i] = total[best]
            extra[k, i] = early[best] + extra[following, i + 1 + best]
            missed[k, i] = late[i, i + 1 + best] + missed[following, i + 1 + best]
    return float(extra[1, 0]), float(missed[1, 0])


def bound(sigma: float, instances: int) -> float:
    """Return the fewest extra loads of any schedule, or mix of two, that finds half of the loads within a tenth."""
    points = [frontier_point(sigma, instances, price) for price in np.geomspace(0.02, 50, 24)] + [(0.0, 1.0)]
    fewest = min((extra for extra, missed in points if missed <= HALF), default=float("inf"))
    for extra, missed in points:  # a mix of two schedules may be better than either
        for less, more in points:
            if missed < HALF < more:
                share = (more - HALF) / (more - missed)
                fewest = min(fewest, share * extra + (1 - share) * less)
    return fewest


def measured(spread: float, instances: int, cost: float) -> tuple[float, float]:
    """Return extra loads, and the median lateness as a share of the load, of single callers after ten loads."""
    results = cold_start.Results()
    cold_start.LEARNING, cold_start.COUNTED = 10, 20
    herd = cold_start.Herd(
        load=20.0, instances=instances, processes=1, hold=0.02, any_while_cold=True, callers=1, spread=spread
    )
    policy = attrs.evolve(cold_start.POLICIES[4], cold=ColdStart(probe_cost=cost))
    for seed in range(20):
        cold_start.run_herd(herd, policy, seed, results)
    return statistics.mean(results.extra), statistics.median(results.firsts) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write a CSV file as well")
    options = parser.parse_args()
    records = []
    for instances in (2, 4, 16):
        for spread in (0.05, 0.1, 0.2, 0.4):
            extra, late = measured(spread, instances, 0.07)
            fewer, later = measured(spread, instances, 0.3)
            records.append(
                {
                    "instances": str(instances),
                    "sigma": f"{spread:.2f}",
                    "least extra loads": f"{bound(spread, instances):.2f}",
                    "extra loads": f"{extra:.2f}",
                    "median late %": f"{100 * late:.0f}",
                    "extra loads, cost 0.3": f"{fewer:.2f}",
                    "median late %, cost 0.3": f"{100 * later:.0f}",
                }
            )
    cold_start.table(records)
    if options.write:
        cold_start.write(options.write, "cold-start-probe-bound", records, "python benchmarks/probe_bound.py")


if __name__ == "__main__":
    main()
