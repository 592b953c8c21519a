"""The advice: which models share an endpoint, on what, how many, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.advice import explain
from mme_sdk.planning.advice.demand import Demand, site_of
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.advice.option import Confirmation, Option
from mme_sdk.planning.advice.scan import Scan
from mme_sdk.planning.advice.setting import Estimate, Setting
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.instances import InstanceType, Prices, PricesLike, instance_types, load_prices
from mme_sdk.planning.simulation import FAILED, HIT, SimulationResult, simulate
from mme_sdk.planning.workload import Workload

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Plan", "plan"]

_CONFIRM_TRIES = 8


@attrs.frozen(eq=False, slots=False)
class Plan:
    """What `plan` advises.

    Attributes:
        best: The cheapest option that nothing stands against; where there is none, the nearest.
        options: What was looked at in the end: those that meet the SLO first, cheapest first.
        scan: The scan, for further questions.
        prices: What was reckoned with.
        scanned: How many settings were estimated.
        seed: Of everything drawn.
    """

    best: Option
    options: tuple[Option, ...]
    scan: Scan = attrs.field(repr=False)
    prices: Prices = attrs.field(repr=False)
    scanned: int
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
        found = _simulated(self.scan, option.setting, requests=requests, seed=self.seed, **how)
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
        demand, given = self.scan.demand, attrs.evolve(self.scan.assumptions, **assumptions)
        names = list(dict.fromkeys([*keep_warm, *bound_by_slo]))
        unknown = [name for name in names if name not in demand.workload.models]
        if unknown:
            raise InvalidInputError(f"{unknown[0]!r} is not in the workload")
        pinned = tuple(demand.workload.models.index(name) for name in names)
        setting = option.setting
        changed = Demand(
            demand.workload.scaled(traffic=traffic, models=models)
            if (models, traffic) != (1.0, 1.0)
            else demand.workload,
            _spread(demand, models).scaled(service=service_time, load=load_time),
            pinned,
        )
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
        return frame.reindex((frame["p99 ratio"] - 1).abs().sort_values(ascending=False).index).reset_index(drop=True)

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
            for setting, found in self.scan.promising()
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


def _simulated(scan: Scan, setting: Setting, *, requests: int, seed: int, **how: Any) -> SimulationResult | None:
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
    return simulate(traffic, site, seed=seed, **({"skip": skip} | how))


def _confirm(scan: Scan, setting: Setting, found: Estimate, *, requests: int, seed: int) -> Confirmation | None:
    """Simulate the shared part, and draw the dedicated part, in their proportion."""
    ran = _simulated(scan, setting, requests=requests, seed=seed)
    if ran is None or found.mix is None:
        return None
    kinds, latency = ran.kinds[ran.skip :], ran.latency[ran.skip :]
    rates = scan.demand.workload.rates
    apart = np.asarray([each.model for each in setting.dedicated], dtype=np.int64)
    weight = float(rates[apart].sum()) / float(rates.sum())
    if weight > 0:
        own = np.zeros_like(rates)
        own[apart] = rates[apart]
        count = min(2_000_000, int(len(latency) * weight / max(1.0 - weight, 1e-3)) + 1)
        drawn = attrs.evolve(found.mix, rates=own).draw(count, np.random.default_rng(seed))
        everything = np.concatenate([latency[kinds != FAILED], drawn])
    else:
        everything = latency[kinds != FAILED]
    p50, p95, p99 = (float(each) for each in np.quantile(everything, (0.5, 0.95, 0.99)))
    cold = ran.cold_rate * (1.0 - weight)
    slo = scan.slo
    blockers = [
        f"{name} is {value:.3g} s, over {limit:g} s"
        for name, value in (("p50", p50), ("p95", p95), ("p99", p99))
        if (limit := getattr(slo, name)) is not None and value > limit * 1.05
    ]
    if slo.cold_rate is not None and cold > slo.cold_rate * 1.1:
        blockers.append(f"{cold:.2%} of the requests are cold, over {slo.cold_rate:.2%}")
    return Confirmation(
        requests=len(latency),
        cold_rate=cold,
        hit_ratio=float(np.mean(kinds == HIT)) * (1.0 - weight) + weight,
        p50=p50,
        p95=p95,
        p99=p99,
        blockers=tuple(blockers),
    )


def plan(
    workload: Workload | Any,
    *,
    catalogue: Catalogue | Mapping[str, ModelProfile] | ModelProfile | str | Path | None = None,
    slo: SLO | None = None,
    prices: PricesLike = None,
    instance_types_: Iterable[str] | None = None,
    assumptions: Assumptions | None = None,
    max_instances: int = 20,
    requests: int = 150_000,
    seed: int = 0,
) -> Plan:
    """Advise on hosting.

    Settings (all dedicated, all shared, the busiest dedicated and the rest shared, shared without a cache; instance
    types; counts) are estimated by formula, the cheapest that meet the SLO are simulated, and the first that the
    simulation bears out is the best.

    Args:
        workload: Who asks for what; or a trace, as `Workload.from_trace` takes it.
        catalogue: What the models take; 100 MiB and 20 ms each where None, which is a guess that the report names.
        slo: What is promised; nothing but stability where None.
        prices: Per instance and hour: a mapping, a CSV, an AWS price list; indicative ones where None.
        instance_types_: Names to consider; all priced ones that are known where None.
        assumptions: What is taken for granted.
        max_instances: Most instances of a shared endpoint.
        requests: About how many requests to simulate per option.
        seed: Of everything drawn.

    Returns:
        The plan; where no option meets the SLO its best is the nearest, and says what blocks it.

    Raises:
        InvalidInputError: An input makes no sense, or a model is larger than any instance type that has a price.

    Example:
        >>> from mme_sdk.planning import Catalogue, SLO, Workload, plan
        >>> p = plan(Workload.zipf(60, rate=5), catalogue=Catalogue.uniform(memory_mb=100, service_ms=20),
        ...          slo=SLO(p99=2.0), prices={"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23}, requests=20_000)
        >>> p.feasible, p.best.setting.mode
        (True, 'shared')
    """
    workload = workload if isinstance(workload, Workload) else Workload.from_trace(workload)
    guessed = catalogue is None
    demand = Demand(workload, Catalogue.uniform(memory_mb=100) if catalogue is None else Catalogue.coerce(catalogue))
    listed = load_prices(prices)
    types = _considered(instance_types_, listed)
    if max_instances < 1 or requests < 1000:
        raise InvalidInputError("max_instances must be at least 1 and requests at least 1000")
    scan = Scan(
        demand=demand,
        types=types,
        prices={name: listed[name] for name in types},
        slo=slo or SLO(),
        assumptions=assumptions or Assumptions(),
        max_instances=max_instances,
    )
    found = scan.promising()
    if not found or all(each.mix is None for _, each in found):
        _refuse_too_large(scan)
    good = sorted((each for each in found if not each[1].blockers), key=lambda each: each[1].cost)
    options: list[Option] = []
    best: Option | None = None
    for setting, one in good[:_CONFIRM_TRIES]:
        failure = _failure(scan, setting)
        if scan.slo.survive_failure and failure:
            continue
        option = Option(
            setting=setting,
            estimate=one,
            confirmation=_confirm(scan, setting, one, requests=requests, seed=seed),
            failure=failure,
            models=workload.models,
        )
        options.append(option)
        if option.meets:
            best = best or option
            if sum(each.meets for each in options) >= 3:
                break
    taken = {str(each.setting) for each in options}
    options += [
        Option(setting=setting, estimate=one, models=workload.models)
        for setting, one in _contrast(found, scan.slo)
        if str(setting) not in taken
    ]
    options.sort(key=lambda each: (not each.meets, each.cost if each.meets else _distance(each, scan.slo)))
    best = best or next((each for each in options if each.meets), options[0])
    best = attrs.evolve(best, headroom=_headroom(scan, best.setting), failure=_failure(scan, best.setting))
    best = attrs.evolve(best, why=explain.reasons(best, options, scan, listed, guessed=guessed))
    options = [best, *(each for each in options if str(each.setting) != str(best.setting))]
    return Plan(best=best, options=tuple(options), scan=scan, prices=listed, scanned=len(found), seed=seed)


def _considered(names: Iterable[str] | None, prices: Prices) -> dict[str, InstanceType]:
    known = instance_types()
    wanted = list(names) if names is not None else [name for name in prices if name in known]
    for name in wanted:
        if name not in prices:
            raise InvalidInputError(f"there is no price for {name}", hint="add it to prices=…")
        if name not in known:
            raise InvalidInputError(f"{name} is not a known instance type for multi-model endpoints")
    if not wanted:
        raise InvalidInputError(
            "none of the instance types that have a price is known", hint=f"known are {', '.join(sorted(known)[:5])}, …"
        )
    return {name: known[name] for name in wanted}


def _refuse_too_large(scan: Scan) -> None:
    demand = scan.demand
    site = {name: site_of(kind, 1, scan.assumptions) for name, kind in scan.types.items()}
    roomiest = max(site, key=lambda name: site[name].memory_bytes)
    worst = int(np.argmax(demand.memory))
    room = site[roomiest].memory_bytes / 2**30
    if demand.memory[worst] > site[roomiest].memory_bytes:
        raise InvalidInputError(
            f"{demand.workload.models[worst]} takes {demand.memory[worst] / 2**30:.2f} GiB of memory; the roomiest "
            f"type with a price, {roomiest}, has {room:.2f} GiB for models",
            hint="give prices of larger instance types",
        )
    raise InvalidInputError(
        f"{scan.demand.workload.rate:.3g} requests/s are more than {scan.max_instances} instances of any type can do, "
        f"or a model fits no volume of {scan.assumptions.volume_gib:g} GiB",
        hint="raise max_instances, or volume_gib in the assumptions",
    )


def _contrast(found: list[tuple[Setting, Estimate]], slo: SLO) -> list[tuple[Setting, Estimate]]:
    """The cheapest answer of each kind, or its nearest miss, so that the best has something to be compared with."""
    kept: dict[str, tuple[tuple[bool, float], Setting, Estimate]] = {}
    for setting, one in found:
        rank = (bool(one.blockers), _distance(one, slo) if one.blockers else one.cost)
        if setting.mode not in kept or rank < kept[setting.mode][0]:
            kept[setting.mode] = (rank, setting, one)
    return [(setting, one) for _, setting, one in kept.values()]


def _distance(found: Estimate | Option, slo: SLO) -> float:
    """How far something is from what is promised: the product of its excesses."""
    far = 1.0
    for name in ("p50", "p95", "p99", "cold_rate"):
        limit = getattr(slo, name)
        if limit is not None:
            far *= max(1.0, getattr(found, name) / limit)
    estimate = found.estimate if isinstance(found, Option) else found
    return far * max(1.0, estimate.loader_saturation) * max(1.0, estimate.cpu)


def _failure(scan: Scan, setting: Setting) -> tuple[str, ...]:
    if setting.instance_type is None:
        return ()
    if setting.count < 2:
        return ("the only instance would be gone",)
    return scan.estimate(attrs.evolve(setting, count=setting.count - 1)).blockers


def _headroom(scan: Scan, setting: Setting) -> float:
    """By bisection, to a hundredth; 16 means more than that."""

    def stands(factor: float) -> bool:
        demand = Demand(scan.demand.workload.scaled(traffic=factor), scan.demand.catalogue, scan.demand.pinned)
        return not scan.estimate(setting, demand=demand).blockers

    low, high = (1.0, 16.0) if stands(1.0) else (0.0625, 1.0)
    if stands(high):
        return high
    for _ in range(9):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if stands(middle) else (low, middle)
    return round(low, 2)
