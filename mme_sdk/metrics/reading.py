"""Read metrics of an endpoint from CloudWatch (GetMetricData)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from pydantic import BaseModel, ValidationError

from mme_sdk._validation import as_float, as_int, check_number
from mme_sdk.aws import Call, Flow
from mme_sdk.errors import InvalidInputError, ServiceError
from mme_sdk.metrics.series import EndpointMetrics, Series

__all__ = ["read_metrics", "read_series"]

_MAX_POINTS = 100_800  # data points of one GetMetricData request, over all its queries


@attrs.frozen
class _Metric:
    metric: str
    statistic: str
    unit: str = "count"
    scale: float = 1.0
    namespace: str = "AWS/SageMaker"


_MICRO = 1e-6
_ENDPOINTS = "/aws/sagemaker/Endpoints"
_METRICS: Mapping[str, _Metric] = {
    "invocations": _Metric("Invocations", "Sum"),
    "cache_hit": _Metric("ModelCacheHit", "Average", "share"),
    "model_latency": _Metric("ModelLatency", "Average", "s", _MICRO),
    "model_latency_p95": _Metric("ModelLatency", "p95", "s", _MICRO),
    "overhead": _Metric("OverheadLatency", "Average", "s", _MICRO),
    "loading_wait": _Metric("ModelLoadingWaitTime", "Average", "s", _MICRO),
    "downloading": _Metric("ModelDownloadingTime", "Average", "s", _MICRO),
    "loading": _Metric("ModelLoadingTime", "Average", "s", _MICRO),
    "loads": _Metric("ModelLoadingTime", "SampleCount"),
    "unloads": _Metric("ModelUnloadingTime", "SampleCount"),
    "loaded_models": _Metric("LoadedModelCount", "Average", namespace=_ENDPOINTS),
    "cpu": _Metric("CPUUtilization", "Average", "percent", namespace=_ENDPOINTS),
    "memory": _Metric("MemoryUtilization", "Average", "percent", namespace=_ENDPOINTS),
    "disk": _Metric("DiskUtilization", "Average", "percent", namespace=_ENDPOINTS),
    "errors_4xx": _Metric("Invocation4XXErrors", "Sum"),
    "errors_5xx": _Metric("Invocation5XXErrors", "Sum"),
    "model_errors": _Metric("InvocationModelErrors", "Sum"),
}


class _Result(BaseModel):
    Id: str
    Timestamps: list[datetime] = []
    Values: list[float] = []


class _Response(BaseModel):
    MetricDataResults: list[_Result] = []
    NextToken: str | None = None


def read_metrics(
    endpoint: str, *, variant: str = "AllTraffic", hours: float = 24.0, period: int = 60, now: datetime
) -> Flow[EndpointMetrics]:
    """Read the metrics of a variant of an endpoint from CloudWatch.

    Args:
        endpoint: Name of the endpoint.
        variant: Name of the production variant. Default: `AllTraffic`.
        hours: Length of the time range in hours, up to 10920 (15 months). Default: 24.
        period: Length of the period of a data point in seconds, a multiple of 60. Default: 60.
        now: End of the time range, with a time zone.

    Returns:
        The metrics. A series is empty if CloudWatch has no data points.

    Raises:
        InvalidInputError: `hours`, `period` or `now` is not valid, or the range has more data points than one request
            returns.
        ServiceError: The response of CloudWatch is not valid.

    Example:
        ```python
        metrics = aws.run(read_metrics("scoring", hours=6, now=datetime.now(UTC)))
        ```
    """
    check_number("period", period, at_least=60, integer=True)
    if period % 60:
        raise InvalidInputError(f"period must be a multiple of 60 seconds, not {period!r}", endpoint=endpoint)
    check_number("hours", hours, over=0, at_most=24 * 455)
    hours, period = as_float(hours), as_int(period)
    if now.tzinfo is None:
        raise InvalidInputError("now must have a time zone", hint="use datetime.now(UTC)", endpoint=endpoint)
    if hours * 3600 / period * len(_METRICS) > _MAX_POINTS:
        raise InvalidInputError(
            f"{hours:g} hours in periods of {period} s are more data points than one request to CloudWatch returns",
            hint=f"use period={60 * -(-int(hours * 3600 * len(_METRICS)) // (_MAX_POINTS * 60))} or more",
            endpoint=endpoint,
        )
    start = now - timedelta(hours=hours)
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": metric.namespace, "MetricName": metric.metric, "Dimensions": dimensions},
                "Period": period,
                "Stat": metric.statistic,
            },
        }
        for name, metric in _METRICS.items()
    ]
    params = _params(queries, start, now)
    points = yield from _points(params, _METRICS, endpoint)
    return EndpointMetrics(
        endpoint=endpoint,
        variant=variant,
        start=start.astimezone(UTC),
        end=now.astimezone(UTC),
        period=period,
        **{name: _series(_METRICS[name], found) for name, found in points.items()},
    )


def read_series(
    endpoint: str, statistics: Mapping[str, Mapping[str, Any]], *, start: datetime, end: datetime
) -> Flow[dict[str, Series]]:
    """Read any metrics, such as those that scaling policies track, in CloudWatch's own units.

    Args:
        endpoint: Name of the endpoint, for error messages.
        statistics: `MetricStat` of GetMetricData by an id of letters, digits and underscores.
        start: Start of the time range, with a time zone.
        end: End of the time range, with a time zone.

    Returns:
        A series for each id; empty if CloudWatch has no data points.

    Raises:
        ServiceError: The response of CloudWatch is not valid.
    """
    if not statistics:
        return {}
    queries = [{"Id": name, "MetricStat": dict(one)} for name, one in statistics.items()]
    points = yield from _points(_params(queries, start, end), statistics, endpoint)
    return {name: _series(_Metric("", "", "as published"), found) for name, found in points.items()}


def _params(queries: list[dict[str, Any]], start: datetime, end: datetime) -> dict[str, Any]:
    return {"MetricDataQueries": queries, "StartTime": start, "EndTime": end, "ScanBy": "TimestampAscending"}


def _points(params: dict[str, Any], ids: Iterable[str], endpoint: str) -> Flow[dict[str, dict[datetime, float]]]:
    """Read all pages of an answer; return the data points by id and time."""
    points: dict[str, dict[datetime, float]] = {name: {} for name in ids}
    while True:
        raw = yield Call(service="cloudwatch", operation="get_metric_data", params=params, endpoint=endpoint)
        try:
            response = _Response.model_validate(raw)
        except ValidationError as error:
            raise ServiceError(f"the response of CloudWatch is not valid: {error}", endpoint=endpoint) from error
        for result in response.MetricDataResults:
            if result.Id in points:
                points[result.Id] |= zip(result.Timestamps, result.Values, strict=False)
        if not response.NextToken:
            return points
        params = params | {"NextToken": response.NextToken}


def _series(metric: _Metric, points: Mapping[datetime, float]) -> Series:
    times = sorted(points)
    return Series(
        tuple(time.astimezone(UTC) for time in times), tuple(points[time] * metric.scale for time in times), metric.unit
    )
