"""The values of the queries of a GetMetricData request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mme_sdk.local.control.metric_math.expressions import ExpressionError, Series, Value, evaluate, names_in
from mme_sdk.local.control.metrics import Metrics, dimensions_of
from mme_sdk.local.wire.errors import ApiError

__all__ = ["QueryValues"]

_MAX_POINTS = 100_800


class QueryValues:
    """Computes the queries of a request. A query is computed once, however many expressions name it.

    Args:
        metrics: The metrics.
        params: A request that `check_queries` accepted.
    """

    def __init__(self, metrics: Metrics, params: Mapping[str, Any]) -> None:
        self._metrics = metrics
        self._queries: dict[str, Mapping[str, Any]] = {one["Id"]: one for one in params["MetricDataQueries"]}
        self._start, self._end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        self._values: dict[str, Value] = {}
        self._in_progress: set[str] = set()

    def returned(self) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
        """Yield id, label and points of each query with ReturnData, in order. An expression can have several series.

        Raises:
            ApiError: An expression is not valid, or has no time series.
        """
        for query_id, query in self._queries.items():
            if not query.get("ReturnData", True):
                continue
            if "MetricStat" in query:
                yield query_id, self._label(query), self._points(query)
                continue
            value, label = self._value(query_id), str(query.get("Label", query_id))
            if isinstance(value, int | float):
                raise _error(query_id, "has a number as result; it must be a time series")
            if isinstance(value, list):
                yield from ((query_id, f"{label} {one.label}".rstrip(), list(one.points.items())) for one in value)
            else:
                yield query_id, label, list(value.points.items())

    def _value(self, query_id: str) -> Value:
        if query_id in self._values:
            return self._values[query_id]
        if query_id in self._in_progress:
            raise _error(query_id, "names itself, directly or through another expression")
        query = self._queries[query_id]
        if "Expression" not in query:
            found: Value = self._measured(query)
        else:
            self._in_progress.add(query_id)
            try:
                names = [one for one in names_in(query["Expression"]) if one in self._queries]
                values = {one: self._value(one) for one in names}
                measured = [self._measured(one) for one in self._queries.values() if "MetricStat" in one]
                found = evaluate(query["Expression"], values, measured, self._slots)
            except ExpressionError as error:
                raise _error(query_id, str(error)) from error
            self._in_progress.remove(query_id)
        self._values[query_id] = found
        return found

    def _measured(self, query: Mapping[str, Any]) -> Series:
        return Series(dict(self._points(query)), query["MetricStat"]["Period"], self._label(query))

    def _points(self, query: Mapping[str, Any]) -> list[tuple[float, float]]:
        """Return the points of a metric. Values of different units are points of their own."""
        stat = query["MetricStat"]
        metric = stat["Metric"]
        key = (metric["Namespace"], metric["MetricName"], dimensions_of(metric.get("Dimensions", [])))
        found = self._metrics.query(*key, self._start, self._end, stat["Period"], stat.get("Unit"))
        values = ((at, point.statistic(stat["Stat"])) for at, point, _ in found)
        return [(at, value) for at, value in values if value is not None]

    def _label(self, query: Mapping[str, Any]) -> str:
        """Return the label: the metric, and the statistic and the period if they differ between the queries."""
        if given := query.get("Label"):
            return str(given)
        others = [one["MetricStat"] for one in self._queries.values() if "MetricStat" in one]
        stat = query["MetricStat"]
        differing = [str(stat[part]) for part in ("Stat", "Period") if len({one[part] for one in others}) > 1]
        return " ".join([stat["Metric"]["MetricName"], *differing])

    def _slots(self, period: int) -> Sequence[float]:
        """Return the starts of all periods of the request.

        Raises:
            ExpressionError: There are too many.
        """
        first, last = math.floor(self._start / period), math.ceil(self._end / period)
        if last - first > _MAX_POINTS:
            raise ExpressionError(f"fills more than {_MAX_POINTS:,} data points")
        return [float(number * period) for number in range(first, last)]


def _error(query_id: str, reason: str) -> ApiError:
    return ApiError("ValidationError", f"Error in expression '{query_id}': it {reason}.")
