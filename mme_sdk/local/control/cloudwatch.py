"""CloudWatch: metrics and metric alarms."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.metrics import Metrics, Point, dimensions_of
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["CloudWatch"]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


class CloudWatch:
    """The `cloudwatch` service.

    Args:
        metrics: The metrics.
        store: Holds the alarms.
        account: The account of the alarms.
        now: Function that returns the current time.
        minute: Seconds that a minute of an alarm lasts.
    """

    service = "cloudwatch"

    def __init__(
        self, metrics: Metrics, store: Store, account: Account, now: Callable[[], datetime], minute: float = 60.0
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._account = account
        self._now = now
        self._minute = minute
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]] = {
            "DeleteAlarms": self._delete_alarms,
            "DescribeAlarms": self._describe_alarms,
            "GetMetricData": self._get_metric_data,
            "GetMetricStatistics": self._get_metric_statistics,
            "ListMetrics": self._list_metrics,
            "ListTagsForResource": self._list_tags,
            "PutMetricAlarm": self._put_metric_alarm,
            "PutMetricData": self._put_metric_data,
            "SetAlarmState": self._set_alarm_state,
            "TagResource": self._tag,
            "UntagResource": self._untag,
        }

    def alarms_in_alarm_state(self, names: Sequence[str]) -> list[str]:
        """Return the names of those alarms that are in the state ALARM."""
        return [name for name in names if (self._store.get("alarm", name) or {}).get("StateValue") == "ALARM"]

    def evaluate(self) -> None:
        """Evaluate every alarm and update its state."""
        for name, alarm in list(self._store.all("alarm")):
            state, value = self._state_of(alarm)
            if state != alarm["StateValue"]:
                reason = f"Threshold Crossed: the last value was {value}" if value is not None else "No data"
                self._change(name, alarm, state, reason)

    def latest_value(self, alarm: Mapping[str, Any]) -> float | None:
        """Return the newest value that an alarm evaluates, or None."""
        return self._state_of(alarm)[1]

    def put_alarm(self, **alarm: Any) -> str:
        """Create or replace an alarm. Return its ARN."""
        name, now = alarm["AlarmName"], self._now()
        arn = self._arn(name)
        kept = self._store.get("alarm", name) or {"StateValue": "INSUFFICIENT_DATA", "StateUpdatedTimestamp": now}
        state = {key: kept[key] for key in ("StateValue", "StateUpdatedTimestamp")}
        made = {"AlarmArn": arn, "AlarmConfigurationUpdatedTimestamp": now, "ActionsEnabled": True}
        self._store.put("alarm", name, made | alarm | state)
        return arn

    def delete_alarm(self, name: str) -> None:
        """Delete an alarm and its tags, if it exists."""
        self._store.delete("alarm", name)
        self._store.delete("tags", self._arn(name))

    def _state_of(self, alarm: Mapping[str, Any]) -> tuple[str, float | None]:
        scale = self._minute / 60
        period, count = alarm["Period"] * scale, alarm["EvaluationPeriods"]
        newest = math.floor(self._now().timestamp() / period) * period  # excludes the current period
        points: dict[float, Point] = {}
        for at, point, _ in self._metrics.query(
            alarm["Namespace"],
            alarm["MetricName"],
            dimensions_of(alarm.get("Dimensions", [])),
            newest - count * period,
            newest,
            period,
            alarm.get("Unit"),
        ):
            points.setdefault(at, Point()).merge(point)
        found = list(points.values())[-count:]
        statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        values = [value for point in found if (value := point.statistic(statistic)) is not None]
        if statistic == "Sum":
            values = [value / scale for value in values]  # a shorter minute has a smaller sum
        breaches = sum(_COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"]) for value in values)
        missing = count - len(values)
        match alarm.get("TreatMissingData", "missing"):
            case "breaching":
                breaches += missing
            case "ignore" if not values:
                return alarm["StateValue"], None
            case "missing" if not values:
                return "INSUFFICIENT_DATA", None
        needed = alarm.get("DatapointsToAlarm", count)
        return ("ALARM" if breaches >= needed else "OK"), values[-1] if values else None

    def _change(self, name: str, alarm: dict[str, Any], state: str, reason: str, data: str | None = None) -> None:
        changes = {"StateValue": state, "StateReason": reason, "StateUpdatedTimestamp": self._now()}
        kept = {key: value for key, value in alarm.items() if key != "StateReasonData"}
        self._store.put("alarm", name, kept | changes | ({} if data is None else {"StateReasonData": data}))

    async def _put_metric_data(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["Namespace"].startswith("AWS/"):
            raise ApiError("InvalidParameterValue", "The value AWS/ for parameter Namespace is reserved.")
        points = []
        for datum in params.get("MetricData", []):  # up to 150,000 values; let other requests run
            points.append((datum, _point_of(datum)))
            await asyncio.sleep(0)
        for datum, point in points:
            at = datum.get("Timestamp", self._now()).timestamp()
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
        return paginate(found, params, "Metrics", default=500)

    def _get_metric_statistics(self, params: dict[str, Any]) -> dict[str, Any]:
        names = [*params.get("Statistics", []), *params.get("ExtendedStatistics", [])]
        if not names:
            raise ApiError(
                "InvalidParameterCombination", "At least one of Statistics and ExtendedStatistics is required."
            )
        metric = (params["Namespace"], params["MetricName"], dimensions_of(params.get("Dimensions", [])))
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        points = []
        for at, point, unit in self._metrics.query(*metric, start, end, params["Period"], params.get("Unit")):
            shown: dict[str, Any] = {"Timestamp": datetime.fromtimestamp(at, UTC), "Unit": unit}
            shown |= {name: _statistic(point, name) for name in params.get("Statistics", [])}
            if extended := params.get("ExtendedStatistics"):
                shown["ExtendedStatistics"] = {name: _statistic(point, name) for name in extended}
            points.append(shown)
        return {"Label": params["MetricName"], "Datapoints": points}

    def _get_metric_data(self, params: dict[str, Any]) -> dict[str, Any]:
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        results: list[dict[str, Any]] = []
        rows: list[tuple[dict[str, Any], datetime, float]] = []
        for query in params["MetricDataQueries"]:
            if "MetricStat" not in query:
                raise ApiError("ValidationError", "A metric data query needs a MetricStat.")
            stat = query["MetricStat"]
            metric = stat["Metric"]
            for name in ("Namespace", "MetricName"):
                if name not in metric:
                    raise ApiError("ValidationError", f"The parameter MetricStat.Metric.{name} is required.")
            key = (metric["Namespace"], metric["MetricName"], dimensions_of(metric.get("Dimensions", [])))
            points = list(self._metrics.query(*key, start, end, stat["Period"], stat.get("Unit")))
            if params.get("ScanBy", "TimestampDescending") == "TimestampDescending":
                points.reverse()
            if not query.get("ReturnData", True):
                continue
            label = query.get("Label", metric["MetricName"])
            result = {"Id": query["Id"], "Label": label, "Timestamps": [], "Values": [], "StatusCode": "Complete"}
            results.append(result)
            rows += [(result, datetime.fromtimestamp(at, UTC), _statistic(p, stat["Stat"])) for at, p, _ in points]
        first = _offset(params.get("NextToken"))
        last = first + params.get("MaxDatapoints", 100_800)
        for result, at, value in rows[first:last]:
            result["Timestamps"].append(at)
            result["Values"].append(value)
        answer: dict[str, Any] = {"MetricDataResults": results}
        if last < len(rows):
            answer["NextToken"] = base64.urlsafe_b64encode(str(last).encode()).decode()
            for result, _, _ in rows[last:]:
                result["StatusCode"] = "PartialData"
        return answer

    def _put_metric_alarm(self, params: dict[str, Any]) -> dict[str, Any]:
        tags = {tag["Key"]: tag["Value"] for tag in params.pop("Tags", [])}
        if "MetricName" not in params or "Namespace" not in params or "Period" not in params:
            text = "Only alarms on one metric are supported by the embedded SageMaker."
            raise ApiError("ValidationError", text)
        if "Statistic" not in params and "ExtendedStatistic" not in params:
            raise ApiError("ValidationError", "An alarm needs a Statistic or an ExtendedStatistic.")
        for name in ("ComparisonOperator", "EvaluationPeriods"):  # the service model does not require them
            if name not in params:
                raise ApiError("ValidationError", f"An alarm on one metric needs {name}.")
        if params["ComparisonOperator"] not in _COMPARISONS or "Threshold" not in params:
            raise ApiError("ValidationError", "Anomaly detection is not supported by the embedded SageMaker.")
        known = self._store.get("alarm", params["AlarmName"]) is not None
        arn = self.put_alarm(**params)
        if tags and not known:  # PutMetricAlarm does not change the tags of an alarm that exists
            self._store.put("tags", arn, tags)
        return {}

    def _arn(self, name: str) -> str:
        return f"arn:aws:cloudwatch:{self._account.region}:{self._account.account_id}:alarm:{name}"

    def _tags_of(self, arn: str) -> dict[str, Any]:
        if all(arn != self._arn(name) for name, _ in self._store.all("alarm")):
            raise ApiError("ResourceNotFoundException", f"The alarm {arn!r} does not exist.", status=404)
        return self._store.get("tags", arn) or {}

    def _list_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tags_of(params["ResourceARN"]).items()]}

    def _tag(self, params: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags_of(params["ResourceARN"]) | {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        self._store.put("tags", params["ResourceARN"], tags)
        return {}

    def _untag(self, params: dict[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in self._tags_of(params["ResourceARN"]).items() if k not in params["TagKeys"]}
        self._store.put("tags", params["ResourceARN"], kept)
        return {}

    def _describe_alarms(self, params: dict[str, Any]) -> dict[str, Any]:
        names, prefix = params.get("AlarmNames"), params.get("AlarmNamePrefix", "")
        action = params.get("ActionPrefix", "")
        found = [
            alarm
            for name, alarm in self._store.all("alarm")
            if "MetricAlarm" in params.get("AlarmTypes", ["MetricAlarm"])
            and (not action or any(one.startswith(action) for one in _actions(alarm)))
            and (names is None or name in names)
            and name.startswith(prefix)
            and params.get("StateValue") in (None, alarm["StateValue"])
        ]
        return paginate(found, {"MaxResults": params.get("MaxRecords", 50)} | params, "MetricAlarms")

    def _delete_alarms(self, params: dict[str, Any]) -> dict[str, Any]:
        for name in params["AlarmNames"]:
            if self._store.get("alarm", name) is None:
                raise ApiError("ResourceNotFound", f"The alarm {name!r} does not exist.", status=404)
        for name in params["AlarmNames"]:
            self.delete_alarm(name)
        return {}

    def _set_alarm_state(self, params: dict[str, Any]) -> dict[str, Any]:
        alarm = self._store.get("alarm", params["AlarmName"])
        if alarm is None:
            raise ApiError("ResourceNotFound", f"The alarm {params['AlarmName']!r} does not exist.", status=404)
        reason, data = params["StateReason"], params.get("StateReasonData")
        self._change(params["AlarmName"], alarm, params["StateValue"], reason, data)
        return {}


def _actions(alarm: Mapping[str, Any]) -> list[str]:
    return [one for kind in ("OKActions", "AlarmActions", "InsufficientDataActions") for one in alarm.get(kind, [])]


def _point_of(datum: Mapping[str, Any]) -> Point:
    point = Point()
    if given := datum.get("StatisticValues"):
        _check_count("StatisticValues.SampleCount", given["SampleCount"])
        point.add(given["Sum"] / given["SampleCount"], given["SampleCount"])
        point.low, point.high = given["Minimum"], given["Maximum"]
        return point
    values = datum.get("Values", [datum["Value"]] if "Value" in datum else [])
    counts = datum.get("Counts", [1.0] * len(values))
    if not values:
        raise ApiError("MissingRequiredParameter", "MetricData needs Value, Values or StatisticValues.")
    if len(counts) != len(values):
        raise ApiError("InvalidParameterCombination", "Values and Counts must be of the same length.")
    for value, count in zip(values, counts, strict=True):
        _check_count("Counts", count)
        point.add(value, count)
    return point


def _check_count(member: str, count: float) -> None:
    if count <= 0:
        raise ApiError("InvalidParameterValue", f"The value {count:g} for {member} must be greater than 0.")


def _statistic(point: Point, name: str) -> float:
    value = point.statistic(name)
    if value is None:
        raise ApiError("InvalidParameterValue", f"The statistic {name!r} is not supported by the embedded SageMaker.")
    return value


def _offset(token: str | None) -> int:
    try:
        return 0 if token is None else int(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise ApiError("InvalidNextToken", "The token is invalid.") from error
