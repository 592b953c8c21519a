"""Find the advice: estimate many layouts, simulate the cheapest, choose the first that meets the SLO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance, check_number
from mme_sdk.display.progress import ProgressOption, reporting
from mme_sdk.errors import InvalidInputError
from mme_sdk.instance_types import InstanceType, find, known, serves_multi_model
from mme_sdk.planning.advice import explain
from mme_sdk.planning.advice.confirm import Confirmation, distance, rank
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.estimate import HostingEstimate
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.plan import HostingPlan
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.prices import Prices, PricesLike, load_prices
from mme_sdk.planning.workload import Workload
from mme_sdk.types.near import near_names

__all__ = ["plan"]


@short_tracebacks
def plan(
    workload: Workload | Any,
    *,
    catalogue: Catalogue | Mapping[str, ModelProfile] | ModelProfile | str | Path | None = None,
    slo: SLO | None = None,
    prices: PricesLike = None,
    instance_types: Iterable[str] | None = None,
    assumptions: Assumptions | None = None,
    budget: float | None = None,
    max_instances: int = 20,
    requests: int = 150_000,
    seed: int = 0,
    progress: ProgressOption = False,
) -> HostingPlan:
    """Find the cheapest hosting that meets a service level objective.

    A layout says which models share an endpoint, which have their own, and on which instances. The function estimates
    the possible layouts by formula, simulates the cheapest ones that meet the SLO, and chooses the first that the
    simulation confirms.

    Args:
        workload: The traffic; or a trace, in the forms that `Workload.from_trace` accepts.
        catalogue: Size, service time and load time of each model: a catalogue, a mapping of profiles, one profile for
            all models, or a table as `Catalogue.from_table` accepts it. None (the default) assumes 100 MiB and 20 ms
            for each model; the report says so.
        slo: The service level objective; None (the default) for no limits beside those of `assumptions`.
        prices: Prices per instance and hour, as `load_prices` accepts them; None (the default) for indicative ones.
        instance_types: Names of the instance types to consider; None (the default) for every type that has a price
            and can host a multi-model endpoint, except Graviton (arm64) types, which need images of their own.
        assumptions: Figures that AWS does not document; None (the default) for the defaults of `Assumptions`.
        budget: Largest cost per month of 730 hours, in the currency of the prices; None (the default) for no limit. If
            no option within it meets the SLO, the best option is the one that exceeds the limits least.
        max_instances: Largest number of instances of a shared endpoint. Default 20.
        requests: Approximate number of requests in each simulation, 1000 or more. Default 150,000.
        seed: Seed of all random draws, 0 or more. Default 0.
        progress: Called with an `mme_sdk.Progress` after each layout; True shows a progress bar. Default: False.

    Returns:
        The plan. If no option meets the SLO, its best option is the one that exceeds the limits least.

    Raises:
        InvalidInputError: An argument is not valid, or a model is larger than every instance type that has a price.

    Example:
        >>> from mme_sdk.planning import Catalogue, SLO, Workload, plan
        >>> p = plan(Workload.zipf(60, rate=5), catalogue=Catalogue.uniform(memory_mb=100, service_ms=20),
        ...          slo=SLO(p99=2.0), prices={"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23}, requests=20_000)
        >>> p.feasible, p.best.layout.mode
        (True, 'shared')
    """
    workload = workload if isinstance(workload, Workload) else Workload.from_trace(workload)
    guessed = catalogue is None
    demand = Demand(workload, Catalogue.uniform(memory_mb=100) if catalogue is None else Catalogue.coerce(catalogue))
    listed = load_prices(prices)
    types = _considered(instance_types, listed)
    check_number("max_instances", max_instances, at_least=1, integer=True)
    if budget is not None:
        check_number("budget", budget, over=0)
    check_number("requests", requests, at_least=1000, integer=True)
    check_number("seed", seed, at_least=0, integer=True)
    if slo is not None:
        check_instance("slo", slo, SLO)
    if assumptions is not None:
        check_instance("assumptions", assumptions, Assumptions)
    search = LayoutSearch(
        demand=demand,
        types=types,
        prices={name: listed[name] for name in types},
        slo=slo or SLO(),
        assumptions=assumptions or Assumptions(),
        max_instances=max_instances,
        budget=budget,
    )
    with reporting(progress, "plan", f"{len(workload.models)} models", unit="layout") as report:
        if report is not None:
            report(doing="estimating")
        found = search.promising(report)
        if not found or not any(each.possible for _, each in found):
            _refuse_too_large(search)
        confirmation = Confirmation(search, requests=requests, seed=seed, report=report)
        options = confirmation.options(found)
        taken = {each.layout for each in options}
        others = [(layout, one) for layout, one in _contrast(found, search) if layout not in taken]
        options += [confirmation.unconfirmed(layout, one) for layout, one in others]
        options.sort(key=lambda each: rank(each, search))
        while options[0].simulated is None and options[0].estimate.mix is not None:  # the advice is simulated
            options[0] = first = confirmation.confirmed(options[0].layout, options[0].estimate)
            if first.simulated is None:  # too few requests
                break
            options.sort(key=lambda each: rank(each, search))
        best = confirmation.examined(options[0])
    best = attrs.evolve(best, why=explain.reasons(best, options, search, listed, guessed=guessed))
    return HostingPlan(
        best=best,
        options=(best, *options[1:]),
        search=search,
        prices=listed,
        estimates=tuple(found),
        seed=seed,
        requests=requests,
    )


def instance_types() -> dict[str, InstanceType]:
    """Return the instance types that a multi-model endpoint can use, by name: CPU types, and those with one GPU."""
    return {name: kind for name, kind in known().items() if kind.hosting and serves_multi_model(name)}


def _considered(names: Iterable[str] | None, prices: Prices) -> dict[str, InstanceType]:
    if names is None:
        usable = {name: kind for name, kind in instance_types().items() if kind.architecture == "x86_64"}
        found = {name: usable[name] for name in prices if name in usable}
    else:
        found = {name: _named(name, prices) for name in ([names] if isinstance(names, str) else names)}
    if not found:
        raise InvalidInputError(
            "no instance type that has a price can host a multi-model endpoint",
            hint=f"give prices of types such as {', '.join(sorted(load_prices())[:5])}",
        )
    return found


def _named(name: str, prices: Prices) -> InstanceType:
    kind = find(name)
    if name not in prices:
        near = near_names(str(name), prices, limit=1)
        hint = f"did you mean {near[0]}? Otherwise add the price to prices=…" if near else "add it to prices=…"
        raise InvalidInputError(f"there is no price for {name}", hint=hint)
    if kind is None:
        raise InvalidInputError(
            f"the size of instance type {name} is not known", hint="choose a type of instance_types()"
        )
    if not (kind.hosting and serves_multi_model(name)):
        raise InvalidInputError(
            f"instance type {name} cannot host a multi-model endpoint", hint="choose a type of instance_types()"
        )
    return kind


def _refuse_too_large(search: LayoutSearch) -> None:
    """Raise InvalidInputError. Its message says why no layout is possible, for example a model that is too large."""
    demand = search.demand
    configs = {name: fleet_config(kind, 1, search.assumptions) for name, kind in search.types.items()}
    largest = max(configs, key=lambda name: configs[name].memory_bytes)
    worst = int(np.argmax(demand.memory))
    limit = configs[largest].memory_bytes
    if demand.memory[worst] > limit:
        raise InvalidInputError(
            f"{demand.workload.models[worst]} needs {demand.memory[worst] / 2**30:.2f} GiB of memory; the largest "
            f"type with a price, {largest}, has {limit / 2**30:.2f} GiB for models",
            hint="give prices of larger instance types",
        )
    largest = max(configs, key=lambda name: configs[name].volume_bytes)
    worst = int(np.argmax(demand.disk))
    limit = configs[largest].volume_bytes
    if demand.disk[worst] > limit:
        raise InvalidInputError(
            f"{demand.workload.models[worst]} needs {demand.disk[worst] / 2**30:.2f} GiB on the volume; the type with "
            f"the largest volume, {largest}, has {limit / 2**30:.2f} GiB for models",
            hint="raise volume_gib in the assumptions, or give prices of types with local storage",
        )
    raise InvalidInputError(
        f"no instance type with a price has both the memory and the volume for every model, or "
        f"{demand.workload.rate:.3g} requests/s need more than {search.max_instances} instances of each type",
        hint="raise max_instances, or volume_gib in the assumptions",
    )


def _contrast(
    found: list[tuple[HostingLayout, HostingEstimate]], search: LayoutSearch
) -> list[tuple[HostingLayout, HostingEstimate]]:
    """Return for each mode the cheapest layout that meets the SLO, or the nearest, to compare the best one with."""
    kept: dict[str, tuple[tuple[bool, float], HostingLayout, HostingEstimate]] = {}
    for layout, one in found:
        rank = (bool(one.blockers), distance(one, search) if one.blockers else one.cost)
        if layout.mode not in kept or rank < kept[layout.mode][0]:
            kept[layout.mode] = (rank, layout, one)
    return [(layout, one) for _, layout, one in kept.values()]
