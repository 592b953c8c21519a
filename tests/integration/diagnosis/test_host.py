"""`endpoint.diagnose` against the embedded SageMaker: what it reads, and what it says of data that it cannot read."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from mme_sdk import EndpointSpec, MMEClient, Recorder, RetryPolicy
from mme_sdk.errors import EndpointFailedError, EndpointNotFoundError, MMEError
from mme_sdk.local import Fault, LocalSageMaker
from mme_sdk.recording import RecordedMinute
from mme_sdk.runtime import Event
from tests.support.paths import ROOT

NAME, URI, BUCKET = "diagnosed", "s3://diagnosed-models/prod/", "diagnosed-models"
SPEC = EndpointSpec.multi_model(
    name=NAME,
    models=URI,
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
    role="arn:aws:iam::123456789012:role/sagemaker-execution",
    instance_type="ml.m5.large",
)


class Calls:
    """Records the calls of one test, all of them in the minute in which it begins."""

    events = Recorder.events

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        began = time.time()
        self._recorder = Recorder(now=lambda: began)

    def __call__(self, event: Event) -> None:
        self._recorder(event)

    @property
    def minutes(self) -> list[RecordedMinute]:
        return self._recorder.minutes()


@pytest.fixture(scope="module")
def faults() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples" / "operate"))
        yield importlib.import_module("faults")


@pytest.fixture(scope="module")
def calls() -> Calls:
    return Calls()


@pytest.fixture(scope="module")
def client(local: LocalSageMaker, calls: Calls, faults: ModuleType, tmp_path_factory: Any) -> Iterator[MMEClient]:
    """A client with a recorder; its endpoint serves one model, `fraud`."""
    folder: Path = tmp_path_factory.mktemp("fraud")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(faults.SCRIPT)
    (folder / "model.json").write_text("2")
    s3 = local.boto("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.close()
    retry = RetryPolicy(throttle_base=0.001, throttle_cap=0.002)
    with local.client(hooks=[calls], retry=retry) as made:
        models = made.models(URI)
        for version in ("v1", "v2"):
            models.register("fraud", folder, version=version)
        models.alias("fraud", "live", "v1")
        models.alias("fraud", "live", "v2")
        endpoint = made.endpoints.create(SPEC, timeout=60)
        endpoint.invoke(21, model="fraud@live")
        yield made
        endpoint.delete()


@pytest.fixture(autouse=True)
def _clean(local: LocalSageMaker, calls: Calls) -> Iterator[None]:
    calls.clear()
    yield
    local.faults.clear()


def kinds(client: MMEClient, calls: Calls, **given: Any) -> list[str]:
    return [one.kind for one in client.endpoint(NAME).diagnose(1, recordings=calls.minutes, **given)]


def test_nothing_is_wrong_at_first(client: MMEClient, calls: Calls) -> None:
    client.endpoint(NAME).invoke(21, model="fraud@live")
    assert kinds(client, calls, prices={"ml.m5.large": 0.1}, quotas={"ml.m5.large": 8}) == []


def test_both_handles_find_the_same(local: LocalSageMaker, client: MMEClient, calls: Calls) -> None:
    async def twin() -> Any:
        async with local.async_client() as other:
            return await other.endpoint(NAME).diagnose(1, quotas={"ml.m5.large": 1})

    found, same = client.endpoint(NAME).diagnose(1, quotas={"ml.m5.large": 1}), asyncio.run(twin())
    assert [one.kind for one in found] == ["quota_near"]
    assert same.findings == found.findings
    assert same.missing == found.missing


def test_throttling_is_found_with_its_tenant(local: LocalSageMaker, client: MMEClient, calls: Calls) -> None:
    local.faults.add(Fault(kind="throttle", operation="InvokeEndpoint", endpoint=NAME, times=12))
    for _ in range(6):
        client.endpoint(NAME).invoke(21, model="fraud@live")
    (finding,) = client.endpoint(NAME).diagnose(1, recordings=calls.minutes).findings
    assert (finding.kind, finding.subject) == ("throttling", "fraud")
    assert finding.evidence[0].value == 12


def test_a_deleted_model_that_is_called_is_found(local: LocalSageMaker, client: MMEClient, calls: Calls) -> None:
    s3 = local.boto("s3")
    s3.delete_object(Bucket=BUCKET, Key="prod/fraud/v1.tar.gz")
    s3.close()
    for _ in range(3):
        with pytest.raises(MMEError):
            client.endpoint(NAME).invoke(21, model="fraud/v1.tar.gz")
    (finding,) = client.endpoint(NAME).diagnose(1, recordings=calls.minutes).findings
    assert (finding.kind, finding.subject) == ("deleted_model_called", "fraud/v1.tar.gz")
    assert "fraud@live" in finding.command.python


def test_a_target_that_cannot_be_reached_is_found(local: LocalSageMaker, client: MMEClient, calls: Calls) -> None:
    endpoint, scaling = client.endpoint(NAME), local.boto("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{NAME}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    dimensions = [{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "AllTraffic"}]
    metric = {"Namespace": "/aws/sagemaker/Endpoints", "MetricName": "CPUUtilization", "Dimensions": dimensions}
    scaling.put_scaling_policy(
        **target,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 260.0,  # of 200 percent that two vCPUs have
            "CustomizedMetricSpecification": {**metric, "Statistic": "Average"},
        },
    )
    scaling.close()
    local.faults.add(Fault(kind="error", operation="GetMetricData", times=1, code="AccessDenied", status=403))
    seen = endpoint.describe()
    assert seen.variants[0].autoscaling is not None
    local.faults.clear()
    endpoint.invoke(21, model="fraud@live")
    # The embedded CloudWatch has the first utilization after a minute; put one.
    cloudwatch = local.boto("cloudwatch")
    cloudwatch.put_metric_data(
        Namespace=metric["Namespace"],
        MetricData=[{"MetricName": "CPUUtilization", "Dimensions": dimensions, "Value": 30.0, "Unit": "Percent"}],
    )
    cloudwatch.close()
    (finding,) = endpoint.diagnose(1).findings
    assert finding.kind == "autoscaling_cannot_move"
    assert {one.name: one.value for one in finding.evidence} == {
        "target": 260.0,
        "highest value": 30.0,
        "value of a full instance": 200.0,
    }
    from mme_sdk import Autoscaling

    assert eval(finding.command.python, {"client": client, "Autoscaling": Autoscaling}) is not None
    assert endpoint.diagnose(1).findings == ()
    endpoint.autoscale(None)


def test_an_update_that_the_sdk_has_cleaned_up_after_is_found(
    local: LocalSageMaker, client: MMEClient, calls: Calls
) -> None:
    endpoint = client.endpoint(NAME)
    local.faults.add(Fault(kind="capacity", endpoint=NAME, times=1))
    larger = attrs.evolve(SPEC, variants=(attrs.evolve(SPEC.variants[0], instance_type="ml.m5.xlarge"),))
    with pytest.raises(EndpointFailedError):
        endpoint.update(larger, timeout=60)
    (finding,) = endpoint.diagnose(1).findings
    assert finding.kind == "unseen_rollback"
    assert "apply" in finding.command.python
    endpoint.update(larger, timeout=60)
    assert endpoint.diagnose(1).findings == ()


def test_what_cannot_be_read_is_said_and_nothing_is_found_in_it(
    local: LocalSageMaker, client: MMEClient, calls: Calls
) -> None:
    local.faults.add(Fault(kind="error", operation="GetMetricData", code="AccessDenied", status=403))
    client.endpoint(NAME).invoke(21, model="fraud@live")
    found = client.endpoint(NAME).diagnose(1)
    assert found.findings == ()
    assert any(one.startswith("metrics of variant AllTraffic: ") for one in found.missing)


def test_an_endpoint_that_does_not_exist_is_an_error(client: MMEClient) -> None:
    with pytest.raises(EndpointNotFoundError):
        client.endpoint("no-such-endpoint").diagnose()
