"""The rivals of `benchmarks/autopilot.py`: what each wants on a day, and what the simulator says about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import attrs
import numpy as np
from autopilot_days import Day, with_warming
from autopilot_fleet import SHORT, Compiled, Steps, numba, run

from mme_sdk.autopilot.decision import Bounds, Decision, Observed, State, decide
from mme_sdk.autopilot.demand import WINDOWS, Demand, Machine
from mme_sdk.autopilot.rule import Goal, Rule, need
from mme_sdk.autopilot.schedule import learned_floor, learned_models
from mme_sdk.planning import SLO, Catalogue, FleetConfig, Workload, plan
from mme_sdk.planning.simulation import SimulationResult

__all__ = ["COLD", "CONFIG", "LARGEST", "WORST", "Row", "Trial", "in_service", "merged", "rivals"]

MACHINE = Machine.of("ml.m5.xlarge", price=0.23)
CONFIG = FleetConfig(
    instances=1, workers=MACHINE.vcpus, memory_bytes=MACHINE.memory_bytes, volume_bytes=MACHINE.volume_bytes,
    loader_slots=MACHINE.loader_slots, spill_outstanding=MACHINE.spill_outstanding, routing="sticky_to_memory",
)  # fmt: skip
LARGEST, SMALLEST = 30, 2
STARTS_AFTER = 4  # minutes until a new instance is in service
LATE = 1  # minutes until the calls of a minute are known
P99, COLD, WORST = 1.0, 0.0012, 0.015  # the goals: seconds, share of the day, share of the worst hour
BEGIN = datetime(2026, 3, 4, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Row:
    """The day of one rival.

    Attributes:
        day: Name of the day.
        rival: Name of the rival.
        seed: Seed.
        hours: Instance-hours.
        cold: Share of cold calls.
        worst: Share of cold calls in the hour with the largest share.
        worst_calls: Cold calls in that hour.
        cold_seconds: Seconds that cold calls waited for their model, all together.
        p99: 99th percentile of the latency, seconds.
        moves: Changes of the number of instances.
        detail: Settings that were chosen by hindsight.
    """

    day: str
    rival: str
    seed: int
    hours: float
    cold: float
    worst: float
    worst_calls: int
    cold_seconds: float
    p99: float
    moves: int
    detail: str = ""

    def cost(self, worth: float) -> float:
        """Return the instance-hours and what the cold seconds are worth in instance-hours, as the rule adds them up."""
        return self.hours + self.cold_seconds / worth


def merged(counts: list[int]) -> Steps:
    """Return the number of instances of each minute as steps."""
    return [(60.0 * minute, count) for minute, count in enumerate(counts) if not minute or counts[minute - 1] != count]


def in_service(wanted: list[int], delay: int = STARTS_AFTER) -> list[int]:
    """Return the instances in service, if those that are added take some minutes to start."""
    return [min(wanted[max(0, minute - delay) : minute + 1]) for minute in range(len(wanted))]


@attrs.frozen(kw_only=True, eq=False)
class Trial:
    """A day, on which every rival serves the same calls.

    Attributes:
        day: The day.
        before: The day a week earlier, to learn from. None if there is none.
        seed: Seed of the simulator.
        config: The instances and the routing.
    """

    day: Day
    before: Day | None = None
    seed: int = 0
    config: FleetConfig = CONFIG

    def row(self, found: SimulationResult, steps: Steps, rival: str, detail: str = "") -> Row:
        """Return what a simulation gave; counted from the end of the warm-up."""
        first, end = 60.0 * self.day.first, 60.0 * len(self.day.counts)
        keep = found.times >= first
        if self.day.warming is not None:
            keep &= ~self.day.warming
        cold, hour = found.kinds[keep] > 0, ((found.times[keep] - first) // 3600).astype(int)
        calls, colds = np.bincount(hour), np.bincount(hour, weights=cold)
        shares = colds / np.maximum(calls, 1)
        edges = [*(max(at, first) for at, _ in steps), end]
        counts = [count for _, count in steps]
        hours = sum(count * max(0.0, b - a) for count, a, b in zip(counts, edges, edges[1:], strict=False)) / 3600.0
        return Row(
            day=self.day.name, rival=rival, seed=self.seed, hours=hours, cold=float(cold.mean()),
            worst=float(shares.max()), worst_calls=int(colds[shares.argmax()]),
            cold_seconds=float((found.latency - self.day.traffic.service)[keep][cold].sum()),
            p99=float(np.quantile(found.latency[keep], 0.99)), moves=sum(1 for at, _ in steps[1:] if at >= first),
            detail=detail,
        )  # fmt: skip

    def measure(self, steps: Steps, rival: str, detail: str = "") -> Row:
        """Simulate the day with a number of instances over time."""
        return self.row(run(self.day.traffic, self.config, steps, seed=self.seed), steps, rival, detail)

    def hindsight(self, rival: str = "static by hindsight", *, cold: float = 1.0, worst: float = 1.0) -> Row:
        """Return the smallest fixed fleet with p99 and the shares of cold calls within limits on this day."""
        low, high = SMALLEST, LARGEST
        rows: dict[int, Row] = {}
        while low < high:
            middle = (low + high) // 2
            row = rows[middle] = self.measure([(0.0, middle)], rival, f"{middle} instances")
            met = row.p99 <= P99 and row.cold <= cold and row.worst <= worst
            low, high = (low, middle) if met else (middle + 1, high)
        return rows.get(low) or self.measure([(0.0, low)], rival, f"{low} instances")

    def cheapest(self, worth: float, rival: str = "static, least cost by hindsight") -> Row:
        """Return the fixed fleet with the least cost on this day, see `Row.cost`."""
        total = sum(one.memory_bytes for one in self.day.profiles)
        fits = min(LARGEST, max(SMALLEST, total // self.config.memory_bytes + 3))  # all models; more only costs more
        best = self.measure([(0.0, fits)], rival, f"{fits} instances")
        for count in range(fits - 1, SMALLEST - 1, -1):
            row = self.measure([(0.0, count)], rival, f"{count} instances")
            if row.cost(worth) > 1.5 * best.cost(worth):
                break
            best = min(best, row, key=lambda one: one.cost(worth))
        return best

    def average(self) -> Row:
        """Return the smallest shared fleet that keeps p99 on the day's average, as the planner says."""
        names = [f"m{number:04d}" for number in range(len(self.day.profiles))]
        rates = self.day.counts[self.day.first :].mean(axis=0) / 60.0
        found = plan(
            Workload.from_rates({name: rate for name, rate in zip(names, rates.tolist(), strict=True) if rate > 0}),
            catalogue=Catalogue(dict(zip(names, self.day.profiles, strict=True))), slo=SLO(p99=P99),
            prices={"ml.m5.xlarge": 0.23}, max_instances=LARGEST,
        )  # fmt: skip
        shared = [one.layout.count for one in found.options if one.layout.mode == "shared" and one.meets]
        count = min(shared, default=LARGEST)
        return self.measure([(0.0, count)], "plan for the average", f"{count} instances")

    def tracking(self, metric: str, static: int) -> Row:
        """Return target tracking with the target that needs the fewest hours on this day with p99 within the limit.

        The first target is the value of the metric at which `static` instances serve the peak.
        """
        load = self.day.counts.sum(axis=1).astype(float)
        if metric == "CPU":
            service = np.asarray([one.service_seconds for one in self.day.profiles])
            load = (self.day.counts * service).sum(axis=1) / 60.0 / MACHINE.vcpus
        rows = []
        for share in (1.0, 0.7, 0.45, 0.25):
            counts = _tracked(load, float(np.quantile(load, 0.995)) / static * share)
            row = self.measure(merged(in_service(counts)), f"target tracking, {metric}", f"target {share:.0%} of peak")
            rows.append(row)
        met = [row for row in rows if row.p99 <= P99]
        return min(met, key=lambda one: one.hours) if met else attrs.evolve(rows[-1], detail="no target keeps p99")

    def autopilot(
        self, rule: Rule, rival: str = "autopilot", *, floor: list[int] | None = None, every: int = 3,
        decisions: list[Decision] | None = None,
    ) -> tuple[Row, list[int]]:  # fmt: skip
        """Return the autopilot, and the number of instances that it wants in each minute.

        The simulation goes on minute by minute, so that the autopilot sees the cold calls that its own fleet had.
        Without numba, or with few calls, it sees none. The decisions are appended to `decisions`.
        """
        day = self.day
        fleet = None
        if numba is not None and len(day.traffic.times) >= SHORT:
            fleet = Compiled(day.traffic, self.config, largest=LARGEST, seed=self.seed)
        see = _demands(day)
        bounds = Bounds(smallest=SMALLEST, largest=LARGEST, moves_per_hour=60)
        state, wanted = State(), [need(see(30), rule, MACHINE, smallest=SMALLEST, largest=LARGEST).count]
        for minute in range(len(day.counts)):
            if minute:
                count = wanted[-1]
                if minute >= 15 and minute % every == 0:
                    seen = Observed(count=count, floor=0 if floor is None else floor[minute])
                    end = 60.0 * (minute - LATE)
                    cold = None if fleet is None else fleet.cold_share(end - 60.0 * WINDOWS[1], end)
                    found = decide(
                        attrs.evolve(see(minute), cold_share=cold), seen, state, rule=rule, bounds=bounds,
                        machine=MACHINE,
                    )  # fmt: skip
                    state, count = found.state, found.count
                    if decisions is not None:
                        decisions.append(found)
                wanted.append(count)
            if fleet is not None:
                fleet.serve(min(wanted[-STARTS_AFTER - 1 :]), 60.0 * minute, 60.0 * (minute + 1))
        steps = merged(in_service(wanted))
        if fleet is None:
            return self.measure(steps, rival), wanted
        return self.row(fleet.result(steps), steps, rival), wanted

    def week(self, rule: Rule) -> list[Decision]:
        """Return what the autopilot decided a week earlier, without a week before that."""
        assert self.before is not None
        found: list[Decision] = []
        attrs.evolve(self, day=self.before).autopilot(rule, decisions=found)
        return [attrs.evolve(one, at=one.at - timedelta(days=7)) for one in found]

    def learned(self, rule: Rule, week: list[Decision], rival: str, *, lead: int = 15, warm: int = 0) -> Row:
        """Return the autopilot with the limits that it learns from a week earlier, and the models that it loads early.

        What fits is computed from the limits alone: as many instances are in service at least.
        """
        moments = [BEGIN + timedelta(minutes=minute) for minute in range(len(self.day.counts))]
        floor = [learned_floor(week, at, lead=lead) for at in moments]
        day = self.day if not warm else with_warming(self.day, _warm_calls(self.day, week, floor, rule, warm))
        calls = 0 if day.warming is None else int(day.warming.sum())
        row, _ = attrs.evolve(self, day=day).autopilot(rule, rival, floor=floor)
        return attrs.evolve(row, detail=f"{calls} models loaded early" if warm else "")

    def oracle(self, rule: Rule, rival: str = "oracle") -> Row:
        """Return what the same rule wants if it knows the rates to come, with instances that start at once."""
        demand = _demands(self.day)(len(self.day.counts))
        counts: list[int] = []
        for minute in range(0, len(self.day.rates), 5):
            rates = self.day.rates[minute : minute + 15].max(axis=0)
            counts += [need(demand, rule, MACHINE, smallest=SMALLEST, largest=LARGEST, rates=rates).count] * 5
        return self.measure(merged(counts[: len(self.day.rates)]), rival)


def _tracked(load: np.ndarray, target: float) -> list[int]:
    """Return the instances that target tracking wants in each minute, from a metric of the whole fleet."""
    counts = [max(SMALLEST, min(LARGEST, int(np.ceil(load[0] / target))))]
    above = below = quiet_until = 0
    for minute in range(1, len(load)):
        count = counts[-1]
        value = load[minute - 1] / count
        above, below = (above + 1, 0) if value > target else (0, below + 1 if value < 0.9 * target else 0)
        wanted = max(SMALLEST, min(LARGEST, int(np.ceil(count * value / target))))
        acts = (above >= 3 and wanted > count) or (below >= 15 and wanted < count)
        if acts and minute >= quiet_until:
            count, quiet_until = wanted, minute + 5
        counts.append(count)
    return counts


def _demands(day: Day) -> Callable[[int], Demand]:
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


def _warm_calls(
    day: Day, week: list[Decision], floor: list[int], rule: Rule, ahead: int, every: int = 3
) -> list[tuple[float, int]]:
    """Return the calls with which an autopilot loads models early, as `Autopilot(warm=…)` makes them."""
    see, serving = _demands(day), in_service(floor)
    number_of = {name: number for number, name in enumerate(see(0).models)}
    since: dict[str, int] = {}
    calls: list[tuple[float, int]] = []
    for minute in range(15, len(day.counts), every):
        everything = see(minute)
        rows = np.flatnonzero(everything.counts[:, -1])
        demand = attrs.evolve(
            everything, models=tuple(everything.models[row] for row in rows), counts=everything.counts[rows],
            profiles=tuple(everything.profiles[row] for row in rows),
        )  # fmt: skip
        called = set(demand.models)
        since = {name: at for name, at in since.items() if minute - at < 60 and name not in called}
        used = demand.column("memory_bytes").sum() + sum(day.profiles[number_of[name]].memory_bytes for name in since)
        space = max(SMALLEST, serving[minute]) * MACHINE.memory_bytes * rule.packing - used
        names = learned_models(week, demand, ahead=ahead, space=space, done=since)
        since |= dict.fromkeys(names, minute)
        calls += [(60.0 * minute + 0.2 * place, number_of[name]) for place, name in enumerate(names)]
    return calls


def rivals(trial: Trial, worth: float, *, short: bool = False) -> Iterator[Row]:
    """Yield the rows of a day; with `short`, only the fixed fleet, the autopilot and the oracle."""
    rule = Rule(goal=Goal(cold_seconds_per_hour=worth), shrink_by=LARGEST)
    both = attrs.evolve(rule, goal=Goal(cold_seconds_per_hour=worth, cold_share=WORST))
    yield trial.hindsight("static, cold within the goals", cold=COLD, worst=WORST)
    yield trial.autopilot(rule)[0]
    yield trial.oracle(rule)
    if short:
        return
    static = trial.hindsight()
    yield static
    yield trial.average()
    for metric in ("invocations", "CPU"):
        yield trial.tracking(metric, int(static.detail.split()[0]))
    yield trial.autopilot(attrs.evolve(rule, shrink_by=1), "autopilot, removes one at a time")[0]
    yield trial.autopilot(both, "autopilot, cold share <= 1.5 % too")[0]
    if trial.before is not None:
        week = trial.week(rule)
        yield trial.learned(rule, week, "autopilot, learned schedule")
        yield trial.learned(rule, week, "autopilot, learned, 45 minutes early", lead=45)
        yield trial.learned(rule, week, "autopilot, learned, warming", lead=45, warm=20)
