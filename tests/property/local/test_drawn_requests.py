"""Whatever a service model lets a client send, the host answers as the model declares, and never with a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.control import Account, ControlPlane, Metrics, utc_now
from mme_sdk.local.control.iam.authorizer import Authorizer
from mme_sdk.local.control.iam.identities import Identities
from mme_sdk.local.control.store import Store
from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.faults import Faults
from mme_sdk.local.wire.service_model import load_service_model
from tests.support.local.drawn_requests import draw_request
from tests.support.local.fakes import FakeHosting
from tests.support.local.helpers import make_endpoint

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/known/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
STATEMENT = {"Effect": "Allow", "Action": "s3:*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{**STATEMENT, "Resource": "*"}]})
TRUST = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:*"}})
KNOWN = {
    "AssumeRolePolicyDocument": [TRUST],
    "PolicyDocument": [POLICY, TRUST],
    "PolicyArn": ["arn:aws:iam::123456789012:policy/known"],
    "Name": ["known", "KNOWN", "another"],
    "logGroup": ["/aws/sagemaker/Endpoints/known"],
    "logStreamName": ["AllTraffic/i-0001"],
    "ResourceArn": [
        f"{ARN}:endpoint/known",
        f"{ARN}:model/known",
        "arn:aws:cloudwatch:us-east-1:123456789012:alarm:known",
    ],
    "PolicySourceArn": ["arn:aws:iam::123456789012:role/known"],
    "Action": ["s3:GetObject"],
    "RoleArn": ["arn:aws:iam::123456789012:role/known"],
    "ResourceId": [VARIANT["ResourceId"]],
    "ServiceNamespace": ["sagemaker"],
    "ScalableDimension": [VARIANT["ScalableDimension"]],
    "Schedule": ["rate(1 hour)", "cron(0 12 * * ? *)", "at(2040-01-01T00:00:00)"],
    "InstanceType": ["ml.m5.large"],
    "S3": ["s3://bucket/key"],
    "Url": ["s3://bucket/key.tar.gz"],
    "Location": ["s3://bucket/key"],
    "Stat": ["Sum", "p99"],
    "Image": ["image"],
}
COMMON = {
    "ValidationException", "ValidationError", "InvalidParameterException", "InvalidParameterValue", "MalformedInput",
    "SerializationException", "InvalidInput", "AccessDenied",
}  # fmt: skip
"""Codes that AWS documents as common to all operations, or that a service declares for most operations."""


def operations() -> list[tuple[str, str]]:
    """Return service and name of every operation of the host, except the response stream."""
    store, account = Store.__new__(Store), Account()
    identities = Identities(store, account, LocalCredentials(access_key="a", secret_key="b"), utc_now)
    plane = ControlPlane(
        store,
        account,
        FakeHosting(None),
        Metrics(),
        ControlSettings(),
        Faults(),
        utc_now,
        authorizer=Authorizer(identities, store, account, utc_now),
    )
    found = [(service.service, name) for service in plane.services for name in service.operations]
    return [*found, ("sagemaker-runtime", "InvokeEndpoint"), ("sagemaker-runtime", "InvokeEndpointAsync")]


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[LocalSageMaker]:
    folder = tmp_path_factory.mktemp("host")
    control = ControlSettings(provisioning=0.001, scaling=0.001, deletion=0.001, wait_scale=0.0001, minute=600)
    with LocalSageMaker(folder, control=control, hosting=FakeHosting, iam=True) as host:
        host.iam.add_role("SageMaker")
        log = folder / "hosting" / "logs" / "known" / "AllTraffic" / "i-0001.log"
        log.parent.mkdir(parents=True)
        log.write_text("one\ntwo\n")
        yield host


@pytest.fixture(scope="module")
def clients(host) -> Iterator[dict[str, Any]]:
    """Return clients by service that send invalid requests too."""
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    made = {service: host.boto(service, config=config) for service in {service for service, _ in operations()}}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture
def client(clients, service) -> Any:
    """Return the client of a service, and make sure that the known resources exist."""
    with suppress(ClientError):  # they exist
        make_endpoint(clients["sagemaker"], "known", Mode="SingleModel", ModelDataUrl="s3://bucket/key.tar.gz")
    with suppress(ClientError):
        clients["application-autoscaling"].register_scalable_target(**VARIANT, MinCapacity=1, MaxCapacity=2)
    with suppress(ClientError):
        clients["iam"].create_user(UserName="known")
    with suppress(ClientError):
        clients["iam"].create_role(RoleName="known", AssumeRolePolicyDocument=TRUST)
    with suppress(ClientError):
        clients["iam"].create_policy(PolicyName="known", PolicyDocument=POLICY)
    alarm = {"Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1}
    clients["cloudwatch"].put_metric_alarm(
        AlarmName="known", **alarm, Threshold=1.0, ComparisonOperator="LessThanThreshold"
    )
    return clients[service]


def check(client: Any, service: str, operation: str, params: dict[str, Any]) -> None:
    """Send a request and check the answer against the service model."""
    model = load_service_model(service).operation_model(operation)
    try:
        answer = client._make_api_call(operation, params)
    except ClientError as error:
        answer = error.response
    status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
    assert status < 500, (answer, params)
    if status >= 400:
        declared = {shape.metadata.get("error", {}).get("code", shape.name) for shape in model.error_shapes}
        assert answer["Error"]["Code"] in declared | COMMON, (answer, params)
        return
    if "Body" in answer:
        answer["Body"] = answer["Body"].read()
    if service == "iam":
        _drop_documents(answer)  # botocore decodes them
    if model.output_shape is not None:
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), (report.generate_report(), params)


def _drop_documents(answer: dict[str, Any]) -> None:
    if "PolicyDocument" in answer:
        answer["PolicyDocument"] = "{}"
    for role in [answer.get("Role", {}), *answer.get("Roles", [])]:
        role.pop("AssumeRolePolicyDocument", None)


def check_drawn(client: Any, service: str, operation: str, seed: int) -> None:
    shape = load_service_model(service).operation_model(operation).input_shape
    check(client, service, operation, draw_request(Random(seed), shape, KNOWN))


@pytest.mark.parametrize(("service", "operation"), operations())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
def test_an_answer_is_never_a_500_and_always_of_the_declared_shape(client, service, operation, seed):
    check_drawn(client, service, operation, seed)


@pytest.mark.slow
@pytest.mark.parametrize(("service", "operation"), operations())
@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
def test_the_same_with_many_more_requests(client, service, operation, seed):
    check_drawn(client, service, operation, seed)
