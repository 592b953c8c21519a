"""What a plan is asked for, and what it takes for granted."""

from __future__ import annotations

from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["SLO", "Assumptions"]


def _share(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not 0.0 < value <= 1.0:
        name = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidInputError(f"{name} is a share over 0 and up to 1, not {value!r}")


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not 0 < value < float("inf")):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidInputError(f"{name} must be a finite number over 0, not {value!r}")


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

    p50: float | None = attrs.field(default=None, validator=_positive)
    p95: float | None = attrs.field(default=None, validator=_positive)
    p99: float | None = attrs.field(default=None, validator=_positive)
    cold_rate: float | None = attrs.field(default=None, validator=_share)
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

    loader_slots: int = attrs.field(default=2, validator=_positive)
    spill_outstanding: int = attrs.field(default=8, validator=_positive)
    memory_share: float = attrs.field(default=0.8, validator=_share)
    overhead_gib: float = attrs.field(default=1.0, validator=attrs.validators.ge(0.0))
    volume_gib: float = attrs.field(default=30.0, validator=_positive)
    s3_latency: float = attrs.field(default=0.2, validator=attrs.validators.ge(0.0))
    s3_gbps: float = attrs.field(default=1.0, validator=_positive)
    cpu_limit: float = attrs.field(default=0.6, validator=_share)
    loader_limit: float = attrs.field(default=0.7, validator=_share)
    minimum_instances: int = attrs.field(default=2, validator=_positive)
    minimum_dedicated: int = attrs.field(default=1, validator=_positive)
    peak: float | None = attrs.field(default=None, validator=_positive)
