"""The formulas of the planner: residency in caches, waiting times, latency and cost, on arrays."""

from mme_sdk.planning.analysis.cost import HOURS_PER_MONTH, dedicated_instances, monthly
from mme_sdk.planning.analysis.gaps import Empirical, Gamma, Poisson, Residency
from mme_sdk.planning.analysis.latency import LatencyMix, p95_of, routing_bounds
from mme_sdk.planning.analysis.loaders import LoaderQueue, placement_imbalance
from mme_sdk.planning.analysis.queueing import (
    cold_share,
    delayed_share,
    erlang_c,
    load_rates,
    loader_saturation,
    mean_wait,
    spilled_bursts,
    steadiness,
)
from mme_sdk.planning.analysis.residency import Tabulated, characteristic_time, che, renewal_che, two_levels
from mme_sdk.planning.analysis.stack import aet_miss_ratio, miss_ratio_at, stack_distances

__all__ = [
    "HOURS_PER_MONTH",
    "Empirical",
    "Gamma",
    "LatencyMix",
    "LoaderQueue",
    "Poisson",
    "Residency",
    "Tabulated",
    "aet_miss_ratio",
    "characteristic_time",
    "che",
    "cold_share",
    "dedicated_instances",
    "delayed_share",
    "erlang_c",
    "load_rates",
    "loader_saturation",
    "mean_wait",
    "miss_ratio_at",
    "monthly",
    "p95_of",
    "placement_imbalance",
    "renewal_che",
    "routing_bounds",
    "spilled_bursts",
    "stack_distances",
    "steadiness",
    "two_levels",
]
