"""Compare the autopilot with fixed fleets and AWS's own scaling, on simulated days.

    python benchmarks/autopilot.py                      three days, one seed, about a minute
    python benchmarks/autopilot.py --seeds 5            means and 95 % intervals of five seeds
    python benchmarks/autopilot.py --trace calls.csv    a day of your own: columns time (seconds) and model
    python benchmarks/autopilot.py --csv out.csv        also write the rows

Every rival serves the same calls in the same simulator. A fleet "by hindsight" is the smallest one that gives p99 ≤ 1 s
on that very day; the targets of target tracking are chosen by hindsight too. New instances take 4 minutes to start. The
autopilot sees a minute's calls one minute after its end.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import numpy as np
from autopilot_days import DAYS, WARM_UP, Day, draw, from_trace
from autopilot_fleet import Steps, run
from scipy.stats import t as student

from mme_sdk.autopilot.decision import Bounds, Observed, State, decide
from mme_sdk.autopilot.demand import WINDOWS, Demand, Machine
from mme_sdk.autopilot.rule import Goal, Rule, need
from mme_sdk.planning import SLO, Catalogue, FleetConfig, Workload, plan

# -- report ---------------------------------------------------------------------------------------------------------


def interval(values: list[float]) -> float:
    """Return half the 95 % interval of a mean."""
    if len(values) < 2:
        return 0.0
    return float(student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5)


def report(rows: list[Row]) -> None:
    for day in dict.fromkeys(row.day for row in rows):
        print(f"\n{day}: instance-hours, against static by hindsight, cold calls, worst hour, p99, changes", flush=True)
        mine = [row for row in rows if row.day == day]
        static = {row.seed: row.hours for row in mine if row.rival == "static by hindsight"}
        for rival in dict.fromkeys(row.rival for row in mine):
            own = [row for row in mine if row.rival == rival]
            change = [row.hours / static[row.seed] - 1.0 for row in own]
            mean = statistics.fmean
            print(
                f"  {rival:<30} {mean(row.hours for row in own):7.1f}  {mean(change):+7.1%} ±{interval(change):.1%}  "
                f"{mean(row.cold for row in own):8.3%} ±{interval([row.cold for row in own]):.3%}  "
                f"{mean(row.worst for row in own):6.2%}  {mean(row.p99 for row in own):7.3f} s  "
                f"{mean(row.moves for row in own):4.0f}  {own[0].detail}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=1, help="first seed")
    parser.add_argument("--calls", type=float, default=6.7e6, help="calls of a day")
    parser.add_argument("--worth", type=float, default=WORTH, help="cold seconds that are worth an instance-hour")
    parser.add_argument("--day", choices=list(DAYS), help="only this day")
    parser.add_argument("--trace", help="CSV or Parquet file of calls: a day of your own")
    parser.add_argument("--size-mb", type=float, default=500.0, help="size of a model of the trace, MiB")
    parser.add_argument("--service", type=float, default=0.02, help="time of a call of the trace, seconds")
    parser.add_argument("--anew", action="store_true", help="evicted models are placed on any instance")
    parser.add_argument("--csv", help="file for the rows")
    given = parser.parse_args()
    PLACEMENT["anew"] = given.anew
    rows: list[Row] = []
    begun = time.process_time()
    if given.trace:
        rows = rivals(from_trace(given.trace, size_mb=given.size_mb, service=given.service), None, 0, given.worth)
        report(rows)
    else:
        for name in [given.day] if given.day else DAYS:
            for seed in range(given.first_seed, given.first_seed + given.seeds):
                day, before = (draw(name, seed=seed, calls=given.calls, week=week) for week in (0, 1))
                rows += rivals(day, before, seed, given.worth)
            report([row for row in rows if row.day == name])
    print(f"\n{time.process_time() - begun:.0f} s of CPU time")
    if given.csv:
        with Path(given.csv).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in attrs.fields(Row)])
            writer.writeheader()
            writer.writerows(attrs.asdict(row) for row in rows)


if __name__ == "__main__":
    main()
