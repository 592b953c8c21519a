"""Dashboards and alarms: the structure that AWS and Grafana document, and refusals."""

from __future__ import annotations

import json
import re
from typing import Any

import botocore.session
import jsonschema
import pytest
from botocore.validate import ParamValidator

from mme_sdk.errors import InvalidInputError
from mme_sdk.exports import PANELS, Panel, alarms, cloudwatch_dashboard, grafana_dashboard
from mme_sdk.exports.panels import AWS_METRICS, RECORDED
from tests.support.paths import ROOT

TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"


def operation(name: str) -> Any:
    return botocore.session.get_session().get_service_model("cloudwatch").operation_model(name).input_shape


def check_body(body: dict[str, Any]) -> None:
    """Check a body by CloudWatch's "Dashboard Body Structure and Syntax": members, types and ranges."""
    assert set(body) <= {"start", "end", "periodOverride", "variables", "widgets"}
    assert 0 < len(body["widgets"]) <= 500
    taken: set[tuple[int, int]] = set()
    for widget in body["widgets"]:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        assert widget["type"] == "metric"
        assert 0 <= widget["x"] <= 23
        assert widget["y"] >= 0
        assert 1 <= widget["height"] <= 1000
        assert 1 <= widget["width"] <= 24 - widget["x"]
        cells = {
            (widget["x"] + column, widget["y"] + row)
            for column in range(widget["width"])
            for row in range(widget["height"])
        }
        assert not cells & taken
        taken |= cells
        check_widget(widget["properties"])
    assert len(json.dumps(body).encode()) < 1_000_000


def check_widget(properties: dict[str, Any]) -> None:
    known = {"title", "region", "view", "stacked", "stat", "period", "metrics", "yAxis", "annotations"}
    assert set(properties) <= known
    assert properties["view"] in ("timeSeries", "singleValue", "gauge", "bar", "pie", "table")
    assert isinstance(properties["stacked"], bool)
    assert properties["period"] % 60 == 0
    assert properties["region"]
    assert re.fullmatch(r"Average|Sum|Minimum|Maximum|SampleCount|p\d\d", properties["stat"])
    ids, used, shown = set(), set(), 0
    for entry in properties["metrics"]:
        options = entry[-1]
        assert set(options) <= {"expression", "id", "label", "visible"}
        shown += options.get("visible", True)
        if "id" in options:
            assert re.fullmatch(r"[a-z][a-zA-Z0-9_]*", options["id"])
            assert options["id"] not in ids
            ids.add(options["id"])
        if "expression" in options:
            assert len(entry) == 1
            used |= set(re.findall(r"m\d+", options["expression"]))
            continue
        namespace, name, *dimensions = entry[:-1]
        assert AWS_METRICS[name].namespace == namespace
        assert dimensions[::2] in (["EndpointName"], ["EndpointName", "VariantName"])
    assert used <= ids
    assert shown
    assert set(properties["yAxis"]) <= {"left", "right"}
    assert set(properties["yAxis"]["left"]) <= {"min", "max", "label", "showUnits"}
    for line in properties.get("annotations", {}).get("horizontal", ()):
        assert set(line) <= {"label", "value", "fill"}
        assert line["fill"] in ("above", "below")


@pytest.mark.parametrize("variants", [("AllTraffic",), ("a", "b", "c")])
def test_a_dashboard_has_the_documented_structure(variants):
    body = cloudwatch_dashboard("scoring", region="eu-west-1", variants=variants)
    check_body(body)
    assert [one["properties"]["title"] for one in body["widgets"]] == [one.title for one in PANELS if one.metric]
    params = {"DashboardName": "scoring", "DashboardBody": json.dumps(body)}
    assert not ParamValidator().validate(params, operation("PutDashboard")).has_errors()
    for widget in body["widgets"]:
        entries = [entry for entry in widget["properties"]["metrics"] if "expression" not in entry[-1]]
        assert [entry[-2] for entry in entries] == list(variants)


def test_times_are_shown_in_seconds_and_their_limits_are_in_microseconds():
    panel = Panel(title="Wait", metric="ModelLoadingWaitTime", statistic="p95", unit="s", above=2, minutes=3)
    (widget,) = cloudwatch_dashboard("a", region="eu-west-1", panels=[panel])["widgets"]
    expression, metric = widget["properties"]["metrics"]
    assert expression[0]["expression"] == "m1 / 1000000"
    assert metric[-1] == {"id": "m1", "visible": False}
    assert widget["properties"]["annotations"]["horizontal"][0]["value"] == 2
    (alarm,) = alarms("a", panels=[panel])
    assert alarm["Threshold"] == 2_000_000
    assert alarm["ExtendedStatistic"] == "p95"
    assert "Statistic" not in alarm
    loads = Panel(title="Loads", metric="ModelLoadingTime", statistic="SampleCount", above=9)
    assert alarms("a", panels=[loads])[0]["Threshold"] == 9


def test_a_metric_of_the_endpoint_has_one_line_for_all_variants():
    panel = Panel(title="Queue", metric="ApproximateBacklogSize", above=100)
    body = cloudwatch_dashboard("a", region="eu-west-1", variants=("x", "y"), panels=[panel])
    (line,) = body["widgets"][0]["properties"]["metrics"]
    assert line[:-1] == ["AWS/SageMaker", "ApproximateBacklogSize", "EndpointName", "a"]
    assert len(alarms("a", variants=("x", "y"), panels=[panel])) == 1


def test_alarms_are_requests_that_cloudwatch_takes():
    found = alarms("scoring", variants=("a", "b"), actions=[TOPIC])
    limited = [one for one in PANELS if one.above is not None or one.below is not None]
    assert len(found) == 2 * len(limited) == len({one["AlarmName"] for one in found})
    for alarm in found:
        assert not ParamValidator().validate(alarm, operation("PutMetricAlarm")).has_errors()
        assert alarm["AlarmActions"] == [TOPIC]
        assert alarm["ComparisonOperator"] in operation("PutMetricAlarm").members["ComparisonOperator"].enum
    hit = next(one for one in found if one["MetricName"] == "ModelCacheHit")
    assert (hit["ComparisonOperator"], hit["Threshold"], hit["EvaluationPeriods"]) == ("LessThanThreshold", 0.8, 15)
    assert "AlarmActions" not in alarms("scoring")[0]


def test_a_grafana_dashboard_asks_for_the_counters_of_the_recorder():
    dashboard = json.loads(json.dumps(grafana_dashboard("scoring")))
    assert [one["title"] for one in dashboard["panels"]] == [one.title for one in PANELS if one.recorded]
    assert len({one["id"] for one in dashboard["panels"]}) == len(dashboard["panels"])
    for panel, source in zip(dashboard["panels"], [one for one in PANELS if one.recorded], strict=True):
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        (target,) = panel["targets"]
        counters = re.findall(r"mme_recorded_(\w+)_total\{endpoint=\"scoring\"\}", target["expr"])
        assert counters == [one for one in (source.recorded, source.per) if one]
        assert set(counters) <= set(RECORDED)
        assert target["expr"].count(f"sum by ({source.by})") == len(counters)
        assert target["legendFormat"] == f"{{{{{source.by}}}}}"
    (one,) = grafana_dashboard("a", variants=["x", "y"], panels=[Panel(title="t", recorded="calls")])["panels"]
    assert 'endpoint="a", variant=~"x|y"' in one["targets"][0]["expr"]


GRAFANA = json.loads((ROOT / "tests/support/exports/grafana_dashboard.json").read_text())


@pytest.mark.parametrize("variants", [(), ("blue", "green")])
def test_a_grafana_dashboard_follows_the_schema_and_survives_a_round_trip(variants):
    dashboard = grafana_dashboard("scoring", variants=variants)
    jsonschema.Draft202012Validator.check_schema(GRAFANA)
    jsonschema.validate(dashboard, GRAFANA)
    text = json.dumps(dashboard, indent=2)
    assert json.loads(text) == dashboard
    assert json.dumps(json.loads(text), indent=2) == text
    for change in ({"uid": None}, {"schemaVersion": "39"}, {"panels": []}, {"refresh": "often"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(dashboard | change, GRAFANA)
    wide = json.loads(text)
    wide["panels"][0]["gridPos"]["w"] = 25
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wide, GRAFANA)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Panel(title="a", metric="ModelCacheHits", unit="share"), "publishes no metric 'ModelCacheHits'"),
        (lambda: Panel(title="a", metric="ModelCacheHit"), "has the unit 'share', not 'count'"),
        (lambda: Panel(title="a", metric="ModelLoadingTime", statistic="SampleCount", unit="s"), "the unit 'count'"),
        (lambda: Panel(title="a"), "give metric, recorded or both"),
        (lambda: Panel(title=" ", recorded="calls"), "title: 1 to 200 characters"),
        (lambda: Panel(title="a", recorded="call"), "recorded"),
        (lambda: Panel(title="a", metric="Invocations", per="calls"), "per needs recorded"),
        (lambda: Panel(title="a", metric="Invocations", above=1, below=0), "above or below, not both"),
        (lambda: Panel(title="a", recorded="calls", above=1), "an alarm needs a metric of CloudWatch"),
        (lambda: Panel(title="a", metric="Invocations", statistic="avg"), "statistic"),
        (lambda: cloudwatch_dashboard("a b", region="x"), "endpoint"),
        (lambda: cloudwatch_dashboard("a", region="x", variants=["no good"]), "variants"),
        (lambda: cloudwatch_dashboard("a", region="x", variants=[]), "at least one item"),
        (lambda: cloudwatch_dashboard("a", region="x", panels=["a"]), "panels"),
        (lambda: cloudwatch_dashboard("a", region="x", period=90), "multiple of 60"),
        (lambda: cloudwatch_dashboard("a", region=""), "region"),
        (
            lambda: cloudwatch_dashboard("a", region="x", panels=[Panel(title="a", recorded="calls")]),
            "no panel has a m",
        ),
        (lambda: grafana_dashboard("a", panels=[Panel(title="a", metric="Invocations")]), "no panel has a counter"),
        (lambda: alarms("a", panels=[Panel(title="a", metric="Invocations")]), "no panel has a limit"),
        (lambda: alarms("a", panels=[Panel(title="a", metric="Invocations", above=1)] * 2), "two alarms have the name"),
        (lambda: alarms("a", actions=TOPIC), "a sequence of ARNs"),
        (lambda: alarms("a", actions=["on-call"]), "at most 5 ARNs"),
        (lambda: alarms("a", actions=[TOPIC] * 6), "at most 5 ARNs"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
