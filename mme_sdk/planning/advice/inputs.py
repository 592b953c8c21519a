"""What a plan is asked for, and what it takes for granted."""

from __future__ import annotations

import attrs

from mme_sdk.planning.checks import number, share, whole

__all__ = ["SLO", "Assumptions"]


@attrs.frozen(kw_only=True)
class SLO:
    """What is promised; None promises nothing.

    Attributes:
        p50: Seconds within which half of the requests are answered.
        p95: Seconds for 95 of 100.
        p99: Seconds for 99 of 100.
        cold_rate: Largest share of requests that wait for a load.
        survive_failure: Whether all of this must hold with one instance of a shared endpoint gone.
    """

    p50: float | None = attrs.field(default=None, validator=number(over=True, optional=True))
    p95: float | None = attrs.field(default=None, validator=number(over=True, optional=True))
    p99: float | None = attrs.field(default=None, validator=number(over=True, optional=True))
    cold_rate: float | None = attrs.field(default=None, validator=share(optional=True))
    survive_failure: bool = False

    def __str__(self) -> str:
        parts = [f"{name} ≤ {value:g} s" for name in ("p50", "p95", "p99") if (value := getattr(self, name))]
        parts += [f"cold rate ≤ {self.cold_rate:.2%}"] if self.cold_rate else []
        parts += ["with one instance gone"] if self.survive_failure else []
        return ", ".join(parts) or "nothing promised"


@attrs.frozen(kw_only=True)
class Assumptions:
    """What AWS does not document or only your models know; `Plan.sensitivity` says which of them matter.

    Attributes:
        loader_slots: Models that an instance downloads and loads at a time.
        spill_outstanding: Outstanding requests of a model from which a further copy is loaded.
        memory_share: Share of an instance's memory that models may fill.
        overhead_gib: Memory of the container and the system, taken off first.
        volume_gib: EBS volume of each instance; types with local storage use that.
        s3_latency: Seconds until the first byte of a download.
        s3_gbps: Most that one download gets; an instance's downloads share its network.
        cpu_limit: How busy vCPUs may be at the peak.
        loader_limit: How busy loaders may be; above 0.7 a fleet may collapse and stay so.
        minimum_instances: Least instances of a shared endpoint; AWS advises 2.
        minimum_dedicated: Least instances of an endpoint of one model.
        peak: Busiest traffic over the mean; taken from the workload where None.
    """

    loader_slots: int = attrs.field(default=2, validator=whole())
    spill_outstanding: int = attrs.field(default=8, validator=whole())
    memory_share: float = attrs.field(default=0.8, validator=share())
    overhead_gib: float = attrs.field(default=1.0, validator=number())
    volume_gib: float = attrs.field(default=30.0, validator=number(over=True))
    s3_latency: float = attrs.field(default=0.2, validator=number())
    s3_gbps: float = attrs.field(default=1.0, validator=number(over=True))
    cpu_limit: float = attrs.field(default=0.6, validator=share())
    loader_limit: float = attrs.field(default=0.7, validator=share())
    minimum_instances: int = attrs.field(default=2, validator=whole())
    minimum_dedicated: int = attrs.field(default=1, validator=whole())
    peak: float | None = attrs.field(default=None, validator=number(least=1.0, optional=True))
