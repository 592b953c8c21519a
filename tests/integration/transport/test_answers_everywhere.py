"""Send the table of responses to every transport: each gives the same result or the same kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import botocore.exceptions as bc
import pytest
from botocore.config import Config

from mme_sdk.errors import OutcomeUnknownError
from mme_sdk.runtime.transport.accelerate import accelerate
from mme_sdk.runtime.transport_interface import InvokeResponse
from tests.integration.transport.test_behaviour import REQUEST
from tests.support.transport.answers import ACCEPTED, CHUNKED, OK, REFUSED, UNFINISHED
from tests.support.transport.fixtures import TRANSPORTS, Driver, aws_at
from tests.support.transport.raw_server import RawServer
from tests.support.transport.server import ACCESS, REGION, SECRET, TOKEN

# urllib3 and http.client read these as answers, and leave no trace of what they passed over.
PASSED_BY_BOTOCORE = {
    "longer than its length", "longer than nothing", "304 with a body", "bytes after the last chunk",
    "bare CR", "bare LF", "bare LF everywhere", "bare LF at the end", "folded", "folded by a tab",
    "chunk size +2", "chunk size 0x2", "chunk size 1_0", "chunk size and a space", "a space and a chunk size",
    "chunk line with LF", "NUL in a chunk extension", "trailer without a colon", "trailer with LF",
    "a length in the trailers",
    "a space first", "NUL in the reason", "half a last chunk", "half a trailer",
}  # fmt: skip
GOOD = OK + b"Content-Length: 4\r\n\r\ngood"
LONG = {"connect_timeout": 30.0, "read_timeout": 60.0}


@pytest.fixture
def raw() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


@pytest.fixture
def raw_driver(kind: str, raw: RawServer) -> Iterator[Driver]:
    made = Driver(kind, aws_at(raw.url))
    yield made
    made.close()


def test_invalid_responses_are_unknown_outcomes_at_once(raw_driver: Driver, raw: RawServer) -> None:
    plain = raw_driver.kind.startswith("botocore")
    wrong: list[Any] = []
    for name, wire in REFUSED:
        raw.wire, raw.closes, before = wire, plain, raw.requests
        answer: Any = None
        for _ in range(2):
            try:
                answer = raw_driver.send(REQUEST, **LONG)
            except OutcomeUnknownError as error:
                answer = str(error) if "timed out" in str(error) or (not error.answer_began and not plain) else None
            if raw.requests > before or not plain:
                break  # botocore may meet a connection that has just been closed, and then sends nothing
        if answer is not None and not (plain and name in PASSED_BY_BOTOCORE):
            wrong.append((name, answer))
        if raw.requests != before + 1:
            wrong.append((name, f"sent {raw.requests - before} times"))
        raw.wire, raw.closes = GOOD, False
        if _next(raw_driver, plain).body != b"good":
            wrong.append((name, "the next answer is not its own"))
    assert [one[0] for one in wrong] == [], wrong


def _next(driver: Driver, plain: bool) -> InvokeResponse:
    """The next answer. botocore may send on a connection that has just been closed, and then there is none."""
    try:
        return driver.send(REQUEST, **LONG)
    except OutcomeUnknownError:
        if not plain:
            raise
    return driver.send(REQUEST, **LONG)


def test_valid_responses_are_equal_on_every_transport(raw_driver: Driver, raw: RawServer) -> None:
    for name, wire, status, body in ACCEPTED:
        if name == "hints" and raw_driver.kind.startswith("botocore"):
            continue  # http.client takes 103 for the answer: test_behaviour has it
        raw.wire = wire
        answer: InvokeResponse = raw_driver.send(REQUEST, **LONG)
        assert (answer.status, answer.body) == (status, body), name


def test_incomplete_responses_are_unknown_outcomes(raw_driver: Driver, raw: RawServer) -> None:
    raw.closes = True
    for name, wire in UNFINISHED:
        raw.wire, before = wire, raw.requests
        try:
            answer: Any = raw_driver.send(REQUEST, **LONG)
        except OutcomeUnknownError:
            answer = None
        assert answer is None or (raw_driver.kind.startswith("botocore") and name in PASSED_BY_BOTOCORE), name
        assert raw.requests == before + 1, name


def test_bytes_after_a_response_are_not_used(raw_driver: Driver, raw: RawServer) -> None:
    """Whether they come with the answer or later, the next request gets its own answer."""
    second = OK + b"Content-Length: 4\r\n\r\nevil"
    for wire in (GOOD + second, CHUNKED + b"4\r\ngood\r\n0\r\n\r\n" + second, b"HTTP/1.1 204 X\r\n\r\n" + second):
        raw.wire = wire
        for _ in range(4):
            try:
                body = raw_driver.send(REQUEST, **LONG).body
            except OutcomeUnknownError:
                continue
            assert body in (b"good", b"")


def test_error_types_in_all_their_forms(raw_driver: Driver, raw: RawServer) -> None:
    from mme_sdk.runtime.retry.answers import error_fields

    said = b'{"message": "no", "code": 5, "OriginalStatusCode": true}'
    for header in (
        b"ValidationError",
        b"ValidationError:http://internal.amazon.com/coral/com.amazon/",
        b"com.amazon.sagemaker#ValidationError",
        b"com.amazon.sagemaker#ValidationError:http://x/",
        b"ValidationError\r\nx-amzn-errortype: ValidationError",
    ):
        raw.wire = b"HTTP/1.1 400 B\r\nX-Amzn-ErrorType: %s\r\nContent-Length: %d\r\n\r\n%s" % (header, len(said), said)
        fields = error_fields(raw_driver.send(REQUEST, **LONG))
        assert (fields.code, fields.message, fields.original_status) == ("ValidationError", "no", None), header
    raw.wire = b"HTTP/1.1 400 B\r\nContent-Length: 4\r\n\r\n\xff\xfe{\x00"
    assert raw_driver.send(REQUEST, **LONG).body == b"\xff\xfe{\x00"


@pytest.fixture
def accelerated(raw: RawServer) -> Iterator[Any]:
    client = boto3.Session(ACCESS, SECRET, TOKEN, region_name=REGION).client(
        "sagemaker-runtime",
        endpoint_url=raw.url,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
    )
    with accelerate(client):
        yield client
    client.close()


def test_an_accelerated_client_rejects_the_same_responses(accelerated: Any, raw: RawServer) -> None:
    for name, wire in REFUSED:
        raw.wire, before = wire, raw.requests
        with pytest.raises(bc.ConnectionClosedError):
            accelerated.invoke_endpoint(EndpointName="echo", Body=b"1")
        assert raw.requests == before + 1, name
    for name, wire, status, body in ACCEPTED:
        if status != 304:
            raw.wire = wire
            assert accelerated.invoke_endpoint(EndpointName="echo", Body=b"1")["Body"].read() == body, name


def test_the_table_covers_every_transport() -> None:
    assert {kind.partition("-")[0] for kind in TRANSPORTS} == {"botocore", "fast"}
