"""Metric math of GetMetricData: values computed by hand, and expressions that are refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.cloudwatch import CloudWatch
from mme_sdk.local.control.dashboards import Dashboards
from mme_sdk.local.control.metric_math.expressions import ExpressionError, Series, evaluate, names_in
from mme_sdk.local.control.metrics import Metrics, Point
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

M1 = Series({0.0: 1.0, 60.0: 2.0, 180.0: 4.0}, 60, "Requests")
M2 = Series({0.0: 10.0, 60.0: 0.0, 120.0: 30.0}, 60, "Errors")
VALUES: dict[str, Any] = {"m1": M1, "m2": M2, "empty": Series({}, 60)}


def value(expression: str) -> Any:
    found = evaluate(expression, VALUES, [M1, M2], lambda period: [float(at) for at in range(0, 300, period)])
    if isinstance(found, list):
        return [dict(one.points) for one in found]
    return dict(found.points) if isinstance(found, Series) else found


EXPECTED = {
    "m1 + m2": {0: 11, 60: 2},
    "m1 - 1": {0: 0, 60: 1, 180: 3},
    "2 * m1 + 1": {0: 3, 60: 5, 180: 9},
    "100*(m1/m2)": {0: 10},  # a division by zero has no value
    "-m1^2": {0: -1, 60: -4, 180: -16},
    "2^3^2": 512,
    "1e3 + .5": 1000.5,
    "8 - 4 - 2": 2,
    "m1 > 1": {0: 0, 60: 1, 180: 1},
    "m1 >= 1 AND m1 < 4": {0: 1, 60: 1, 180: 0},
    "m1 == 1 || m1 == 4": {0: 1, 60: 0, 180: 1},
    "m1 != 1 && m1 <= 2": {0: 0, 60: 1, 180: 0},
    "SUM(m1)": 7,
    "MAX(m1) - MIN(m1)": 3,
    "m1 / SUM(m1)": {0: 1 / 7, 60: 2 / 7, 180: 4 / 7},
    "AVG([m1, m2])": {0: 5.5, 60: 1, 120: 30, 180: 4},
    "SUM([m1, m2])": {0: 11, 60: 2, 120: 30, 180: 4},
    "SUM(METRICS())": {0: 11, 60: 2, 120: 30, 180: 4},
    "MAX(METRICS())": {0: 10, 60: 2, 120: 30, 180: 4},
    "DATAPOINT_COUNT(METRICS())": {0: 2, 60: 2, 120: 1, 180: 1},
    "METRICS() * 2": [{0: 2, 60: 4, 180: 8}, {0: 20, 60: 0, 120: 60}],
    "FILL(m1, 0)": {0: 1, 60: 2, 120: 0, 180: 4, 240: 0},
    "FILL(m1, REPEAT)": {0: 1, 60: 2, 120: 2, 180: 4, 240: 4},
    "FILL(m1, LINEAR)": {0: 1, 60: 2, 120: 3, 180: 4},
    "FILL(empty, 7)": {0: 7, 60: 7, 120: 7, 180: 7, 240: 7},
    "IF(m1 > 1, m1, 0)": {0: 0, 60: 2, 180: 4},
    "IF(SUM(m1) > 5, m1, m2)": {0: 1, 60: 2, 180: 4},
    "DIFF(m1)": {60: 1, 180: 2},
    "RATE(m1)": {60: 1 / 60, 180: 2 / 120},
    "RUNNING_SUM(m1)": {0: 1, 60: 3, 180: 7},
    "m1 * PERIOD(m1)": {0: 60, 60: 120, 180: 240},
    "CEIL(m1 / 3)": {0: 1, 60: 1, 180: 2},
    "FLOOR(m1 / 3)": {0: 0, 60: 0, 180: 1},
    "ABS(0 - m1)": {0: 1, 60: 2, 180: 4},
    "LOG10(m2)": {0: 1, 120: 1.4771212547196624},
}


@pytest.mark.parametrize("expression", EXPECTED)
def test_values(expression):
    expected = EXPECTED[expression]
    if isinstance(expected, list):
        assert value(expression) == expected
    else:
        assert value(expression) == pytest.approx(expected)


REFUSED = {
    "": "is empty",
    "m1 +": "ends too early",
    "m1 m2": "has 'm2' where 'its end' is expected",
    "(m1": "has 'its end' where",
    "m3 + 1": "names 'm3', which is not the id of another query",
    "ANOMALY_DETECTION_BAND(m1)": "uses the function ANOMALY_DETECTION_BAND; this host supports",
    "SEARCH('x')": "has an unexpected character",
    "IF(m1 > 1, m2)": "gives IF 2 arguments; it takes 3",
    "SUM(1)": "needs a time series, or a list of them",
    "FILL(m1, m2)": "needs a number, REPEAT or LINEAR",
    "FILL(1, 0)": "needs time series",
    "1 / 0": "divides by zero",
    "9 ^ 9 ^ 9": "too large",
    "(" * 50 + "m1" + ")" * 50: "is nested more than 40 times",
    "-" * 900 + "1": "is nested more than 40 times",
    "^".join("1" * 400): "is nested more than 40 times",
    "1" * 1025: "has more than 1024 characters",
    "m1 # 2": "has an unexpected character at position",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_what_is_not_supported_is_refused_by_name(expression):
    with pytest.raises(ExpressionError) as caught:
        value(expression)
    assert REFUSED[expression] in str(caught.value)


def test_series_of_different_periods_are_not_mixed():
    other = Series({0.0: 1.0}, 300)
    for expression in ("m1 + m2", "SUM([m1, m2])"):
        with pytest.raises(ExpressionError, match="different periods"):
            evaluate(expression, {"m1": M1, "m2": other}, [], lambda _: [])


@given(st.text("m12+-*/^()[],.< >=ANDORSUMFILIRT eE", max_size=30))
def test_any_text_is_a_value_or_an_error(text):
    try:
        names_in(text)
        value(text)
    except ExpressionError:
        return


class Service:
    """CloudWatch with two metrics."""

    def __init__(self, path) -> None:
        self.store = Store(path / "state.sqlite")
        metrics = Metrics()
        for name, series in (("Requests", M1), ("Errors", M2)):
            for at, number in series.points.items():
                point = Point()
                point.add(number)
                metrics.put("N", name, (), at, point)
        now = lambda: datetime.fromtimestamp(300, UTC)  # noqa: E731
        self.cloudwatch = CloudWatch(
            metrics, Alarms(metrics, self.store, Account(), now), Dashboards(self.store, Account(), now), now
        )

    def get(self, *queries: dict[str, Any], **more: Any) -> dict[str, Any]:
        window = {"StartTime": datetime.fromtimestamp(0, UTC), "EndTime": datetime.fromtimestamp(300, UTC)}
        answer = self.cloudwatch.operations["GetMetricData"]({"MetricDataQueries": list(queries), **window, **more})
        assert not asyncio.iscoroutine(answer)
        return answer


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    yield service
    service.store.close()


def metric(query_id: str, name: str, **more: Any) -> dict[str, Any]:
    return {"Id": query_id, "MetricStat": {
        "Metric": {"Namespace": "N", "MetricName": name}, "Period": 60, "Stat": "Sum"}} | more  # fmt: skip


def test_expressions_name_metrics_and_other_expressions(service):
    found = service.get(
        {"Id": "e2", "Expression": "e1 * 100", "Label": "Percent"},
        metric("m1", "Requests", ReturnData=False),
        {"Id": "e1", "Expression": "FILL(m2, 0) / m1", "ReturnData": False},
        metric("m2", "Errors"),
        {"Id": "all", "Expression": "METRICS()"},
        ScanBy="TimestampAscending",
    )["MetricDataResults"]
    assert [(one["Id"], one["Label"], one["Values"]) for one in found] == [
        ("e2", "Percent", [1000.0, 0.0, 0.0]),
        ("m2", "Errors", [10.0, 0.0, 30.0]),
        ("all", "all Requests", [1.0, 2.0, 4.0]),
        ("all", "all Errors", [10.0, 0.0, 30.0]),
    ]
    assert [at.timestamp() for at in found[0]["Timestamps"]] == [0, 60, 180]


def test_results_of_expressions_come_in_pages(service):
    queries = [metric("m1", "Requests", ReturnData=False), {"Id": "e", "Expression": "m1 * 2"}]
    first = service.get(*queries, MaxDatapoints=2)
    assert [one["Values"] for one in first["MetricDataResults"]] == [[8.0, 4.0]]
    rest = service.get(*queries, NextToken=first["NextToken"])
    assert [one["Values"] for one in rest["MetricDataResults"]] == [[2.0]]


@pytest.mark.parametrize(
    ("queries", "reason"),
    [
        ([{"Id": "a", "Expression": "b"}, {"Id": "b", "Expression": "a + 1"}], "names itself"),
        ([{"Id": "a", "Expression": "a"}], "names itself"),
        ([{"Id": "a", "Expression": "1 + 1"}], "has a number as result; it must be a time series"),
        ([{"Id": "a", "Expression": "SUM(m)"}, metric("m", "Requests")], "has a number as result"),
        ([{"Id": "a"}], "either Expression or MetricStat"),
        ([metric("a", "Requests", Expression="b")], "either Expression or MetricStat"),
        ([{"Id": "a", "Expression": "LAMBDA(1)"}], "Error in expression 'a': it uses the function LAMBDA"),
    ],
)
def test_a_request_that_cannot_be_computed_is_refused_by_name(service, queries, reason):
    with pytest.raises(ApiError) as caught:
        service.get(*queries)
    assert caught.value.code == "ValidationError"
    assert reason in caught.value.message
