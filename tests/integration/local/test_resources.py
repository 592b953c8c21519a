"""Test models, configurations, endpoints and tags with boto3 clients."""

from __future__ import annotations

from datetime import timedelta

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mme_sdk.local import Command, LocalSageMaker
from mme_sdk.local.control.account import Account
from tests.support.local.fakes import FakeHosting
from tests.support.local.helpers import ROLE, make_config, make_endpoint, make_model, settle


def refused(call, **params) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:us-east-1:123456789012:{kind}/{name}"


def test_an_endpoint_goes_from_creating_to_in_service_and_away(plane, sm, name):
    make_model(sm, name)
    make_config(sm, name, InitialInstanceCount=2)
    with plane.hosting.held():
        created = sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
        seen = [sm.describe_endpoint(EndpointName=name)]
    seen.append(settle(sm, name)[-1])
    assert created["EndpointArn"] == arn("endpoint", name)
    assert [one["EndpointStatus"] for one in seen] == ["Creating", "InService"]
    assert "ProductionVariants" not in seen[0]
    variant = seen[1]["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"], variant["CurrentWeight"]) == (2, 2, 1.0)
    assert variant["DeployedImages"][0]["SpecifiedImage"] == "python"
    assert seen[1]["EndpointConfigName"] == name
    sm.delete_endpoint(EndpointName=name)
    sm.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 200})
    sm.delete_endpoint_config(EndpointConfigName=name)
    sm.delete_model(ModelName=name)


def test_absent_existing_and_busy_are_said_in_the_words_of_aws(plane, sm, name):
    absent = [
        (sm.describe_endpoint, {"EndpointName": name}, "endpoint", "endpoint"),
        (sm.delete_endpoint, {"EndpointName": name}, "endpoint", "endpoint"),
        (sm.describe_endpoint_config, {"EndpointConfigName": name}, "endpoint configuration", "endpoint-config"),
        (sm.delete_endpoint_config, {"EndpointConfigName": name}, "endpoint configuration", "endpoint-config"),
        (sm.describe_model, {"ModelName": name}, "model", "model"),
        (sm.delete_model, {"ModelName": name}, "model", "model"),
        (
            sm.create_endpoint,
            {"EndpointName": name, "EndpointConfigName": name},
            "endpoint configuration",
            "endpoint-config",
        ),
    ]
    for call, params, kind, path in absent:
        assert refused(call, **params) == ("ValidationException", f'Could not find {kind} "{arn(path, name)}".', 400)
    make_endpoint(sm, name)
    for make, kind, path in (
        (lambda: make_model(sm, name), "model", "model"),
        (lambda: make_config(sm, name), "endpoint configuration", "endpoint-config"),
        (lambda: sm.create_endpoint(EndpointName=name, EndpointConfigName=name), "endpoint", "endpoint"),
    ):
        assert refused(make)[1] == f'Cannot create already existing {kind} "{arn(path, name)}".'
    busy = f'Cannot update in-progress endpoint "{arn("endpoint", name + "-2")}".'
    with plane.hosting.held():
        sm.create_endpoint(EndpointName=f"{name}-2", EndpointConfigName=name)
        assert refused(sm.delete_endpoint, EndpointName=f"{name}-2") == ("ValidationException", busy, 400)
    settle(sm, f"{name}-2")


def test_a_container_that_does_not_come_up_fails_the_endpoint_which_can_then_only_be_deleted(sm, name):
    last = make_endpoint(sm, name, Image="broken")
    assert last["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in last["FailureReason"]
    assert "ProductionVariants" not in last
    sm.delete_endpoint(EndpointName=name)


def test_constraints_that_botocore_does_not_check_are_refused_in_the_words_of_aws(plane, name):
    sm = plane.boto("sagemaker")
    code, text, status = refused(sm.create_model, ModelName="-" * 70, ExecutionRoleArn=ROLE)
    assert (code, status) == ("ValidationException", 400)
    assert text.startswith("2 validation errors detected: Value '-----")
    assert "at 'modelName' failed to satisfy constraint: Member must have length less than or equal to 63" in text
    assert "Member must satisfy regular expression pattern: [a-zA-Z0-9]" in text
    bad_mode = {"Image": "x", "Mode": "ManyModels"}
    text = refused(sm.create_model, ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=bad_mode)[1]
    assert "Value 'ManyModels' at 'primaryContainer.mode'" in text
    assert "enum value set: [SingleModel, MultiModel]" in text
    sm.close()


def test_a_model_is_described_as_it_was_given(sm, name):
    container = {
        "Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mms:1",
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://bucket/prefix/",
        "Environment": {"KEY": "value"},
        "MultiModelConfig": {"ModelCacheSetting": "Disabled"},
    }
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    sm.create_model(
        ModelName=name,
        PrimaryContainer=container,
        ExecutionRoleArn=ROLE,
        VpcConfig=vpc,
        EnableNetworkIsolation=True,
        Tags=[{"Key": "team", "Value": "a"}],
    )
    described = sm.describe_model(ModelName=name)
    assert described["PrimaryContainer"] == container
    assert described["VpcConfig"] == vpc
    assert described["EnableNetworkIsolation"] is True
    tags = sm.list_tags(ResourceArn=described["ModelArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "a"}]
    sm.add_tags(ResourceArn=described["ModelArn"], Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}])
    sm.delete_tags(ResourceArn=described["ModelArn"], TagKeys=["x"])
    assert sm.list_tags(ResourceArn=described["ModelArn"])["Tags"] == [{"Key": "team", "Value": "b"}]
    assert refused(sm.list_tags, ResourceArn=arn("model", "absent"))[0] == "ValidationException"


def test_lists_are_filtered_sorted_and_paged(sm, name):
    names = [f"{name}-{letter}" for letter in "bca"]
    for one in names:
        make_model(sm, one)
    found = [
        one["ModelName"]
        for page in sm.get_paginator("list_models").paginate(
            NameContains=name, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
        )
        for one in page["Models"]
    ]
    assert found == sorted(names)
    latest = sm.list_models(NameContains=name)["Models"]
    assert [one["ModelName"] for one in latest] == names[::-1]
    hour, made = timedelta(hours=1), latest[0]["CreationTime"]
    for limits, count in (
        ({"CreationTimeAfter": made - hour, "CreationTimeBefore": made + hour}, 3),
        ({"CreationTimeAfter": made + hour}, 0),
        ({"CreationTimeBefore": made - hour}, 0),
    ):
        assert len(sm.list_models(NameContains=name, **limits)["Models"]) == count
    assert refused(sm.list_models, NextToken="nonsense")[0] == "ValidationException"


def test_what_the_service_model_allows_and_sagemaker_refuses(sm, name):
    make_model(sm, name)
    two = [{"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}] * 2
    assert "unique" in refused(sm.create_endpoint_config, EndpointConfigName=name, ProductionVariants=two)[1]
    nvme = [two[0] | {"InstanceType": "ml.g4dn.xlarge"}]
    text = refused(sm.create_endpoint_config, EndpointConfigName=name, ProductionVariants=nvme, KmsKeyId="key")[1]
    assert "KmsKeyId is not supported" in text
    serverless = [
        {"VariantName": "A", "ModelName": name, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    ]
    assert "serverless" in refused(sm.create_endpoint_config, EndpointConfigName=name, ProductionVariants=serverless)[1]
    both = {"PrimaryContainer": {"Image": "x"}, "Containers": [{"Image": "x"}]}
    assert "not both" in refused(sm.create_model, ModelName=f"{name}-2", ExecutionRoleArn=ROLE, **both)[1]


def test_a_serverless_endpoint_shows_its_size_and_no_instances(sm, name):
    make_model(sm, name, Mode="SingleModel")
    sizes = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    variant = {"VariantName": "A", "ModelName": name, "ServerlessConfig": sizes}
    sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    shown = settle(sm, name)[-1]["ProductionVariants"][0]
    assert (shown["CurrentServerlessConfig"], shown["CurrentInstanceCount"]) == (sizes, 0)


def test_an_image_without_the_label_takes_no_multi_model_container(tmp_path, name):
    images = {"plain": Command(["server"], multi_model=False)}
    with LocalSageMaker(tmp_path, hosting=FakeHosting, images=images) as host:
        sm = host.boto("sagemaker")
        text = refused(lambda: make_model(sm, name, Image="plain"))[1]
        assert text.startswith(
            "Your Ecr Image plain does not contain required com.amazonaws.sagemaker.capabilities.multi"
        )
        make_model(sm, name, Image="plain", Mode="SingleModel")
        sm.close()


@pytest.mark.parametrize(
    ("containers", "text"),
    [
        ({}, "must specify a PrimaryContainer"),
        ({"PrimaryContainer": {"Mode": "SingleModel"}}, "Image or a ModelPackageName"),
        ({"PrimaryContainer": {"Image": "x", "Mode": "MultiModel"}}, "ModelDataUrl must be specified"),
        (
            {"PrimaryContainer": {"Image": "x", "MultiModelConfig": {}}},
            "only be specified for a container in MultiModel",
        ),
        ({"Containers": [{"Image": "x", "Mode": "MultiModel", "ModelDataUrl": "s3://b/"}] * 2}, "only one container"),
    ],
)
def test_models_that_sagemaker_refuses(sm, name, containers, text):
    assert text in refused(sm.create_model, ModelName=name, ExecutionRoleArn=ROLE, **containers)[1]


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ({"InitialInstanceCount": 1}, "InstanceType must be specified"),
        ({"InstanceType": "ml.m5.large"}, "InitialInstanceCount must be at least 1"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}, "InstanceType": "ml.m5.large"},
            "combined",
        ),
    ],
)
def test_variants_that_sagemaker_refuses(sm, name, variant, text):
    make_model(sm, name, Mode="SingleModel")
    variants = [{"VariantName": "A", "ModelName": name} | variant]
    assert text in refused(sm.create_endpoint_config, EndpointConfigName=name, ProductionVariants=variants)[1]


def test_a_bug_of_the_host_is_a_500_and_the_host_goes_on(plane, sm, name, monkeypatch, caplog):
    monkeypatch.setattr(plane.hosting, "invoke", lambda invocation: 1 / 0)
    runtime = plane.boto("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))
    code, _, status = refused(runtime.invoke_endpoint, EndpointName=name, Body=b"")
    assert (code, status) == ("InternalFailure", 500)
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert refused(runtime.invoke_endpoint, EndpointName=name, Body=b"")[2] == 400
    runtime.close()


def test_what_is_not_there_says_so_by_name(plane, sm):
    for service, call, text in (
        ("iam", "list_roles", "ListRoles"),
        ("events", "list_rules", "ListRules of AWSEvents"),
        ("lambda", "list_functions", "GET /2015-03-31/functions"),
    ):
        client = plane.boto(service)
        with pytest.raises(ClientError, match=f"{text}.* is not supported by the embedded SageMaker"):
            getattr(client, call)()
        client.close()
    assert refused(sm.list_training_jobs)[:2] == (
        "UnsupportedOperation",
        "ListTrainingJobs is not supported by the embedded SageMaker.",
    )


@pytest.mark.parametrize("sizes", [{"MemorySizeInMB": 1111}, {"MemorySizeInMB": 1024, "ProvisionedConcurrency": 6}])
def test_the_sizes_of_a_serverless_variant_are_those_of_aws(sm, name, sizes):
    make_model(sm, name, Mode="SingleModel")
    variant = {"VariantName": "v", "ModelName": name, "ServerlessConfig": sizes | {"MaxConcurrency": 5}}
    with pytest.raises(ClientError, match=r"MemorySizeInMB must be|must not be greater than MaxConcurrency"):
        sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def test_names_that_differ_in_case_only_are_the_same_name_at_creation(sm, name):
    make_endpoint(sm, name)
    sm.add_tags(ResourceArn=sm.describe_endpoint(EndpointName=name)["EndpointArn"], Tags=[{"Key": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        sm.create_endpoint(EndpointName=name.upper(), EndpointConfigName=name)
    with pytest.raises(ClientError, match="Cannot create already existing endpoint configuration"):
        make_config(sm, name.upper(), model=name)
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        make_model(sm, name.upper())
    with pytest.raises(ClientError, match="Could not find endpoint"):
        sm.describe_endpoint(EndpointName=name.upper())


def test_arns_are_those_of_the_partition():
    for region, partition in (("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("xx-new-9", "aws")):
        account = Account(region=region)
        assert account.arn("model", "M") == f"arn:{partition}:sagemaker:{region}:123456789012:model/m"
        assert account.arn_of("iam", "root", regional=False) == f"arn:{partition}:iam::123456789012:root"
