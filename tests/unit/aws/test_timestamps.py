"""Times of S3 are those of botocore, at a fraction of the work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.parsers import ResponseParserFactory
from botocore.utils import parse_timestamp

from mme_sdk.aws.s3 import timestamps


@pytest.mark.parametrize(
    "value",
    [
        "2009-10-12T17:50:30.000Z",
        "2026-02-28T23:59:59Z",
        "2026-02-28T23:59:59.123456Z",
        "2026-02-28T23:59:59.1234567Z",
        "2026-02-28T23:59:59+02:00",
        "Wed, 12 Oct 2009 17:50:00 GMT",
        "1700000000",
        1700000000,
        1700000000.5,
    ],
)
def test_the_time_of_botocore(value: Any) -> None:
    found = timestamps.parse(value)
    assert found == parse_timestamp(value)
    assert found.utcoffset() == parse_timestamp(value).utcoffset()


@pytest.mark.parametrize("value", ["2026-02-30T00:00:00Z", "2026-02-28T25:00:00Z", "x", ""])
def test_a_time_that_botocore_refuses(value: str) -> None:
    with pytest.raises(ValueError):
        parse_timestamp(value)
    with pytest.raises(ValueError):
        timestamps.parse(value)


def made(session: boto3.Session) -> Any:
    return session.client("s3", endpoint_url="http://127.0.0.1:1")


def test_other_clients_of_the_session_are_not_changed() -> None:
    session = boto3.Session("a", "b", region_name="us-east-1")
    client, other = made(session), made(session)
    shared = other._endpoint._response_parser_factory
    timestamps.install(client)
    assert other._endpoint._response_parser_factory is shared
    assert not shared._defaults
    shape = client.meta.service_model.operation_model("ListObjectsV2").output_shape
    body = (
        b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>k</Key>'
        b"<LastModified>2026-02-28T23:59:59.000Z</LastModified><Size>3</Size></Contents></ListBucketResult>"
    )
    answer = {"status_code": 200, "headers": {}, "body": body, "context": {}}
    parsed = [
        one._endpoint._response_parser_factory.create_parser("rest-xml").parse(answer, shape) for one in (client, other)
    ]
    assert parsed[0] == parsed[1]
    assert parsed[0]["Contents"][0]["LastModified"] == datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)


def test_parsers_of_the_caller_stay() -> None:
    session = boto3.Session("a", "b", region_name="us-east-1")
    factory: ResponseParserFactory = session._session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=str)
    client = made(session)
    timestamps.install(client)
    assert client._endpoint._response_parser_factory is factory
