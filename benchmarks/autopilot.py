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

MACHINE = Machine.of("ml.m5.xlarge", price=0.23)
CONFIG = FleetConfig(
    instances=1, workers=MACHINE.vcpus, memory_bytes=MACHINE.memory_bytes, volume_bytes=MACHINE.volume_bytes,
    loader_slots=MACHINE.loader_slots, spill_outstanding=MACHINE.spill_outstanding,
)  # fmt: skip
LARGEST, SMALLEST = 30, 2
PLACEMENT = {"anew": False}  # see `autopilot_fleet.run`
STARTS_AFTER = 4  # minutes until a new instance is in service
LATE = 1  # minutes until the calls of a minute are known
WORTH = 400.0  # cold seconds that are worth an instance-hour
P99, COLD, WORST = 1.0, 0.0012, 0.015  # the goals: seconds, share of the day, share of the worst hour
BEGIN = datetime(2026, 3, 4, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Row:
    """The day of one rival."""

    day: str
    rival: str
    seed: int
    hours: float
    cold: float
    worst: float
    p99: float
    moves: int
    detail: str = ""


def measure(day: Day, steps: Steps, rival: str, seed: int, detail: str = "") -> Row:
    """Simulate a day; count from the end of the warm-up."""
    found = run(day.traffic, CONFIG, steps, seed=seed, anew=PLACEMENT["anew"])
    first = 60.0 * WARM_UP if day.name in DAYS else 0.0
    end = 60.0 * len(day.counts)
    keep = found.times >= first
    cold, hour = found.kinds[keep] > 0, ((found.times[keep] - first) // 3600).astype(int)
    calls, colds = np.bincount(hour), np.bincount(hour, weights=cold)
    edges = [*(max(at, first) for at, _ in steps), end]
    counts = [count for _, count in steps]
    hours = sum(count * max(0.0, b - a) for count, a, b in zip(counts, edges, edges[1:], strict=False)) / 3600.0
    moves = sum(1 for at, _ in steps[1:] if at >= first)
    return Row(
        day=day.name, rival=rival, seed=seed, hours=hours, cold=float(cold.mean()),
        worst=float((colds / np.maximum(calls, 1)).max()), p99=float(np.quantile(found.latency[keep], 0.99)),
        moves=moves, detail=detail,
    )  # fmt: skip


def merged(counts: list[int]) -> Steps:
    """Return the number of instances of each minute as steps."""
    return [(60.0 * minute, count) for minute, count in enumerate(counts) if not minute or counts[minute - 1] != count]


def in_service(wanted: list[int], delay: int = STARTS_AFTER) -> list[int]:
    """Return the instances in service, if those that are added take some minutes to start."""
    found = list(wanted)
    for minute in range(1, len(wanted)):
        found[minute] = min(wanted[max(0, minute - delay) : minute + 1])
    return found


# -- rivals ---------------------------------------------------------------------------------------------------------


def hindsight(day: Day, seed: int, name: str = "static by hindsight", cold: float = 1.0, worst: float = 1.0) -> Row:
    """Return the smallest fixed fleet with p99 and the shares of cold calls within limits on this day."""
    low, high = SMALLEST, LARGEST
    rows: dict[int, Row] = {}
    while low < high:
        middle = (low + high) // 2
        row = rows[middle] = measure(day, [(0.0, middle)], name, seed, f"{middle} instances")
        met = row.p99 <= P99 and row.cold <= cold and row.worst <= worst
        low, high = (low, middle) if met else (middle + 1, high)
    return rows.get(low) or measure(day, [(0.0, low)], name, seed, f"{low} instances")


def average(day: Day, seed: int) -> Row:
    """Return the fleet that the planner advises for the day's average."""
    names = [f"m{number:04d}" for number in range(len(day.profiles))]
    rates = day.counts[_first(day) :].mean(axis=0) / 60.0
    catalogue = Catalogue(dict(zip(names, day.profiles, strict=True)))
    found = plan(
        Workload.from_rates({name: rate for name, rate in zip(names, rates.tolist(), strict=True) if rate > 0}),
        catalogue=catalogue, slo=SLO(p99=P99), prices={"ml.m5.xlarge": 0.23},
    )  # fmt: skip
    shared = [one.layout.count for one in found.options if one.layout.mode == "shared"]
    count = min(shared, default=LARGEST)
    return measure(day, [(0.0, count)], "plan for the average", seed, f"{count} instances")


def tracking(day: Day, seed: int, load: np.ndarray, name: str, static: int) -> Row:
    """Return target tracking with the target that needs the fewest hours on this day with p99 within the limit.

    `load` is the metric of each minute for one instance. At its peak, `static` instances have the first target.
    """
    best: Row | None = None
    for share in (1.0, 0.7, 0.45, 0.25):
        target = float(np.quantile(load, 0.995)) / static * share
        counts = [max(SMALLEST, min(LARGEST, int(np.ceil(load[0] / target))))]
        above = below = 0
        quiet_until = 0
        for minute in range(1, len(load)):
            count = counts[-1]
            value = load[minute - 1] / count
            above, below = (above + 1, 0) if value > target else (0, below + 1 if value < 0.9 * target else 0)
            wanted = max(SMALLEST, min(LARGEST, int(np.ceil(count * value / target))))
            acts = (above >= 3 and wanted > count) or (below >= 15 and wanted < count)
            if acts and minute >= quiet_until:
                count, quiet_until = wanted, minute + 5
            counts.append(count)
        row = measure(day, merged(in_service(counts)), name, seed, f"target {share:.0%} of the peak")
        if row.p99 <= P99 and (best is None or row.hours < best.hours):
            best = row
        elif best is None and share == 0.25:
            best = attrs.evolve(row, detail=f"no target gives p99 ≤ {P99:g} s")
    assert best is not None
    return best


def demands(day: Day) -> Callable[[int], Demand]:
    """Return a function from a minute to the demand that the autopilot sees at its start."""
    sums = np.vstack([np.zeros((1, day.counts.shape[1]), dtype=np.int64), np.cumsum(day.counts, axis=0)])
    names = tuple(f"m{number:04d}" for number in range(len(day.profiles)))

    def at(minute: int) -> Demand:
        end = max(0, minute - LATE)
        counts = np.stack([sums[end] - sums[max(0, end - window)] for window in WINDOWS], axis=1)
        moment = BEGIN + timedelta(minutes=minute)
        return Demand(
            at=moment, models=names, counts=counts, minutes=max(1, min(60, end)),
            newest=moment - timedelta(minutes=LATE + 1), profiles=day.profiles,
        )  # fmt: skip

    return at


def causal(
    day: Day, rule: Rule, *, floor: list[int] | None = None, every: int = 3, largest: int = LARGEST
) -> tuple[list[int], list[int]]:
    """Return the instances that the autopilot wants in each minute, and those in service."""
    see = demands(day)
    bounds = Bounds(smallest=SMALLEST, largest=largest, moves_per_hour=60)
    start = need(see(30), rule, MACHINE, smallest=SMALLEST, largest=largest).count
    state, wanted = State(), [start]
    for minute in range(1, len(day.counts)):
        count = wanted[-1]
        if minute >= 15 and minute % every == 0:
            seen = Observed(count=count, floor=0 if floor is None else floor[minute])
            found = decide(see(minute), seen, state, rule=rule, bounds=bounds, machine=MACHINE)
            state, count = found.state, found.count
        wanted.append(count)
    return wanted, in_service(wanted)


def oracle(day: Day, rule: Rule) -> list[int]:
    """Return what the same rule wants if it knows the rates to come, with instances that start at once."""
    demand = demands(day)(len(day.counts))
    counts: list[int] = []
    for minute in range(0, len(day.rates), 5):
        rates = day.rates[minute : minute + 15].max(axis=0)
        counts += [need(demand, rule, MACHINE, smallest=SMALLEST, largest=LARGEST, rates=rates).count] * 5
    return counts[: len(day.rates)]


def _first(day: Day) -> int:
    return WARM_UP if day.name in DAYS else 0


def rivals(day: Day, before: Day | None, seed: int, worth: float) -> list[Row]:
    """Return the rows of a day."""
    rule = Rule(goal=Goal(cold_seconds_per_hour=worth))
    static = hindsight(day, seed)
    count = int(static.detail.split()[0])
    service = np.asarray([one.service_seconds for one in day.profiles])
    calls = day.counts.sum(axis=1).astype(float)
    cpu = (day.counts * service).sum(axis=1) / 60.0 / MACHINE.vcpus
    rows = [static, hindsight(day, seed, "static, cold within the goals", COLD, WORST), average(day, seed)]
    rows.append(tracking(day, seed, calls, "target tracking, invocations", count))
    rows.append(tracking(day, seed, cpu, "target tracking, CPU", count))
    rows.append(measure(day, merged(causal(day, rule)[1]), "autopilot", seed))
    if before is not None:
        lead = 15
        week = causal(before, rule)[0]
        floor = [min(week[minute : minute + 60]) for minute in range(len(week))]
        floor = [floor[min(minute + lead, len(floor) - 1)] for minute in range(len(floor))]
        rows.append(measure(day, merged(causal(day, rule, floor=floor)[1]), "autopilot, learned schedule", seed))
    rows.append(measure(day, merged(oracle(day, rule)), "oracle", seed))
    return rows


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
