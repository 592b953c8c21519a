"""Test that every member of every request is honoured, stored or refused by fields.toml."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import attrs
import botocore
import botocore.auth
import pytest
import urllib3
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.control import ControlPlane
from mme_sdk.local.control.account import Account
from mme_sdk.local.control.iam.authorizer import Authorizer
from mme_sdk.local.control.iam.identities import Identities
from mme_sdk.local.control.metrics import Metrics
from mme_sdk.local.control.sagemaker.resources import utc_now
from mme_sdk.local.control.store import Store
from mme_sdk.local.credentials import LocalCredentials
from mme_sdk.local.faults import Faults
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.fields import FieldMarks, check_supported, load_marks, request_structures, unmarked_members
from mme_sdk.local.wire.service_model import load_service_model
from tests.support.local.fakes import FakeHosting
from tests.support.local.helpers import ROLE, make_config, make_endpoint, make_model, settle
from tests.support.local.raw import ask, signed

RUNTIME = ("InvokeEndpoint", "InvokeEndpointWithResponseStream", "InvokeEndpointAsync")
VARIANT = {"VariantName": "v", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
TABLE = files("mme_sdk.local.wire").joinpath("fields.toml").read_text()


@pytest.fixture
def operations(tmp_path) -> list[tuple[str, Any]]:
    """Return service and request shape of every operation of the host."""
    account = Account(account_id="123456789012", region="us-east-1")
    store = Store(tmp_path / "control.sqlite")
    keys = LocalCredentials(access_key="a", secret_key="b")
    authorizer = Authorizer(Identities(store, account, keys, utc_now), store, account, utc_now)
    plane = ControlPlane(
        store, account, FakeHosting(None), Metrics(), ControlSettings(), Faults(), utc_now, authorizer=authorizer
    )
    store.close()
    found = []
    for service in plane.services:
        model = load_service_model(service.service)
        found += ((service.service, model.operation_model(name).input_shape) for name in service.operations)
    runtime = load_service_model("sagemaker-runtime")
    return found + [("sagemaker-runtime", runtime.operation_model(name).input_shape) for name in RUNTIME]


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def test_every_member_has_a_mark(operations):
    found = {f"{service}: {member}" for service, shape in operations for member in unmarked_members(service, shape)}
    assert found == set(), "decide in fields.toml whether the host honours, stores or refuses each"


def test_no_mark_stands_for_nothing_or_twice(operations):
    known: dict[tuple[str, str], set[str]] = {}
    for service, shape in operations:
        for name, one in request_structures(service, shape).items():
            known.setdefault((service, name), set()).update(one.members)
    for service in {service for service, _ in operations}:
        for name, marks in load_marks(service).items():
            groups = [marks.honoured, marks.stored, marks.refused.keys(), marks.only.keys() - marks.honoured]
            assert sum(map(len, groups)) == len(marks.members), f"{service} {name}: a member has two marks"
            if version(botocore.__version__) >= version(TABLE[TABLE.index("botocore 1.") :]):
                assert marks.members <= known[service, name], f"{service} {name}"


def holding(shape, target, marks, above=()):
    """Yield the smallest requests that have a member, one for each path without a refused member."""
    if shape.type_name == "list":
        yield from ([inner] for inner in holding(shape.member, target, marks, above))
    elif shape.type_name == "structure" and shape.name not in above:  # a SearchExpression has SearchExpressions
        for name, member in shape.members.items():
            if (shape.name, name) == target:
                yield {name: {}}
            elif name not in marks.get(shape.name, FieldMarks()).refused:
                yield from ({name: inner} for inner in holding(member, target, marks, (*above, shape.name)))


def test_each_refused_member_is_refused_by_name_wherever_it_stands(operations):
    tried = 0
    for service, shape in operations:
        for name in request_structures(service, shape) if shape is not None else ():
            marks = load_marks(service).get(name, FieldMarks())
            for member in marks.refused.keys() & request_structures(service, shape)[name].members.keys():
                for request in holding(shape, (name, member), load_marks(service)):
                    with pytest.raises(ApiError, match=rf"{member}: {re.escape(marks.refused[member])}"):
                        check_supported(service, shape, request)
                    tried += 1
    assert tried >= 30


def test_a_member_that_a_newer_botocore_adds_is_refused_until_it_has_a_mark(monkeypatch):
    shape = load_service_model("sagemaker").operation_model("CreateModel").input_shape
    check_supported("sagemaker", shape, {"ModelName": "m", "EnableNetworkIsolation": True})
    older = {"CreateModelInput": FieldMarks(honoured=["ModelName"])}
    monkeypatch.setattr("mme_sdk.local.wire.fields.load_marks", lambda _service: older)
    with pytest.raises(ApiError, match="EnableNetworkIsolation: this version of the host does not know this member"):
        check_supported("sagemaker", shape, {"ModelName": "m", "EnableNetworkIsolation": True})


REFUSED_HEADERS = {
    ("InvokeEndpoint", "EnableExplanations"): "this host has no explainer",
    ("InvokeEndpoint", "InferenceComponentName"): "this host has no inference components",
    ("InvokeEndpointWithResponseStream", "InferenceComponentName"): "this host has no inference components",
}
"""Every runtime member that the host must refuse. A mark in fields.toml that says otherwise fails the test."""


def invoke(plane: LocalSageMaker, name: str, operation: str, members: dict[str, str]) -> tuple[int, str]:
    """Invoke an endpoint with members as headers; return the status and the error message."""
    model = load_service_model("sagemaker-runtime").operation_model(operation)
    shape = model.input_shape.members
    headers = {shape[member].serialization["name"]: value for member, value in members.items()}
    path = model.http["requestUri"].replace("{EndpointName}", name)
    status, _, body = ask(plane, signed(plane, b"x", path=path, **headers))
    return status, body.get("message", "") if isinstance(body, dict) else ""


def test_the_table_refuses_members_of_the_runtime_operations(plane, sm, name):
    make_endpoint(sm, name)
    runtime = load_service_model("sagemaker-runtime")
    refused = {
        (operation, member): reason
        for operation in RUNTIME
        for member, reason in load_marks("sagemaker-runtime")
        .get(runtime.operation_model(operation).input_shape.name, FieldMarks())
        .refused.items()
    }
    assert refused == REFUSED_HEADERS
    for (operation, member), reason in REFUSED_HEADERS.items():
        text = f"Not supported by the embedded SageMaker: {member}: {reason}."
        assert invoke(plane, name, operation, {member: "x"}) == (400, text)


def test_a_wrong_mark_changes_what_the_runtime_refuses(plane, sm, name, monkeypatch):
    make_endpoint(sm, name)
    marks = load_marks("sagemaker-runtime")["InvokeEndpointInput"]
    given = {"TargetVariant": "AllTraffic", "InferenceComponentName": "c"}
    for wrong, status, text in (
        (marks, 400, "InferenceComponentName"),
        (attrs.evolve(marks, refused={"TargetVariant": "no"}, stored=["InferenceComponentName"]), 400, "TargetVariant"),
        (
            attrs.evolve(marks, honoured=marks.honoured - {"TargetVariant"}, refused={}),
            400,
            "TargetVariant: this version",
        ),
        (attrs.evolve(marks, refused={}, stored=["InferenceComponentName"]), 200, ""),
    ):
        monkeypatch.setattr(
            "mme_sdk.local.wire.fields.load_marks", lambda _, wrong=wrong: {"InvokeEndpointInput": wrong}
        )
        found = invoke(plane, name, "InvokeEndpoint", given)
        assert found[0] == status
        assert text in found[1]


def send_json(plane: LocalSageMaker, operation: str, body: dict) -> tuple[int, dict]:
    """Send a signed request without the checks of botocore."""
    credentials = plane.session().get_credentials()
    headers = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", f"{plane.endpoint_url}/", data=json.dumps(body).encode(), headers=headers)
    botocore.auth.SigV4Auth(credentials, "sagemaker", plane.region).add_auth(request)
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", request.url, body=request.data, headers=dict(request.headers.items()))
        return answer.status, json.loads(answer.data)


def test_a_member_that_the_host_has_never_heard_of_is_refused_by_name(plane, name):
    status, answer = send_json(plane, "DescribeModel", {"ModelName": name, "Depth": 3})
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert "does not know Depth of DescribeModelInput" in answer["message"]
    container = {"Image": "python", "Mode": "SingleModel", "Turbo": {"On": True}, "Environment": {"ANY": "key"}}
    status, answer = send_json(plane, "CreateModel", {"ModelName": name, "PrimaryContainer": container})
    assert status == 400
    assert "PrimaryContainer.Turbo" in answer["message"]
    status, answer = send_json(plane, "DescribeModel", {"ModelName": name, "Depth": None})
    assert "Could not find model" in answer["message"]


def test_what_would_change_answers_is_refused_before_anything_is_made(sm, name):
    shap = {"ShapBaselineConfig": {"ShapBaseline": "1,1"}}
    make_model(sm, name, Mode="SingleModel")
    for extra in (
        {"ExplainerConfig": {"ClarifyExplainerConfig": {"ShapConfig": shap}}},
        {"ProductionVariants": [VARIANT | {"ModelName": name, "CoreDumpConfig": {"DestinationS3Uri": "s3://b/c"}}]},
        {"ProductionVariants": [VARIANT | {"ModelName": name, "RoutingConfig": {"RoutingStrategy": "KV_AWARE"}}]},
        {"ProductionVariants": [VARIANT | {"ModelName": name, "ManagedInstanceScaling": {"Status": "ENABLED"}}]},
    ):
        asked = {"ProductionVariants": [VARIANT | {"ModelName": name}]} | extra
        wanted = next(iter(extra)) if "ExplainerConfig" in extra else list(extra["ProductionVariants"][0])[-1]
        with pytest.raises(ClientError, match=f"Not supported by the embedded SageMaker: .*{wanted}"):
            sm.create_endpoint_config(EndpointConfigName=name, **asked)
    source = {"S3Uri": "s3://b/tree/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    for container in (
        {"ModelDataSource": {"S3DataSource": source | {"ManifestS3Uri": "s3://b/m.csv"}}},
        {"AdditionalModelDataSources": [{"ChannelName": "draft", "S3DataSource": source}]},
        {"ModelPackageName": "arn:aws:sagemaker:us-east-1:123456789012:model-package/p/1"},
    ):
        with pytest.raises(ClientError, match=f"Not supported by the embedded SageMaker: .*{next(iter(container))}"):
            sm.create_model(
                ModelName=f"{name}-2", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "python"} | container
            )
    assert sm.list_endpoint_configs(NameContains=name)["EndpointConfigs"] == []
    assert [one["ModelName"] for one in sm.list_models(NameContains=name)["Models"]] == [name]


def test_what_is_stored_is_shown_again(sm, name):
    make_model(sm, name, Mode="SingleModel")
    variant = VARIANT | {
        "ModelName": name,
        "InitialVariantWeight": 2.0,
        "EnableSSMAccess": True,
        "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-2",
        "RoutingConfig": {"RoutingStrategy": "RANDOM"},
    }
    asked = {
        "ProductionVariants": [variant],
        "ShadowProductionVariants": [variant | {"VariantName": "shadow"}],
        "DataCaptureConfig": {
            "EnableCapture": False,
            "InitialSamplingPercentage": 10,
            "DestinationS3Uri": "s3://bucket/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    }
    sm.create_endpoint_config(EndpointConfigName=name, **asked)
    described = sm.describe_endpoint_config(EndpointConfigName=name)
    assert {key: described[key] for key in asked} == asked
    asked["ShadowProductionVariants"] = [variant | {"VariantName": "shadow", "ModelName": "absent"}]
    with pytest.raises(ClientError, match="Could not find model"):
        sm.create_endpoint_config(EndpointConfigName=f"{name}-2", **asked)


def test_one_archive_may_be_named_as_a_data_source(sm, name):
    source = {"S3Uri": "s3://b/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}
    one = {"Image": "python", "ModelDataSource": {"S3DataSource": source}}
    sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=one)
    make_config(sm, name)
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert settle(sm, name)[-1]["EndpointStatus"] == "InService"
    with pytest.raises(ClientError, match="either a ModelDataUrl or a ModelDataSource"):
        make_model(sm, f"{name}-2", Mode="SingleModel", **{key: one[key] for key in ("ModelDataSource",)})


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"S3DataType": "S3Prefix", "CompressionType": "Gzip"}, "CompressionType of ModelDataSource must be None"),
        ({"S3DataType": "S3Prefix", "S3Uri": "s3://b/tree"}, r"must end with a forward slash \(/\)"),
        ({"S3DataType": "S3Object"}, "must be the address of an object"),
        ({"S3DataType": "S3Object", "CompressionType": "Gzip"}, "must be the address of an object"),
    ],
)
def test_the_members_of_a_data_source_fit_each_other(sm, name, members, reason):
    source = {"S3Uri": "s3://b/tree/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    one = {"Image": "python", "ModelDataSource": {"S3DataSource": source | members}}
    with pytest.raises(ClientError, match=reason):
        sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=one)


def test_an_uncompressed_model_is_passed_to_hosting_as_such(plane, sm, name):
    source = {"S3Uri": "s3://b/tree/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    one = {"Image": "python", "ModelDataSource": {"S3DataSource": source}}
    sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=one)
    make_config(sm, name)
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    settle(sm, name)
    (container,) = plane.hosting.running[name].variants[0].containers
    assert (container.model_data_url, container.uncompressed) == ("s3://b/tree/", True)
    assert sm.describe_model(ModelName=name)["PrimaryContainer"]["ModelDataSource"] == {"S3DataSource": source}


def test_the_first_of_the_instance_pools_runs(plane, sm, name):
    make_model(sm, name, Mode="SingleModel")
    pools = [{"InstanceType": "ml.m5.xlarge", "Priority": 2}, {"InstanceType": "ml.c5.large", "Priority": 1}]
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstancePools": pools}
    sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    settle(sm, name)
    assert plane.hosting.running[name].variants[0].instance_type == "ml.c5.large"
    with pytest.raises(ClientError, match="InstanceType and InstancePools cannot be combined"):
        sm.create_endpoint_config(
            EndpointConfigName=f"{name}-2", ProductionVariants=[variant | {"InstanceType": "ml.m5.large"}]
        )


def test_the_tags_of_an_alarm_are_kept(plane, name):
    cloudwatch = plane.boto("cloudwatch")
    alarm = {
        "AlarmName": name,
        "Namespace": name,
        "MetricName": "M",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(**alarm, Tags=[{"Key": "team", "Value": "fraud"}])
    arn = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["AlarmArn"]
    cloudwatch.put_metric_alarm(**alarm, Tags=[{"Key": "team", "Value": "other"}])
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "stage", "Value": "test"}])
    tags = {one["Key"]: one["Value"] for one in cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]}
    assert tags == {"team": "fraud", "stage": "test"}
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert [one["Key"] for one in cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]] == ["stage"]
    cloudwatch.delete_alarms(AlarmNames=[name])
    with pytest.raises(ClientError, match="does not exist"):
        cloudwatch.list_tags_for_resource(ResourceARN=arn)
    cloudwatch.close()


def test_data_capture_is_shown_and_what_it_cannot_do_is_refused(plane, sm, name):
    make_model(sm, name, Mode="SingleModel", ModelDataUrl="s3://bucket/m.tar.gz")
    capture = {
        "InitialSamplingPercentage": 40,
        "DestinationS3Uri": "s3://bucket/captured",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    }
    variants = [VARIANT | {"ModelName": name}]
    for suffix, given, enabled in (("-1", {}, True), ("-2", {"EnableCapture": False, "KmsKeyId": "k"}, False)):
        one = name + suffix
        sm.create_endpoint_config(
            EndpointConfigName=one, ProductionVariants=variants, DataCaptureConfig=capture | given
        )
        sm.create_endpoint(EndpointName=one, EndpointConfigName=one)
        assert settle(sm, one)[-1]["DataCaptureConfig"] == {
            "EnableCapture": enabled,
            "CaptureStatus": "Started" if enabled else "Stopped",
            "CurrentSamplingPercentage": 40,
            "DestinationS3Uri": "s3://bucket/captured",
            "KmsKeyId": given.get("KmsKeyId", ""),
        }
        assert plane.hosting.running[one].variants[0].capture == (capture if enabled else None)
    with pytest.raises(ClientError, match="DestinationS3Uri of DataCaptureConfig: 'https://x/y' is not an S3 address"):
        sm.create_endpoint_config(
            EndpointConfigName=f"{name}-3",
            ProductionVariants=variants,
            DataCaptureConfig=capture | {"DestinationS3Uri": "https://x/y"},
        )
    make_model(sm, f"{name}-multi")
    with pytest.raises(ClientError, match="Multi-model mode is not supported with data capture"):
        sm.create_endpoint_config(
            EndpointConfigName=f"{name}-4",
            ProductionVariants=[VARIANT | {"ModelName": f"{name}-multi"}],
            DataCaptureConfig=capture,
        )


def test_the_sizes_of_a_serverless_variant_reach_hosting(plane, sm, name):
    make_model(sm, name, Mode="SingleModel", ModelDataUrl="s3://bucket/m.tar.gz")
    sizes = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    variant = {"VariantName": "v", "ModelName": name, "ServerlessConfig": sizes}
    sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    settle(sm, name)
    plan = plane.hosting.running[name].variants[0]
    assert (plan.memory_bytes, plan.max_concurrency) == (2 << 30, 5)
