"""`accelerate`: an accelerated client and an ordinary one call the same server; their results are compared."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.exceptions as bc
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mme_sdk.errors import ConfigurationError, InvalidInputError
from mme_sdk.runtime.transport.accelerate import accelerate
from tests.support.transport.server import ACCESS, REGION, SECRET, TOKEN, LoopbackServer

ARGUMENTS: dict[str, Any] = {"EndpointName": "echo", "Body": b"1,2", "ContentType": "text/csv"}


def client_of(server: LoopbackServer | str, **config: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    session = boto3.Session(ACCESS, SECRET, TOKEN, region_name=REGION)
    return session.client("sagemaker-runtime", endpoint_url=url, config=Config(**config))


@pytest.fixture
def pair(server: LoopbackServer) -> Iterator[tuple[Any, Any]]:
    """A client, and its accelerated twin."""
    original, accelerated = client_of(server), client_of(server)
    with accelerate(accelerated):
        yield original, accelerated
    original.close()
    accelerated.close()


def outcome(client: Any, **arguments: Any) -> Any:
    """All that a caller can see of a call."""
    try:
        reply = client.invoke_endpoint(**arguments)
        reply["Body"] = reply["Body"].read()
    except bc.ClientError as error:
        return type(error).__name__, str(error), error.response, error.operation_name
    except Exception as error:  # noqa: BLE001 - whatever it is, the twin must raise it too
        return type(error).__name__, type(error).__mro__[1:4]
    return reply


def sent(server: LoopbackServer) -> list[Any]:
    """What arrived since last asked, without what differs from call to call."""
    differing = {"amz-sdk-invocation-id", "authorization", "x-amz-date", "user-agent", "amz-sdk-request"}
    seen = [
        (one.target, one.body, one.fault, {name: value for name, value in one.headers.items() if name not in differing})
        for one in server.seen
    ]
    assert all("amz-sdk-invocation-id" in one.headers for one in server.seen)
    server.seen.clear()
    return seen


optional = st.fixed_dictionaries(
    {},
    optional={
        "ContentType": st.sampled_from(["text/csv", "application/json"]),
        "Accept": st.just("application/json"),
        "TargetModel": st.sampled_from(["a.tar.gz", "x y/ü+%.tar.gz"]),
        "TargetVariant": st.just("AllTraffic"),
        "CustomAttributes": st.sampled_from(["a=b", "a  b\tc"]),
        "InferenceId": st.just("i-1"),
        "SessionId": st.just("s-1"),
        "EnableExplanations": st.just("`true`"),
        "TargetContainerHostname": st.just("first"),
        "InferenceComponentName": st.just("component"),
        "Body": st.sampled_from([b"", b"x" * 70_000, bytearray(b"abc"), "text"]),
    },
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    arguments=optional, endpoint=st.sampled_from(["echo", "model-error", "expired", "status-400", "chunked", "html"])
)
def test_responses_and_errors_equal_those_of_botocore(
    pair: Any, server: LoopbackServer, arguments: Any, endpoint: str
) -> None:
    seen = []
    for client in pair:
        server.seen.clear()
        seen.append((outcome(client, EndpointName=endpoint, **{"Body": b"", **arguments}), sent(server)))
    original, accelerated = seen
    assert original == accelerated
    assert len(original[1]) >= 1


@pytest.mark.parametrize("endpoint", ["garbage", "half-body", "drop"])
def test_incomplete_responses_raise_botocore_exceptions(server: LoopbackServer, endpoint: str) -> None:
    accelerated = client_of(server, retries={"total_max_attempts": 1})
    with accelerate(accelerated), pytest.raises(bc.ConnectionClosedError):
        accelerated.invoke_endpoint(EndpointName=endpoint, Body=b"")
    accelerated.close()


def test_time_outs_and_refused_connections_raise_botocore_exceptions(server: LoopbackServer) -> None:
    config: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "read_timeout": 0.1}
    for url, endpoint in ((server.url, "silent"), ("http://127.0.0.1:1", "echo"), ("http://absent.invalid", "echo")):
        clients = client_of(url, **config), client_of(url, **config)
        with accelerate(clients[1]):
            original, accelerated = (outcome(one, EndpointName=endpoint, Body=b"") for one in clients)
        assert original == accelerated
        for one in clients:
            one.close()


def test_an_untrusted_certificate_raises_a_botocore_exception(tls_server: LoopbackServer) -> None:
    accelerated = client_of(tls_server, retries={"total_max_attempts": 1})
    with accelerate(accelerated), pytest.raises(bc.SSLError):
        accelerated.invoke_endpoint(EndpointName="echo", Body=b"")
    accelerated.close()


@pytest.mark.parametrize("mode", ["standard", "legacy"])
@pytest.mark.parametrize("endpoint", ["status-503", "status-429", "status-404", "drop"])
def test_retries_follow_the_configuration_of_the_client(
    server: LoopbackServer, mode: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    config = {"retries": {"mode": mode, "total_max_attempts": 3}}
    counts = []
    for boosted in (False, True):
        one = client_of(server, **config)
        undo = accelerate(one) if boosted else None
        said = outcome(one, EndpointName=endpoint, Body=b"")
        ids = {seen.headers["amz-sdk-invocation-id"] for seen in server.seen}
        counts.append((said, len(sent(server)), len(ids)))
        if undo:
            undo.remove()
        one.close()
    assert counts[0] == counts[1]


def test_a_retry_that_succeeds_is_counted(server: LoopbackServer) -> None:
    turns = iter([503, 200])

    async def second_time(seen: Any, writer: asyncio.StreamWriter) -> bool:
        writer.write(f"HTTP/1.1 {next(turns)} X\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        return True

    server._behaviours["second-time"] = second_time
    waited: list[float] = []
    accelerated = client_of(server)
    with accelerate(accelerated) as undo:
        undo._http_layer._sleep = waited.append
        reply = accelerated.invoke_endpoint(EndpointName="second-time", Body=b"")
    del server._behaviours["second-time"]
    assert (reply["ResponseMetadata"]["RetryAttempts"], len(waited)) == (1, 1)
    reply["Body"].set_socket_timeout(1)
    assert reply["Body"].read() == b"{}"
    accelerated.close()


def test_remove_undoes_accelerate(server: LoopbackServer) -> None:
    accelerated = client_of(server)
    undo = accelerate(accelerated)
    assert "fast" in repr(undo)
    accelerated.invoke_endpoint(**ARGUMENTS)["Body"].read()
    undo.remove()
    undo.remove()
    accelerated.invoke_endpoint(**ARGUMENTS)["Body"].read()
    ours, theirs = (one.headers for one in server.seen)
    assert "amz-sdk-request" not in ours
    assert "amz-sdk-request" in theirs
    with accelerate(accelerated):
        accelerated.invoke_endpoint(**ARGUMENTS)["Body"].read()
    accelerated.close()


def test_botocore_sends_streamed_bodies_and_every_parameter_of_the_model_is_known(server: LoopbackServer) -> None:
    accelerated = client_of(server)
    with accelerate(accelerated) as undo:
        assert accelerated.invoke_endpoint(EndpointName="echo", Body=io.BytesIO(b"abc"))["Body"].read() == b"abc"
        assert undo.passed_on == 1
        accelerated.invoke_endpoint(EndpointName="echo", Body=b"", InferenceComponentName="c")["Body"].read()
        assert undo.passed_on == 1
    streamed, known = (one.headers for one in server.seen)
    assert "amz-sdk-request" in streamed
    assert "amz-sdk-request" not in known
    assert known["x-amzn-sagemaker-inference-component"] == "c"
    accelerated.close()


def test_unsupported_clients_are_rejected(server: LoopbackServer) -> None:
    adaptive = client_of(server, retries={"mode": "adaptive"})
    with pytest.raises(ConfigurationError, match="adaptive"):
        accelerate(adaptive)
    heard = client_of(server)
    heard.meta.events.register("before-sign", lambda **_: None)
    with pytest.raises(ConfigurationError, match="before-sign"):
        accelerate(heard)
    once = client_of(server)
    with accelerate(once), pytest.raises(ConfigurationError, match="already"):
        accelerate(once)
    for wrong in (object(), None, boto3.Session(ACCESS, SECRET, region_name=REGION).client("sts")):
        with pytest.raises(InvalidInputError):
            accelerate(wrong)


def test_botocore_validates_parameters(server: LoopbackServer) -> None:
    accelerated = client_of(server)
    with accelerate(accelerated), pytest.raises(bc.ParamValidationError):
        accelerated.invoke_endpoint(EndpointName="echo", Body=7)
    assert server.seen == []
    accelerated.close()


def test_a_handler_that_is_added_later_is_called(server: LoopbackServer) -> None:
    accelerated = client_of(server)
    heard: list[str] = []

    def mine(**_: Any) -> None:
        heard.append("sent")

    with accelerate(accelerated) as undo:
        accelerated.invoke_endpoint(**ARGUMENTS)["Body"].read()
        accelerated.meta.events.register("before-send", mine)
        accelerated.invoke_endpoint(**ARGUMENTS)["Body"].read()
        assert (heard, undo.passed_on) == (["sent"], 1)
        accelerated.meta.events.unregister("before-send", mine)
        accelerated.invoke_endpoint(**ARGUMENTS)["Body"].read()
        assert (heard, undo.passed_on) == (["sent"], 1)
    accelerated.close()


def test_a_stubbed_client_returns_its_stubs(server: LoopbackServer) -> None:
    accelerated = client_of(server)
    with accelerate(accelerated), Stubber(accelerated) as stub:
        stub.add_response("invoke_endpoint", {"Body": "stubbed"}, ARGUMENTS)
        assert accelerated.invoke_endpoint(**ARGUMENTS)["Body"] == "stubbed"
    assert server.seen == []
    accelerated.close()


def test_successes_refill_the_quota_of_retries(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    left = []
    for boosted in (False, True):
        one = client_of(server, retries={"mode": "standard", "total_max_attempts": 3})
        undo = accelerate(one) if boosted else None
        for endpoint in ("status-503", "echo", "echo", "status-500", "echo"):
            outcome(one, EndpointName=endpoint, Body=b"")
        (quota,) = [
            handler.__self__._quota  # type: ignore[attr-defined]
            for handler in one.meta.events._emitter._handlers.prefix_search(
                "after-call.sagemaker-runtime.InvokeEndpoint"
            )
            if hasattr(handler.__self__, "_quota")  # type: ignore[attr-defined]
        ]
        left.append(quota.available_capacity)
        if undo:
            undo.remove()
        one.close()
    assert left[0] == left[1] < 500


def test_the_first_attempt_is_sent_once(server: LoopbackServer) -> None:
    accelerated = client_of(server, retries={"total_max_attempts": 1})
    with accelerate(accelerated) as undo:
        for endpoint in ("status-400", "model-error", "drop"):
            outcome(accelerated, EndpointName=endpoint, Body=b"", ContentType="text/csv")
        assert undo.passed_on == 0
    assert [one.endpoint for one in server.seen] == ["status-400", "model-error", "drop"]
    accelerated.close()
