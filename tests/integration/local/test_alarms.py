"""Test the operations of CloudWatch alarms, and the reasons of their states."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.metrics import Metrics, Point
from mme_sdk.local.control.store import Store

ALARM = {
    "Namespace": "own",
    "MetricName": "Depth",
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 2,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture
def cloudwatch(plane):
    client = plane.boto("cloudwatch")
    yield client
    client.close()


def code_of(call, **params) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"]


def test_an_alarm_has_the_members_that_aws_always_returns(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM, TreatMissingData="ignore")
    described = cloudwatch.describe_alarms(AlarmNames=[name])
    assert described["CompositeAlarms"] == []
    (alarm,) = described["MetricAlarms"]
    for member in ("AlarmActions", "OKActions", "InsufficientDataActions", "Dimensions"):
        assert alarm[member] == [], member
    assert (alarm["StateValue"], alarm["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert alarm["StateTransitionedTimestamp"] == alarm["StateUpdatedTimestamp"]
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test", StateReasonData='{"a": 1}')
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM | {"Threshold": 6.0}, TreatMissingData="ignore")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert (alarm["StateReason"], alarm["StateReasonData"], alarm["Threshold"]) == ("a test", '{"a": 1}', 6.0)
    changed = alarm["StateTransitionedTimestamp"]
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="again")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["StateTransitionedTimestamp"] == changed < alarm["StateUpdatedTimestamp"]
    assert code_of(cloudwatch.set_alarm_state, AlarmName=name, StateValue="OK", StateReason="x",
                   StateReasonData="{") == "InvalidFormat"  # fmt: skip


def test_the_alarms_with_correct_names_are_deleted(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM)
    cloudwatch.delete_alarms(AlarmNames=[f"{name}-absent", name])
    assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []
    assert code_of(cloudwatch.delete_alarms, AlarmNames=[name]) == "ResourceNotFound"


@pytest.mark.parametrize(
    "wrong",
    [
        {"Period": 45},
        {"Period": 60, "EvaluationPeriods": 1441},
        {"Period": 3600, "EvaluationPeriods": 169},
        {"DatapointsToAlarm": 3},
        {"TreatMissingData": "never"},
        {"ExtendedStatistic": "p90"},
        {"Statistic": None, "ExtendedStatistic": "p101"},
        {"Statistic": None},
        {"ComparisonOperator": None},
        {"EvaluationPeriods": None},
        {"Threshold": None},
        {"AlarmActions": ["notify-me"]},
        {"AlarmName": "a\tb"},
        {"Tags": [{"Key": str(number), "Value": ""} for number in range(51)]},
    ],
)
def test_an_alarm_that_aws_refuses_is_refused(cloudwatch, name, wrong):
    given = {key: value for key, value in ({"AlarmName": name} | ALARM | wrong).items() if value is not None}
    assert code_of(cloudwatch.put_metric_alarm, **given) == "ValidationError"
    assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []


def test_an_alarm_of_seven_days_of_hours_is_accepted(cloudwatch, name):
    for period, periods in ((60, 1440), (3600, 168), (10, 8640)):
        cloudwatch.put_metric_alarm(AlarmName=name, **ALARM | {"Period": period, "EvaluationPeriods": periods})
        (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        assert (alarm["Period"], alarm["EvaluationPeriods"]) == (period, periods)
    cloudwatch.delete_alarms(AlarmNames=[name])


def test_names_and_prefix_exclude_each_other_and_a_wrong_token_has_its_code(cloudwatch, name):
    assert code_of(cloudwatch.describe_alarms, AlarmNames=[name], AlarmNamePrefix="a") == "ValidationError"
    assert code_of(cloudwatch.describe_alarms, NextToken="LTE=") == "InvalidNextToken"  # -1
    assert code_of(cloudwatch.describe_alarm_history, NextToken="?") == "InvalidNextToken"


def test_the_alarms_of_a_metric_are_found_by_its_exact_dimensions(cloudwatch, name):
    dimensions = [{"Name": "D", "Value": "1"}]
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM | {"Namespace": name})
    cloudwatch.put_metric_alarm(AlarmName=f"{name}-d", **ALARM | {"Namespace": name}, Dimensions=dimensions)

    def found(**params) -> list[str]:
        answer = cloudwatch.describe_alarms_for_metric(Namespace=name, MetricName="Depth", **params)
        return [one["AlarmName"] for one in answer["MetricAlarms"]]

    assert found() == [name]
    assert found(Dimensions=dimensions, Statistic="Maximum", Period=60) == [f"{name}-d"]
    assert found(Statistic="Sum") == []
    cloudwatch.delete_alarms(AlarmNames=[name, f"{name}-d"])


def test_actions_are_disabled_and_enabled(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM)
    for change, enabled in ((cloudwatch.disable_alarm_actions, False), (cloudwatch.enable_alarm_actions, True)):
        change(AlarmNames=[name, f"{name}-absent"])
        assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["ActionsEnabled"] is enabled
    cloudwatch.delete_alarms(AlarmNames=[name])


def test_the_history_has_what_happened_to_an_alarm(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM, TreatMissingData="ignore")
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM, TreatMissingData="ignore")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    cloudwatch.delete_alarms(AlarmNames=[name])
    items = cloudwatch.describe_alarm_history(AlarmName=name, ScanBy="TimestampAscending")["AlarmHistoryItems"]
    assert [one["HistorySummary"] for one in items] == [
        f'Alarm "{name}" created',
        f'Alarm "{name}" updated',
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        f'Alarm "{name}" deleted',
    ]
    changes = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert json.loads(changes[0]["HistoryData"])["newState"] == {"stateValue": "ALARM", "stateReason": "a test"}
    assert cloudwatch.describe_alarm_history(AlarmName=name, MaxRecords=1)["AlarmHistoryItems"] == items[-1:]


def test_the_reason_of_a_state_has_its_data_points(tmp_path):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    metrics, store = Metrics(), Store(tmp_path / "state.sqlite")
    alarms = Alarms(metrics, store, Account(), lambda: now)
    alarms.put_alarm(AlarmName="a", **ALARM)
    reasons = []
    for value in (9.0, 1.0, None):
        for _ in range(2):
            if value is not None:
                point = Point()
                point.add(value)
                metrics.put("own", "Depth", (), now.timestamp(), point)
            now += timedelta(minutes=1)
            alarms.evaluate()
        alarm = store.get("alarm", "a")
        reasons.append((alarm["StateValue"], alarm["StateReason"]))
    assert json.loads(alarm["StateReasonData"])["threshold"] == 5.0
    store.close()
    at, crossed = "01/01/30 00", "Threshold Crossed: 2 out of the last 2 datapoints"
    high = f"{crossed} [9.0 ({at}:00:00), 9.0 ({at}:01:00)] were greater than the threshold (5.0)"
    low = f"{crossed} [9.0 ({at}:01:00), 1.0 ({at}:02:00)] were not greater than the threshold (5.0)"
    assert reasons == [
        ("ALARM", f"{high} (minimum 2 datapoints for OK -> ALARM transition)."),
        ("OK", f"{low} (minimum 2 datapoints for ALARM -> OK transition)."),
        ("INSUFFICIENT_DATA", "Insufficient Data: 2 datapoints were unknown."),
    ]
