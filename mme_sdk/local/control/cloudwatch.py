"""CloudWatch: metrics. The alarms are in `alarms.py`, the dashboards in `dashboards.py`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.dashboards import Dashboards
from mme_sdk.local.control.metric_math.queries import QueryValues
from mme_sdk.local.control.metric_rules import check_data, check_queries, check_statistics
from mme_sdk.local.control.metrics import Metrics, Point, dimensions_of
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.wire.errors import ApiError

__all__ = ["CloudWatch"]

_MAX_DATA_POINTS = 100_800


class CloudWatch:
    """The `cloudwatch` service.

    Args:
        metrics: The metrics.
        alarms: The alarms.
        dashboards: The dashboards.
        now: Function that returns the current time.
    """

    service = "cloudwatch"

    def __init__(self, metrics: Metrics, alarms: Alarms, dashboards: Dashboards, now: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._now = now
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]] = {
            **alarms.operations,
            **dashboards.operations,
            "GetMetricData": self._get_metric_data,
            "GetMetricStatistics": self._get_metric_statistics,
            "ListMetrics": self._list_metrics,
            "PutMetricData": self._put_metric_data,
        }

    async def _put_metric_data(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["Namespace"].startswith("AWS/"):
            raise ApiError("InvalidParameterValue", "The value AWS/ for parameter Namespace is reserved.")
        if "MetricData" not in params:
            raise ApiError("MissingParameter", "The parameter MetricData is required.")
        now, points = self._now(), []
        for number, datum in enumerate(params["MetricData"], 1):  # up to 150,000 values; let other requests run
            check_data(datum, f"MetricData.member.{number}", now)
            points.append((datum, _point_of(datum)))
            await asyncio.sleep(0)
        for datum, point in points:
            at = datum.get("Timestamp", now).timestamp()
            name, dimensions = datum["MetricName"], dimensions_of(datum.get("Dimensions", []))
            self._metrics.put(params["Namespace"], name, dimensions, at, point, datum.get("Unit", "None"))
            await asyncio.sleep(0)
        return {}

    def _list_metrics(self, params: dict[str, Any]) -> dict[str, Any]:
        wanted = {(one["Name"], one.get("Value")) for one in params.get("Dimensions", [])}
        found = [
            {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions],
            }
            for namespace, name, dimensions in self._metrics.list_metrics()
            if params.get("Namespace") in (None, namespace)
            and params.get("MetricName") in (None, name)
            and all((key, value) in dimensions or (value is None and key in dict(dimensions)) for key, value in wanted)
        ]
        return paginate(found, params, "Metrics", default=500, code="InvalidParameterValue")

    def _get_metric_statistics(self, params: dict[str, Any]) -> dict[str, Any]:
        check_statistics(params)
        metric = (params["Namespace"], params["MetricName"], dimensions_of(params.get("Dimensions", [])))
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        points = []
        for at, point, unit in self._metrics.query(*metric, start, end, params["Period"], params.get("Unit")):
            shown: dict[str, Any] = {"Timestamp": datetime.fromtimestamp(at, UTC), "Unit": unit}
            shown |= {name: point.statistic(name) for name in params.get("Statistics", [])}
            if extended := params.get("ExtendedStatistics"):
                shown["ExtendedStatistics"] = {name: point.statistic(name) for name in extended}
            points.append(shown)
        return {"Label": params["MetricName"], "Datapoints": points}

    def _get_metric_data(self, params: dict[str, Any]) -> dict[str, Any]:
        check_queries(params)
        results: list[dict[str, Any]] = []
        rows: list[tuple[dict[str, Any], datetime, float]] = []
        descending = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        for query_id, label, points in QueryValues(self._metrics, params).returned():
            result: dict[str, Any] = {"Id": query_id, "Label": label, "Timestamps": [], "Values": []}
            result["StatusCode"] = "Complete"
            results.append(result)
            if descending:
                points.reverse()
            rows += [(result, datetime.fromtimestamp(at, UTC), value) for at, value in points]
        first = _offset(params.get("NextToken"))
        last = first + params.get("MaxDatapoints", _MAX_DATA_POINTS)
        for result, at, value in rows[first:last]:
            result["Timestamps"].append(at)
            result["Values"].append(value)
        answer: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
        if last < len(rows):
            answer["NextToken"] = base64.urlsafe_b64encode(str(last).encode()).decode()
            for result, _, _ in rows[last:]:
                result["StatusCode"] = "PartialData"
        return answer


def _point_of(datum: Mapping[str, Any]) -> Point:
    point = Point()
    if given := datum.get("StatisticValues"):
        point.add_statistics(given["SampleCount"], given["Sum"], given["Minimum"], given["Maximum"])
        return point
    values = datum.get("Values") or [datum["Value"]]
    for value, count in zip(values, datum.get("Counts") or [1.0] * len(values), strict=True):
        point.add(value, count)
    return point


def _offset(token: str | None) -> int:
    try:
        start = 0 if token is None else int(base64.urlsafe_b64decode(token))
    except ValueError:
        start = -1
    if start < 0:
        raise ApiError("InvalidNextToken", "The token is invalid.")
    return start
