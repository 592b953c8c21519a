"""Test asynchronous endpoints with real containers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mme_sdk.endpoints import Autoscaling, FromZero
from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.local.helpers import make_model, settle
from tests.support.local.waiting import wait_until

ECHO = """
import json
def model_fn(folder): return None
def input_fn(body, content_type): return [len(body), content_type]
def predict_fn(data, model):
    if data[0] == 3:
        raise ValueError("three bytes")
    return data
def output_fn(prediction, accept): return json.dumps(prediction)
"""
DIMENSION = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
OF_ENDPOINT = {
    "ApproximateAgeOfOldestRequest",
    "ApproximateBacklogSize",
    "ApproximateBacklogSizePerInstance",
    "HasBacklogWithoutCapacity",
}
OF_VARIANT = {
    "Invocation4XXErrors",
    "Invocation5XXErrors",
    "InvocationFailures",
    "InvocationsProcessed",
    "ModelLatency",
    "RequestDownloadFailures",
    "RequestDownloadLatency",
    "ResponseUploadLatency",
    "TimeInBacklog",
    "TotalProcessingTime",
}


@pytest.fixture(scope="module")
def world() -> Iterator[SimpleNamespace]:
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, minute=0.3)
    with LocalSageMaker(control=control) as host:
        clients = {
            name: host.boto(service)
            for name, service in (
                ("sm", "sagemaker"),
                ("runtime", "sagemaker-runtime"),
                ("s3", "s3"),
                ("cloudwatch", "cloudwatch"),
                ("scaling", "application-autoscaling"),
            )
        }
        world = SimpleNamespace(host=host, **clients)
        world.s3.create_bucket(Bucket="queues")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            info = tarfile.TarInfo("code/inference.py")
            info.size = len(ECHO)
            tar.addfile(info, io.BytesIO(ECHO.encode()))
        world.s3.put_object(Bucket="queues", Key="model.tar.gz", Body=packed.getvalue())
        yield world
        for client in clients.values():
            client.close()


def make_queue(world: SimpleNamespace, name: str, **more: Any) -> str:
    make_model(world.sm, name, Mode="SingleModel", ModelDataUrl="s3://queues/model.tar.gz")
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    output = {"S3OutputPath": "s3://queues/out/", "S3FailurePath": "s3://queues/failed/"}
    world.sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], AsyncInferenceConfig={"OutputConfig": output} | more
    )
    world.sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert settle(world.sm, name)[-1]["EndpointStatus"] == "InService"
    return name


def read(world: SimpleNamespace, uri: str) -> bytes:
    """Return an object when it exists."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    wait_until(lambda: world.s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] == 1, uri)
    return world.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def total(world: SimpleNamespace, metric: str, name: str, statistic: str = "Sum", variant: str | None = None) -> float:
    now = datetime.now(UTC)
    dimensions = [{"Name": "EndpointName", "Value": name}]
    points = world.cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=dimensions + ([{"Name": "VariantName", "Value": variant}] if variant else []),
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=[statistic],
    )["Datapoints"]
    values = [point[statistic] for point in points]  # two while a period ends during the test
    return max(values, default=-1.0) if statistic == "Maximum" else sum(values, 0.0) if values else -1.0


def instances(world: SimpleNamespace, name: str) -> int:
    return world.sm.describe_endpoint(EndpointName=name)["ProductionVariants"][0]["CurrentInstanceCount"]


def test_only_asynchronous_requests_are_accepted(world):
    name = make_queue(world, "only")
    for operation in ("invoke_endpoint", "invoke_endpoint_with_response_stream"):
        with pytest.raises(ClientError, match="can only be invoked with InvokeEndpointAsync") as caught:
            getattr(world.runtime, operation)(EndpointName=name, Body=b"1")
        assert caught.value.response["Error"]["Code"] == "ValidationError"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_the_content_type_of_the_object_counts_if_the_request_has_none(world):
    name = make_queue(world, "typed")
    world.s3.put_object(Bucket="queues", Key="in.csv", Body=b"1,2,3", ContentType="text/csv")

    def ask(**given: Any) -> bytes:
        return read(world, world.runtime.invoke_endpoint_async(EndpointName=name, **given)["OutputLocation"])

    assert ask(InputLocation="s3://queues/in.csv") == b'[5, "text/csv"]'
    assert ask(InputLocation="s3://queues/in.csv", ContentType="text/x") == b'[5, "text/x"]'
    assert ask(Body=b"1,2,3", ContentType="text/csv") == b'[5, "text/csv"]'


def test_a_body_of_the_largest_size_is_answered(world):
    name = make_queue(world, "large")
    sent = world.runtime.invoke_endpoint_async(EndpointName=name, Body=bytes(128_000), Filename="large.json")
    assert sent["OutputLocation"] == "s3://queues/out/large.json"
    assert read(world, sent["OutputLocation"]) == b'[128000, "application/octet-stream"]'


def test_the_metrics_are_those_that_aws_publishes(world):
    name = make_queue(world, "measured")
    good = world.runtime.invoke_endpoint_async(EndpointName=name, Body=b"1234")
    bad = world.runtime.invoke_endpoint_async(EndpointName=name, Body=b"123")
    absent = world.runtime.invoke_endpoint_async(EndpointName=name, InputLocation="s3://queues/absent")
    world.s3.put_object(Bucket="queues", Key="in", Body=b"12345")
    there = world.runtime.invoke_endpoint_async(EndpointName=name, InputLocation="s3://queues/in")
    read(world, good["OutputLocation"])
    read(world, there["OutputLocation"])
    assert b"three bytes" in read(world, bad["FailureLocation"])
    assert b"NoSuchKey" in read(world, absent["FailureLocation"])

    def published(with_variant: bool) -> set[str]:
        return {
            one["MetricName"]
            for page in world.cloudwatch.get_paginator("list_metrics").paginate(Namespace="AWS/SageMaker")
            for one in page["Metrics"]
            if {"Name": "EndpointName", "Value": name} in one["Dimensions"]
            and (len(one["Dimensions"]) == 2) == with_variant
        }

    wait_until(lambda: total(world, "TotalProcessingTime", name, "SampleCount", "A") == 4, "4 processed requests")
    wait_until(lambda: published(with_variant=False), "metrics of the queue")
    assert published(with_variant=True) == OF_VARIANT
    assert published(with_variant=False) == OF_ENDPOINT
    assert total(world, "InvocationsProcessed", name, variant="A") == 3
    assert total(world, "InvocationFailures", name, variant="A") == 2
    assert total(world, "Invocation5XXErrors", name, variant="A") == 1
    assert total(world, "HasBacklogWithoutCapacity", name, "Maximum") == 0


def test_a_request_waits_without_an_instance_until_a_policy_adds_one_and_the_last_goes_again(world):
    name = make_queue(world, "zero")
    target = {**DIMENSION, "ResourceId": f"endpoint/{name}/variant/A"}
    world.scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
    world.sm.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredInstanceCount": 0}]
    )
    assert settle(world.sm, name)[-1]["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    sent = world.runtime.invoke_endpoint_async(EndpointName=name, Body=b"1234")
    wait_until(lambda: total(world, "HasBacklogWithoutCapacity", name, "Maximum") == 1, "a backlog without capacity")
    assert total(world, "ApproximateBacklogSize", name, "Maximum") == 1
    assert instances(world, name) == 0
    step = world.scaling.put_scaling_policy(
        **target,
        PolicyName="first",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": 60,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    world.cloudwatch.put_metric_alarm(
        AlarmName="first",
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=[{"Name": "EndpointName", "Value": name}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[step["PolicyARN"]],
    )
    assert read(world, sent["OutputLocation"]) == b'[4, "application/octet-stream"]'
    world.scaling.put_scaling_policy(
        **target,
        PolicyName="backlog",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 5.0,
            "CustomizedMetricSpecification": {
                "Namespace": "AWS/SageMaker",
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Dimensions": [{"Name": "EndpointName", "Value": name}],
                "Statistic": "Average",
            },
        },
    )
    wait_until(lambda: instances(world, name) == 0, "no instance after 15 minutes without a request")
    again = world.runtime.invoke_endpoint_async(EndpointName=name, Body=b"12345")
    assert read(world, again["OutputLocation"]) == b'[5, "application/octet-stream"]'


@pytest.mark.slow
def test_autoscaling_of_the_sdk_starts_the_first_instance_and_leaves_no_alarm(world):
    name = make_queue(world, "from-zero")
    scaling = Autoscaling(min=0, max=2, target=5, metric="backlog", from_zero=FromZero())
    with world.host.client() as client:
        endpoint = client.endpoints.get(name)
        endpoint.autoscale(scaling)
        endpoint.scale(0)
        assert instances(world, name) == 0
        sent = world.runtime.invoke_endpoint_async(EndpointName=name, Body=b"1234")
        assert read(world, sent["OutputLocation"]) == b'[4, "application/octet-stream"]'
        causes = [one["Cause"] for one in world.scaling.describe_scaling_activities(
            ServiceNamespace="sagemaker")["ScalingActivities"]]  # fmt: skip
        assert any(f"mme_sdk/{name}/A/backlog-without-capacity" in cause for cause in causes)
        assert client.endpoints.from_endpoint(name).variants[0].autoscaling == scaling
        client.endpoints.delete(name)
    assert world.cloudwatch.describe_alarms(AlarmNamePrefix="mme_sdk/")["MetricAlarms"] == []


def test_an_endpoint_without_instances_is_updated_and_deleted(world):
    name = make_queue(world, "updated")
    world.sm.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredInstanceCount": 0}]
    )
    settle(world.sm, name)
    canary = {"Type": "CANARY", "WaitIntervalInSeconds": 0, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": canary}}
    world.sm.update_endpoint(
        EndpointName=name, EndpointConfigName=name, RetainAllVariantProperties=True, DeploymentConfig=policy
    )
    assert settle(world.sm, name)[-1]["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    waiting = world.runtime.invoke_endpoint_async(EndpointName=name, Body=b"1234")
    world.sm.delete_endpoint(EndpointName=name)
    assert b"not found" in read(world, waiting["FailureLocation"])


@pytest.mark.parametrize(
    ("variants", "text"),
    [
        ([{}, {"VariantName": "B"}], "one production variant only"),
        ([{"ServerlessConfig": {"MaxConcurrency": 1, "MemorySizeInMB": 1024}}], "Serverless inference is not"),
    ],
)
def test_a_configuration_that_cannot_be_asynchronous_is_refused(world, variants, text):
    name = f"refused-{len(variants)}"
    make_model(world.sm, name, Mode="SingleModel")
    on_instances = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    with pytest.raises(ClientError, match=text):
        world.sm.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {"VariantName": "A", "ModelName": name}
                | ({} if "ServerlessConfig" in variant else on_instances)
                | variant
                for variant in variants
            ],
            AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://queues/out/"}},
        )
