"""Which settings there are to try."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.demand import Demand, site_of
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.advice.setting import Dedicated, Estimate, Mode, Setting, estimate
from mme_sdk.planning.analysis import dedicated_instances, monthly
from mme_sdk.planning.simulation.inputs import Ints

__all__ = ["Scan"]


@attrs.define(eq=False, slots=False)
class Scan:
    """The settings of a plan, and their estimates.

    Attributes:
        demand: The workload.
        types: Instance types that have a price.
        prices: Per instance and hour.
        slo: What is promised.
        assumptions: What is taken for granted.
        max_instances: Most instances of a shared endpoint.
    """

    demand: Demand
    types: dict[str, InstanceType]
    prices: dict[str, float]
    slo: SLO
    assumptions: Assumptions
    max_instances: int = 20

    def estimate(
        self, setting: Setting, *, demand: Demand | None = None, assumptions: Assumptions | None = None
    ) -> Estimate:
        """What a setting would do."""
        return estimate(
            setting, demand or self.demand, self.types, self.prices, self.slo, assumptions or self.assumptions
        )

    def alone(self, which: Ints) -> tuple[Dedicated, ...]:
        """The cheapest endpoint of its own for each of these models; fewer where a model fits no type."""
        demand, given = self.demand, self.assumptions
        best: dict[int, tuple[float, Dedicated]] = {}
        for name, kind in sorted(self.types.items(), key=lambda item: self.prices[item[0]]):
            site = site_of(kind, 1, given)
            counts = dedicated_instances(
                demand.workload.rates[which],
                demand.service[which],
                workers=kind.vcpus,
                peak=given.peak or demand.peak,
                utilisation=given.cpu_limit,
                minimum=given.minimum_dedicated,
            )
            for model, count in zip(which.tolist(), counts.tolist(), strict=True):
                cost = self.prices[name] * count
                fits = demand.memory[model] <= site.memory_bytes and demand.disk[model] <= site.volume_bytes
                if fits and (model not in best or cost < best[model][0]):
                    best[model] = (cost, Dedicated(model, name, count))
        return tuple(best[model][1] for model in which.tolist() if model in best)

    def groups(self) -> Iterator[tuple[Mode, str, tuple[Dedicated, ...]]]:
        """Ways to host but for the number of instances: all shared, shared without a cache, the busiest apart."""
        models = len(self.demand.workload.models)
        busiest = np.argsort(-self.demand.workload.rates * self.demand.service, kind="stable")
        models = min(models, int(np.count_nonzero(self.demand.workload.rates)))  # somebody must ask for the rest
        heads = [self.alone(busiest[:top]) for top in (1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 200) if top < models]
        for name in sorted(self.types, key=lambda each: self.prices[each]):
            yield "shared", name, ()
            yield "uncached", name, ()
            for head in heads:
                yield "hybrid", name, head

    def promising(self) -> list[tuple[Setting, Estimate]]:
        """Estimates of the settings that could be best.

        For each way to host the least number of instances that nothing stands against is found by bisection, more
        instances being never worse; a way whose smallest endpoint costs half as much again as the cheapest answer of
        its mode is left out.
        """
        found: list[tuple[Setting, Estimate]] = []
        models = len(self.demand.workload.models)
        dedicated = self.alone(np.arange(models, dtype=np.int64))
        if len(dedicated) == models:
            setting = Setting(mode="dedicated", dedicated=dedicated)
            found.append((setting, self.estimate(setting)))
        answers: dict[Mode, float] = {}
        for mode, name, head in self.groups():
            low, high = self._least(name, head), self.max_instances

            def tried(count: int, mode: Mode = mode, name: str = name, head: tuple[Dedicated, ...] = head) -> bool:
                setting = Setting(mode=mode, instance_type=name, count=count, dedicated=head)
                found.append((setting, self.estimate(setting)))
                return not found[-1][1].blockers

            first = self.prices[name] * low + sum(self.prices[each.instance_type] * each.count for each in head)
            if low > high or monthly(first, 1) > 1.5 * answers.get(mode, float("inf")):
                continue
            if not tried(low):
                if low == high or not tried(high):
                    continue
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (low, middle) if tried(middle) else (middle, high)
            costs = [each.cost for setting, each in found if setting.mode == mode and not each.blockers]
            answers[mode] = min(costs)
        return found

    def _least(self, name: str, head: tuple[Dedicated, ...]) -> int:
        """Instances below which there are too few vCPUs, which is seen without an estimate."""
        work = self.demand.workload.rates * self.demand.service
        shared = float(work.sum()) - sum(float(work[each.model]) for each in head)
        peak = self.assumptions.peak or self.demand.peak
        needed = np.ceil(shared * peak / (self.types[name].vcpus * self.assumptions.cpu_limit) - 1e-9)
        return int(max(self.assumptions.minimum_instances, needed))
