"""What an error says after one look at the endpoint, at the payload, or at the names of the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mme_sdk.aws import Call
from mme_sdk.aws.s3.head import head_object
from mme_sdk.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    EndpointFailedError,
    EndpointNotFoundError,
    MMEError,
    ModelInputError,
    ModelServerError,
    NotFoundError,
    UndecodableReplyError,
)
from mme_sdk.runtime.batch.warm import outcome_of, probe_of
from mme_sdk.runtime.diagnostics import explain_endpoint, explain_payload, with_status
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.near import near_names
from tests.unit.runtime.test_calls import FAILED, NOT_READY, Setting

ARN = 'Could not find endpoint "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/scoring".'


def perform(flow: Any, answers: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Run a flow of calls; return its result, or the error that it raised, and the operations that it called."""
    made: list[str] = []
    step: Any = None
    try:
        while True:
            effect = flow.throw(step) if isinstance(step, BaseException) else flow.send(step)
            assert isinstance(effect, Call)
            made.append(effect.operation)
            step = answers[effect.operation]
    except StopIteration as end:
        return end.value, made
    except MMEError as error:
        return error, made


def absent() -> EndpointNotFoundError:
    return EndpointNotFoundError(
        "scoring: Endpoint scoring of account 1 not found.", endpoint="scoring", request_id="r"
    )


@pytest.mark.parametrize(
    ("status", "kind", "text", "hint"),
    [
        ("Creating", ConflictError, "is being created", "client.endpoint('scoring').wait()"),
        ("Updating", ConflictError, "is being updated", "wait"),
        ("SystemUpdating", ConflictError, "SystemUpdating", "wait"),
        ("RollingBack", ConflictError, "is being rolled back", "wait"),
        ("Deleting", EndpointNotFoundError, "is being deleted", "create it again"),
        ("Failed", EndpointFailedError, "status Failed: The image has no shell.", "delete it"),
        ("OutOfService", EndpointFailedError, "status OutOfService", "logs()"),
        ("StatusOf2030", EndpointFailedError, "status StatusOf2030", "logs()"),
        ("InService", EndpointNotFoundError, "not found", "repeat the call"),
    ],
)
def test_one_look_tells_why_an_endpoint_does_not_answer(
    status: str, kind: type[MMEError], text: str, hint: str
) -> None:
    seen = {"EndpointStatus": status, "FailureReason": "The image has no shell."}
    error, made = perform(explain_endpoint(absent()), {"describe_endpoint": seen})
    assert made == ["describe_endpoint"]
    assert type(error) is kind
    assert text in error.message
    assert hint in error.hint
    assert (error.endpoint, error.request_id) == ("scoring", "r")


def test_an_absent_endpoint_names_the_region_and_the_near_ones() -> None:
    answers = {
        "describe_endpoint": EndpointNotFoundError(ARN, endpoint="scoring"),
        "list_endpoints": {"Endpoints": [{"EndpointName": "scorings"}, {"EndpointName": "other"}]},
    }
    error, _ = perform(explain_endpoint(absent()), answers)
    assert error.message == "scoring: there is no endpoint of this name in eu-west-1"
    assert error.hint == "did you mean scorings?"
    answers["list_endpoints"] = {"Endpoints": [{"EndpointName": "x"}]}
    assert "there are: x" in perform(explain_endpoint(absent()), answers)[0].hint
    answers["list_endpoints"] = {"Endpoints": []}
    assert "no endpoint in this region" in perform(explain_endpoint(absent()), answers)[0].hint


def test_without_the_permission_the_message_stays() -> None:
    denied = AccessDeniedError("no sagemaker:DescribeEndpoint")
    first = absent()
    error, _ = perform(explain_endpoint(first), {"describe_endpoint": denied})
    assert error is first
    assert "Endpoint scoring of account 1 not found" in error.message
    answers = {"describe_endpoint": EndpointNotFoundError(ARN, endpoint="scoring"), "list_endpoints": denied}
    assert "check the name" in perform(explain_endpoint(absent()), answers)[0].hint


def test_streams_and_asynchronous_inference_look_too() -> None:
    def send() -> Any:
        yield Call(service="sagemaker-runtime", operation="invoke_endpoint_async", params={})

    answers = {"invoke_endpoint_async": absent(), "describe_endpoint": {"EndpointStatus": "Creating"}}
    error, made = perform(with_status(send()), answers)
    assert isinstance(error, ConflictError)
    assert made == ["invoke_endpoint_async", "describe_endpoint"]


@pytest.mark.parametrize(
    ("data", "content_type", "status", "message", "reported"),
    [
        ('{"a": 1}', "text/plain", 415, "unsupported", True),
        (b"[1]", "application/octet-stream", 415, "unsupported", True),
        ('{"a": 1}', "text/plain; charset=utf-8", 500, "ValueError: no text/plain", True),
        ('{"a": 1}', "text/plain", 500, "KeyError: 'a'", False),
        ("a,b", "text/csv", 415, "unsupported", False),
        ("1,2", "text/csv", 415, "unsupported", False),
        ('{"a": 1}', "application/json", 415, "unsupported", False),
        ({"a": 1}, "text/plain", 415, "unsupported", False),
    ],
)
def test_json_that_was_sent_as_another_type_is_told(
    data: Any, content_type: str, status: int, message: str, reported: bool
) -> None:
    kind = ModelInputError if status < 500 else ModelServerError
    error = kind("refused", original_status=status, original_message=message)
    explain_payload(error, data, content_type)
    assert ("application/json" in (error.hint or "")) == reported


@pytest.mark.parametrize(
    ("data", "content_type", "status", "hint"),
    [
        ([[1.0]], "application/json", 415, "sent as application/json: send an array or a data frame, and pass"),
        (memoryview(b"1"), "application/x-npy", 415, "sent as application/x-npy: pass a content_type="),
        ([[1.0]], "application/json", 400, None),
        (b"1", "application/x-npy", 415, None),
    ],
)
def test_a_refused_media_type_is_named(data: Any, content_type: str, status: int, hint: str | None) -> None:
    error = ModelInputError("refused", original_status=status, original_message="send text/csv")
    explain_payload(error, data, content_type)
    assert hint in error.hint if hint and error.hint else error.hint == hint


def test_a_wrong_secret_is_told_from_a_missing_permission() -> None:
    params = {"Bucket": "b", "Key": "k"}
    denied = AccessDeniedError("Forbidden", code="403", hint="grant s3:GetObject")
    secret = AccessDeniedError("the signature does not match", code="SignatureDoesNotMatch")
    clock = ConfigurationError("this machine's clock differs", code="RequestTimeTooSkewed")
    for reported in (secret, clock):
        assert perform(head_object(params), {"head_object": denied, "list_objects_v2": reported})[0] is reported
    for untold in (AccessDeniedError("no", code="AccessDenied"), NotFoundError("no"), {}):
        error, made = perform(head_object(params), {"head_object": denied, "list_objects_v2": untold})
        assert error is denied
        assert made == ["head_object", "list_objects_v2"]
    named = AccessDeniedError("not authorized to perform: s3:GetObject", code="AccessDenied")
    assert perform(head_object(params), {"head_object": named}) == (named, ["head_object"])
    assert perform(head_object(params), {"head_object": {"ETag": "e"}}) == ({"ETag": "e"}, ["head_object"])


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("FRAUD", ["fraud/v3.tar.gz", "fraud@live"]),
        ("fraud/v4", ["fraud/v3.tar.gz"]),
        ("fruad/v3.tar.gz", ["fraud/v3.tar.gz"]),
        ("fraud_live", ["fraud@live"]),
        ("v3", ["fraud/v3.tar.gz"]),
        ("chrun", ["team/churn/v1.tar.gz"]),
        ("weather", []),
        ("", []),
        ("///", []),
    ],
)
def test_near_names(wanted: str, near: list[str]) -> None:
    found = near_names(wanted, ["fraud/v3.tar.gz", "fraud@live", "team/churn/v1.tar.gz", "zzz.tar.gz"])
    assert found[: len(near)] == near
    assert bool(found) == bool(near)


def test_near_names_are_few_and_none_is_lost_beside_five() -> None:
    names = [f"model-{n:03}/v1.tar.gz" for n in range(300)]
    found = near_names("Model 077", names)
    assert len(found) == 5
    assert found[0] == "model-077/v1.tar.gz"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ModelInputError("no", original_status=415), "loaded"),
        (ModelInputError("no", original_status=404), "failed"),
        (ModelServerError("boom", original_status=500, original_message="KeyError: 'amount'"), "loaded"),
        (
            ModelServerError("boom", original_status=500, original_message="Failed to load the model: KeyError"),
            "failed",
        ),
        (ModelServerError("memory", original_status=507, original_message="no memory"), "failed"),
        (ModelServerError("late", original_status=0, original_message="timed out"), "failed"),
        (ModelServerError("busy", original_status=503, original_message="busy"), "failed"),
        (ModelServerError("boom", original_status=500, sent=False), "failed"),
        (UndecodableReplyError("not JSON"), "loaded"),
        (NotFoundError("no archive"), "failed"),
    ],
)
def test_warm_counts_a_model_whose_code_ran(error: MMEError, state: str) -> None:
    assert outcome_of("m", None, error).state == state


def test_the_probe_suits_the_framework() -> None:
    version = ModelVersion(name="m", version="v", target_model="m/v.tar.gz", uri="s3://b/m", framework="huggingface")
    assert probe_of(version) == b'{"inputs": ""}'
    assert probe_of("m/v.tar.gz") == b"{}"


def test_cold_is_said_only_where_it_is_certain() -> None:
    setting = Setting([{"took": 0.004}, {"took": 0.004}, {"took": 0.3}, NOT_READY, {"took": 0.004}])
    words = [setting.invoke(deadline=60).cold for _ in range(4)]
    # The first answer may come from a quick load, the third may be a slow answer; SageMaker told of the fourth.
    assert words == [None, False, None, True]
    assert Setting([{"took": 0.004}]).invoke(model=None).cold is False
    assert Setting([{"took": 9.0}]).invoke(model=None).cold is None


def test_an_unknown_load_time_is_not_printed() -> None:
    setting = Setting([NOT_READY | {"forever": True}])
    with pytest.raises(MMEError, match="was not loaded within") as caught:
        setting.invoke(deadline=5)
    assert "expected" not in caught.value.message
    assert caught.value.ready_in is None  # type: ignore[attr-defined]
    setting = Setting([NOT_READY | {"forever": True}])
    setting.memory.load_times.observe("scoring", "fraud/v1.tar.gz", 60.0)
    with pytest.raises(MMEError, match="expected to be loaded in about"):
        setting.invoke(deadline=5)


def test_names_that_were_seen_before_cost_no_look() -> None:
    setting = Setting([{}, FAILED])
    setting.memory.endpoint("scoring").names["fraud"] = "fraud/v1.tar.gz"
    assert setting.invoke(model="fraud").model == "fraud/v1.tar.gz"
    assert len(setting.script.sent) == 1
