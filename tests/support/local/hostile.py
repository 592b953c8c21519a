"""Generate requests with hypothesis: damaged bytes, and well-formed requests with unexpected members."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import cbor2
from hypothesis import strategies as st

from mme_sdk.local.wire.service_model import load_service_model
from tests.support.local.raw import TARGETS, Link, alive, ask, signed

SERVICES = {
    "sagemaker": "sagemaker",
    "cloudwatch": "monitoring",
    "application-autoscaling": "application-autoscaling",
    "sts": "sts",
}
"""Signing names by botocore's names."""

FORM = "application/x-www-form-urlencoded"
NAMES = st.sampled_from(
    ["a", "a", "b", "A", "endpoint/a/variant/A", "rate(1 hour)", "cron(0 0 * * ? *)", "at(2030-01-01T00:00:00)", "p99"]
)
TEXT = st.text(max_size=20) | st.sampled_from(["", "\x00", "\r\n", "\ud800", "a" * 300, "s3://a/b", "../..", "é", "1"])
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0, -1, 2**31, 2**63, -(2**31) - 1, 10**400, 5e-324, 1e308, -0.0, math.nan, math.inf, -math.inf])
)
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMES = st.sampled_from([0, -62135596800, 253402300799, 1e18, -1e18, 1.5, "2030-01-01T00:00:00Z", "0001-01-01", "now"])


ROLE = "arn:aws:iam::123456789012:role/SageMaker"
ENDPOINT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/a"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/a/variant/A",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
METRIC = {"Namespace": "n", "MetricName": "m", "Dimensions": [{"Name": "d", "Value": "v"}]}
SPAN = {"StartTime": 1_800_000_000, "EndTime": 1_900_000_000}
STEP = {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}
SENSIBLE: dict[str, dict[str, Any]] = {
    "CreateModel": {
        "ModelName": "a", "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": "python", "Mode": "MultiModel", "ModelDataUrl": "s3://b/p/",
                             "Environment": {"A": "b"}},
    },
    "CreateEndpointConfig": {
        "EndpointConfigName": "a", "Tags": [{"Key": "k", "Value": "v"}],
        "ProductionVariants": [{"VariantName": "A", "ModelName": "a", "InstanceType": "ml.m5.large",
                                "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}],
    },
    "CreateEndpoint": {"EndpointName": "a", "EndpointConfigName": "a"},
    "UpdateEndpoint": {
        "EndpointName": "a", "EndpointConfigName": "a",
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 0,
                                                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30}},
                "TerminationWaitInSeconds": 0, "MaximumExecutionTimeoutInSeconds": 600,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]},
        },
    },
    "UpdateEndpointWeightsAndCapacities": {
        "EndpointName": "a",
        "DesiredWeightsAndCapacities": [{"VariantName": "A", "DesiredWeight": 1.0, "DesiredInstanceCount": 2}],
    },
    "DescribeModel": {"ModelName": "a"},
    "DescribeEndpointConfig": {"EndpointConfigName": "a"},
    "DescribeEndpoint": {"EndpointName": "a"},
    "ListModels": {"NameContains": "a", "SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 1},
    "ListEndpoints": {"StatusEquals": "InService", "SortBy": "Status", "CreationTimeAfter": 0},
    "ListEndpointConfigs": {"SortBy": "CreationTime", "CreationTimeBefore": "2040-01-01T00:00:00Z"},
    "AddTags": {"ResourceArn": ENDPOINT, "Tags": [{"Key": "k", "Value": "v"}]},
    "ListTags": {"ResourceArn": ENDPOINT, "MaxResults": 50},
    "DeleteTags": {"ResourceArn": ENDPOINT, "TagKeys": ["k"]},
    "RegisterScalableTarget": TARGET | {"MinCapacity": 1, "MaxCapacity": 4, "SuspendedState": {}},
    "PutScalingPolicy": TARGET | {
        "PolicyName": "a", "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 50.0, "ScaleInCooldown": 0, "ScaleOutCooldown": 0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        },
        "StepScalingPolicyConfiguration": {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [STEP]},
    },
    "PutScheduledAction": TARGET | {
        "ScheduledActionName": "a", "Schedule": "rate(1 minute)", "Timezone": "UTC",
        "StartTime": 0, "EndTime": "2040-01-01T00:00:00Z", "ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 2},
    },
    "DescribeScalableTargets": {"ServiceNamespace": "sagemaker", "ResourceIds": ["endpoint/a/variant/A"]},
    "DescribeScalingPolicies": TARGET | {"PolicyNames": ["a"]},
    "DescribeScheduledActions": TARGET | {"ScheduledActionNames": ["a"]},
    "DescribeScalingActivities": TARGET | {"MaxResults": 1},
    "PutMetricData": {
        "Namespace": "n",
        "MetricData": [
            METRIC | {"Value": 1.0, "Unit": "Seconds", "Timestamp": 1_850_000_000},
            METRIC | {"StatisticValues": {"SampleCount": 2.0, "Sum": 3.0, "Minimum": 1.0, "Maximum": 2.0}},
            METRIC | {"Values": [1.0, 2.0], "Counts": [1.0, 3.0], "StorageResolution": 1},
        ],
    },
    "GetMetricStatistics": METRIC | SPAN | {
        "Period": 60, "Statistics": ["Average", "Sum"], "ExtendedStatistics": ["p99"],
    },
    "GetMetricData": SPAN | {
        "MetricDataQueries": [{"Id": "a", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "Average"}}],
        "ScanBy": "TimestampAscending", "MaxDatapoints": 10,
    },
    "ListMetrics": {"Namespace": "n", "Dimensions": [{"Name": "d"}]},
    "PutDashboard": {"DashboardName": "a", "DashboardBody": '{"widgets": []}'},
    "ListDashboards": {"DashboardNamePrefix": "a"},
    "PutMetricAlarm": METRIC | {
        "AlarmName": "a", "Period": 60, "EvaluationPeriods": 1, "DatapointsToAlarm": 1, "Statistic": "Average",
        "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "missing",
    },
    "SetAlarmState": {"AlarmName": "a", "StateValue": "ALARM", "StateReason": "a test"},
    "DeleteScalingPolicy": TARGET | {"PolicyName": "a"},
    "DeleteScheduledAction": TARGET | {"ScheduledActionName": "a"},
    "DeregisterScalableTarget": TARGET,
    "DescribeAlarms": {"AlarmNames": ["a"], "StateValue": "OK", "MaxRecords": 1},
}  # fmt: skip
"""For most operations a request that the host accepts, or would accept with fewer members."""


STAGE = [
    ("sagemaker", "CreateModel"),
    ("sagemaker", "CreateEndpointConfig"),
    ("sagemaker", "CreateEndpoint"),
    ("cloudwatch", "PutMetricData"),
    ("cloudwatch", "PutMetricAlarm"),
    ("application-autoscaling", "RegisterScalableTarget"),
    ("application-autoscaling", "PutScalingPolicy"),
    ("application-autoscaling", "PutScheduledAction"),
]


CREATED = {"CreateModel": "ModelName", "CreateEndpointConfig": "EndpointConfigName", "CreateEndpoint": "EndpointName"}


def claimed(plane) -> dict[str, list[str]]:
    """Return the operations that the host supports, by botocore's name of the service."""
    found: dict[str, list[str]] = {}
    with Link(plane) as link:
        for service, scope in SERVICES.items():
            model = load_service_model(service)
            for name in model.operation_names:
                if scope in TARGETS:
                    link.send(signed(plane, b"[]", service=scope, target=name))
                else:
                    link.send(signed(plane, f"Action={name}".encode(), service=scope, Content_Type=FORM))
                if b"UnsupportedOperation" not in link.answer()[2]:
                    found.setdefault(service, []).append(name)
    return found


@st.composite
def member(draw, shape: Any, wrong: float, depth: int = 0) -> Any:
    """Generate a value for a shape. With the probability `wrong` at each place the value has another type."""
    if draw(st.floats(0, 1)) < wrong:
        return draw(JUNK)
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        required = set(shape.required_members)
        chosen = [n for n in shape.members if n in required or (depth < 6 and draw(st.integers(0, 3)) == 0)]
        if wrong and draw(st.integers(0, 9)) == 0 and chosen:
            chosen.remove(draw(st.sampled_from(chosen)))
        return {name: draw(member(shape.members[name], wrong, depth + 1)) for name in chosen}
    if kind in ("list", "map"):
        low = min(limits.get("min", 0), 5)
        size = draw(st.integers(low, max(low, min(limits.get("max", 2), 2))))
        if kind == "list":
            return [draw(member(shape.member, wrong, depth + 1)) for _ in range(size)]
        keys = draw(st.lists(member(shape.key, 0, depth + 1), min_size=size, max_size=size))
        return {key: draw(member(shape.value, wrong, depth + 1)) for key in keys}
    if kind == "string":
        if shape.enum:
            return draw(st.sampled_from(shape.enum))
        if "arn" in (limits.get("pattern") or ""):
            return draw(st.sampled_from([ROLE, ENDPOINT]))
        return draw(NAMES)
    if kind in ("integer", "long", "float", "double"):
        low = max(limits.get("min", -10), -(2**31))
        high = min(limits.get("max", 10**6), 2**31 - 1)
        near = st.integers(int(low), int(high)) | st.sampled_from([low, high])
        return draw(near if kind in ("integer", "long") else near | st.floats(allow_nan=False, allow_infinity=False))
    if kind == "boolean":
        return draw(st.booleans())
    return draw(TIMES) if kind == "timestamp" else draw(NAMES)


@st.composite
def changed(draw, shape: Any, params: Any, wrong: float) -> Any:
    """Generate parameters with one change: another value, an additional member, or a missing member."""
    kind = shape.type_name
    if kind == "structure" and isinstance(params, dict) and shape.members and draw(st.integers(0, 9)) > 0:
        given = [name for name in params if name in shape.members]
        name = draw(st.sampled_from(given if given and draw(st.booleans()) else sorted(shape.members)))
        if name in params and draw(st.integers(0, 9)) == 0:
            return {key: value for key, value in params.items() if key != name}
        below = shape.members[name]
        return params | {name: draw(changed(below, params[name], wrong) if name in params else member(below, wrong))}
    if kind == "list" and isinstance(params, list) and params and draw(st.integers(0, 3)) > 0:
        i = draw(st.integers(0, len(params) - 1))
        other = draw(changed(shape.member, params[i], wrong))
        return [*params[:i], other, *params[i + 1 :]] if draw(st.booleans()) else [*params, other]
    return draw(member(shape, wrong))


def least(shape: Any) -> Any:
    """Return a value with the required members only."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        return {name: least(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [least(shape.member)] * max(1, limits.get("min", 1))
    if kind == "map":
        return {"a": least(shape.value)}
    if kind in ("string", "boolean"):
        return shape.enum[0] if getattr(shape, "enum", None) else kind != "boolean" and "a" * limits.get("min", 1)
    return max(1, limits.get("min", 1)) if kind in ("integer", "long", "float", "double") else 0


def edges(shape: Any) -> list[Any]:
    """Return values at the limits of a member's type."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        return [{}, least(shape)]
    if kind in ("list", "map"):
        return [[] if kind == "list" else {}, least(shape)]
    if kind == "string":
        return [*(shape.enum or ["", "a", "\x00", "é", "p101", "pnan", "p-1", "rate(0 days)", "cron(* * * * ? *)"])]
    if kind == "boolean":
        return [True, False]
    if kind == "timestamp":
        return [0, -62135596800, 253402300799, "0001-01-01", "9999-12-31T23:59:59Z"]
    ends = [limits.get("min", -1), limits.get("max", 2**31 - 1), 0, 1]
    return ends if kind in ("integer", "long") else [*ends, 5e-324, 1.7e308, -1.7e308]


def neighbours(shape: Any, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield parameters with one difference: a member is missing, added, or at a limit of its range."""
    for name, below in shape.members.items():
        if name not in params:
            yield params | {name: least(below)}
            continue
        yield {key: value for key, value in params.items() if key != name}
        for value in edges(below):
            yield params | {name: value}
        given, inner = params[name], below
        if inner.type_name == "list" and isinstance(given, list):
            for i, item in enumerate(given):
                if inner.member.type_name == "structure" and isinstance(item, dict):
                    for other in neighbours(inner.member, item):
                        yield params | {name: [*given[:i], other, *given[i + 1 :]]}
                else:
                    for value in edges(inner.member):
                        yield params | {name: [value]}
        elif inner.type_name == "structure" and isinstance(given, dict):
            for other in neighbours(inner, given):
                yield params | {name: other}


def set_the_stage(plane) -> None:
    """Create the resources that the requests in `SENSIBLE` need."""
    for service, name in STAGE:
        params = dict(SENSIBLE[name])
        params.pop("StepScalingPolicyConfiguration", None)
        ask(plane, signed(plane, json.dumps(params).encode(), service=SERVICES[service], target=name))


def anew(operation: str, params: dict[str, Any], number: int) -> dict[str, Any]:
    """Return parameters of a Create operation with a new name."""
    name = CREATED.get(operation)
    return params | {name: f"n{number}"} if name in params and params[name] == "a" else params


@st.composite
def call(draw, operations: dict[str, list[str]]) -> tuple[str, str, str, bytes]:
    """Generate service, operation, protocol and body of a well-formed request that may be invalid."""
    pairs = [(service, operation) for service in sorted(operations) for operation in operations[service]]
    service, operation = draw(st.sampled_from(pairs))
    shape = load_service_model(service).operation_model(operation).input_shape
    wrong = draw(st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0]))
    if shape is None:
        params = {}
    elif operation in SENSIBLE and draw(st.integers(0, 3)) > 0:
        params = SENSIBLE[operation]
        for _ in range(draw(st.integers(0, 3))):
            params = draw(changed(shape, params, wrong)) if isinstance(params, dict) else params
    else:
        params = draw(member(shape, wrong))
    known = load_service_model(service).metadata.get("protocols") or [load_service_model(service).metadata["protocol"]]
    protocol = draw(st.sampled_from(sorted(known)))
    match protocol:
        case "json":
            return service, operation, protocol, json.dumps(params).encode()
        case "smithy-rpc-v2-cbor":
            return service, operation, protocol, encoded(params)
        case _:
            fields = dict(flat(params, ""))
            return service, operation, "query", urlencode({"Action": operation} | fields, errors="replace").encode()


def encoded(value: Any) -> bytes:
    """Encode as CBOR. An incomplete surrogate pair, which CBOR cannot encode, becomes a question mark."""
    return cbor2.dumps(whole(value))


def whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    dot = f"{path}." if path else ""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flat(item, f"{dot}{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value, 1):
            yield from flat(item, f"{dot}member.{i}")
    else:
        yield path, "true" if value is True else "false" if value is False else str(value)[:3000]


def request_of(plane, made: tuple[str, str, str, bytes]) -> bytes:
    """Return a signed request for the values that `call` generated."""
    service, operation, protocol, body = made
    scope = SERVICES[service]
    match protocol:
        case "json":
            return signed(plane, body, service=scope, target=operation)
        case "query":
            return signed(plane, body, service=scope, Content_Type=FORM)
        case _:
            path = f"/service/GraniteServiceVersion20100801/operation/{operation}"
            return signed(
                plane, body, path=path, service=scope, smithy_protocol="rpc-v2-cbor", Content_Type="application/cbor"
            )


PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\x00", b"\xff", b" ", b":", b"%", b"%0d%0a", b"//", b"..", b"\r\n\r\n", b"0\r\n\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n",
     b"Expect: 100-continue\r\n",
     b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Host: evil\r\n", b"X-Amz-Date: 1\r\n", b"Connection: close\r\n",
     b"Content-Encoding: gzip\r\n", b"Authorization: x\r\n", b"smithy-protocol: rpc-v2-cbor\r\n", b"HTTP/1.1", b"GET ",
     b"\xc3\xbc", b"/_mme/", b"/endpoints/a/invocations", b"x-amzn-sagemaker-target-model: \xe9\r\n", b"A" * 9000]
)  # fmt: skip


@st.composite
def broken(draw, request: bytes) -> bytes:
    """Generate the bytes of a request with a few changes, most of them in the headers."""
    changed = bytearray(request)
    for _ in range(draw(st.integers(1, 4))):
        head = bytes(changed).find(b"\r\n\r\n")
        end = len(changed) if head < 0 or draw(st.integers(0, 4)) == 0 else head
        at = draw(st.integers(0, max(0, end)))
        lines = [i + 2 for i in range(len(changed) - 1) if changed[i : i + 2] == b"\r\n"]
        if lines and draw(st.booleans()):
            at = draw(st.sampled_from(lines))
        match draw(st.integers(0, 3)):
            case 0:
                changed[at:at] = draw(PIECES | st.binary(max_size=8))
            case 1:
                del changed[at : at + draw(st.integers(1, 30))]
            case 2:
                changed[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                changed[at:at] = changed[at : at + draw(st.integers(1, 200))]
    return bytes(changed)


@contextmanager
def no_errors_logged():
    """Check that the host logs no error. It logs every response with status 500."""
    logged: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage() + ("" if record.exc_info is None else f": {record.exc_info[1]!r}"))

    handler = Collect(logging.ERROR)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
    assert logged == []


def expect_sense(plane, request: bytes) -> int:
    """Send a well-formed request. Check that the status is not 500 and that the host lives. Return the status."""
    with no_errors_logged():
        status, headers, body = ask(plane, request)
        assert status == 200 or 400 <= status < 500, (status, body)
        if "json" in headers["content-type"]:
            json.dumps(body, allow_nan=False)
        alive(plane)
    return status


def expect_no_crash(plane, sent: bytes) -> None:
    """Send bytes. Check that the host answers without a status 500 or closes the connection, and still answers then."""
    import contextlib
    import socket

    with no_errors_logged(), Link(plane) as link:
        with contextlib.suppress(ConnectionError):
            link.send(sent)
            link.socket.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionError):
            while chunk := link.socket.recv(65536):
                said += chunk
        assert b"HTTP/1.1 5" not in said, said
        assert b"access-control" not in said.lower()
        alive(plane)
