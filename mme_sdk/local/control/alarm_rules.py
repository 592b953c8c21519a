"""Rules of PutMetricAlarm that the service model does not express.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from mme_sdk.local.control.metrics import is_percentile
from mme_sdk.local.wire.errors import ApiError

__all__ = ["check_alarm"]

_OPERATORS = (
    "GreaterThanThreshold",
    "GreaterThanOrEqualToThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
)
_MISSING_DATA = ("breaching", "notBreaching", "ignore", "missing")
_SHORT_PERIODS = (10, 20, 30)
_DAY = 86_400
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def check_alarm(params: Mapping[str, Any]) -> None:
    """Raise ApiError if a PutMetricAlarm request violates a rule.

    Args:
        params: The request.

    Raises:
        ApiError: ValidationError.
    """
    if _CONTROL.search(params["AlarmName"]):
        _refuse("AlarmName must not contain control characters.")
    if not {"MetricName", "Namespace", "Period"} <= params.keys():
        _refuse("Only alarms on one metric are supported by the embedded SageMaker.")
    if "Statistic" not in params and "ExtendedStatistic" not in params:
        _refuse("An alarm needs a Statistic or an ExtendedStatistic.")
    if "Statistic" in params and "ExtendedStatistic" in params:
        _refuse("Statistic and ExtendedStatistic are mutually exclusive, and both are specified.")
    if "ExtendedStatistic" in params and not is_percentile(params["ExtendedStatistic"]):
        _refuse(f"ExtendedStatistic {params['ExtendedStatistic']!r} is not a percentile such as p99.9.")
    for name in ("ComparisonOperator", "EvaluationPeriods"):  # the service model does not require them
        if name not in params:
            _refuse(f"An alarm on one metric needs {name}.")
    if params["ComparisonOperator"] not in _OPERATORS or "Threshold" not in params:
        _refuse("Anomaly detection is not supported by the embedded SageMaker.")
    if params.get("TreatMissingData", "missing") not in _MISSING_DATA:
        _refuse(f"TreatMissingData must be one of {', '.join(_MISSING_DATA)}, not {params['TreatMissingData']!r}.")
    _check_periods(params["Period"], params["EvaluationPeriods"], params.get("DatapointsToAlarm", 1))
    for member in ("OKActions", "AlarmActions", "InsufficientDataActions"):
        for action in params.get(member, []):
            if not action.startswith("arn:"):
                _refuse(f"Invalid ARN in {member}: {action!r}.")


def _check_periods(period: int, periods: int, needed: int) -> None:
    if period not in _SHORT_PERIODS and period % 60:
        _refuse(f"Period must be 10, 20, 30 or a multiple of 60, not {period}.")
    days = 7 if period >= 3600 else 1
    if period * periods > days * _DAY:
        _refuse(f"EvaluationPeriods times Period must be at most {days * _DAY} seconds for a period of {period} s.")
    if needed > periods:
        _refuse(f"DatapointsToAlarm ({needed}) must be at most EvaluationPeriods ({periods}).")


def _refuse(message: str) -> NoReturn:
    raise ApiError("ValidationError", message)
