"""The calls of one model in one minute, and how the records of several processes become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import attrs

from mme_sdk.recording.histogram import Histogram

__all__ = ["RecordedMinute", "merge"]


@attrs.frozen(kw_only=True)
class RecordedMinute:
    """The calls of one model, tenant and variant in one minute, as the callers saw them.

    Attributes:
        at: Start of the minute, in UTC. A call belongs to the minute in which it ended.
        endpoint: Name of the endpoint.
        model: The target model. None on a single-model endpoint, and for the sum of the models that were called too
            rarely to be recorded one by one.
        calls: Number of calls, failed ones included.
        tenant: The tenant: by default the first part of the model's key. Default: None, for no model.
        variant: The variant that answered. Default: None, for calls without an answer.
        errors: Number of calls that failed, by the name of the SDK's error, such as `ModelServerError`. Default: none.
        cold: Number of calls that waited while their model was loading. Default: 0.
        cold_seconds: Seconds that these calls took, all together. Default: 0.
        warm_seconds: Seconds that the other answered calls took, all together. Default: 0.
        throttles: Number of requests that SageMaker throttled; one call can have several. Default: 0.
        attempts: Number of requests of answered calls. Default: 0.
        sent_bytes: Bytes of the payloads of answered calls. Default: 0.
        received_bytes: Bytes of the answers. Default: 0.
        latency: Durations of the answered calls that were not cold. Default: empty.
        waits: Durations of the cold calls. Default: empty.
    """

    at: datetime
    endpoint: str
    model: str | None
    calls: int
    tenant: str | None = None
    variant: str | None = None
    errors: Mapping[str, int] = attrs.field(factory=dict, hash=False)
    cold: int = 0
    cold_seconds: float = 0.0
    warm_seconds: float = 0.0
    throttles: int = 0
    attempts: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    latency: Histogram = attrs.field(factory=Histogram)
    waits: Histogram = attrs.field(factory=Histogram)


_SUMS = ("calls", "cold", "throttles", "attempts", "sent_bytes", "received_bytes")
_KEY = ("at", "endpoint", "model", "tenant", "variant")


def merge(records: Iterable[RecordedMinute]) -> list[RecordedMinute]:
    """Add up the records of the same minute, endpoint, model, tenant and variant.

    Args:
        records: The records, of any number of processes.

    Returns:
        One record for each of them, in order of time. Counts and histograms are exact; sums of seconds are rounded as
        `math.fsum` rounds, whatever the order.
    """
    import math

    groups: dict[tuple[object, ...], list[RecordedMinute]] = {}
    for one in records:
        groups.setdefault(tuple(getattr(one, name) for name in _KEY), []).append(one)
    merged = []
    for group in groups.values():
        first = group[0]
        if len(group) == 1:
            merged.append(first)
            continue
        errors: dict[str, int] = {}
        latency, waits = Histogram(), Histogram()
        for one in group:
            latency, waits = latency + one.latency, waits + one.waits
            for name, count in one.errors.items():
                errors[name] = errors.get(name, 0) + count
        merged.append(
            attrs.evolve(
                first,
                errors=errors,
                latency=latency,
                waits=waits,
                cold_seconds=math.fsum(one.cold_seconds for one in group),
                warm_seconds=math.fsum(one.warm_seconds for one in group),
                **{name: sum(getattr(one, name) for one in group) for name in _SUMS},
            )
        )
    return sorted(merged, key=lambda one: (one.at, one.endpoint, one.model or "", one.tenant or "", one.variant or ""))
