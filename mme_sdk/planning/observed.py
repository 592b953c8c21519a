"""The traffic that CloudWatch or recordings saw, as rates and parameters of a workload."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.metrics import EndpointMetrics
from mme_sdk.planning import synthetic
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["amplitude", "fitted_exponent", "recorded_traffic"]

_ENOUGH = 20  # calls of a model in an hour from which its burstiness is measured


def recorded_traffic(
    records: Iterable[RecordedMinute], *, endpoint: str | None, start: datetime | None, end: datetime | None
) -> dict[str, Any]:
    """Return the fields of a workload.

    Args:
        records: The recorded minutes.
        endpoint: Name of the endpoint; None if the records are of one.
        start: Time from which minutes count; None counts from the first.
        end: Time before which minutes count; None counts to the last.

    Raises:
        InvalidInputError: There are no calls of models, or of several endpoints.
    """
    used = [
        one
        for one in records
        if (endpoint is None or one.endpoint == endpoint)
        and (start is None or one.at >= start)
        and (end is None or one.at < end)
    ]
    names = sorted({one.endpoint for one in used})
    if len(names) > 1:
        raise InvalidInputError(
            f"the recordings are of {len(names)} endpoints: {', '.join(names[:5])}", hint="pass endpoint="
        )
    calls: dict[str, int] = {}
    minutes: dict[tuple[str, int], dict[int, int]] = {}  # counts by model and hour, by minute
    hours: dict[int, int] = {}
    unnamed = 0
    for one in used:
        if one.model is None:
            unnamed += one.calls
            continue
        minute = int(one.at.timestamp() // 60)
        calls[one.model] = calls.get(one.model, 0) + one.calls
        counts = minutes.setdefault((one.model, minute // 60), {})
        counts[minute] = counts.get(minute, 0) + one.calls
        hours[minute // 60] = hours.get(minute // 60, 0) + one.calls
    if not sum(calls.values()):
        where = "" if endpoint is None else f" of {endpoint}"
        raise InvalidInputError(f"the recordings have no calls of models{where} in that time")
    first, last = min(one.at for one in used).timestamp(), max(one.at for one in used).timestamp() + 60
    models = tuple(sorted(calls, key=lambda model: (-calls[model], model)))
    share = unnamed / (unnamed + sum(calls.values()))
    notes = [f"rates of {(last - first) / 3600:.1f} hours of recordings"]
    if unnamed:
        notes.append(f"{share:.1%} of the calls are not recorded by model and are left out")
    return {
        "models": models,
        "rates": np.array([calls[model] for model in models]) / (last - first),
        "cv": _burstiness(minutes, first, last),
        "diurnal": _wave(hours, first, last),
        "notes": tuple(notes),
    }


def _burstiness(minutes: dict[tuple[str, int], dict[int, int]], first: float, last: float) -> float:
    """Return the coefficient of variation of the gaps between a model's calls.

    For a renewal process, variance ÷ mean of the counts of equal intervals tends to its square (Cox, Lewis: The
    Statistical Analysis of Series of Events, 1966). Minutes are compared within an hour, so that the daily wave does
    not count.
    """
    sums, weights = 0.0, 0
    for (_, hour), counts in minutes.items():
        total = sum(counts.values())
        length = int((min(last, (hour + 1) * 3600) - max(first, hour * 3600)) // 60)
        if total < _ENOUGH or length < 10:
            continue
        mean = total / length
        variance = (sum(count * count for count in counts.values()) - length * mean * mean) / (length - 1)
        sums += variance / mean * total
        weights += total
    return max(0.1, float(np.sqrt(sums / weights))) if weights else 1.0


def _wave(hours: dict[int, int], first: float, last: float) -> float:
    """Return the amplitude of the daily wave, of whole days only."""
    if last - first < 86400 * 0.9:
        return 0.0
    days: list[float] = [0.0] * 24
    for hour, count in hours.items():
        days[hour % 24] += count
    mean = sum(days) / 24.0
    return min(1.0, (max(days) - min(days)) / 2.0 / mean)


def fitted_exponent(count: int, rate: float, capacity: float, hit: float) -> float:
    """Return the Zipf exponent, 0 to 3, with which Che's formula gives the measured hit ratio."""
    from mme_sdk.planning.analysis import che

    def hit_ratio(exponent: float) -> float:
        rates = synthetic.zipf_rates(count, exponent=exponent, rate=rate)
        return float(che(rates, np.ones(count), max(capacity, 1e-9)) @ rates / rate)

    low, high = 0.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if hit_ratio(middle) < hit else (low, middle)
    return round((low + high) / 2.0, 4)


def amplitude(metrics: EndpointMetrics) -> float:
    """Return the amplitude of the daily wave: half the range of the hourly totals, relative to their mean."""
    if (metrics.end - metrics.start).total_seconds() < 86400 * 0.9:
        return 0.0
    hours = [0.0] * 24
    for time, value in metrics.invocations:
        hours[time.hour] += value
    mean = sum(hours) / 24.0
    return min(1.0, (max(hours) - min(hours)) / 2.0 / mean) if mean else 0.0
