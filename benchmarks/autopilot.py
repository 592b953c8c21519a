"""Compare the autopilot with fixed fleets and AWS's own scaling, on simulated days.

    python benchmarks/autopilot.py                      three days, one seed
    python benchmarks/autopilot.py --seeds 5            means and 95 % intervals of five seeds
    python benchmarks/autopilot.py --family             what is saved, against how much the working set moves
    python benchmarks/autopilot.py --sweep 20           drawn settings: the autopilot against the best fixed fleet
    python benchmarks/autopilot.py --trace calls.csv    a day of your own: columns time (seconds) and model

Every rival serves the same calls in the same simulator. A fleet "by hindsight" is the smallest one that gives p99 ≤ 1 s
on that very day; the targets of target tracking are chosen by hindsight too. New instances take 4 minutes to start. The
autopilot sees a minute's calls one minute after its end.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
from autopilot_days import DAYS, Kind, draw, from_trace, movement
from autopilot_rivals import COLD, CONFIG, LARGEST, WORST, Row, Trial, rivals
from scipy.stats import t as student

from mme_sdk.autopilot.rule import Goal, Rule
from mme_sdk.planning import FleetConfig

WORTH = 400.0  # cold seconds that are worth an instance-hour
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the models sleep outside the hours of their region


def interval(values: list[float]) -> float:
    """Return half the 95 % interval of a mean."""
    if len(values) < 2:
        return 0.0
    return float(student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5)


def report(rows: list[Row]) -> None:
    mean = statistics.fmean
    for day in dict.fromkeys(row.day for row in rows):
        print(
            f"\n{day}: instance-hours, against static with the same cold goals, cold calls, worst hour (cold calls in "
            "it), p99, changes",
            flush=True,
        )
        mine = [row for row in rows if row.day == day]
        static = {row.seed: row.hours for row in mine if row.rival == "static, cold within the goals"}
        for rival in dict.fromkeys(row.rival for row in mine):
            own = [row for row in mine if row.rival == rival]
            change = [row.hours / static[row.seed] - 1.0 for row in own]
            print(
                f"  {rival:<35} {mean(row.hours for row in own):6.1f} ±{interval([row.hours for row in own]):4.1f} "
                f"{mean(change):+6.1%} ±{interval(change):4.1%}  "
                f"{mean(row.cold for row in own):7.3%} ±{interval([row.cold for row in own]):.3%}  "
                f"{mean(row.worst for row in own):6.2%} ({mean(row.worst_calls for row in own):.0f})  "
                f"{mean(row.p99 for row in own):6.2f} s  {mean(row.moves for row in own):3.0f}  {own[0].detail}"
            )


def seen(rows: Iterable[Row]) -> list[Row]:
    """Return the rows, and show each on the standard error when it is there."""
    found = []
    for row in rows:
        print(f"  {row.day} {row.seed} {row.rival}: {row.hours:.1f} h, {row.cold:.3%} cold, worst hour {row.worst:.2%} "
              f"({row.worst_calls}), {row.cold_seconds:.0f} cold seconds, p99 {row.p99:.2f} s, {row.moves} changes, "
              f"{row.detail}",
              file=sys.stderr, flush=True)  # fmt: skip
        found.append(row)
    return found


def family(seeds: range, calls: float, worth: float, config: FleetConfig) -> list[Row]:
    """Print what is saved on days whose working set moves more and more, with one region and with three."""
    rule = Rule(goal=Goal(cold_seconds_per_hour=worth), shrink_by=LARGEST)
    rows: list[Row] = []
    print("regions, asleep, movement of the working set | instance-hours (cold): static, autopilot, oracle | saved")
    for name, peaks in (("one region", (14.0,)), ("three regions", (6.0, 14.0, 22.0))):
        for share in SHARES:
            found, moved = [], []
            for seed in seeds:
                day = draw(Kind(peaks=peaks, sleep=share), seed=seed, calls=calls, name=f"{name}, {share:.0%} sleep")
                one = Trial(day=day, seed=seed, config=config)
                moved.append(movement(day))
                found.append((one.hindsight("static, cold within the goals", cold=COLD, worst=WORST),
                              one.autopilot(rule)[0], one.oracle(rule)))  # fmt: skip
            rows += [attrs.evolve(row, detail=f"{moved[number]:.4f}") for number, three in enumerate(found)
                     for row in three]  # fmt: skip
            mean = statistics.fmean
            cells = [f"{mean(three[n].hours for three in found):6.1f} ({mean(three[n].cold for three in found):.3%})"
                     for n in range(3)]  # fmt: skip
            saved = [[1.0 - three[n].hours / three[0].hours for three in found] for n in (1, 2)]
            print(f"  {name:<14} {share:4.0%} {mean(moved):6.1%} | {' '.join(cells)} | "
                  f"autopilot {mean(saved[0]):+6.1%} ±{interval(saved[0]):.1%}, oracle {mean(saved[1]):+6.1%}",
                  flush=True)  # fmt: skip
    return rows


def picture(rows: list[Row], path: str) -> None:
    """Draw what is saved against how much the working set moves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    static = {(row.day, row.seed): row.hours for row in rows if row.rival.startswith("static")}
    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    for region, mark in (("one region", "o"), ("three regions", "s")):
        for rival, color in (("autopilot", "tab:blue"), ("oracle", "tab:orange")):
            mine = [row for row in rows if row.day.startswith(region) and row.rival == rival]
            axes.plot(
                [100.0 * float(row.detail) for row in mine],
                [100.0 * (1.0 - row.hours / static[row.day, row.seed]) for row in mine],
                mark, color=color, label=f"{rival}, {region}", mfc=color if mark == "o" else "none",
            )  # fmt: skip
    most = axes.get_xlim()[1]
    axes.plot([0.0, most], [0.0, most], color="0.6", lw=1.0, label="saved = movement")
    axes.axhline(0.0, color="0.3", lw=0.8)
    axes.set_xlabel("movement of the working set: 1 − mean ÷ largest hour, %")
    axes.set_ylabel("instance-hours saved against the best fixed fleet\nwith the same limits on cold calls, %")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def sweep(count: int, calls: float) -> list[float]:
    """Print the cost (instance-hours, and cold seconds ÷ V) of the autopilot and the best fixed fleet, plain LRU.

    Returns:
        The cost of the autopilot, divided by that of the best fixed fleet by hindsight, of each setting.
    """
    rng = np.random.default_rng(5)
    ratios = []
    print("setting | cost, hours, cold: best fixed fleet by hindsight; autopilot | ratio of the costs")
    for number in range(count):
        kind = Kind(
            peaks=tuple(rng.uniform(0.0, 24.0, int(rng.integers(1, 4))).round(1).tolist()),
            sleep=round(float(rng.uniform()), 2), hours=round(float(rng.uniform(8.0, 22.0)), 1),
            decades=round(float(rng.uniform(0.0, 1.0)), 2), launches=int(rng.integers(0, 6)),
            service=float(rng.choice([0.01, 0.03, 0.1])),
        )  # fmt: skip
        models = int(rng.integers(60, 500))
        worth = float(10.0 ** rng.uniform(1.7, 3.7))
        trial = Trial(day=draw(kind, seed=number, calls=calls, models=models), seed=number)
        fixed = trial.cheapest(worth)
        mine, _ = trial.autopilot(Rule(goal=Goal(cold_seconds_per_hour=worth), shrink_by=LARGEST))
        ratios.append(mine.cost(worth) / fixed.cost(worth))
        settings = f"{models} models, {len(kind.peaks)} regions of {kind.hours:g} h, {kind.sleep:.0%} sleep, "
        settings += f"{kind.decades:g} decades, V = {worth:.0f}, moves {movement(trial.day):.0%}"
        print(f"  {settings:<82} | " + "; ".join(
            f"{row.cost(worth):6.1f} {row.hours:6.1f} {row.cold:.3%}" for row in (fixed, mine)
        ) + f" | {ratios[-1]:.3f}", flush=True)  # fmt: skip
    worse = sum(ratio > 1.0 for ratio in ratios)
    print(f"the autopilot costs more in {worse} of {count}; ratio: least {min(ratios):.3f}, median "
          f"{statistics.median(ratios):.3f}, largest {max(ratios):.3f}")  # fmt: skip
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=1, help="first seed")
    parser.add_argument("--calls", type=float, default=6.7e6, help="calls of a day")
    parser.add_argument("--worth", type=float, default=WORTH, help="cold seconds that are worth an instance-hour")
    parser.add_argument("--day", choices=list(DAYS), help="only this day")
    parser.add_argument("--family", action="store_true", help="days whose working set moves more and more")
    parser.add_argument("--picture", help="file for the picture of --family")
    parser.add_argument("--sweep", type=int, metavar="N", help="drawn settings: the autopilot against fixed fleets")
    parser.add_argument("--trace", help="CSV or Parquet file of calls: a day of your own")
    parser.add_argument("--size-mb", type=float, default=500.0, help="size of a model of the trace, MiB")
    parser.add_argument("--service", type=float, default=0.02, help="time of a call of the trace, seconds")
    parser.add_argument("--stretch", type=float, default=1.0, help="factor on the times of the trace")
    parser.add_argument("--short", action="store_true", help="only the fixed fleet, the autopilot and the oracle")
    parser.add_argument("--routing", choices=["sticky", "sticky_to_memory"], default=CONFIG.routing,
                        help="whether an evicted model returns to the instance that has its files (sticky) or goes to "
                             "any instance")  # fmt: skip
    parser.add_argument("--csv", help="file for the rows")
    given = parser.parse_args()
    config = attrs.evolve(CONFIG, routing=given.routing)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    rows: list[Row] = []
    begun = time.process_time()
    if given.sweep:
        sweep(given.sweep, given.calls)
    elif given.family:
        rows = family(seeds, given.calls, given.worth, config)
        if given.picture:
            picture(rows, given.picture)
    elif given.trace:
        day = from_trace(given.trace, size_mb=given.size_mb, service=given.service, stretch=given.stretch)
        trial = Trial(day=day, config=config)
        rows = seen([trial.cheapest(given.worth)]) + seen(rivals(trial, given.worth, short=given.short))
        report(rows)
    else:
        for name in [given.day] if given.day else DAYS:
            for seed in seeds:
                day, before = (draw(DAYS[name], seed=seed, calls=given.calls, week=week, name=name) for week in (0, 1))
                trial = Trial(day=day, before=before, seed=seed, config=config)
                rows += seen(rivals(trial, given.worth, short=given.short))
            report([row for row in rows if row.day == name])
    print(f"\n{time.process_time() - begun:.0f} s of CPU time")
    if given.csv and rows:
        with Path(given.csv).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in attrs.fields(Row)])
            writer.writeheader()
            writer.writerows(attrs.asdict(row) for row in rows)


if __name__ == "__main__":
    main()
