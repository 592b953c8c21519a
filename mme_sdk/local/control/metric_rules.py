"""Rules of CloudWatch's metric operations that the service model does not express.

Sources: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html,
API_GetMetricStatistics.html and API_GetMetricData.html beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from mme_sdk.local.control.metrics import STATISTICS, is_percentile
from mme_sdk.local.wire.errors import ApiError

__all__ = ["check_data", "check_queries", "check_statistics"]

_LIMIT = 2.0**360
_MAX_VALUES = 150
_MAX_POINTS = 1440
_MAX_QUERIES = 500
_MAX_DATA_POINTS = 100_800
_SHORT_PERIODS = (1, 5, 10, 20, 30)
_QUERY_ID = re.compile("[a-z][A-Za-z0-9_]*")


def check_data(datum: Mapping[str, Any], path: str, now: datetime) -> None:
    """Raise ApiError if a datum of PutMetricData violates a rule.

    Args:
        datum: The datum.
        path: Its path in the request, for the message.
        now: The current time.

    Raises:
        ApiError: InvalidParameterCombination, InvalidParameterValue or MissingParameter.
    """
    given = [name for name in ("Value", "Values", "StatisticValues") if name in datum and datum[name] != []]
    if not given:
        raise ApiError("MissingParameter", f"At least one of the parameters {path}.Value, Values and StatisticValues "
                       "must be specified.")  # fmt: skip
    if len(given) > 1:
        raise ApiError(
            "InvalidParameterCombination",
            f"The parameters {path}.{given[0]} and {path}.{given[1]} are mutually exclusive and you have specified "
            "both.",
        )
    values, counts = datum.get("Values", []), datum.get("Counts", [])
    for name, items in (("Values", values), ("Counts", counts)):
        if len(items) > _MAX_VALUES:
            _refuse(f"The collection {path}.{name} must not have a size greater than {_MAX_VALUES}.")
    if counts and len(counts) != len(values):
        _refuse(f"The parameters {path}.Values and {path}.Counts must be of the same size.")
    statistics = datum.get("StatisticValues", {})
    numbers = [("Value", datum["Value"])] if "Value" in datum else []
    numbers += [(f"Values.member.{number}", value) for number, value in enumerate(values, 1)]
    numbers += [(f"StatisticValues.{name}", value) for name, value in statistics.items()]
    numbers += [(f"Counts.member.{number}", value) for number, value in enumerate(counts, 1)]
    for name, value in numbers:
        if not math.isfinite(value) or abs(value) > _LIMIT:
            _refuse(f"The value {value:g} for parameter {path}.{name} is invalid.")
    for name, value in numbers:
        if (name.startswith("Counts") or name.endswith("SampleCount")) and value <= 0:
            _refuse(f"The value {value:g} for parameter {path}.{name} must be greater than 0.")
    if statistics and statistics["Minimum"] > statistics["Maximum"]:
        _refuse(f"The parameter {path}.StatisticValues.Minimum must not be greater than Maximum.")
    at = datum.get("Timestamp", now)
    if at > now + timedelta(hours=2):
        _refuse(f"The parameter {path}.Timestamp must specify a time no more than two hours in the future.")
    if at < now - timedelta(weeks=2):
        _refuse(f"The parameter {path}.Timestamp must specify a time no more than two weeks in the past.")


def check_statistics(params: Mapping[str, Any]) -> None:
    """Raise ApiError if a GetMetricStatistics request violates a rule.

    Args:
        params: The request.

    Raises:
        ApiError: InvalidParameterCombination or InvalidParameterValue.
    """
    if "Statistics" not in params and "ExtendedStatistics" not in params:
        raise ApiError(
            "InvalidParameterCombination", "At least one of Statistics and ExtendedStatistics must be specified."
        )
    if params["StartTime"] >= params["EndTime"]:
        raise ApiError(
            "InvalidParameterCombination", "The parameter StartTime must be less than the parameter EndTime."
        )
    period = params["Period"]
    if not _is_period(period):
        _refuse(f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}.")
    for name in params.get("ExtendedStatistics", []):
        if not is_percentile(name):
            _refuse(_unsupported(name))
    points = math.ceil((params["EndTime"] - params["StartTime"]).total_seconds() / period)
    if points > _MAX_POINTS:
        raise ApiError(
            "InvalidParameterCombination",
            f"You have requested up to {points:,} datapoints, which exceeds the limit of {_MAX_POINTS:,}. You may "
            "reduce the datapoints requested by increasing Period, or decreasing the time range.",
        )


def check_queries(params: Mapping[str, Any]) -> None:
    """Raise ApiError if a GetMetricData request violates a rule.

    Args:
        params: The request.

    Raises:
        ApiError: ValidationError.
    """
    queries: Sequence[Mapping[str, Any]] = params["MetricDataQueries"]
    if not 1 <= len(queries) <= _MAX_QUERIES:
        _refuse_query(f"The collection MetricDataQueries must have 1 to {_MAX_QUERIES} members.")
    if params["StartTime"] >= params["EndTime"]:
        _refuse_query("The parameter EndTime must be greater than StartTime.")
    if not 1 <= params.get("MaxDatapoints", 1) <= _MAX_DATA_POINTS:
        _refuse_query(f"The parameter MaxDatapoints must be from 1 to {_MAX_DATA_POINTS:,}.")
    ids = [query["Id"] for query in queries]
    if len(set(ids)) < len(ids):
        _refuse_query("The values for parameter id in MetricDataQueries are not unique.")
    if not any(query.get("ReturnData", True) for query in queries):
        _refuse_query("At least one metric data query must have ReturnData true.")
    for query in queries:
        if not _QUERY_ID.fullmatch(query["Id"]):
            text = "must start with a lower-case letter and contain only letters, digits and underscores"
            _refuse_query(f"The id {query['Id']!r} {text}.")
        if ("MetricStat" in query) == ("Expression" in query):
            _refuse_query("Within one MetricDataQuery, you must specify either Expression or MetricStat, but not both.")
        if "Expression" in query:
            continue
        stat = query["MetricStat"]
        for name in ("Namespace", "MetricName"):
            if name not in stat["Metric"]:
                _refuse_query(f"The parameter MetricStat.Metric.{name} is required.")
        if not _is_period(stat["Period"]):
            _refuse_query(f"The period {stat['Period']} must be 1, 5, 10, 20, 30 or a multiple of 60.")
        if stat["Stat"] not in STATISTICS and not is_percentile(stat["Stat"]):
            _refuse_query(_unsupported(stat["Stat"]))


def _is_period(seconds: int) -> bool:
    return seconds in _SHORT_PERIODS or seconds % 60 == 0


def _unsupported(statistic: str) -> str:
    return f"The statistic {statistic!r} is not supported by the embedded SageMaker."


def _refuse(message: str) -> NoReturn:
    raise ApiError("InvalidParameterValue", message)


def _refuse_query(message: str) -> NoReturn:
    raise ApiError("ValidationError", message)
