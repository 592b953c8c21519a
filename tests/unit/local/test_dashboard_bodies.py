"""The rules of a dashboard's body, and what is exported against them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.exports import cloudwatch_dashboard
from mme_sdk.local.control.dashboards import problems

LINE = ["AWS/SageMaker", "Invocations", "EndpointName", "a"]
PROPERTIES: dict[str, Any] = {"metrics": [LINE], "region": "us-east-1"}
WIDGET: dict[str, Any] = {"type": "metric", "x": 0, "y": 0, "width": 12, "height": 6, "properties": PROPERTIES}


def body_of(**changes: Any) -> str:
    return json.dumps({"widgets": [{**WIDGET, **changes}]})


def with_properties(**changes: Any) -> str:
    return body_of(properties={**PROPERTIES, **changes})


def with_lines(*lines: Any) -> str:
    return with_properties(metrics=list(lines))


@pytest.mark.parametrize("variants", [("AllTraffic",), ("blue", "green")])
def test_an_exported_dashboard_has_neither_errors_nor_warnings(variants: tuple[str, ...]) -> None:
    body = cloudwatch_dashboard("scoring", region="eu-west-1", variants=variants)
    assert problems(json.dumps(body)) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        '{"widgets": []}',
        '{"start": "-PT6H", "periodOverride": "inherit", "widgets": []}',
        '{"widgets": [{"type": "text", "properties": {"markdown": "a"}}]}',
        body_of(x=12),
        '{"widgets": [{"type": "text", "x": 1, "properties": {"markdown": "a"}}]}',
        with_properties(stat="p99.9", period=300, view="gauge"),
        with_properties(stat="tm90"),
        with_properties(stat="TM(2%:98%)"),
        with_lines(LINE, [".", ".", ".", "b"], ["...", "c", {"label": "c"}], ["...", "d"]),
        with_lines([*LINE, {"id": "m1", "visible": False}], [{"expression": "m1 * 2", "id": "e1"}]),
        body_of(properties={"region": "us-east-1", "annotations": {"alarms": ["arn:aws:cloudwatch:a"]}}),
    ],
)
def test_bodies_that_are_valid(text: str) -> None:
    assert problems(text) == ([], [])


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "valid JSON object"),
        ("[]", "", "valid JSON object"),
        ("[" * 100_000, "", "valid JSON object"),
        ("{}", "", "'widgets'"),
        ('{"widgets": {}}', "/widgets", "an array"),
        ('{"widgets": [1]}', "/widgets/0", "an object"),
        (json.dumps({"widgets": [WIDGET] * 501}), "/widgets", "more than 500"),
        ('{"widgets": [], "periodOverride": "never"}', "/periodOverride", "auto, inherit"),
        ('{"widgets": [], "start": 1}', "/start", "a string"),
        (body_of(type="metrics"), "/widgets/0/type", "one of metric"),
        (body_of(properties=None), "/widgets/0", "'properties'"),
        (body_of(x=24), "/widgets/0/x", "at most 23"),
        (body_of(x=True), "/widgets/0/x", "an integer"),
        (body_of(width=25), "/widgets/0/width", "at most 24"),
        (body_of(width=0), "/widgets/0/width", "1 or more"),
        (body_of(height=1001), "/widgets/0/height", "at most 1000"),
        (body_of(y=-1), "/widgets/0/y", "0 or more"),
        (body_of(x=13), "/widgets/0", "at most 24 together"),
        (body_of(properties={"region": "us-east-1"}), "/widgets/0/properties", "'metrics'"),
        (body_of(properties={"metrics": [LINE]}), "/widgets/0/properties", "'region'"),
        (with_properties(view="lines"), "/widgets/0/properties/view", "timeSeries"),
        (with_properties(period=90), "/widgets/0/properties/period", "multiple of 60"),
        (with_properties(period="60"), "/widgets/0/properties/period", "an integer"),
        (with_properties(stat="Mean"), "/widgets/0/properties/stat", "not a statistic"),
        (with_properties(stacked="yes"), "/widgets/0/properties/stacked", "a boolean"),
        (with_lines("AWS/SageMaker"), "/widgets/0/properties/metrics/0", "an array"),
        (with_lines([]), "/widgets/0/properties/metrics/0", "at least one item"),
        (with_lines(["AWS/SageMaker"]), "/widgets/0/properties/metrics/0", "a namespace, a metric name"),
        (with_lines(LINE[:3]), "/widgets/0/properties/metrics/0", "a name and a value"),
        (with_lines([*LINE[:3], 4]), "/widgets/0/properties/metrics/0/3", "only 'String'"),
        (with_lines([*LINE[:2], {"EndpointName": "a"}]), "/widgets/0/properties/metrics/0", "EndpointName"),
        (with_lines([*LINE[:2], {"a": 1}, "b"]), "/widgets/0/properties/metrics/0/2", "only 'String'"),
        (with_lines(["...", "b"]), "/widgets/0/properties/metrics/0", "repeats the metric above"),
        (with_lines([".", "Invocations"]), "/widgets/0/properties/metrics/0", "has none there"),
        (with_lines([*LINE, {"expression": "m1"}]), "/widgets/0/properties/metrics/0", "the only item"),
        (with_lines([*LINE, {"id": "M1"}]), "/widgets/0/properties/metrics/0/id", "lower-case"),
        (with_lines([*LINE, {"id": "a"}], [*LINE, {"id": "a"}]), "/widgets/0/properties/metrics/1/id", "twice"),
        (with_lines([*LINE, {"id": ["a"]}]), "/widgets/0/properties/metrics/0/id", "a string"),
        (with_lines([*LINE, {"yAxis": "top"}]), "/widgets/0/properties/metrics/0/yAxis", "left, right"),
    ],
)
def test_an_error_names_its_place(text: str, path: str, message: str) -> None:
    errors, _ = problems(text)
    assert [one for one in errors if one[0] == path and message in one[1]], errors


def test_a_property_that_is_not_known_is_a_warning() -> None:
    errors, warnings = problems(with_properties(colour="red"))
    assert errors == []
    assert [path for path, _ in warnings] == ["/widgets/0/properties/colour"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 30) | st.sampled_from(["...", ".", "metric", "a", "Average"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "x", "expression"]), inner),
    max_leaves=6,
)
PLACES = st.sampled_from([(), ("widgets",), ("widgets", 0), ("widgets", 0, "properties"), ("widgets", 0, "x"),
                          ("widgets", 0, "properties", "metrics"), ("widgets", 0, "properties", "metrics", 0),
                          ("widgets", 0, "properties", "metrics", 0, 4), ("widgets", 0, "properties", "annotations"),
                          ("widgets", 0, "properties", "stat"), ("periodOverride",)])  # fmt: skip


@settings(max_examples=150)
@given(PLACES, JSON)
def test_any_json_has_an_answer(place: tuple[Any, ...], value: Any) -> None:
    whole: dict[str, Any] = {"body": {"widgets": [copy.deepcopy(WIDGET)]}}
    whole["body"]["widgets"][0]["properties"]["metrics"][0].append({})
    where, last = whole, "body"
    for key in place:
        where, last = where[last], key
    where[last] = value
    errors, warnings = problems(json.dumps(whole["body"]))
    assert all(isinstance(path, str) and message for path, message in (*errors, *warnings))
