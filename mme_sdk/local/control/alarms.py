"""CloudWatch alarms on one metric: their operations and their evaluation."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarm_rules import check_alarm
from mme_sdk.local.control.metrics import Metrics, Point, dimensions_of
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Alarms"]

_COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (lambda value, threshold: value > threshold, "greater than"),
    "GreaterThanOrEqualToThreshold": (lambda value, threshold: value >= threshold, "greater than or equal to"),
    "LessThanThreshold": (lambda value, threshold: value < threshold, "less than"),
    "LessThanOrEqualToThreshold": (lambda value, threshold: value <= threshold, "less than or equal to"),
}
_ACTIONS = ("OKActions", "AlarmActions", "InsufficientDataActions")
_STATE_MEMBERS = ("StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp")
_MAX_HISTORY = 500
_MAX_TAGS = 50


@attrs.frozen
class _Evaluation:
    """The state that an alarm should have.

    Attributes:
        state: `OK`, `ALARM` or `INSUFFICIENT_DATA`.
        points: Time and value of the data points that were evaluated, oldest first.
        needed: Number of breaching data points for the state ALARM.
    """

    state: str
    points: Sequence[tuple[float, float]]
    needed: int


class Alarms:
    """The alarms of the `cloudwatch` service.

    Args:
        metrics: The metrics that the alarms watch.
        store: Holds the alarms.
        account: The account of the alarms.
        now: Function that returns the current time.
        minute: Seconds that a minute of an alarm lasts.
    """

    def __init__(
        self, metrics: Metrics, store: Store, account: Account, now: Callable[[], datetime], minute: float = 60.0
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._account = account
        self._now = now
        self._minute = minute
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "DeleteAlarms": self._delete_alarms,
            "DescribeAlarmHistory": self._describe_history,
            "DescribeAlarms": self._describe_alarms,
            "DescribeAlarmsForMetric": self._describe_alarms_for_metric,
            "DisableAlarmActions": lambda params: self._enable_actions(params, enabled=False),
            "EnableAlarmActions": lambda params: self._enable_actions(params, enabled=True),
            "ListTagsForResource": self._list_tags,
            "PutMetricAlarm": self._put_metric_alarm,
            "SetAlarmState": self._set_alarm_state,
            "TagResource": self._tag,
            "UntagResource": self._untag,
        }

    def in_alarm_state(self, names: Sequence[str]) -> list[str]:
        """Return the names of those alarms that are in the state ALARM."""
        return [name for name in names if (self._store.get("alarm", name) or {}).get("StateValue") == "ALARM"]

    def evaluate(self) -> None:
        """Evaluate every alarm and update its state."""
        for name, alarm in list(self._store.all("alarm")):
            found = self._evaluate(alarm)
            if found.state != alarm["StateValue"]:
                self._change(name, alarm, found.state, _reason(alarm, found), self._reason_data(alarm, found))

    def latest_value(self, alarm: Mapping[str, Any]) -> float | None:
        """Return the newest value that an alarm evaluates, or None."""
        points = self._evaluate(alarm).points
        return points[-1][1] if points else None

    def put_alarm(self, **alarm: Any) -> str:
        """Create or replace an alarm. Return its ARN."""
        name, now = alarm["AlarmName"], self._now()
        arn = self._arn(name)
        known = self._store.get("alarm", name)
        kept = known or {
            "StateValue": "INSUFFICIENT_DATA",
            "StateReason": "Unchecked: Initial alarm creation",
            "StateUpdatedTimestamp": now,
            "StateTransitionedTimestamp": now,
        }
        state = {key: kept[key] for key in _STATE_MEMBERS if key in kept}
        made: dict[str, Any] = {"AlarmArn": arn, "AlarmConfigurationUpdatedTimestamp": now, "ActionsEnabled": True}
        made |= {key: [] for key in (*_ACTIONS, "Dimensions")}
        self._store.put("alarm", name, made | alarm | state)
        change = "Update" if known else "Create"
        self._record(name, "ConfigurationUpdate", f'Alarm "{name}" {change.lower()}d', {"type": change})
        return arn

    def triggering(self, action: str) -> list[dict[str, str]]:
        """Return name and ARN of the alarms that have an action for the state ALARM."""
        return [
            {"AlarmName": name, "AlarmARN": alarm["AlarmArn"]}
            for name, alarm in self._store.all("alarm")
            if action in alarm.get("AlarmActions", [])
        ]

    def delete_alarm(self, name: str) -> None:
        """Delete an alarm and its tags, if it exists."""
        if self._store.get("alarm", name) is not None:
            self._record(name, "ConfigurationUpdate", f'Alarm "{name}" deleted', {"type": "Delete"})
        self._store.delete("alarm", name)
        self._store.delete("tags", self._arn(name))

    def _evaluate(self, alarm: Mapping[str, Any]) -> _Evaluation:
        scale = self._minute / 60
        period, count = alarm["Period"] * scale, alarm["EvaluationPeriods"]
        newest = math.floor(self._now().timestamp() / period) * period  # excludes the current period
        merged: dict[float, Point] = {}
        for at, point, _ in self._metrics.query(
            alarm["Namespace"],
            alarm["MetricName"],
            dimensions_of(alarm.get("Dimensions", [])),
            newest - count * period,
            newest,
            period,
            alarm.get("Unit"),
        ):
            merged.setdefault(at, Point()).merge(point)
        statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        points = [
            (at, value / scale if statistic == "Sum" else value)  # a shorter minute has a smaller sum
            for at, point in list(merged.items())[-count:]
            if (value := point.statistic(statistic)) is not None
        ]
        breaching, _ = _COMPARISONS[alarm["ComparisonOperator"]]
        breaches = sum(breaching(value, alarm["Threshold"]) for _, value in points)
        missing = count - len(points)
        needed = alarm.get("DatapointsToAlarm", count)
        match alarm.get("TreatMissingData", "missing"):
            case "breaching":
                breaches += missing
            case "ignore" if not points:
                return _Evaluation(alarm["StateValue"], (), needed)
            case "missing" if not points:
                return _Evaluation("INSUFFICIENT_DATA", (), needed)
        return _Evaluation("ALARM" if breaches >= needed else "OK", points, needed)

    def _reason_data(self, alarm: Mapping[str, Any], found: _Evaluation) -> str:
        data = {
            "version": "1.0",
            "queryDate": self._now().strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
            "statistic": alarm.get("ExtendedStatistic") or alarm["Statistic"],
            "period": alarm["Period"],
            "recentDatapoints": [value for _, value in found.points],
            "threshold": alarm["Threshold"],
        }
        return json.dumps(data)

    def _change(self, name: str, alarm: dict[str, Any], state: str, reason: str, data: str | None = None) -> None:
        now, before = self._now(), alarm["StateValue"]
        changes: dict[str, Any] = {"StateValue": state, "StateReason": reason, "StateUpdatedTimestamp": now}
        if state != before:
            changes["StateTransitionedTimestamp"] = now
        kept = {key: value for key, value in alarm.items() if key != "StateReasonData"}
        self._store.put("alarm", name, kept | changes | ({} if data is None else {"StateReasonData": data}))
        states = {"oldState": {"stateValue": before}, "newState": {"stateValue": state, "stateReason": reason}}
        self._record(name, "StateUpdate", f"Alarm updated from {before} to {state}", states)

    def _record(self, name: str, kind: str, summary: str, data: Mapping[str, Any]) -> None:
        now = self._now()
        item = {
            "AlarmName": name,
            "AlarmType": "MetricAlarm",
            "Timestamp": now,
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps({"version": "1.0", **data}),
        }
        self._store.put("alarm-history", f"{now.timestamp():020.6f}-{uuid.uuid4()}", item)
        for old, _ in list(self._store.all("alarm-history"))[:-_MAX_HISTORY]:
            self._store.delete("alarm-history", old)

    def _put_metric_alarm(self, params: dict[str, Any]) -> dict[str, Any]:
        tags = {tag["Key"]: tag["Value"] for tag in params.pop("Tags", [])}
        check_alarm(params)
        _check_tags(tags)
        known = self._store.get("alarm", params["AlarmName"]) is not None
        arn = self.put_alarm(**params)
        if tags and not known:  # PutMetricAlarm does not change the tags of an alarm that exists
            self._store.put("tags", arn, tags)
        return {}

    def _describe_alarms(self, params: dict[str, Any]) -> dict[str, Any]:
        names, prefix = params.get("AlarmNames"), params.get("AlarmNamePrefix", "")
        if names and prefix:
            raise ApiError("ValidationError", "AlarmNames and AlarmNamePrefix are mutually exclusive.")
        action = params.get("ActionPrefix", "")
        found = [
            alarm
            for name, alarm in self._store.all("alarm")
            if "MetricAlarm" in params.get("AlarmTypes", ["MetricAlarm"])
            and (not action or any(one.startswith(action) for one in _actions(alarm)))
            and (not names or name in names)
            and name.startswith(prefix)
            and params.get("StateValue") in (None, alarm["StateValue"])
        ]
        shown = {"MaxResults": params.get("MaxRecords", 50)} | params
        return {"CompositeAlarms": [], **paginate(found, shown, "MetricAlarms", code="InvalidNextToken")}

    def _describe_alarms_for_metric(self, params: dict[str, Any]) -> dict[str, Any]:
        wanted = dimensions_of(params.get("Dimensions", []))
        members = ("Namespace", "MetricName", "Statistic", "ExtendedStatistic", "Period", "Unit")
        found = [
            alarm
            for _, alarm in self._store.all("alarm")
            if dimensions_of(alarm.get("Dimensions", [])) == wanted
            and all(alarm.get(member) == params[member] for member in members if member in params)
        ]
        return {"MetricAlarms": found}

    def _describe_history(self, params: dict[str, Any]) -> dict[str, Any]:
        found = [
            item
            for _, item in self._store.all("alarm-history")
            if params.get("AlarmName") in (None, item["AlarmName"])
            and params.get("HistoryItemType") in (None, item["HistoryItemType"])
            and item["AlarmType"] in (params.get("AlarmTypes") or ["MetricAlarm"])
            and params.get("StartDate", item["Timestamp"]) <= item["Timestamp"]
            and item["Timestamp"] <= params.get("EndDate", item["Timestamp"])
        ]
        if params.get("ScanBy") != "TimestampAscending":
            found.reverse()
        shown = {"MaxResults": params.get("MaxRecords", 100)} | params
        return paginate(found, shown, "AlarmHistoryItems", code="InvalidNextToken")

    def _delete_alarms(self, params: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in params["AlarmNames"] if self._store.get("alarm", name) is not None]
        if params["AlarmNames"] and not names:
            raise _no_such_alarm(params["AlarmNames"][0])
        for name in names:  # correct names are deleted although others are incorrect
            self.delete_alarm(name)
        return {}

    def _enable_actions(self, params: dict[str, Any], *, enabled: bool) -> dict[str, Any]:
        for name in params["AlarmNames"]:
            alarm = self._store.get("alarm", name)
            if alarm is not None:
                self._store.put("alarm", name, alarm | {"ActionsEnabled": enabled})
        return {}

    def _set_alarm_state(self, params: dict[str, Any]) -> dict[str, Any]:
        alarm = self._store.get("alarm", params["AlarmName"])
        if alarm is None:
            raise _no_such_alarm(params["AlarmName"])
        reason, data = params["StateReason"], params.get("StateReasonData")
        if data:
            try:
                json.loads(data)
            except (ValueError, RecursionError) as error:
                raise ApiError("InvalidFormat", "StateReasonData is not valid JSON.") from error
        self._change(params["AlarmName"], alarm, params["StateValue"], reason, data)
        return {}

    def _arn(self, name: str) -> str:
        return self._account.arn_of("cloudwatch", f"alarm:{name}")

    def _tags_of(self, arn: str) -> dict[str, Any]:
        if all(arn != self._arn(name) for name, _ in self._store.all("alarm")):
            raise ApiError("ResourceNotFoundException", f"The alarm {arn!r} does not exist.", status=404)
        return self._store.get("tags", arn) or {}

    def _list_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tags_of(params["ResourceARN"]).items()]}

    def _tag(self, params: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags_of(params["ResourceARN"]) | {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        _check_tags(tags)
        self._store.put("tags", params["ResourceARN"], tags)
        return {}

    def _untag(self, params: dict[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in self._tags_of(params["ResourceARN"]).items() if k not in params["TagKeys"]}
        self._store.put("tags", params["ResourceARN"], kept)
        return {}


def _reason(alarm: Mapping[str, Any], found: _Evaluation) -> str:
    """Return the reason of a new state in the wording of AWS."""
    count = len(found.points)
    if found.state == "INSUFFICIENT_DATA" or not count:
        periods = alarm["EvaluationPeriods"]
        points = "1 datapoint was" if periods == 1 else f"{periods} datapoints were"
        treated = "" if found.state == "INSUFFICIENT_DATA" else f" and treated as {alarm['TreatMissingData']}"
        return f"{'Insufficient Data' if not treated else 'Threshold Crossed'}: {points} unknown{treated}."
    _, words = _COMPARISONS[alarm["ComparisonOperator"]]
    shown = ", ".join(f"{value} ({datetime.fromtimestamp(at, UTC):%d/%m/%y %H:%M:%S})" for at, value in found.points)
    verb = ("was" if count == 1 else "were") + ("" if found.state == "ALARM" else " not")
    least = f"minimum {found.needed} datapoint{'s' if found.needed > 1 else ''}"
    return (
        f"Threshold Crossed: {count} out of the last {alarm['EvaluationPeriods']} datapoints [{shown}] {verb} {words} "
        f"the threshold ({alarm['Threshold']}) ({least} for {alarm['StateValue']} -> {found.state} transition)."
    )


def _actions(alarm: Mapping[str, Any]) -> list[str]:
    return [one for kind in _ACTIONS for one in alarm.get(kind, [])]


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _MAX_TAGS:
        raise ApiError("ValidationError", f"An alarm cannot have more than {_MAX_TAGS} tags.")


def _no_such_alarm(name: str) -> ApiError:
    return ApiError("ResourceNotFound", f"The alarm {name!r} does not exist.", status=404)
