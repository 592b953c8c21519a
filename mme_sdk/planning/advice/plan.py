"""The result of `plan`: the advice, and further questions about it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_number
from mme_sdk.display.shown import Shown
from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import plots, report
from mme_sdk.planning.advice import explain
from mme_sdk.planning.advice.confirm import Confirmation
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.advice.simulated import simulate_layout
from mme_sdk.planning.prices import Prices
from mme_sdk.planning.questions import cases
from mme_sdk.planning.questions.likeness import UnlikeModels, unlike_models
from mme_sdk.planning.questions.pareto import MEASURES, Measure, frontier, pareto_table
from mme_sdk.planning.simulation import ClientPolicy, Engine, Event, SimulationResult
from mme_sdk.planning.simulation.inputs import RoutingName
from mme_sdk.planning.workload import Workload

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["HostingPlan"]


@short_tracebacks
@attrs.frozen(eq=False, slots=False, repr=False)
class HostingPlan(Shown):
    """The advice of `plan`.

    Attributes:
        best: The cheapest option that meets the SLO; if none does, the option that exceeds the limits least.
        options: The options that were compared: those that meet the SLO first, cheapest first.
        search: The search that found them; it estimates further layouts.
        prices: The prices that were used.
        estimates: Every layout that was estimated, with its figures.
        seed: Seed of all random draws.
        requests: Approximate number of requests in each simulation.
    """

    best: HostingOption
    options: tuple[HostingOption, ...]
    search: LayoutSearch
    prices: Prices
    estimates: tuple[tuple[HostingLayout, HostingEstimate], ...]
    seed: int
    requests: int = 150_000

    @property
    def feasible(self) -> bool:
        """Whether the best option meets the SLO."""
        return self.best.meets

    @property
    def workload(self) -> Workload:
        """The traffic that was planned for."""
        return self.search.demand.workload

    @property
    def warm_order(self) -> tuple[str, ...]:
        """The models to load after a deployment, in this order, until the memory is full: for `endpoint.warm`.

        The order is descending in λ·E[L]/s: the waiting time that the model saves per second and byte, with request
        rate λ, mean load time E[L] and size s. Load at most instances times loader slots models at a time.
        """
        layout, demand = self.best.layout, self.search.demand
        if layout.instance_type is None or layout.mode == "uncached":
            return ()
        config = fleet_config(self.search.types[layout.instance_type], layout.count, self.search.assumptions)
        alone = {each.model for each in layout.dedicated}
        worth = demand.workload.rates * self.best.estimate.loading / demand.memory
        order, free = [], float(config.memory_bytes * layout.count)
        for model in np.argsort(-worth, kind="stable").tolist():
            if model in alone or worth[model] <= 0:
                continue
            free -= demand.memory[model]
            if free < 0:
                break
            order.append(demand.workload.models[model])
        return tuple(order)

    def simulate(
        self,
        option: HostingOption | None = None,
        *,
        requests: int | None = None,
        clients: ClientPolicy | None = None,
        timeline: Iterable[Event] = (),
        engine: Engine = "auto",
        skip: float | None = None,
    ) -> SimulationResult:
        """Simulate an option: its shared endpoint and its endpoints of one model.

        With the default arguments it is the simulation that the plan's own figures are from.

        Args:
            option: The option; None (the default) for the best.
            requests: Approximate number of requests; None (the default) for that of the plan. A trace is used as it is.
            clients: How callers of the shared endpoint react while their model loads; None (the default) if they wait
                for the answer.
            timeline: Deployments, failures and scaling of the shared endpoint during the simulation, which then has one
                run; empty by default.
            engine: Simulation engine; see `simulate`. Default `auto`.
            skip: Share of the requests at the start that the figures leave out, 0 to below 1; None (the default) for
                the time in which the caches fill.

        Returns:
            The outcome of each request; independent runs follow one another.

        Raises:
            InvalidInputError: The trace has fewer than 100 requests, or `clients` or `timeline` is given for an option
                without a shared endpoint.

        Example:
            >>> from mme_sdk.planning import Catalogue, Workload, plan
            >>> found = plan(Workload.zipf(60, rate=5), catalogue=Catalogue.uniform(memory_mb=100),
            ...              prices={"ml.m5.large": 0.115}, requests=5_000)
            >>> found.simulate(requests=5_000).success
            1.0
        """
        option = option or self.best
        found = simulate_layout(
            self.search,
            option.layout,
            requests=self.requests if requests is None else requests,
            seed=self.seed,
            clients=clients,
            timeline=timeline,
            engine=engine,
            skip=skip,
        )
        if found is None:
            raise InvalidInputError(
                "there are fewer than 100 requests to simulate",
                hint="simulate more requests, or give a longer trace",
            )
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
        option: HostingOption | None = None,
        loader_slots: int | None = None,
        spill_outstanding: int | None = None,
        routing: RoutingName | None = None,
        memory_share: float | None = None,
        overhead_gib: float | None = None,
        volume_gib: float | None = None,
        s3_latency: float | None = None,
        s3_gbps: float | None = None,
        cpu_limit: float | None = None,
        loader_limit: float | None = None,
        minimum_instances: int | None = None,
        minimum_dedicated: int | None = None,
        peak: float | None = None,
    ) -> HostingOption:
        """Simulate the same hosting under other conditions, with the same requests as the plan.

        With models that are kept warm, the figures are by formula.

        Args:
            models: Factor on the number of models; the new ones are as popular as the known ones. Default 1.
            traffic: Factor on the number of requests. Default 1.
            load_time: Factor on the time to load a model from the volume into memory. Default 1.
            service_time: Factor on the time that a request uses a vCPU. Default 1.
            keep_warm: Models that regular requests keep in memory; none by default. The other models then have less
                memory.
            bound_by_slo: Models that must stay in memory even if the other models become slower; none by default.
            option: The option; None (the default) for the best.
            loader_slots: As in `Assumptions`; None (the default), here and below, for the plan's own value.
            spill_outstanding: As in `Assumptions`.
            routing: As in `Assumptions`; the figures by formula do not depend on it.
            memory_share: As in `Assumptions`, over 0 to 1.
            overhead_gib: As in `Assumptions`, GiB.
            volume_gib: As in `Assumptions`, GiB.
            s3_latency: As in `Assumptions`, seconds.
            s3_gbps: As in `Assumptions`, Gbit/s.
            cpu_limit: As in `Assumptions`, over 0 to 1.
            loader_limit: As in `Assumptions`, over 0 to 1.
            minimum_instances: As in `Assumptions`.
            minimum_dedicated: As in `Assumptions`.
            peak: As in `Assumptions`, 1 or more.

        Returns:
            The option under these conditions; its `why` compares the figures before and after.

        Raises:
            InvalidInputError: A model to keep warm is not in the workload, a value is out of range, or keeping models
                warm makes more requests cold than it saves and they are not all in `bound_by_slo`.

        Example:
            >>> from mme_sdk.planning import Catalogue, Workload, plan
            >>> found = plan(Workload.zipf(60, rate=5), catalogue=Catalogue.uniform(memory_mb=100),
            ...              prices={"ml.m5.large": 0.115}, requests=5_000)
            >>> found.what_if(traffic=2.0, loader_slots=1).meets
            True
        """
        option = option or self.best
        changed_assumptions = {
            "loader_slots": loader_slots,
            "spill_outstanding": spill_outstanding,
            "routing": routing,
            "memory_share": memory_share,
            "overhead_gib": overhead_gib,
            "volume_gib": volume_gib,
            "s3_latency": s3_latency,
            "s3_gbps": s3_gbps,
            "cpu_limit": cpu_limit,
            "loader_limit": loader_limit,
            "minimum_instances": minimum_instances,
            "minimum_dedicated": minimum_dedicated,
            "peak": peak,
        }
        given: dict[str, Any] = {name: value for name, value in changed_assumptions.items() if value is not None}
        demand, assumptions = self.search.demand, attrs.evolve(self.search.assumptions, **given)
        keep_warm = [keep_warm] if isinstance(keep_warm, str) else list(keep_warm)
        bound_by_slo = [bound_by_slo] if isinstance(bound_by_slo, str) else list(bound_by_slo)
        names = list(dict.fromkeys([*keep_warm, *bound_by_slo]))
        unknown = [name for name in names if name not in demand.workload.models]
        if unknown:
            raise InvalidInputError(f"model {unknown[0]!r} is not in the workload")
        pinned = tuple(demand.workload.models.index(name) for name in names)
        slower = demand.slower * service_time
        catalogue = cases.spread(demand, models).scaled(service=service_time, load=load_time)
        if models == 1.0:
            faster = demand.faster(traffic)
            changed = Demand(faster.workload, catalogue, pinned, faster.residency, slower, (demand, traffic))
        else:
            changed = Demand(demand.workload.scaled(traffic=traffic, models=models), catalogue, pinned, slower=slower)
        confirmation = Confirmation(self.search, requests=self.requests, seed=self.seed)
        after = confirmation.changed(option.layout, (changed, assumptions), simulate=not names)
        before, found = option.estimate, after.estimate
        if names and found.cold_rate > before.cold_rate and not set(names) <= set(bound_by_slo):
            raise InvalidInputError(
                f"keeping {len(names)} models warm raises the cold rate of all requests from {before.cold_rate:.2%} to "
                f"{found.cold_rate:.2%}, because the other models have less memory",
                hint="list models that must stay warm in bound_by_slo, add memory, or give them their own endpoints",
            )
        return attrs.evolve(after, why=explain.compared(option, after))

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        """The tables of `what_ifs` and `sensitivity`: each row is a simulation, so they are computed once."""
        return {}

    def what_ifs(self) -> pd.DataFrame:
        """Return the best option under the most common changes, as a table with one row for each change.

        The rows are simulated with the requests of the plan; a row with models that are kept warm is by formula.
        """
        import pandas as pd

        if "what_ifs" in self._tables:
            return self._tables["what_ifs"].copy()
        hottest = [self.workload.models[each] for each in np.argsort(-self.workload.rates)[:5]]
        rows = [
            cases.row(name, self.best if change is None else self.what_if(**change))
            for name, change in cases.changed_conditions(hottest)
        ]
        self._tables["what_ifs"] = pd.DataFrame(rows)
        return self._tables["what_ifs"].copy()

    def sensitivity(self) -> pd.DataFrame:
        """Return the best option under other assumptions, simulated, as a table; the largest effect comes first."""
        import pandas as pd

        if "sensitivity" in self._tables:
            return self._tables["sensitivity"].copy()
        base = self.best
        rows = []
        for name, change in cases.changed_assumptions(self.search.assumptions):
            row = cases.row(name, self.what_if(**change))
            row["p99 ratio"] = row["p99"] / base.p99
            rows.append(row)
        frame = pd.DataFrame(rows)
        order = np.argsort(-np.abs(frame["p99 ratio"].to_numpy(dtype=float) - 1.0), kind="stable")
        self._tables["sensitivity"] = frame.iloc[order].reset_index(drop=True)
        return self._tables["sensitivity"].copy()

    def fragile(self) -> tuple[str, ...]:
        """Return the rows of `sensitivity` in which the SLO is not met, as sentences; they stand in the report."""
        return explain.fragile(self.best, self.sensitivity())

    @cached_property
    def _unlike(self) -> tuple[UnlikeModels, ...]:
        return unlike_models(Confirmation(self.search, requests=self.requests, seed=self.seed), self.best)

    def unlike_models(self) -> tuple[UnlikeModels, ...]:
        """Return the groups of models that are too unlike in size or latency to share the endpoint of the best option.

        Each group tells what it does to the others in simulation, and what a split costs and gives; as text, it is the
        sentence of the report. It is empty if the models are alike, or if the others bear the group.
        """
        return self._unlike

    def break_even(self) -> pd.DataFrame:
        """Return the cost against the number of models that have their own endpoint, busiest first, as a table.

        For each number, the shared endpoint is the cheapest one that meets the SLO for the other models, by formula. A
        number without such an endpoint has no row.
        """
        return cases.break_even(self.estimates)

    def pareto(self, measure: Measure = "cold_rate") -> pd.DataFrame:
        """Return what more or less money gives, as a table: for example, that no request is cold for 110 more.

        Each row is an option that no other one beats in both cost and the measure, simulated with the requests of the
        plan, and what it costs and gives compared with the advice. Options whose loader slots or vCPUs are over their
        limits, or that cost more than the budget, are left out.

        Args:
            measure: What is compared with the cost: `cold_rate` (the default), `p50`, `p95` or `p99`.

        Returns:
            A DataFrame with one row for each option, cheapest first; costs are per month.

        Raises:
            InvalidInputError: The measure is unknown.

        Example:
            >>> from mme_sdk.planning import Catalogue, SLO, Workload, plan
            >>> found = plan(Workload.zipf(60, rate=5), catalogue=Catalogue.uniform(memory_mb=200),
            ...              slo=SLO(p99=2.5), prices={"ml.m5.large": 0.115}, requests=5_000)
            >>> found.pareto()["compared with the advice"].tolist()
            ['the advice', '84 more a month: no request is cold']
        """
        return pareto_table(self._frontier(measure), self.best, self.prices.currency)

    def plot_pareto(self, measure: Measure = "cold_rate", *, width: float = 8.0) -> Figure:
        """Draw the options of `pareto`: the cost against the measure.

        Args:
            measure: What is compared with the cost: `cold_rate` (the default), `p50`, `p95` or `p99`.
            width: Width of the figure, inches, 4 or more. Default 8.

        Returns:
            A matplotlib figure. A notebook displays it; `savefig` writes it to a file.

        Raises:
            InvalidInputError: The measure is unknown, or the width is too small.
            MissingExtraError: matplotlib is not installed.
        """
        check_number("width", width, at_least=4)
        return plots.pareto(
            self._frontier(measure), self.best, measure=measure, currency=self.prices.currency, width=width
        )

    def _frontier(self, measure: Measure) -> list[HostingOption]:
        if measure not in MEASURES:
            raise InvalidInputError(f"there is no measure {measure!r}", hint=f"choose one of {', '.join(MEASURES)}")
        if measure not in self._fronts:
            confirmation = Confirmation(self.search, requests=self.requests, seed=self.seed)
            self._fronts[measure] = frontier(confirmation, self.options, measure=measure)
        return self._fronts[measure]

    @cached_property
    def _fronts(self) -> dict[str, list[HostingOption]]:
        """The options of `pareto` by measure; each is a simulation, so they are computed once."""
        return {}

    def _warnings(self) -> tuple[str, ...]:
        return (*map(str, self._unlike), *self.fragile())

    def to_frame(self) -> pd.DataFrame:
        """Return the options as a table, one row each."""
        return report.frame(self.options)

    def report(self) -> str:
        """Return the advice as text for a terminal."""
        return report.text(
            self.options,
            workload=self.workload,
            slo=self.search.slo,
            prices=self.prices,
            estimated=len(self.estimates),
            what_ifs=self.what_ifs(),
            warnings=self._warnings(),
        )

    def _text(self) -> str:
        return f"<HostingPlan of {len(self.options)} options: {'best' if self.feasible else 'nearest'} is {self.best}>"

    def _html(self) -> str:
        return report.html(self.options, prices=self.prices, warnings=self._warnings(), picture=self._picture)

    def _repr_png_(self) -> bytes | None:
        return self._picture

    @cached_property
    def _picture(self) -> bytes | None:
        """The charts, drawn once; None without matplotlib, or if they cannot be drawn."""
        try:
            return plots.png(self.plot())
        except Exception:  # noqa: BLE001 - a representation never raises
            return None

    def plot(self, *, width: float = 11.0) -> Figure:
        """Draw four charts: misses against memory, cost against instances, latencies, and the effect of assumptions.

        Args:
            width: Width of the figure, inches, 4 or more. The charts of a figure under 8 inches stand in one column.
                Default 11.

        Returns:
            A matplotlib figure. A notebook displays it; `savefig` writes it to a file.

        Raises:
            InvalidInputError: The width is too small.
            MissingExtraError: matplotlib is not installed.
        """
        check_number("width", width, at_least=4)
        return plots.overview(
            self.search,
            self.options,
            estimates=self.estimates,
            sensitivity=self.sensitivity(),
            seed=self.seed,
            currency=self.prices.currency,
            width=width,
        )
