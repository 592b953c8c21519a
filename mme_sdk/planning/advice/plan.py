"""The advice, and the questions that may be put to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.advice import explain
from mme_sdk.planning.advice.demand import Demand, site_of
from mme_sdk.planning.advice.option import Option
from mme_sdk.planning.advice.scan import Scan
from mme_sdk.planning.advice.setting import Estimate, Setting
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.prices import Prices
from mme_sdk.planning.simulation import SimulationResult, simulate
from mme_sdk.planning.workload import Workload

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Plan", "simulated"]


@attrs.frozen(eq=False, slots=False, repr=False)
class Plan:
    """What `plan` advises.

    Attributes:
        best: The cheapest option that nothing stands against; where there is none, the nearest.
        options: What was looked at in the end: those that meet the SLO first, cheapest first.
        scan: The scan, for further questions.
        prices: What was reckoned with.
        estimates: Every setting that was estimated.
        seed: Of everything drawn.
    """

    best: Option
    options: tuple[Option, ...]
    scan: Scan
    prices: Prices
    estimates: tuple[tuple[Setting, Estimate], ...]
    seed: int

    @property
    def feasible(self) -> bool:
        """Whether the best option meets the SLO."""
        return self.best.meets

    @property
    def workload(self) -> Workload:
        """Who asks for what."""
        return self.scan.demand.workload

    @property
    def warm_order(self) -> tuple[str, ...]:
        """Models to load after a deploy, most useful byte first, until the memory is full: for `endpoint.warm`.

        The order is that of λ·E[L]/s, the waiting that a model's presence saves per byte; no more than instances times
        loader slots should be loaded at a time.
        """
        setting, demand = self.best.setting, self.scan.demand
        if setting.instance_type is None or setting.mode == "uncached":
            return ()
        site = site_of(self.scan.types[setting.instance_type], setting.count, self.scan.assumptions)
        alone = {each.model for each in setting.dedicated}
        worth = demand.workload.rates * self.best.estimate.loading / demand.memory
        order, room = [], float(site.memory_bytes * setting.count)
        for model in np.argsort(-worth, kind="stable").tolist():
            if model in alone or worth[model] <= 0:
                continue
            room -= demand.memory[model]
            if room < 0:
                break
            order.append(demand.workload.models[model])
        return tuple(order)

    def simulate(self, option: Option | None = None, *, requests: int = 150_000, **how: Any) -> SimulationResult:
        """The shared endpoint of an option in simulated time.

        Args:
            option: Which; the best where None.
            requests: About how many.
            **how: Arguments of `simulation.simulate`: `clients`, `timeline`, `engine`, `skip`.

        Raises:
            InvalidInputError: The option has no shared endpoint, or too few requests come to tell anything.
        """
        option = option or self.best
        found = simulated(self.scan, option.setting, requests=requests, seed=self.seed, **how)
        if found is None:
            raise InvalidInputError("there is nothing to simulate: no shared endpoint, or hardly any requests")
        return found

    def what_if(
        self,
        *,
        models: float = 1.0,
        traffic: float = 1.0,
        load_time: float = 1.0,
        service_time: float = 1.0,
        keep_warm: Iterable[str] = (),
        bound_by_slo: Iterable[str] = (),
        option: Option | None = None,
        **assumptions: Any,
    ) -> Option:
        """The same hosting under other circumstances, by formula.

        Args:
            models: Factor on the number of models, their popularity like that of those known.
            traffic: Factor on the requests.
            load_time: Factor on the time from the volume into memory.
            service_time: Factor on the time on a vCPU.
            keep_warm: Models that are kept in memory by pings. Under LRU this takes memory from all others.
            bound_by_slo: Models of `keep_warm` that must be warm whatever it costs the others.
            option: Which; the best where None.
            **assumptions: Fields of `Assumptions`.

        Returns:
            The option as it would be; `why` compares it with what is.

        Raises:
            InvalidInputError: A model to keep warm is not in the workload; or keeping them warm makes more requests
                cold than it saves, and they are not bound by an SLO.
        """
        option = option or self.best
        known = [each.name for each in attrs.fields(type(self.scan.assumptions))]
        for name in assumptions:
            if name not in known:
                raise InvalidInputError(f"there is no assumption {name!r}", hint=f"there are {', '.join(known)}")
        demand, given = self.scan.demand, attrs.evolve(self.scan.assumptions, **assumptions)
        keep_warm = [keep_warm] if isinstance(keep_warm, str) else list(keep_warm)
        bound_by_slo = [bound_by_slo] if isinstance(bound_by_slo, str) else list(bound_by_slo)
        names = list(dict.fromkeys([*keep_warm, *bound_by_slo]))
        unknown = [name for name in names if name not in demand.workload.models]
        if unknown:
            raise InvalidInputError(f"{unknown[0]!r} is not in the workload")
        pinned = tuple(demand.workload.models.index(name) for name in names)
        setting = option.setting
        if models == 1.0:
            faster = demand.faster(traffic)
            load, table = faster.workload, faster.residency
        else:
            load, table = demand.workload.scaled(traffic=traffic, models=models), None
        changed = Demand(load, _spread(demand, models).scaled(service=service_time, load=load_time), pinned, table)
        found = self.scan.estimate(setting, demand=changed, assumptions=given)
        before = option.estimate
        if names and found.cold_rate > before.cold_rate and not set(names) <= set(bound_by_slo):
            raise InvalidInputError(
                f"keeping {len(names)} models warm raises the cold rate of the whole from {before.cold_rate:.2%} to "
                f"{found.cold_rate:.2%}: what it holds in memory, others lose",
                hint="name those that must be warm in bound_by_slo, add memory, or give them endpoints of their own",
            )
        return Option(
            setting=setting,
            estimate=found,
            models=changed.workload.models,
            why=explain.compared(before, found),
        )

    def what_ifs(self) -> pd.DataFrame:
        """The usual questions about the best option, as a table."""
        import pandas as pd

        hottest = [self.workload.models[each] for each in np.argsort(-self.workload.rates)[:5]]
        asked: list[tuple[str, dict[str, Any]]] = [
            ("as it is", {}),
            ("twice the models", {"models": 2.0}),
            ("twice the traffic", {"traffic": 2.0}),
            ("half the load time", {"load_time": 0.5}),
            ("the five busiest kept warm", {"bound_by_slo": hottest}),
        ]
        return pd.DataFrame([self._row(name, self.what_if(**question)) for name, question in asked])

    def sensitivity(self) -> pd.DataFrame:
        """What becomes of the best option where a guess is wrong: the guesses that matter come first."""
        import pandas as pd

        given = self.scan.assumptions
        asked: list[tuple[str, dict[str, Any]]] = [
            ("half the loader slots", {"loader_slots": max(1, given.loader_slots // 2)}),
            ("twice the loader slots", {"loader_slots": given.loader_slots * 2}),
            ("a quarter of the spill threshold", {"spill_outstanding": max(1, given.spill_outstanding // 4)}),
            ("a fifth less memory for models", {"memory_share": given.memory_share * 0.8}),
            ("half the download speed", {"s3_gbps": given.s3_gbps / 2}),
            ("twice the load time", {"load_time": 2.0}),
            ("half as much again per request", {"service_time": 1.5}),
            ("a fifth more traffic", {"traffic": 1.2}),
        ]
        base = self.what_if()
        rows = []
        for name, change in asked:
            row = self._row(name, self.what_if(**change))
            row["p99 ratio"] = row["p99"] / base.p99
            rows.append(row)
        frame = pd.DataFrame(rows)
        return frame.sort_values("p99 ratio", key=lambda ratio: -abs(ratio - 1.0), kind="stable", ignore_index=True)

    @staticmethod
    def _row(name: str, option: Option) -> dict[str, Any]:
        return {
            "case": name,
            "cold rate": option.cold_rate,
            "p50": option.p50,
            "p95": option.p95,
            "p99": option.p99,
            "loaders": option.estimate.loader_saturation,
            "vCPUs": option.estimate.cpu,
            "meets the SLO": option.meets,
            "blocked by": "; ".join(option.blockers),
        }

    def break_even(self) -> pd.DataFrame:
        """Cost against the number of models that have an endpoint of their own, busiest first, the rest shared.

        The shared part is the cheapest that meets the SLO for what is left, by formula; absent where there is none.
        """
        import pandas as pd

        rows = [
            {
                "dedicated": len(setting.dedicated),
                "cost": found.cost,
                "setting": str(setting),
                "p99": found.p99,
                "cold rate": found.cold_rate,
            }
            for setting, found in self.estimates
            if not found.blockers and setting.mode != "uncached"
        ]
        if not rows:
            return pd.DataFrame(columns=["dedicated", "cost", "setting", "p99", "cold rate"])
        frame = pd.DataFrame(rows).sort_values(["dedicated", "cost"])
        return frame.groupby("dedicated", as_index=False).first()

    def to_frame(self) -> pd.DataFrame:
        """The options as a table, one row each."""
        from mme_sdk.planning.report import frame

        return frame(self)

    def report(self) -> str:
        """The advice as text."""
        from mme_sdk.planning.report import text

        return text(self)

    def __repr__(self) -> str:
        return f"<Plan of {len(self.options)} options: {'best' if self.feasible else 'nearest'} is {self.best}>"

    def _repr_html_(self) -> str:
        from mme_sdk.planning.report import html

        return html(self)

    def plot(self) -> Figure:
        """Four pictures: miss ratios and cost against memory and instances, latencies, and why not fewer.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from mme_sdk.planning.plots import overview

        return overview(self)


def _spread(demand: Demand, models: float) -> Catalogue:
    """The catalogue, with the profiles of the known models for their copies."""
    if models <= 1.0:
        return demand.catalogue
    copies = max(1, round(models))
    profiles: dict[str, ModelProfile] = {name: demand.catalogue[name] for name in demand.workload.models}
    for copy in range(1, copies):
        profiles |= {f"{name}#{copy + 1}": demand.catalogue[name] for name in demand.workload.models}
    return Catalogue(profiles, demand.catalogue.default)


def simulated(scan: Scan, setting: Setting, *, requests: int, seed: int, **how: Any) -> SimulationResult | None:
    """The shared part of a setting in simulated time; None where there is none, or hardly any requests."""
    if setting.instance_type is None:
        return None
    kind = scan.types[setting.instance_type]
    alone = {each.model for each in setting.dedicated}
    which = np.asarray([each for each in range(len(scan.demand.workload.models)) if each not in alone], dtype=np.int64)
    asked = which[scan.demand.workload.rates[which] > 0]
    if not len(asked):
        return None
    drawn = scan.demand.traffic(asked, kind, scan.assumptions, requests=requests, seed=seed)
    if drawn is None:
        return None
    traffic, skip = drawn
    site = site_of(kind, setting.count, scan.assumptions, cache=setting.mode != "uncached")
    how = {"skip": skip} | how
    return simulate(traffic, site, seed=seed, **how)
