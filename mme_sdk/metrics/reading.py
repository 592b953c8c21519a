"""CloudWatch's GetMetricData into typed series."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from pydantic import BaseModel, ValidationError

from mme_sdk.aws import Call, Flow
from mme_sdk.errors import InvalidInputError, ServiceError
from mme_sdk.metrics.series import EndpointMetrics, Series

__all__ = ["read_metrics"]

_MOST_POINTS = 100_800  # of one GetMetricData request, over all its queries


@attrs.frozen
class _Asked:
    metric: str
    statistic: str
    unit: str = "count"
    scale: float = 1.0
    namespace: str = "AWS/SageMaker"


_MICRO = 1e-6
_ENDPOINTS = "/aws/sagemaker/Endpoints"
_ASKED: Mapping[str, _Asked] = {
    "invocations": _Asked("Invocations", "Sum"),
    "cache_hit": _Asked("ModelCacheHit", "Average", "share"),
    "model_latency": _Asked("ModelLatency", "Average", "s", _MICRO),
    "model_latency_p95": _Asked("ModelLatency", "p95", "s", _MICRO),
    "overhead": _Asked("OverheadLatency", "Average", "s", _MICRO),
    "loading_wait": _Asked("ModelLoadingWaitTime", "Average", "s", _MICRO),
    "downloading": _Asked("ModelDownloadingTime", "Average", "s", _MICRO),
    "loading": _Asked("ModelLoadingTime", "Average", "s", _MICRO),
    "loads": _Asked("ModelLoadingTime", "SampleCount"),
    "unloads": _Asked("ModelUnloadingTime", "SampleCount"),
    "loaded_models": _Asked("LoadedModelCount", "Average", namespace=_ENDPOINTS),
    "cpu": _Asked("CPUUtilization", "Average", "percent", namespace=_ENDPOINTS),
    "memory": _Asked("MemoryUtilization", "Average", "percent", namespace=_ENDPOINTS),
    "disk": _Asked("DiskUtilization", "Average", "percent", namespace=_ENDPOINTS),
    "errors_4xx": _Asked("Invocation4XXErrors", "Sum"),
    "errors_5xx": _Asked("Invocation5XXErrors", "Sum"),
    "model_errors": _Asked("InvocationModelErrors", "Sum"),
}


class _Result(BaseModel):
    Id: str
    Timestamps: list[datetime] = []
    Values: list[float] = []


class _Answer(BaseModel):
    MetricDataResults: list[_Result] = []
    NextToken: str | None = None


def read_metrics(
    endpoint: str, *, variant: str = "AllTraffic", hours: float = 24.0, period: int = 60, now: datetime
) -> Flow[EndpointMetrics]:
    """What CloudWatch knows of an endpoint.

    Args:
        endpoint: EndpointName.
        variant: VariantName.
        hours: How far back.
        period: Seconds that a point stands for, a multiple of 60.
        now: Where to look back from; with a time zone.

    Returns:
        The series; empty where nothing was measured.

    Raises:
        InvalidInputError: The period or the hours make no sense, or would be more points than CloudWatch gives.
    """
    if isinstance(period, bool) or not isinstance(period, int) or period < 60 or period % 60:
        raise InvalidInputError(f"period is a multiple of 60 s, not {period!r}", endpoint=endpoint)
    if not 0 < hours <= 24 * 455:
        raise InvalidInputError(f"hours is over 0 and up to 10920 (15 months), not {hours!r}", endpoint=endpoint)
    if now.tzinfo is None:
        raise InvalidInputError("now must have a time zone", endpoint=endpoint)
    if hours * 3600 / period * len(_ASKED) > _MOST_POINTS:
        raise InvalidInputError(
            f"{hours:g} hours by {period} s are more points than CloudWatch gives at a time",
            hint=f"use period={60 * -(-int(hours * 3600 * len(_ASKED)) // (_MOST_POINTS * 60))} or more",
            endpoint=endpoint,
        )
    start = now - timedelta(hours=hours)
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": asked.namespace, "MetricName": asked.metric, "Dimensions": dimensions},
                "Period": period,
                "Stat": asked.statistic,
            },
        }
        for name, asked in _ASKED.items()
    ]
    params: dict[str, Any] = {
        "MetricDataQueries": queries,
        "StartTime": start,
        "EndTime": now,
        "ScanBy": "TimestampAscending",
    }
    points: dict[str, dict[datetime, float]] = {name: {} for name in _ASKED}
    while True:
        raw = yield Call(service="cloudwatch", operation="get_metric_data", params=params, endpoint=endpoint)
        try:
            answer = _Answer.model_validate(raw)
        except ValidationError as error:
            raise ServiceError(
                f"CloudWatch answered with something else than series: {error}", endpoint=endpoint
            ) from error
        for result in answer.MetricDataResults:
            if result.Id in points:
                points[result.Id] |= zip(result.Timestamps, result.Values, strict=False)
        if not answer.NextToken:
            break
        params = params | {"NextToken": answer.NextToken}
    return EndpointMetrics(
        endpoint=endpoint,
        variant=variant,
        start=start.astimezone(UTC),
        end=now.astimezone(UTC),
        period=period,
        **{name: _series(_ASKED[name], found) for name, found in points.items()},
    )


def _series(asked: _Asked, points: Mapping[datetime, float]) -> Series:
    times = sorted(points)
    return Series(
        tuple(time.astimezone(UTC) for time in times), tuple(points[time] * asked.scale for time in times), asked.unit
    )
