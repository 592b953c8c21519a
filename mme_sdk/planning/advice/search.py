"""The search for layouts: which ones are possible, and which of them are worth a simulation."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from mme_sdk.display.progress import Reporter
from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate, estimate
from mme_sdk.planning.advice.inputs import LATENCIES, SLO, Assumptions
from mme_sdk.planning.advice.layout import DedicatedEndpoint, HostingLayout, Mode
from mme_sdk.planning.analysis import dedicated_instances, monthly
from mme_sdk.planning.simulation.inputs import Ints

__all__ = ["LayoutSearch"]

_DETAILED = 20_000  # models; a search of more keeps no figure of single models, so that it takes less memory


@attrs.define(eq=False, slots=False)
class LayoutSearch:
    """The possible layouts of a plan, and their estimates.

    Attributes:
        demand: The traffic and the models.
        types: The instance types to consider, by name.
        prices: Price per instance and hour of each type.
        slo: The service level objective.
        assumptions: Figures that AWS does not document.
        max_instances: Largest number of instances of a shared endpoint. Default 20.
        budget: Largest cost per month; None (the default) for no limit.
    """

    demand: Demand
    types: dict[str, InstanceType]
    prices: dict[str, float]
    slo: SLO
    assumptions: Assumptions
    max_instances: int = 20
    budget: float | None = None

    def estimate(
        self, layout: HostingLayout, *, demand: Demand | None = None, assumptions: Assumptions | None = None
    ) -> HostingEstimate:
        """Return the figures of a layout by formula; `demand` and `assumptions` replace those of the search."""
        found = estimate(
            layout, demand or self.demand, self.types, self.prices, self.slo, assumptions or self.assumptions
        )
        if self.budget is None or found.cost <= self.budget:
            return found
        over = f"it costs {found.cost:,.0f} a month, over the budget of {self.budget:,.0f}"
        return attrs.evolve(found, blockers=(*found.blockers, over), overloads=(*found.overloads, over))

    def alone(self, which: Ints) -> tuple[DedicatedEndpoint, ...]:
        """Return the cheapest dedicated endpoint for each of these models; none for a model that fits no type."""
        demand, given = self.demand, self.assumptions
        best: dict[int, tuple[float, DedicatedEndpoint]] = {}
        for name, kind in sorted(self.types.items(), key=lambda item: self.prices[item[0]]):
            config = fleet_config(kind, 1, given)
            counts = dedicated_instances(
                demand.workload.rates[which],
                demand.service[which],
                workers=kind.vcpus,
                peak=given.peak or demand.peaks[which],
                utilisation=given.cpu_limit,
                minimum=given.minimum_dedicated,
            )
            for model, count in zip(which.tolist(), counts.tolist(), strict=True):
                cost = self.prices[name] * count
                fits = demand.memory[model] <= config.memory_bytes and demand.disk[model] <= config.volume_bytes
                if fits and (model not in best or cost < best[model][0]):
                    best[model] = (cost, DedicatedEndpoint(model, name, count))
        return tuple(best[model][1] for model in which.tolist() if model in best)

    def groups(self) -> Iterator[tuple[Mode, str, tuple[DedicatedEndpoint, ...]]]:
        """Yield the layouts without instance counts: all shared, shared without a cache, the busiest dedicated."""
        models = len(self.demand.workload.models)
        busiest = np.argsort(-self.demand.workload.rates * self.demand.service, kind="stable")
        models = min(models, int(np.count_nonzero(self.demand.workload.rates)))  # the shared endpoint needs traffic
        heads = [self.alone(busiest[:top]) for top in (1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 200) if top < models]
        for name in sorted(self.types, key=lambda each: self.prices[each]):
            yield "shared", name, ()
            yield "uncached", name, ()
            for head in heads:
                yield "hybrid", name, head

    def stricter(self, share: float) -> LayoutSearch:
        """Return the search with every limit of the SLO multiplied by a share."""
        limits = {name: getattr(self.slo, name) for name in (*LATENCIES, "cold_rate")}
        less = {name: share * limit for name, limit in limits.items() if limit is not None}
        return attrs.evolve(self, slo=attrs.evolve(self.slo, **less))

    def promising(
        self, report: Reporter | None = None, *, known: float = 0.0
    ) -> list[tuple[HostingLayout, HostingEstimate]]:
        """Return the estimates of the layouts that could be the best.

        Bisection finds the smallest number of instances that meets the SLO, since more instances are never worse. A
        layout that costs over 1.5 times the cheapest result of the same mode is left out.

        Args:
            report: Called after each estimate; None (the default) for no report.
            known: Cost of an option that meets the SLO; no group of layouts that may cost less is left out. Default 0.
        """
        found: list[tuple[HostingLayout, HostingEstimate]] = []
        models = len(self.demand.workload.models)
        dedicated = self.alone(np.arange(models, dtype=np.int64))
        if len(dedicated) == models:
            layout = HostingLayout(mode="dedicated", dedicated=dedicated)
            found.append((layout, self.estimate(layout)))
        cheapest: dict[Mode, float] = {}
        steady, failed = self.demand.residency.even is not None, set[tuple[Mode, str]]()
        for mode, name, head in self.groups():
            low, high = self._least(name, head), self.max_instances

            def tried(
                count: int, mode: Mode = mode, name: str = name, head: tuple[DedicatedEndpoint, ...] = head
            ) -> bool:
                layout = HostingLayout(mode=mode, instance_type=name, count=count, dedicated=head)
                one = self.estimate(layout)
                found.append((layout, one if models <= _DETAILED else one.without_models()))
                if report is not None:
                    report(done=1)
                return not found[-1][1].blockers

            apart = sum(self.prices[each.instance_type] * each.count for each in head)
            most = max(known, 1.5 * cheapest.get(mode, float("inf"))) / monthly(1.0, 1) - apart
            high = min(high, int(most / self.prices[name])) if most < float("inf") else high
            if low > high:
                continue
            if self.budget is not None:
                high = min(high, int((self.budget / monthly(1.0, 1) - apart) / self.prices[name] + 1e-9))
                low = min(low, max(high, self.assumptions.minimum_instances))
            start = len(found)
            # Where the least number fails for other dedicated models, the largest says more.
            first = steady and low < high and (mode, name) in failed
            if first and not tried(high):
                continue
            if not tried(low):
                failed.add((mode, name))
                if low >= high or not (first or tried(high)):
                    continue
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (low, middle) if tried(middle) else (middle, high)
            costs = (each.cost for layout, each in found[start:] if not each.blockers)
            cheapest[mode] = min(cheapest.get(mode, float("inf")), *costs, float("inf"))
        return found

    def _least(self, name: str, head: tuple[DedicatedEndpoint, ...]) -> int:
        """Return the number of instances below which the vCPUs are over their limit; it needs no estimate."""
        work = self.demand.workload.rates * self.demand.service
        shared = float(work.sum()) - sum(float(work[each.model]) for each in head)
        peak = self.assumptions.peak or self.demand.peak
        needed = np.ceil(shared * peak / (self.types[name].vcpus * self.assumptions.cpu_limit) - 1e-9)
        return int(max(self.assumptions.minimum_instances, needed))
