"""The inputs of a plan beside the traffic: the service level objective and the assumptions."""

from __future__ import annotations

from typing import Protocol, get_args

import attrs

from mme_sdk._validation import number, one_of, optional
from mme_sdk.fleet import RoutingName

__all__ = ["LATENCIES", "SLO", "Assumptions", "LimitedFigures", "busy", "by_formula", "missed", "overloaded_loaders"]

_positive, _non_negative = number(over=0), number(at_least=0)
_share, _count = number(over=0, at_most=1), number(at_least=1, integer=True)


LATENCIES = ("p50", "p95", "p99", "warm_p95", "cold_p95")
"""The latencies that an SLO can limit."""


def _words(name: str) -> str:
    return name.replace("_", " ")


class LimitedFigures(Protocol):
    """The figures that an SLO limits, by formula or simulated."""

    @property
    def cold_rate(self) -> float:
        """Share of all requests that wait while their model loads, 0 to 1."""
        ...


@attrs.frozen(kw_only=True)
class SLO:
    """A service level objective. A field that is None (the default) sets no limit.

    Attributes:
        p50: Limit of the median latency, seconds.
        p95: Limit of the 95th percentile of the latency, seconds.
        p99: Limit of the 99th percentile of the latency, seconds.
        warm_p95: Limit of the 95th percentile of the latency of requests whose model is in memory, seconds.
        cold_p95: Limit of the 95th percentile of the latency of requests that wait while their model loads, seconds.
        cold_rate: Limit of the share of requests that wait while their model loads, over 0 to 1.
        survive_failure: Whether all limits must also hold after the loss of one instance of a shared endpoint. Default
            False.

    Example:
        >>> str(SLO(p99=0.5, cold_rate=0.01))
        'p99 ≤ 0.5 s, cold rate ≤ 1.00%'
    """

    p50: float | None = attrs.field(default=None, validator=optional(_positive))
    p95: float | None = attrs.field(default=None, validator=optional(_positive))
    p99: float | None = attrs.field(default=None, validator=optional(_positive))
    warm_p95: float | None = attrs.field(default=None, validator=optional(_positive))
    cold_p95: float | None = attrs.field(default=None, validator=optional(_positive))
    cold_rate: float | None = attrs.field(default=None, validator=optional(_share))
    survive_failure: bool = False

    def __str__(self) -> str:
        parts = [f"{_words(name)} ≤ {value:g} s" for name in LATENCIES if (value := getattr(self, name))]
        parts += [f"cold rate ≤ {self.cold_rate:.2%}"] if self.cold_rate else []
        parts += ["also after the loss of one instance"] if self.survive_failure else []
        return ", ".join(parts) or "no limits"


def missed(slo: SLO, found: LimitedFigures, *, verb: str = "is") -> tuple[str, ...]:
    """Return the limits of an SLO that figures exceed, in words; there is no tolerance.

    Args:
        slo: The limits.
        found: The figures.
        verb: `is` (the default), or `may be` if the figures are the upper ends of intervals.
    """
    plural = "are" if verb == "is" else verb
    lines = [
        f"{_words(name)} {verb} {_over(value, limit, '.3g', '.6g')} s, over {limit:g} s"
        for name in LATENCIES
        if (limit := getattr(slo, name)) is not None and (value := getattr(found, name)) > limit
    ]
    if slo.cold_rate is not None and found.cold_rate > slo.cold_rate:
        cold = _over(found.cold_rate, slo.cold_rate, ".2%", ".4%")
        lines.append(f"{cold} of the requests {plural} cold, over {slo.cold_rate:.2%}")
    return tuple(lines)


@attrs.frozen(kw_only=True)
class Assumptions:
    """Figures that AWS does not document, or that depend on your models. `HostingPlan.sensitivity` ranks their effect.

    Attributes:
        loader_slots: Number of models that an instance downloads and loads at a time. Default 2.
        spill_outstanding: Number of outstanding requests for a model on one instance from which SageMaker loads the
            model on another instance. Default 8.
        routing: To which instance a request goes; see `FleetConfig`. With `sticky` (the default), a model that was
            evicted returns to the instance that has its files; with `sticky_to_memory` it may move to one with free
            memory. The formulas are those of `sticky`.
        memory_share: Share of an instance's memory that models may fill, over 0 to 1. Default 0.8.
        overhead_gib: Memory of the container and the operating system, GiB; subtracted before `memory_share` applies.
            Default 1.
        volume_gib: Size of each instance's EBS volume, GiB; types with local storage use that instead. None (the
            default) takes it from AWS's table of 2020, and for types that it does not have, twice their memory. Give
            the same size to `HostingOption.spec` as `volume_gb` if you set it.
        s3_latency: Time until the first byte of a download, seconds. Default 0.2.
        s3_gbps: Bandwidth of one download, Gbit/s; the downloads of an instance share its network. Default 1.
        cpu_limit: Largest vCPU utilisation at the peak, over 0 to 1. Default 0.6.
        loader_limit: Largest utilisation of the loader slots at the peak, over 0 to 1. A fleet above 0.7 may not
            recover from a burst. Default 0.7.
        minimum_instances: Smallest number of instances of a shared endpoint. Default 2, as AWS recommends.
        minimum_dedicated: Smallest number of instances of an endpoint of one model. Default 1.
        peak: Ratio of the busiest traffic to the mean, 1 or more; None (the default) takes it from the workload.
    """

    loader_slots: int = attrs.field(default=2, validator=_count)
    spill_outstanding: int = attrs.field(default=8, validator=_count)
    routing: RoutingName = attrs.field(default="sticky", validator=one_of(*get_args(RoutingName)))
    memory_share: float = attrs.field(default=0.8, validator=_share)
    overhead_gib: float = attrs.field(default=1.0, validator=_non_negative)
    volume_gib: float | None = attrs.field(default=None, validator=optional(_positive))
    s3_latency: float = attrs.field(default=0.2, validator=_non_negative)
    s3_gbps: float = attrs.field(default=1.0, validator=_positive)
    cpu_limit: float = attrs.field(default=0.6, validator=_share)
    loader_limit: float = attrs.field(default=0.7, validator=_share)
    minimum_instances: int = attrs.field(default=2, validator=_count)
    minimum_dedicated: int = attrs.field(default=1, validator=_count)
    peak: float | None = attrs.field(default=None, validator=optional(number(at_least=1)))


def overloaded_loaders(use: float, assumptions: Assumptions, *, verb: str = "are") -> tuple[str, ...]:
    """Return that the use of the loader slots at the peak is over its limit, in words; empty if it is not.

    Args:
        use: Utilisation of the loader slots, 0 to 1.
        assumptions: Their limit.
        verb: `are` (the default), or `may be` if the utilisation is the upper end of an interval.
    """
    if use <= assumptions.loader_limit:
        return ()
    over = f"over the limit of {assumptions.loader_limit:.0%}: the fleet may not recover from a burst"
    return (f"loader slots {verb} {busy(use, assumptions.loader_limit)} busy at the peak, {over}",)


def by_formula(blockers: tuple[str, ...]) -> tuple[str, ...]:
    """Return limits that are exceeded by formula, each marked as such; a cost and a size are exact."""
    exact = ("by formula", "it costs", "GiB")
    return tuple(each if any(word in each for word in exact) else f"{each} (by formula)" for each in blockers)


def busy(share: float, limit: float) -> str:
    """Return a utilisation that is over a limit as text."""
    return _over(share, limit, ".0%", ".2%") if share < 10 else "over 1000%"


def _over(value: float, limit: float, usual: str, exact: str) -> str:
    """Return a value over a limit as text, with more digits if it would look like the limit otherwise."""
    return format(value, exact if format(value, usual) == format(limit, usual) else usual)
