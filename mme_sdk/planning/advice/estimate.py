"""The figures of a layout by formula."""

from __future__ import annotations

import attrs
import numpy as np

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.inputs import SLO, Assumptions, busy, missed, overloaded_loaders
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.shared import shared_endpoint
from mme_sdk.planning.analysis import LatencyMix, erlang_c, monthly, p95_of, steadiness
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["HostingEstimate", "estimate"]

_DRAWS, _ROUGH = 12_000, 1_000


@attrs.frozen(kw_only=True, eq=False)
class HostingEstimate:
    """The figures of a layout by formula.

    Attributes:
        cost: Cost per month of 730 hours, in the currency of the prices.
        cold_rate: Share of all requests that wait while their model loads, 0 to 1.
        s3_rate: Share of all requests that wait while their model is downloaded from S3, 0 to 1.
        p50: Median latency, seconds.
        p95: 95th percentile of the latency, seconds.
        p99: 99th percentile of the latency, seconds.
        warm_p95: 95th percentile of the latency of requests whose model is in memory, seconds; infinite if there are
            none.
        cold_p95: 95th percentile of the latency of requests that wait while their model loads, seconds; 0 if there are
            none.
        loader_saturation: Utilisation of the shared endpoint's loader slots at the peak; 1 is fully busy.
        cpu: vCPU utilisation of its busiest instance at the peak; 1 is fully busy.
        memory_fill: Memory that all shared models need, relative to the memory for models.
        cold_by_model: Share of each model's requests that wait while it loads, 0 to 1; one element for each model.
        loading: Mean time of a load, seconds; one element for each model.
        mix: The distribution from which latencies are drawn; None if a model does not fit, and in
            `HostingPlan.estimates` for over 20,000 models, where the two arrays above are empty too.
        blockers: The limits that the layout exceeds, in words; empty if it meets the SLO.
        overloads: Those of them that a simulation does not replace: vCPUs, a model that does not fit, the budget.
    """

    cost: float
    cold_rate: float
    s3_rate: float
    p50: float
    p95: float
    p99: float
    warm_p95: float
    cold_p95: float
    loader_saturation: float
    cpu: float
    memory_fill: float
    cold_by_model: Floats = attrs.field(repr=False)
    loading: Floats = attrs.field(repr=False)
    mix: LatencyMix | None = attrs.field(repr=False)
    blockers: tuple[str, ...]
    overloads: tuple[str, ...]

    @property
    def possible(self) -> bool:
        """Whether every model fits."""
        return self.cpu < float("inf")

    def without_models(self) -> HostingEstimate:
        """Return the figures without what has one element for each model, which takes memory."""
        return attrs.evolve(self, cold_by_model=np.empty(0), loading=np.empty(0), mix=None)


def estimate(
    layout: HostingLayout,
    demand: Demand,
    types: dict[str, InstanceType],
    prices: dict[str, float],
    slo: SLO,
    assumptions: Assumptions,
    *,
    seed: int = 0,
    draws: int = _DRAWS,
) -> HostingEstimate:
    """Return the figures of a layout by formula.

    Args:
        layout: The layout.
        demand: The traffic and the models.
        types: Instance types by name.
        prices: Price per instance and hour, by type.
        slo: The service level objective.
        assumptions: Figures that AWS does not document.
        seed: Seed of the draws that give the quantiles. Default 0.
        draws: Number of draws; at most 1,000 for a layout that is overloaded. Default 12,000.

    Returns:
        Cost, cold rate, latencies, utilisation, and the limits that are exceeded.
    """
    models = len(demand.workload.models)
    alone = np.asarray([each.model for each in layout.dedicated], dtype=np.int64)
    mask = np.ones(models, dtype=bool)
    mask[alone] = False
    together = np.flatnonzero(mask)
    cost = sum(monthly(prices[each.instance_type], each.count) for each in layout.dedicated)
    wait_share, wait_seconds = np.zeros(models), np.zeros(models)
    lead_disk, lead_s3, join, join_left = np.zeros(models), np.zeros(models), np.zeros(models), np.full(models, 0.5)
    disk_seconds, s3_seconds = demand.load.copy(), demand.load.copy()
    shared = None
    if layout.instance_type is not None:
        kind = types[layout.instance_type]
        cost += monthly(prices[kind.name], layout.count)
        large = _too_large(together, demand, kind, assumptions)
        if large:
            return _impossible(cost, models, large)
        shared = shared_endpoint(layout, together, demand, kind, assumptions)
        lead_disk[together], lead_s3[together], join[together] = shared.lead_disk, shared.lead_s3, shared.join
        join_left[together] = shared.join_left
        disk_seconds[together], s3_seconds[together] = shared.disk_seconds, shared.s3_seconds
        wait_share[together], wait_seconds[together] = shared.wait_share, shared.wait_seconds
    for each in layout.dedicated:
        rate = demand.workload.rates[each.model] / each.count
        servers, service = types[each.instance_type].vcpus, demand.service[each.model]
        if rate * service < servers:
            wait_share[each.model] = erlang_c(servers, rate * service)
            steady = steadiness(servers, rate * service, float(demand.service_cv[each.model]) ** 2)
            wait_seconds[each.model] = service / (servers - rate * service) * steady
    rates = demand.workload.rates
    cold = lead_disk + lead_s3 + join
    mix = LatencyMix(
        rates=rates,
        service=demand.service,
        service_cv=demand.service_cv,
        lead_disk=lead_disk,
        lead_s3=lead_s3,
        join=join,
        join_left=join_left,
        disk_seconds=disk_seconds,
        s3_seconds=s3_seconds,
        disk_queue=shared.disk_queue if shared else None,
        s3_queue=shared.s3_queue if shared else None,
        wait_share=wait_share,
        wait_seconds=wait_seconds,
    )
    overloaded = (
        shared is not None
        and max(shared.saturation / assumptions.loader_limit, shared.cpu / assumptions.cpu_limit) > 1.0
    )
    # An overloaded layout is refused anyway: a rough figure is enough.
    drawn, waited = mix.outcomes(min(draws, _ROUGH) if overloaded else draws, np.random.default_rng(seed))
    p50, p95, p99 = np.quantile(drawn, (0.5, 0.95, 0.99))
    leads = np.maximum(lead_disk + lead_s3, 1e-300)
    found = HostingEstimate(
        cost=cost,
        cold_rate=float(rates @ cold / rates.sum()),
        s3_rate=float(rates @ lead_s3 / rates.sum()),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        warm_p95=p95_of(drawn[~waited], none=float("inf")),
        cold_p95=p95_of(drawn[waited], none=0.0),
        loader_saturation=shared.saturation if shared else 0.0,
        cpu=shared.cpu if shared else 0.0,
        memory_fill=shared.fill if shared else 0.0,
        cold_by_model=cold,
        loading=np.where(
            lead_disk + lead_s3 > 0, (lead_disk * disk_seconds + lead_s3 * s3_seconds) / leads, s3_seconds
        ),
        mix=mix,
        blockers=(),
        overloads=(),
    )
    limit = assumptions.cpu_limit
    overloads: tuple[str, ...] = ()
    if found.cpu > limit:
        overloads = (f"vCPUs are {busy(found.cpu, limit)} busy at the peak by formula, over the limit of {limit:.0%}",)
    loaders = overloaded_loaders(found.loader_saturation, assumptions)
    return attrs.evolve(found, blockers=loaders + overloads + missed(slo, found), overloads=overloads)


def _too_large(which: Ints, demand: Demand, kind: InstanceType, assumptions: Assumptions) -> str | None:
    config = fleet_config(kind, 1, assumptions)
    for what, sizes, limit in (
        ("memory", demand.memory, config.memory_bytes),
        ("volume", demand.disk, config.volume_bytes),
    ):
        worst = int(which[np.argmax(sizes[which])])
        if sizes[worst] > limit:
            return (
                f"{demand.workload.models[worst]} needs {sizes[worst] / 2**30:.2f} GiB, more than the {what} for "
                f"models on {kind.name} ({limit / 2**30:.2f} GiB)"
            )
    return None


def _impossible(cost: float, models: int, why: str) -> HostingEstimate:
    never = float("inf")
    return HostingEstimate(
        cost=cost, cold_rate=1.0, s3_rate=1.0, p50=never, p95=never, p99=never, warm_p95=never,
        cold_p95=never, loader_saturation=never, cpu=never,
        memory_fill=never, cold_by_model=np.ones(models), loading=np.zeros(models), mix=None, blockers=(why,),
        overloads=(why,),
    )  # fmt: skip
