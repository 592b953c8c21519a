"""How the advice is found: estimate many settings, simulate the few that matter, take the cheapest that holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.instance_types import InstanceType, find, known, serves_multi_model
from mme_sdk.planning.advice import explain
from mme_sdk.planning.advice.demand import Demand, site_of
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.advice.option import Confirmation, Option
from mme_sdk.planning.advice.plan import Plan, simulated
from mme_sdk.planning.advice.scan import Scan
from mme_sdk.planning.advice.setting import Estimate, Setting
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.checks import check_number
from mme_sdk.planning.prices import Prices, PricesLike, load_prices
from mme_sdk.planning.simulation import FAILED, HIT
from mme_sdk.planning.workload import Workload

__all__ = ["plan"]

_CONFIRM_TRIES = 16


def plan(
    workload: Workload | Any,
    *,
    catalogue: Catalogue | Mapping[str, ModelProfile] | ModelProfile | str | Path | None = None,
    slo: SLO | None = None,
    prices: PricesLike = None,
    instance_types: Iterable[str] | None = None,
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
        instance_types: Names to consider; all priced ones that are known where None.
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
    types = _considered(instance_types, listed)
    check_number("max_instances", max_instances, least=1, over=False, integer=True)
    check_number("requests", requests, least=1000, over=False, integer=True)
    check_number("seed", seed, over=False, integer=True)
    for name, given, kind in (("slo", slo, SLO), ("assumptions", assumptions, Assumptions)):
        if given is not None and not isinstance(given, kind):
            raise InvalidInputError(f"{name} must be of {kind.__name__}, not {given!r}")
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
    options = _confirmed(scan, found, requests=requests, seed=seed)
    taken = {str(each.setting) for each in options}
    options += [_option(scan, setting, one) for setting, one in _contrast(found, scan.slo) if str(setting) not in taken]
    options.sort(key=lambda each: (not each.meets, each.cost if each.meets else _distance(each, scan.slo)))
    best = attrs.evolve(options[0], headroom=_headroom(scan, options[0].setting))
    best = attrs.evolve(best, why=explain.reasons(best, options, scan, listed, guessed=guessed))
    options = [best, *(each for each in options if str(each.setting) != str(best.setting))]
    return Plan(best=best, options=tuple(options), scan=scan, prices=listed, estimates=tuple(found), seed=seed)


def _option(scan: Scan, setting: Setting, found: Estimate) -> Option:
    return Option(
        setting=setting,
        estimate=found,
        failure=_failure(scan, setting),
        must_survive=scan.slo.survive_failure,
        models=scan.demand.workload.models,
    )


def _confirmed(scan: Scan, found: list[tuple[Setting, Estimate]], *, requests: int, seed: int) -> list[Option]:
    """Simulate the cheapest answers; one that the simulation refutes comes back with more instances."""
    queue = [(one.cost, number, setting, one) for number, (setting, one) in enumerate(found) if not one.blockers]
    heapify(queue)
    steps: dict[tuple[str, str | None, int], int] = {}
    options: list[Option] = []
    while queue and len(options) < _CONFIRM_TRIES and sum(each.meets for each in options) < 3:
        _, number, setting, one = heappop(queue)
        option = _option(scan, setting, one)
        if option.meets:
            option = attrs.evolve(option, confirmation=_confirm(scan, setting, one, requests=requests, seed=seed))
            options.append(option)
            if option.meets:
                continue
        if setting.instance_type is None:
            continue
        key = (setting.mode, setting.instance_type, len(setting.dedicated))
        steps[key] = 2 * steps.get(key, 0) or 1
        larger = attrs.evolve(setting, count=setting.count + steps[key])
        if larger.count <= scan.max_instances:
            again = scan.estimate(larger)
            if not again.blockers:
                heappush(queue, (again.cost, number, larger, again))
    return options


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
        raise InvalidInputError(f"there is no price for {name}", hint="add it to prices=…")
    if kind is None:
        raise InvalidInputError(
            f"the size of instance type {name} is not known", hint="choose a type of instance_types()"
        )
    if not (kind.hosting and serves_multi_model(name)):
        raise InvalidInputError(
            f"instance type {name} cannot host a multi-model endpoint", hint="choose a type of instance_types()"
        )
    return kind


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
    roomiest = max(site, key=lambda name: site[name].volume_bytes)
    worst = int(np.argmax(demand.disk))
    room = site[roomiest].volume_bytes / 2**30
    if demand.disk[worst] > site[roomiest].volume_bytes:
        raise InvalidInputError(
            f"{demand.workload.models[worst]} takes {demand.disk[worst] / 2**30:.2f} GiB on the volume; the roomiest "
            f"type with a price, {roomiest}, has {room:.2f} GiB for models",
            hint="raise volume_gib in the assumptions, or give prices of types with local storage",
        )
    raise InvalidInputError(
        f"no single type has both the memory and the volume that every model takes, or {demand.workload.rate:.3g} "
        f"requests/s are more than {scan.max_instances} instances of any can do",
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
        return not scan.estimate(setting, demand=scan.demand.faster(factor)).blockers

    low, high = (1.0, 16.0) if stands(1.0) else (0.0625, 1.0)
    if stands(high):
        return high
    for _ in range(9):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if stands(middle) else (low, middle)
    return round(low, 2)


def _confirm(scan: Scan, setting: Setting, found: Estimate, *, requests: int, seed: int) -> Confirmation | None:
    """Simulate the shared part, and draw the dedicated part, in their proportion."""
    ran = simulated(scan, setting, requests=requests, seed=seed)
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
