"""Trouble on demand: it strikes what it matches, as often as it says, the same way every time."""

from __future__ import annotations

import http.client
import json

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from mme_sdk.errors import InvalidInputError
from mme_sdk.local import Fault, Faults
from tests.support.local.helpers import ROLE, make_endpoint, make_model
from tests.support.local.raw import signature

ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture
def faults(plane):
    plane.faults.clear()
    yield plane.faults
    plane.faults.clear()


@pytest.fixture
def once(plane):
    """Clients that try once."""
    clients = [plane.boto(service, config=ONCE) for service in ("sagemaker", "sagemaker-runtime")]
    yield clients
    for client in clients:
        client.close()


def ask(plane, method: str, path: str, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", plane.port)
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | headers
    if method != "GET":
        headers = signature(plane, method, path, content, headers, "sagemaker")
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    status, said = answer.status, answer.read()
    connection.close()
    return status, json.loads(said) if said.startswith((b"{", b"[")) else said


def test_skip_times_and_match():
    faults = Faults()
    faults.add(Fault(kind="error", operation="CreateModel", skip=1, times=2))
    struck = [faults.strike("error", "throttle", operation="CreateModel") is not None for _ in range(5)]
    assert struck == [False, True, True, False, False]
    assert faults.strike("error", operation="CreateEndpoint") is None
    assert faults.strike("throttle", operation="CreateModel") is None
    assert faults.list()["fault-1"]["met"] == 5
    assert faults.list()["fault-1"]["struck"] == 2


def test_dice_are_the_same_for_the_same_seed_whatever_else_is_in_force():
    def rolls(seed: int, others: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(kind="slow_load", probability=0.5))
        for _ in range(others):
            faults.add(Fault(kind="throttle", probability=0.5))
        rolled = []
        for _ in range(50):
            rolled.append(faults.strike("slow_load") is not None)
            faults.strike("throttle")
        return rolled

    assert rolls(1, 0) == rolls(1, 3)
    assert rolls(1, 0) != rolls(2, 0)
    assert 10 < sum(rolls(1, 0)) < 40


@pytest.mark.parametrize(
    "wrong", [{"kind": "earthquake"}, {"kind": "error", "probability": 2}, {"kind": "error", "times": 0}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        Fault(**wrong)


def test_a_control_plane_call_is_throttled_or_fails_before_anything_is_done(faults, once, name):
    sm, _ = once
    faults.add(Fault(kind="throttle", operation="CreateModel", times=1))
    faults.add(Fault(kind="error", operation="CreateModel", times=1, code="ResourceLimitExceeded", status=400))
    for code in ("ThrottlingException", "ResourceLimitExceeded"):
        with pytest.raises(ClientError) as caught:
            make_model(sm, name)
        assert caught.value.response["Error"]["Code"] == code
    make_model(sm, name)


def test_a_dropped_connection_before_does_nothing_and_after_has_done_it(faults, once, name):
    sm, _ = once
    faults.add(Fault(kind="drop_before", operation="CreateModel", times=1))
    faults.add(Fault(kind="drop_after", operation="CreateModel", times=1))
    with pytest.raises(ConnectionClosedError):
        make_model(sm, name)
    with pytest.raises(ClientError, match="Could not find model"):
        sm.describe_model(ModelName=name)
    with pytest.raises(ConnectionClosedError):
        make_model(sm, name)
    assert sm.describe_model(ModelName=name)["ExecutionRoleArn"] == ROLE


def test_invocations_of_one_model_fail_and_the_log_shows_who_tried_again(plane, faults, once, name):
    sm, runtime = once
    make_endpoint(sm, name)
    faults.add(Fault(kind="error", operation="InvokeEndpoint", model="a", status=503, code="ServiceUnavailable"))
    faults.add(Fault(kind="drop_after", endpoint=name, model="b", times=1))
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName=name, TargetModel="a", Body=b"")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    patient = plane.boto("sagemaker-runtime")
    assert patient.invoke_endpoint(EndpointName=name, TargetModel="b", Body=b"x")["Body"].read() == b"x"
    patient.close()
    seen = [one for one in plane.requests.last() if one.endpoint == name]
    assert [(one.model, one.status) for one in seen] == [("a", 503), ("b", 0), ("b", 200)]
    assert seen[1].invocation_id == seen[2].invocation_id
    assert plane.requests.duplicates()[seen[1].invocation_id] == 2


def test_faults_over_http(plane, faults):
    status, said = ask(plane, "POST", "/_mme/faults", {"kind": "throttle", "operation": "ListModels", "times": 1})
    assert (status, said) == (200, {"id": "fault-1"})
    status, said = ask(plane, "GET", "/_mme/faults")
    assert said["fault-1"] | {"kind": "throttle", "operation": "ListModels", "struck": 0} == said["fault-1"]
    assert ask(plane, "POST", "/_mme/faults", {"kind": "earthquake"})[0] == 400
    assert "attributes are kind, operation" in ask(plane, "POST", "/_mme/faults", {"size": 1})[1]["message"]
    assert ask(plane, "POST", "/_mme/faults", {"kind": "throttle"}, **{"Content-Type": "text/plain"})[0] == 415
    assert ask(plane, "POST", "/_mme/faults", {"kind": "throttle"}, Host="evil.example:80")[0] == 403
    assert ask(plane, "DELETE", "/_mme/faults/fault-1")[0] == 200
    assert faults.list() == {}
    assert ask(plane, "PUT", "/_mme/faults")[0] == 404


def test_the_status_page_and_its_data(plane, faults, once, name):
    make_endpoint(once[0], name)
    status, page = ask(plane, "GET", "/_mme/")
    assert status == 200
    assert b"Embedded SageMaker" in page
    assert ask(plane, "GET", "/", Accept="text/html")[0] == 302
    assert ask(plane, "GET", "/")[0] == 403
    status, shown = ask(plane, "GET", "/_mme/status")
    endpoint = next(one for one in shown["endpoints"] if one["name"] == name)
    assert (endpoint["status"], endpoint["variants"][0]["name"]) == ("InService", "AllTraffic")
    assert "DescribeEndpoint" in [one["operation"] for one in shown["requests"]]
    assert plane.status()["endpoints"] == shown["endpoints"]
