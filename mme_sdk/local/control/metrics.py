"""CloudWatch's memory of metrics: a statistic set for each span of time, percentiles included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import attrs

__all__ = ["Dimensions", "Metrics", "Point", "dimensions_of"]

Dimensions: TypeAlias = tuple[tuple[str, str], ...]
"""Name and value pairs, sorted: part of a metric's identity."""

_KEPT_POINTS = 15 * 24 * 60  # CloudWatch keeps one-minute points for 15 days
_MICROSECONDS = ("Latency", "LoadingWaitTime", "UnloadingTime", "DownloadingTime", "LoadingTime")


@attrs.define
class Point:
    """What was measured in one span of time.

    Attributes:
        count: SampleCount.
        total: Sum.
        low: Minimum.
        high: Maximum.
        values: How often each value was seen; values are kept to three digits, as good as CloudWatch's percentiles.
    """

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    values: dict[float, float] = attrs.field(factory=dict)

    def add(self, value: float, count: float = 1.0) -> None:
        """Take a value, seen `count` times."""
        self.count += count
        self.total += value * count
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        rounded = float(f"{value:.3g}")
        self.values[rounded] = self.values.get(rounded, 0.0) + count

    def merge(self, other: Point) -> None:
        """Take all of another point."""
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        for value, count in other.values.items():
            self.values[value] = self.values.get(value, 0.0) + count

    def statistic(self, name: str) -> float | None:
        """`Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount` or a percentile such as `p99`.

        Returns:
            The value; None where the statistic is unknown.
        """
        match name:
            case "SampleCount":
                return self.count
            case "Sum":
                return self.total
            case "Average":
                return self.total / self.count
            case "Minimum":
                return self.low
            case "Maximum":
                return self.high
        if not name.startswith("p"):
            return None
        try:
            rank = float(name[1:]) / 100 * self.count
        except ValueError:
            return None
        seen = 0.0
        for value in sorted(self.values):
            seen += self.values[value]
            if seen >= rank:
                return min(max(value, self.low), self.high)
        return self.high


class Metrics:
    """Points by namespace, name, dimensions and time; forgotten when the host ends.

    Args:
        resolution: Seconds that a point spans.
    """

    def __init__(self, resolution: float = 60.0) -> None:
        self.resolution = resolution
        self._series: dict[tuple[str, str, Dimensions], dict[str, dict[int, Point]]] = {}  # by metric, unit and span

    def put(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        at: float,
        measured: Point,
        unit: str = "None",
    ) -> None:
        """Take what was measured.

        Args:
            namespace: Such as `AWS/SageMaker`.
            name: MetricName.
            dimensions: Sorted.
            at: Seconds since the epoch.
            measured: Values.
            unit: Unit; values of different units are never merged.
        """
        series = self._series.setdefault((namespace, name, dimensions), {}).setdefault(unit, {})
        span = _span(at, self.resolution)
        point = series.get(span)
        if point is None:
            point = series[span] = Point()
            while len(series) > _KEPT_POINTS:
                del series[next(iter(series))]
        point.merge(measured)

    def query(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        start: float,
        end: float,
        period: float,
        unit: str | None = None,
    ) -> Iterator[tuple[float, Point, str]]:
        """Points of a metric, oldest first; a point for each unit.

        Args:
            namespace: Such as `AWS/SageMaker`.
            name: MetricName.
            dimensions: All of the metric's dimensions, sorted.
            start: Seconds since the epoch, inclusive.
            end: Seconds since the epoch, exclusive.
            period: Seconds that a point spans.
            unit: Only values of this unit; every unit where None.

        Yields:
            Start of the span, what was measured in it, and the unit.
        """
        merged: dict[tuple[int, str], Point] = {}
        for one, series in self._series.get((namespace, name, dimensions), {}).items():
            for span, point in series.items():
                at = round(span * self.resolution, 6)
                if unit in (None, one) and start - self.resolution < at < end:
                    merged.setdefault((_span(at, period), one), Point()).merge(point)
        for (index, one), point in sorted(merged.items(), key=lambda item: item[0]):
            yield round(index * period, 6), point, one

    def known(self) -> list[tuple[str, str, Dimensions]]:
        """Namespace, name and dimensions of every metric."""
        return sorted(self._series)

    def measure(self, name: str, endpoint: str, variant: str, value: float, *, at: float) -> None:
        """Take a value that the host measures of a variant, under the namespace and unit that AWS uses.

        Args:
            name: Such as `ModelLatency`.
            endpoint: EndpointName.
            variant: VariantName.
            value: In AWS's unit.
            at: Seconds since the epoch.
        """
        namespace, unit = _home(name)
        point = Point()
        point.add(value)
        self.put(namespace, name, (("EndpointName", endpoint), ("VariantName", variant)), at, point, unit)


def _span(at: float, length: float) -> int:
    """Which span a moment falls into; 60 s are 600 spans of 0.1 s, not 599 because of a rounding error."""
    return math.floor(round(at / length, 6))


def _home(name: str) -> tuple[str, str]:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
    if name.endswith("Utilization"):
        return "/aws/sagemaker/Endpoints", "Percent"
    if name == "LoadedModelCount":
        return "/aws/sagemaker/Endpoints", "None"
    return "AWS/SageMaker", "Microseconds" if name.endswith(_MICROSECONDS) else "None"


def dimensions_of(given: Iterable[Mapping[str, str]]) -> Dimensions:
    """Dimensions as the API gives them, sorted."""
    return tuple(sorted((one["Name"], one["Value"]) for one in given))
