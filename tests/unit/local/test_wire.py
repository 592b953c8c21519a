"""Test the checks of requests and responses against the service models."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from botocore.model import ShapeResolver
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from mme_sdk.local.wire import cbor
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.parameters import check_constraints
from mme_sdk.local.wire.protocols import detect_protocol
from mme_sdk.local.wire.responses import serialize_json
from mme_sdk.local.wire.service_model import load_service_model, partition_of


def parse_json(operation, body: bytes):
    return detect_protocol({}, "/", body).parse(operation)


def shape(**members):
    shapes = {"S": {"type": "structure", "members": {name: {"shape": name} for name in members}}, **members}
    return ShapeResolver(shapes).get_shape_by_name("S")


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\p{Print}+", "a b~", "a\x01"),
        (r"\A\S[\p{Print}]*\z", "a b", " a"),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Größe 1:/=", "a{b"),
        (r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", "a--b", "a-"),
        (r"[\S]+", "x", "x y"),
        (r"[^\]]+", "abc", "a]"),
    ],
)
def test_patterns_of_aws_mean_in_python_what_they_mean_in_java(pattern, good, bad):
    wanted = shape(A={"type": "string", "pattern": pattern})
    check_constraints(wanted, {"A": good})
    with pytest.raises(ApiError, match="Member must satisfy regular expression pattern"):
        check_constraints(wanted, {"A": bad})


def test_every_pattern_of_the_operations_that_are_served_is_checked_or_known_not_to_be():
    from mme_sdk.local.wire.parameters import _pattern

    model = load_service_model("sagemaker")
    unchecked = set()
    for name in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "AddTags", "ListEndpoints"):
        pending, seen = [model.operation_model(name).input_shape], set()
        while pending:
            one = pending.pop()
            if one.name in seen:
                continue
            seen.add(one.name)
            if (pattern := one.metadata.get("pattern")) and _pattern(pattern) is None:
                unchecked.add(pattern)
            if one.type_name == "structure":
                pending += one.members.values()
            elif one.type_name == "list":
                pending.append(one.member)
            elif one.type_name == "map":
                pending += [one.key, one.value]
    assert unchecked == set()


def test_limits_of_every_kind():
    wanted = shape(
        N={"type": "integer", "min": 1, "max": 5},
        L={"type": "list", "member": {"shape": "N"}, "max": 2},
        E={"type": "string", "enum": ["a", "b"]},
    )
    check_constraints(wanted, {"N": 5, "L": [1, 2], "E": "a"})
    with pytest.raises(ApiError) as caught:
        check_constraints(wanted, {"N": 6, "L": [0, 1, 2], "E": "c"})
    assert caught.value.message == (
        "4 validation errors detected: "
        "Value '6' at 'n' failed to satisfy constraint: Member must have value less than or equal to 5; "
        "Value '[0, 1, 2]' at 'l' failed to satisfy constraint: Member must have length less than or equal to 2; "
        "Value '0' at 'l.1.member' failed to satisfy constraint: Member must have value greater than or equal to 1; "
        "Value 'c' at 'e' failed to satisfy constraint: Member must satisfy enum value set: [a, b]"
    )


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"EndpointName": 1}', b'{"MaxResults": "1"}', b'{"CreationTimeAfter": "noon"}', b"\xff", b'"x"'],
)
def test_a_body_that_is_not_what_the_model_says_is_refused(body):
    operation = load_service_model("sagemaker").operation_model(
        "DescribeEndpoint" if b"EndpointName" in body else "ListEndpoints"
    )
    with pytest.raises(ApiError) as caught:
        parse_json(operation, body)
    assert caught.value.code == "SerializationException"


def test_a_member_that_the_model_does_not_know_is_refused_by_name_since_aws_may_know_it():
    operation = load_service_model("sagemaker").operation_model("DescribeEndpoint")
    with pytest.raises(ApiError, match="does not know Tomorrow of DescribeEndpointInput"):
        parse_json(operation, b'{"EndpointName": "a", "Tomorrow": 1}')
    assert parse_json(operation, b'{"EndpointName": "a", "Tomorrow": null}') == {"EndpointName": "a"}
    with pytest.raises(ApiError, match="Value null at 'endpointName' failed to satisfy constraint: Member must not"):
        parse_json(operation, b"{}")


def test_an_answer_that_the_model_does_not_know_is_a_bug_and_not_sent():
    operation = load_service_model("sagemaker").operation_model("DescribeModel")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    answer = json.loads(serialize_json(operation, {"ModelName": "m", "CreationTime": now, "VpcConfig": None}))
    assert answer == {"ModelName": "m", "CreationTime": now.timestamp()}
    for wrong in ({"Surprise": 1}, {"ModelName": 1}, {"EnableNetworkIsolation": "yes"}):
        with pytest.raises(TypeError):
            serialize_json(operation, wrong)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        # RFC 8949, appendix A
        ("17", 23),
        ("1818", 24),
        ("1a000f4240", 1000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3863", -100),
        ("f93e00", 1.5),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f5", True),
        ("f6", None),
        ("c1fb41d452d9ec200000", 1363896240.5),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("62c3bc", "\u00fc"),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ],
)
def test_cbor_reads_what_the_standard_shows(encoded, value):
    assert cbor.loads(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    "encoded",
    ["", "18", "62c3", "9f01", "a1", "ff", "181800", "fc", "62ffff", "81" * 200, "bf61ff", "9bffffffffffffffff"],
)
def test_cbor_refuses_what_is_none(encoded):
    with pytest.raises(ValueError, match="CBOR"):
        cbor.loads(bytes.fromhex(encoded))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**64), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text()
        | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_cbor_comes_back_as_it_went(value):
    assert cbor.loads(cbor.dumps(value)) == value


def test_the_partition_of_a_region_is_that_of_botocore():
    session = Session()
    regions = {
        region
        for partition in session.get_available_partitions()
        for service in ("ec2", "sagemaker")
        for region in session.get_available_regions(service, partition)
    }
    assert len(regions) > 30
    for region in (*regions, "us-east-99", "cn-new-7", "us-gov-east-9"):
        assert partition_of(region) == session.get_partition_for_region(region)
    assert partition_of("nowhere") == "aws"
