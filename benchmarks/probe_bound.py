"""What no schedule of looks can beat where each look may start another load, and what ours does there.

    python benchmarks/look_bound.py

An endpoint of n instances answers 429 at once and routes every attempt to any of them. The first attempt starts the
load; the k-th look that comes too early reaches an instance that nobody reached before with probability ((n-1)/n)^k,
and starts another load there. So looks that come too early cost loads, and looks that come late cost time. With the
load time's law known exactly (lognormal), a dynamic programme over (time, looks so far) finds the schedule with the
fewest extra loads among those that find half of the loads within a tenth; a Lagrange multiplier stands for that
condition. Ours knows only what it learned from ten herds before.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).parent))
import cold_start

WITHIN, HALF = 1.10, 0.5
MOST_LOOKS = 12


def frontier_point(sigma: float, instances: int, price: float) -> tuple[float, float]:
    """Extra loads, and the share of loads found too late, of the best schedule where a late one costs `price`."""
    grid = np.concatenate([[0.0], np.exp(sigma * np.linspace(-4, 4.5, 500))])
    with np.errstate(divide="ignore"):
        below = ndtr(np.log(grid) / sigma)
    late_below = ndtr((np.log(np.maximum(grid, 1e-300)) - np.log(WITHIN)) / sigma)
    other = (instances - 1) / instances
    # late[i, j]: share of loads that end between i and j, and more than a tenth before j.
    late = np.maximum(late_below[None, :] - below[:, None], 0.0)
    value = np.zeros((MOST_LOOKS + 1, len(grid)))
    extra, missed = value.copy(), value.copy()
    for k in range(MOST_LOOKS, 0, -1):
        for i in range(len(grid) - 2, -1, -1):
            j = slice(i + 1, None)
            following = k + 1 if k < MOST_LOOKS else k
            early = other**k * (1 - below[j])
            total = early + price * late[i, j] + value[following, j]
            best = int(np.argmin(total))
            value[k, i] = total[best]
            extra[k, i] = early[best] + extra[following, i + 1 + best]
            missed[k, i] = late[i, i + 1 + best] + missed[following, i + 1 + best]
    return float(extra[1, 0]), float(missed[1, 0])


def bound(sigma: float, instances: int) -> float:
    """The fewest extra loads of any schedule, even a random mix, that finds half of the loads within a tenth."""
    points = [frontier_point(sigma, instances, price) for price in np.geomspace(0.02, 50, 24)] + [(0.0, 1.0)]
    fewest = min((extra for extra, missed in points if missed <= HALF), default=float("inf"))
    for extra, missed in points:  # a mix of two schedules may be better than either
        for less, more in points:
            if missed < HALF < more:
                share = (more - HALF) / (more - missed)
                fewest = min(fewest, share * extra + (1 - share) * less)
    return fewest


def ours(spread: float, instances: int) -> tuple[float, float]:
    """Extra loads and median overshoot, as a share, of one caller a herd, after ten herds."""
    seen = cold_start.Seen()
    cold_start.LEARNING, cold_start.COUNTED = 10, 20
    herd = cold_start.Herd(
        load=20.0, instances=instances, processes=1, hold=0.02, any_while_cold=True, callers=1, spread=spread
    )
    for seed in range(20):
        cold_start.run_herd(herd, cold_start.RIVALS[4], seed, seen)
    return statistics.mean(seen.extra), statistics.median(seen.firsts) - 1


def main() -> None:
    rows = []
    for instances in (2, 4, 16):
        for spread in (0.05, 0.1, 0.2, 0.4):
            extra, late = ours(spread, instances)
            least = bound(spread, instances)
            rows.append([str(instances), f"{spread:.2f}", f"{least:.2f}", f"{extra:.2f}", f"{late:.0%}"])
    cold_start.table(["instances", "log-deviation", "least extra loads", "ours", "ours, median late"], rows)


if __name__ == "__main__":
    main()
