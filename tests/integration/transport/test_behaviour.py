"""Tests that every transport passes: the same requests, the same faulty server, the same responses and errors."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest

from mme_sdk.errors import ClosedError, InvalidInputError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime.transport_interface import InvokeRequest
from tests.support.transport.behaviours import BIG, MODEL_ERROR
from tests.support.transport.fixtures import Driver, aws_at
from tests.support.transport.server import LoopbackServer

REQUEST = InvokeRequest(endpoint="echo", body=b"1,2,3\n", content_type="text/csv")


def to(endpoint: str, **changes: object) -> InvokeRequest:
    return attrs.evolve(REQUEST, endpoint=endpoint, **changes)  # type: ignore[arg-type]


def test_a_response_is_returned_unchanged(driver: Driver, server: LoopbackServer) -> None:
    full = attrs.evolve(
        REQUEST,
        accept="application/json",
        target_model="fraud/v 3+ü.tar.gz",
        target_variant="AllTraffic",
        target_container="first",
        inference_component="component-1",
        prefix_aware_id="app 1",
        inference_id="i-1",
        custom_attributes="a=b; c\t=  d",
        session_id="s-1",
        enable_explanations="`true`",
        invocation_id="11111111-2222-3333-4444-555555555555",
    )
    answer = driver.send(full)
    assert (answer.status, answer.body) == (200, b"1,2,3\n")
    assert answer.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    (seen,) = server.seen
    assert seen.fault is None
    assert (seen.method, seen.target) == ("POST", "/endpoints/echo/invocations")
    wanted = {
        "content-type": "text/csv",
        "accept": "application/json",
        "x-amzn-sagemaker-target-model": "fraud/v 3+ü.tar.gz",
        "x-amzn-sagemaker-target-variant": "AllTraffic",
        "x-amzn-sagemaker-target-container-hostname": "first",
        "x-amzn-sagemaker-inference-component": "component-1",
        "x-amzn-sagemaker-prefix-aware-id": "app 1",
        "x-amzn-sagemaker-inference-id": "i-1",
        "x-amzn-sagemaker-custom-attributes": "a=b; c\t=  d",
        "x-amzn-sagemaker-session-id": "s-1",
        "x-amzn-sagemaker-enable-explanations": "`true`",
        "amz-sdk-invocation-id": "11111111-2222-3333-4444-555555555555",
        "content-length": "6",
    }
    assert {name: seen.headers.get(name) for name in wanted} == wanted
    assert "mme_sdk/" in seen.headers["user-agent"]


def test_an_error_status_is_a_response_to_one_request(driver: Driver, server: LoopbackServer) -> None:
    for number, status in enumerate([400, 404, 429, 500, 503, 530]):
        answer = driver.send(to(f"status-{status}"))
        assert (answer.status, answer.body, answer.headers["retry-after"]) == (status, b"{}", "3")
        assert len(server.seen) == number + 1


def test_error_details_arrive_raw(driver: Driver) -> None:
    import json

    answer = driver.send(to("model-error"))
    assert answer.status == 424
    assert answer.headers["x-amzn-errortype"].startswith("ModelError")
    assert json.loads(answer.body) == MODEL_ERROR
    assert driver.send(to("html")).body == b"<html>Bad Gateway</html>"
    assert driver.send(to("expired")).headers["x-amzn-errortype"] == "ExpiredTokenException"


def test_a_redirect_is_not_followed(driver: Driver, server: LoopbackServer) -> None:
    assert driver.send(to("redirect")).status == 307
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "endpoint",
    ["garbage", "tiny-garbage", "half-body", "half-head", "half-chunk", "bad-chunk", "drop", "endless-header",
     "endless-lines", "endless-interim"],
)  # fmt: skip
def test_an_incomplete_response_is_an_unknown_outcome(driver: Driver, server: LoopbackServer, endpoint: str) -> None:
    with pytest.raises(OutcomeUnknownError) as caught:
        driver.send(to(endpoint))
    assert (caught.value.endpoint, caught.value.replay_safe, caught.value.sent) == (endpoint, False, None)
    assert driver.send(REQUEST).status == 200
    assert server.seen[-1].connection != server.seen[0].connection


@pytest.mark.parametrize("endpoint", ["silent", "slow-body"])
def test_a_read_time_out_is_an_unknown_outcome(driver: Driver, server: LoopbackServer, endpoint: str) -> None:
    driver.ready()
    tries = 0
    while not server.seen and tries < 5:  # on a busy machine, the time-out may come before the server reads the request
        tries += 1
        with pytest.raises(OutcomeUnknownError):
            driver.send_within(to(endpoint), 0.2 * 2**tries)
    assert driver.send(REQUEST).status == 200
    names = Counter(seen.endpoint for seen in server.seen)
    assert names["echo"] == 1
    assert 1 <= names[endpoint] <= tries  # no try is sent twice


@pytest.mark.parametrize(
    ("endpoint", "status", "body"),
    [
        ("continue", 200, b"after"),
        ("hints", 200, b"after"),
        ("chunked", 200, b"hello world"),
        ("trailers", 200, b"hello"),
        ("until-close", 200, b"until the end"),
        ("http10", 200, b"old"),
        ("asks-to-close", 200, b"bye"),
        ("no-content", 204, b""),
        ("byte-by-byte", 200, b"slowly"),
        ("big", 200, BIG),
    ],
)
def test_unusual_responses_are_read_completely(
    driver: Driver, server: LoopbackServer, endpoint: str, status: int, body: bytes
) -> None:
    if endpoint == "hints" and driver.kind.startswith("botocore"):
        with pytest.raises(OutcomeUnknownError, match="interim"):
            driver.send(to(endpoint))
        assert driver.send(REQUEST).body == REQUEST.body
        return
    for _ in range(2):
        answer = driver.send(to(endpoint))
        assert (answer.status, answer.body) == (status, body)
    assert len(server.seen) == 2


def test_a_closed_port_is_a_not_sent_error(kind: str, server: LoopbackServer) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        driver = Driver(kind, aws_at(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(NotSentError):
            driver.send(REQUEST)
        driver.close()


BAD: list[dict[str, str]] = [
    {"target_model": "a\r\nX-Evil: 1"},
    {"target_model": "\ud800"},
    {"custom_attributes": "a\nb"},
    {"custom_attributes": "ü"},
    {"content_type": "text/csv\r"},
    {"accept": "\x00"},
    {"inference_id": "é"},
    {"session_id": "a\x7f"},
    {"invocation_id": "a\r\n"},
    {"endpoint": "a/b"},
    {"endpoint": "a\r\n"},
    {"endpoint": ""},
    {"endpoint": "a" * 64},
    {"endpoint": "a-"},
    {"endpoint": "ü"},
]


def test_invalid_input_is_not_sent(driver: Driver, server: LoopbackServer) -> None:
    for changes in BAD:
        with pytest.raises(InvalidInputError) as caught:
            driver.send(attrs.evolve(REQUEST, **changes))
        assert caught.value.sent is False
    assert server.connections == 0


def test_a_closed_transport_rejects_calls(kind: str, server: LoopbackServer) -> None:
    driver = Driver(kind, aws_at(server.url))
    assert driver.send(REQUEST).status == 200
    if driver.runner:
        driver.runner.run(driver.transport.close())
    else:
        driver.transport.close()
    with pytest.raises(ClosedError):
        driver.send(REQUEST)
    driver.close()


def test_large_bodies_both_ways(driver: Driver) -> None:
    body = BIG[: 5 << 20]
    assert driver.send(to("echo", body=body)).body == body
    assert driver.send(to("echo", body=b"")).body == b""
