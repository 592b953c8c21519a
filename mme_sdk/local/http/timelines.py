"""The last hour of each variant in minutes, and how often each model is asked for. Both use bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["ModelRates", "Timelines"]

_MINUTES = 60
_MAX_VARIANTS = 500
_MAX_MODELS = 10_000
_FORGOTTEN = 0.01  # requests a minute


@attrs.define
class _Minute:
    """What happened in one minute. The names are the keys of the status data."""

    requests: int = 0
    hits: int = 0
    misses: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    evictions: int = 0
    cold: int = 0
    cold_seconds: float = 0.0
    errors_4xx: int = 0
    errors_5xx: int = 0

    def add(self, metric: str, value: float) -> None:
        """Count a value of a metric of CloudWatch, which is in CloudWatch's unit."""
        match metric:
            case "Invocations":
                self.requests += int(value)
            case "ModelCacheHit":
                self.hits += value > 0
                self.misses += value <= 0
            case "ModelLoadingTime":
                self.loads += 1
                self.load_seconds += value / 1e6
            case "ModelUnloadingTime":
                self.evictions += 1
            case "ModelLoadingWaitTime" if value > 0:
                self.cold += 1
                self.cold_seconds += value / 1e6
            case "Invocation4XXErrors":
                self.errors_4xx += int(value)
            case "Invocation5XXErrors":
                self.errors_5xx += int(value)


_COUNTS = tuple(field.name for field in attrs.fields(_Minute))


class Timelines:
    """The last 60 minutes of each variant.

    If there are more than 500 variants, the one without a value for the longest time is removed.

    Args:
        now: Function that returns the seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._variants: dict[tuple[str, str], dict[int, _Minute]] = {}  # the last changed one is the last

    def measure(self, metric: str, endpoint: str, variant: str, value: float) -> None:
        """Add a value of a metric of a variant.

        Args:
            metric: MetricName in CloudWatch. A metric that no timeline shows is ignored.
            endpoint: EndpointName.
            variant: VariantName.
            value: The value in the unit of CloudWatch.
        """
        key = (endpoint, variant)
        minutes = self._variants.pop(key, {})
        self._variants[key] = minutes
        if len(self._variants) > _MAX_VARIANTS:
            del self._variants[next(iter(self._variants))]
        index = self._index()
        minute = minutes.get(index)
        if minute is None:
            minute = minutes[index] = _Minute()
            for old in [one for one in minutes if not index - _MINUTES < one <= index]:
                del minutes[old]
        minute.add(metric, value)

    def report(self, endpoint: str, variant: str) -> dict[str, Any]:
        """Return the last 60 minutes of a variant, oldest first; the last one is the current minute.

        Args:
            endpoint: EndpointName.
            variant: VariantName.

        Returns:
            `start` in seconds since the epoch, `seconds` (the length of a period), and a list for each count.
        """
        last = self._index()
        found = self._variants.get((endpoint, variant), {})
        minutes = [found.get(index, _NOTHING) for index in range(last - _MINUTES + 1, last + 1)]
        counts = {name: [round(getattr(one, name), 6) for one in minutes] for name in _COUNTS}
        return {"start": 60 * (last - _MINUTES + 1), "seconds": 60, **counts}

    def _index(self) -> int:
        return math.floor(self._now() / 60)


_NOTHING = _Minute()


class ModelRates:
    """How many requests a minute each model gets. A request counts less the longer ago it is: half after a minute.

    Args:
        now: Function that returns seconds.
        kept: Number of models to keep, default 10000. If there are more, the half with the lowest rates is removed.
    """

    def __init__(self, now: Callable[[], float], kept: int = _MAX_MODELS) -> None:
        self._now = now
        self._kept = kept
        self._counts: dict[tuple[str, str], tuple[float, float]] = {}  # weight of the requests, and its time

    def add(self, endpoint: str, model: str) -> None:
        """Count a request.

        Args:
            endpoint: EndpointName.
            model: TargetModel.
        """
        key, now = (endpoint, model), self._now()
        self._counts[key] = (self._weight(key, now) + 1, now)
        if len(self._counts) > self._kept:
            ordered = sorted(self._counts, key=lambda one: self._weight(one, now))
            for cold in ordered[: len(ordered) // 2]:
                del self._counts[cold]

    def rate(self, endpoint: str, model: str) -> float:
        """Return the requests a minute of a model.

        Args:
            endpoint: EndpointName.
            model: TargetModel.
        """
        # A constant rate r has the weight r * (1 min / ln 2).
        rate = self._weight((endpoint, model), self._now()) * math.log(2)
        return round(rate, 2) if rate >= _FORGOTTEN else 0.0

    def _weight(self, key: tuple[str, str], now: float) -> float:
        weight, at = self._counts.get(key, (0.0, now))
        return float(weight * 0.5 ** (max(0.0, now - at) / 60))
