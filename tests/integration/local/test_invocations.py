"""Test invocations over HTTP: streamed, asynchronous, too large and malformed."""

from __future__ import annotations

import contextlib
import functools
import json

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.support.local.helpers import make_endpoint, make_model, settle
from tests.support.local.waiting import wait_until


@pytest.fixture
def runtime(plane):
    client = plane.boto("sagemaker-runtime")
    yield client
    client.close()


@pytest.fixture
def s3(plane):
    client = plane.boto("s3")
    yield client
    client.close()


def test_a_streamed_answer_comes_in_parts(sm, runtime, name):
    make_endpoint(sm, name)
    answer = runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"one two three")
    assert answer["ContentType"] == "text/x"
    assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"one", b"two", b"three"]
    answer["Body"].close()


def test_a_stream_that_breaks_off_says_so(sm, runtime, name):
    make_endpoint(sm, name)
    answer = runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"one break")
    parts = []
    with pytest.raises(EventStreamError, match="The container broke off"):
        parts += [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    answer["Body"].close()
    with pytest.raises(ClientError, match="not found"):
        runtime.invoke_endpoint_with_response_stream(EndpointName=f"{name}-2", Body=b"x")


def test_an_asynchronous_answer_appears_in_s3(plane, sm, runtime, s3, name, monkeypatch):
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="in/1", Body=b"question")
    make_model(sm, name, Mode="SingleModel")
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    output = {"S3OutputPath": f"s3://{name}/out/", "S3FailurePath": f"s3://{name}/failed"}
    sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], AsyncInferenceConfig={"OutputConfig": output}
    )
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert settle(sm, name)[-1]["AsyncInferenceConfig"] == {"OutputConfig": output}
    answer = runtime.invoke_endpoint_async(EndpointName=name, InputLocation=f"s3://{name}/in/1", ContentType="text/q")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["OutputLocation"].startswith(f"s3://{name}/out/")
    read = wait_for(s3, answer["OutputLocation"])
    assert (read["Body"].read(), read["ContentType"]) == (b"question", "text/q")
    answer = runtime.invoke_endpoint_async(EndpointName=name, InputLocation=f"s3://{name}/in/absent")
    assert b"NoSuchKey" in wait_for(s3, answer["FailureLocation"])["Body"].read()
    with pytest.raises(ClientError, match="not an S3 address"):
        runtime.invoke_endpoint_async(EndpointName=name, InputLocation="https://x")
    monkeypatch.setattr("mme_sdk.local.async_inference._MAX_INPUT", 7)
    answer = runtime.invoke_endpoint_async(EndpointName=name, InputLocation=f"s3://{name}/in/1")
    assert b"8 bytes; the limit is 7 bytes" in wait_for(s3, answer["FailureLocation"])["Body"].read()
    monkeypatch.undo()
    s3.put_object(Bucket=name, Key="in/2", Body=b"question")
    odd = f"s3://{name}/in/2"
    answer = runtime.invoke_endpoint_async(EndpointName=name, InputLocation=odd, ContentType="text/ü")
    assert b"characters that are not printable ASCII" in wait_for(s3, answer["FailureLocation"])["Body"].read()


def test_the_place_and_the_limits_of_an_asynchronous_answer_are_honoured(plane, sm, runtime, s3, name):
    s3.create_bucket(Bucket=name)
    make_model(sm, name, Mode="SingleModel")
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    output = {"S3OutputPath": f"s3://{name}/out/", "S3FailurePath": f"s3://{name}/failed"}
    sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], AsyncInferenceConfig={"OutputConfig": output}
    )
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    settle(sm, name)
    ask = functools.partial(runtime.invoke_endpoint_async, EndpointName=name)
    answer = ask(Body=b"inline", S3OutputPathExtension="a/b", Filename="answer.json")
    assert answer["OutputLocation"] == f"s3://{name}/out/a/b/answer.json"
    assert wait_for(s3, answer["OutputLocation"])["Body"].read() == b"inline"
    with plane.hosting.silent():
        answer = ask(Body=b"x", InvocationTimeoutSeconds=1)
        read = wait_for(s3, answer["FailureLocation"])["Body"].read()
    assert b"longer than InvocationTimeoutSeconds (1)" in read
    for wrong, text in (
        ({"Body": b"x", "InputLocation": f"s3://{name}/in"}, "Exactly one of InputLocation and Body"),
        ({}, "Exactly one of InputLocation and Body"),
        ({"Body": bytes(128_001)}, "body of 128001 bytes is larger than the limit of 128000"),
    ):
        with pytest.raises(ClientError, match=text):
            ask(**wrong)


def wait_for(s3, uri: str):
    bucket, _, key = uri.removeprefix("s3://").partition("/")

    def found():
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            return s3.get_object(Bucket=bucket, Key=key)

    return wait_until(found, uri)


def test_an_endpoint_without_it_takes_no_asynchronous_request(sm, runtime, name):
    make_endpoint(sm, name)
    with pytest.raises(ClientError, match="not an asynchronous inference endpoint"):
        runtime.invoke_endpoint_async(EndpointName=name, InputLocation="s3://b/k")


def test_multi_model_endpoints_cannot_be_asynchronous_or_capture_data(sm, name):
    make_model(sm, name)
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    for extra in (
        {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/"}}},
        {"DataCaptureConfig": {"EnableCapture": True, "InitialSamplingPercentage": 1, "DestinationS3Uri": "s3://b/c",
                               "CaptureOptions": [{"CaptureMode": "Input"}]}},
    ):  # fmt: skip
        with pytest.raises(ClientError, match="not supported with"):
            sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **extra)


def test_a_body_beyond_all_limits_is_refused_and_the_host_goes_on(plane, sm, runtime, name):
    make_endpoint(sm, name)
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName=name, Body=bytes(65 * 1024 * 1024))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert runtime.invoke_endpoint(EndpointName=name, Body=b"x")["Body"].read() == b"x"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: SageMaker.ListModels\r\nContent-Length: 1\r\n\r\n{",
        b"A" * 100_000,
    ],
)
def test_nonsense_gets_an_answer_and_the_host_goes_on(plane, sm, sent):
    import socket

    with socket.create_connection(("127.0.0.1", plane.port)) as connection:
        connection.sendall(sent)
        connection.settimeout(60)
        try:
            said = connection.recv(1000)
        except ConnectionResetError:
            said = b""
    assert said == b"" or said.split()[1][:1] == b"4"
    assert json.dumps(sm.list_models()["Models"], default=str)
