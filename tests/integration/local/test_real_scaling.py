"""Test with real containers that traffic appears in CloudWatch and that autoscaling adds an instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.local.helpers import archive, make_endpoint

WHO = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/busy/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@pytest.fixture
def host():
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, minute=0.2)
    with LocalSageMaker(control=control) as host:
        clients = {
            name: host.boto(name)
            for name in ("sagemaker", "sagemaker-runtime", "s3", "cloudwatch", "application-autoscaling")
        }
        yield host, clients
        for client in clients.values():
            client.close()


def test_traffic_is_measured_and_scales_the_endpoint(host):
    local, clients = host
    clients["s3"].create_bucket(Bucket="models")
    clients["s3"].put_object(Bucket="models", Key="prefix/a.tar.gz", Body=archive(2))
    last = make_endpoint(clients["sagemaker"], "busy", ModelDataUrl="s3://models/prefix/")
    assert last["EndpointStatus"] == "InService", last
    scaling = clients["application-autoscaling"]
    scaling.register_scalable_target(**WHO, MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(
        **WHO,
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        },
    )
    invoked = 0
    for _ in range(3000):
        clients["sagemaker-runtime"].invoke_endpoint(
            EndpointName="busy", TargetModel="a.tar.gz", ContentType="application/json", Body=b"[1]"
        )["Body"].read()
        invoked += 1
        described = clients["sagemaker"].describe_endpoint(EndpointName="busy")
        if described["ProductionVariants"][0]["CurrentInstanceCount"] == 2:
            break
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert len(local.status()["endpoints"][0]["variants"][0]["instances"]) == 2
    activities = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    assert "AlarmHigh" in activities[0]["Cause"]

    def total(metric: str) -> float:
        now = datetime.now(UTC)
        points = clients["cloudwatch"].get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": "busy"}, {"Name": "VariantName", "Value": "AllTraffic"}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in points)

    assert total("Invocations") == invoked
    assert invoked - 2 <= total("ModelCacheHit") < invoked
    assert total("Invocation5XXErrors") == 0
    assert total("ModelLatency") > 0
    assert total("ModelLoadingTime") > 0
