"""Metrics of CloudWatch: statistics, including percentiles, for each metric and period of time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TypeAlias

import attrs

__all__ = ["STATISTICS", "Dimensions", "Metrics", "Point", "dimensions_of", "is_percentile"]

Dimensions: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted pairs of name and value that identify a metric, together with namespace and name."""

STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
"""The statistics that are not percentiles."""

_PERCENTILE = re.compile(r"p(?:100(?:\.0{1,10})?|[0-9]{1,2}(?:\.[0-9]{1,10})?)")
_MAX_POINTS = 15 * 24 * 60  # CloudWatch keeps one-minute points for 15 days
_MICROSECONDS = ("Latency", "LoadingWaitTime", "UnloadingTime", "DownloadingTime", "LoadingTime")
_ASYNC_UNITS = {  # https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
    "ApproximateAgeOfOldestRequest": "Seconds",
    "ApproximateBacklogSize": "Count",
    "ApproximateBacklogSizePerInstance": "Count",
    "ExpiredRequests": "Count",
    "HasBacklogWithoutCapacity": "Count",
    "InvocationFailures": "Count",
    "InvocationsProcessed": "Count",
    "RequestDownloadFailures": "Count",
    "ResponseUploadFailures": "Count",
    "TimeInBacklog": "Milliseconds",
    "TotalProcessingTime": "Milliseconds",
}


@attrs.define
class Point:
    """The values of a metric in one period of time.

    Attributes:
        count: SampleCount.
        total: Sum.
        low: Minimum.
        high: Maximum.
        values: Number of occurrences of each value, rounded to three significant digits, for percentiles.
    """

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    values: dict[float, float] = attrs.field(factory=dict)

    def add(self, value: float, count: float = 1.0) -> None:
        """Add a value that occurred `count` times."""
        self.count += count
        self.total += value * count
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        rounded = float(f"{value:.3g}")
        self.values[rounded] = self.values.get(rounded, 0.0) + count

    def add_statistics(self, count: float, total: float, low: float, high: float) -> None:
        """Add values of which only number, sum, minimum and maximum are known."""
        self.count += count
        self.total += total
        self.low = min(self.low, low)
        self.high = max(self.high, high)
        average = float(f"{min(max(total / count, low), high):.3g}")
        self.values[average] = self.values.get(average, 0.0) + count

    def merge(self, other: Point) -> None:
        """Add the values of another point."""
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        for value, count in other.values.items():
            self.values[value] = self.values.get(value, 0.0) + count

    def statistic(self, name: str) -> float | None:
        """Return `Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount` or a percentile such as `p99`.

        Returns:
            The value; None if the statistic is unknown.
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
        if not is_percentile(name):
            return None
        rank = float(name[1:]) / 100 * self.count
        seen = 0.0
        for value in sorted(self.values):
            seen += self.values[value]
            if seen >= rank:
                return min(max(value, self.low), self.high)
        return self.high


class Metrics:
    """The metrics of a host, in memory. They are lost when the host stops.

    Args:
        resolution: Seconds of the period of a point, default 60.
    """

    def __init__(self, resolution: float = 60.0) -> None:
        self.resolution = resolution
        self._series: dict[tuple[str, str, Dimensions], dict[str, dict[int, Point]]] = {}  # by metric, unit and index

    def put(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        at: float,
        measured: Point,
        unit: str = "None",
    ) -> None:
        """Add values of a metric.

        Args:
            namespace: Namespace, such as `AWS/SageMaker`.
            name: MetricName.
            dimensions: Sorted dimensions.
            at: Seconds since the epoch.
            measured: The values.
            unit: Unit. Values of different units are not merged.
        """
        self._point(namespace, name, dimensions, at, unit).merge(measured)

    def _point(self, namespace: str, name: str, dimensions: Dimensions, at: float, unit: str) -> Point:
        """Return the point of a time, which is new if the metric has no value in its period."""
        key = (namespace, name, dimensions)
        units = self._series.get(key)
        if units is None:
            units = self._series[key] = {}
        series = units.get(unit)
        if series is None:
            series = units[unit] = {}
        index = _period_of(at, self.resolution)
        point = series.get(index)
        if point is None:
            point = series[index] = Point()
            while len(series) > _MAX_POINTS:
                del series[next(iter(series))]
        return point

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
        """Yield the points of a metric, oldest first, with a point for each unit.

        Args:
            namespace: Namespace, such as `AWS/SageMaker`.
            name: MetricName.
            dimensions: All dimensions of the metric, sorted.
            start: Seconds since the epoch, inclusive.
            end: Seconds since the epoch, exclusive.
            period: Seconds of the period of a point.
            unit: Only values of this unit; None for every unit.

        Yields:
            Start of the period, its values, and their unit.
        """
        merged: dict[tuple[int, str], Point] = {}
        for one, series in self._series.get((namespace, name, dimensions), {}).items():
            for index, point in series.items():
                at = round(index * self.resolution, 6)
                if unit in (None, one) and start - self.resolution < at < end:
                    merged.setdefault((_period_of(at, period), one), Point()).merge(point)
        for (index, one), point in sorted(merged.items(), key=lambda item: item[0]):
            yield round(index * period, 6), point, one

    def list_metrics(self) -> list[tuple[str, str, Dimensions]]:
        """Return namespace, name and dimensions of every metric."""
        return sorted(self._series)

    def measure(self, name: str, endpoint: str, variant: str | None, value: float, *, at: float) -> None:
        """Add a value of a variant or endpoint, with the namespace and unit that AWS uses for the metric.

        Args:
            name: MetricName, such as `ModelLatency`.
            endpoint: EndpointName.
            variant: VariantName; None for a metric of the endpoint.
            value: Value in the unit of AWS.
            at: Seconds since the epoch.
        """
        namespace, unit = _namespace_and_unit(name)
        dimensions: Dimensions = (("EndpointName", endpoint),)
        if variant is not None:
            dimensions += (("VariantName", variant),)
        self._point(namespace, name, dimensions, at, unit).add(value)


def _period_of(at: float, length: float) -> int:
    """Return the number of the period that a time is in. Rounding first avoids 599 instead of 600 for 60 s / 0.1 s."""
    return math.floor(round(at / length, 6))


@cache
def _namespace_and_unit(name: str) -> tuple[str, str]:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
    if name.endswith("Utilization"):
        return "/aws/sagemaker/Endpoints", "Percent"
    if name == "LoadedModelCount":
        return "/aws/sagemaker/Endpoints", "None"
    if name in _ASYNC_UNITS:
        return "AWS/SageMaker", _ASYNC_UNITS[name]
    return "AWS/SageMaker", "Microseconds" if name.endswith(_MICROSECONDS) else "None"


def dimensions_of(given: Iterable[Mapping[str, str]]) -> Dimensions:
    """Return the sorted dimensions of an API request."""
    return tuple(sorted((one["Name"], one["Value"]) for one in given))


def is_percentile(name: str) -> bool:
    """Return whether a statistic is a percentile from `p0` to `p100`."""
    return _PERCENTILE.fullmatch(name) is not None
