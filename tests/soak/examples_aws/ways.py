"""Deploy and invoke the same example in two ways: with boto3 alone, and with mme_sdk."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import attrs
import numpy as np
import pytest

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.endpoints import AsyncInference, Autoscaling, Container, FromZero, Variant
from mme_sdk.local import LocalSageMaker
from tests.support.local.waiting import wait_until

BUCKET = "examples"
ROLE = "arn:aws:iam::123456789012:role/service-role/sagemaker-execution"
INSTANCE = "ml.m5.large"
CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
DIRECT = {"InferenceExecutionConfig": {"Mode": "Direct"}}


def need(flow: str, *modules: str) -> None:
    """Skip the test if a library of the flow is not installed. The reason names the flow."""
    absent = [one for one in modules if find_spec(one) is None]
    if absent:
        pytest.skip(f"{flow}: {', '.join(absent)} is not installed: make examples-aws")


def csv_of(rows: Any) -> str:
    """Return rows as CSV without a header."""
    return "\n".join(",".join(map(repr, row)) for row in np.asarray(rows).tolist())


@attrs.frozen
class Served:
    """A container of an example, with the folder of its model, or with a folder for each name."""

    image: str
    models: Path | Mapping[str, Path]
    environment: Mapping[str, str] = attrs.field(factory=dict)
    hostname: str | None = None


@attrs.frozen
class Answer:
    """The decoded answer, its media type, and the variant that gave it."""

    value: Any
    content_type: str
    variant: str


class Way(Protocol):
    """How an example deploys and invokes."""

    def close(self) -> None:
        """Delete what the way has made."""

    def deploy(self, name: str, *served: Served, direct: bool = False, queue: bool = False) -> None:
        """Create an endpoint with one variant, and wait for it."""

    def deploy_variants(self, name: str, variants: Mapping[str, tuple[Served, float]]) -> None:
        """Create an endpoint with several variants and their weights, and wait for it."""

    def weights(self, name: str, weights: Mapping[str, float]) -> None:
        """Change the weights of the variants, and wait until they apply."""

    def ask(
        self,
        name: str,
        body: str | bytes,
        content_type: str,
        accept: str,
        *,
        model: str | None = None,
        variant: str | None = None,
        container: str | None = None,
    ) -> Answer:
        """Invoke the endpoint once."""
        ...

    def stream(self, name: str, body: str, content_type: str) -> list[Any]:
        """Return the JSON lines of a response stream."""
        ...

    def scale_from_zero(self, name: str) -> None:
        """Scale the asynchronous endpoint to zero instances, and back if a request waits."""
        ...

    def instances(self, name: str) -> int:
        """Return the number of instances of the first variant."""
        ...

    def ask_later(self, name: str, body: str, content_type: str) -> Any:
        """Put the body into S3, invoke the endpoint asynchronously, and wait for the answer."""
        ...


class WithBoto3:
    """The calls of the published notebooks, with boto3 and tarfile alone."""

    def __init__(self, host: LocalSageMaker) -> None:
        self.sagemaker = host.boto("sagemaker")
        self.runtime = host.boto("sagemaker-runtime")
        self.s3 = host.boto("s3")
        self.scaling = host.boto("application-autoscaling")
        self.cloudwatch = host.boto("cloudwatch")
        self._models: list[str] = []
        self._endpoints: list[str] = []

    def close(self) -> None:
        for name in self._endpoints:
            self.sagemaker.delete_endpoint(EndpointName=name)
            self.sagemaker.delete_endpoint_config(EndpointConfigName=name)
            wait_until(lambda name=name: not self._listed(name), f"{name} deleted", attempts=30_000)
        for name in self._models:
            self.sagemaker.delete_model(ModelName=name)
        for client in (self.sagemaker, self.runtime, self.s3, self.scaling, self.cloudwatch):
            client.close()

    def deploy(self, name: str, *served: Served, direct: bool = False, queue: bool = False) -> None:
        self._model(name, served, direct=direct)
        output = {"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/{name}/answers/"}}
        self._endpoint(
            name, [self._variant("AllTraffic", name, 1.0)], {"AsyncInferenceConfig": output} if queue else {}
        )

    def deploy_variants(self, name: str, variants: Mapping[str, tuple[Served, float]]) -> None:
        for variant, (served, _) in variants.items():
            self._model(f"{name}-{variant}", (served,), direct=False)
        given = [self._variant(one, f"{name}-{one}", weight) for one, (_, weight) in variants.items()]
        self._endpoint(name, given, {})

    def _model(self, name: str, served: tuple[Served, ...], *, direct: bool) -> None:
        containers = [self._container(f"{name}/{number}", one) for number, one in enumerate(served)]
        several: dict[str, Any] = {"Containers": containers} | (DIRECT if direct else {})
        given = several if len(containers) > 1 else {"PrimaryContainer": containers[0]}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, **given)
        self._models.append(name)

    def _container(self, prefix: str, served: Served) -> dict[str, Any]:
        given: dict[str, Any] = {"Image": served.image, "Environment": dict(served.environment)}
        if served.hostname is not None:
            given["ContainerHostname"] = served.hostname
        if isinstance(served.models, Path):
            return given | {"ModelDataUrl": self._upload(f"{prefix}/model.tar.gz", served.models)}
        for name, folder in served.models.items():
            self._upload(f"{prefix}/{name}.tar.gz", folder)
        return given | {"Mode": "MultiModel", "ModelDataUrl": f"s3://{BUCKET}/{prefix}/"}

    def _upload(self, key: str, folder: Path) -> str:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=packed.getvalue())
        return f"s3://{BUCKET}/{key}"

    @staticmethod
    def _variant(name: str, model: str, weight: float) -> dict[str, Any]:
        on = {"InstanceType": INSTANCE, "InitialInstanceCount": 1}
        return {"VariantName": name, "ModelName": model, "InitialVariantWeight": weight, **on}

    def _endpoint(self, name: str, variants: list[dict[str, Any]], more: dict[str, Any]) -> None:
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self._endpoints.append(name)
        self._settle(name)

    def _listed(self, name: str) -> bool:
        found = self.sagemaker.list_endpoints(NameContains=name)["Endpoints"]
        return name in [one["EndpointName"] for one in found]

    def _settle(self, name: str) -> None:
        def in_service() -> bool:
            found = self.sagemaker.describe_endpoint(EndpointName=name)
            assert found["EndpointStatus"] != "Failed", found["FailureReason"]
            return bool(found["EndpointStatus"] == "InService")

        wait_until(in_service, f"{name} in service", attempts=30_000)

    def weights(self, name: str, weights: Mapping[str, float]) -> None:
        wanted = [{"VariantName": variant, "DesiredWeight": weight} for variant, weight in weights.items()]
        self.sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=wanted)
        self._settle(name)

    def ask(
        self,
        name: str,
        body: str | bytes,
        content_type: str,
        accept: str,
        *,
        model: str | None = None,
        variant: str | None = None,
        container: str | None = None,
    ) -> Answer:
        target = {
            "TargetModel": None if model is None else f"{model}.tar.gz",
            "TargetVariant": variant,
            "TargetContainerHostname": container,
        }
        answer = self.runtime.invoke_endpoint(
            EndpointName=name,
            Body=body,
            ContentType=content_type,
            Accept=accept,
            **{member: value for member, value in target.items() if value is not None},
        )
        return Answer(
            _decoded(answer["Body"].read(), answer["ContentType"]),
            answer["ContentType"],
            answer["InvokedProductionVariant"],
        )

    def stream(self, name: str, body: str, content_type: str) -> list[Any]:
        answer = self.runtime.invoke_endpoint_with_response_stream(
            EndpointName=name, Body=body, ContentType=content_type
        )
        whole = b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"])
        return [json.loads(line) for line in whole.splitlines()]

    def scale_from_zero(self, name: str) -> None:
        target = {
            "ServiceNamespace": "sagemaker",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "ResourceId": f"endpoint/{name}/variant/AllTraffic",
        }
        self.scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
        step = self.scaling.put_scaling_policy(
            **target,
            PolicyName="from-zero",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        )
        self.cloudwatch.put_metric_alarm(
            AlarmName=f"{name}-backlog",
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
        none = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}]
        self.sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=none)
        self._settle(name)

    def instances(self, name: str) -> int:
        found = self.sagemaker.describe_endpoint(EndpointName=name)
        return int(found["ProductionVariants"][0]["CurrentInstanceCount"])

    def ask_later(self, name: str, body: str, content_type: str) -> Any:
        key = f"{name}/inputs/{uuid4()}"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode(), ContentType=content_type)
        sent = self.runtime.invoke_endpoint_async(
            EndpointName=name, InputLocation=f"s3://{BUCKET}/{key}", ContentType=content_type
        )
        output = sent["OutputLocation"].removeprefix(f"s3://{BUCKET}/")
        wait_until(
            lambda: self.s3.list_objects_v2(Bucket=BUCKET, Prefix=output)["KeyCount"] == 1, output, attempts=30_000
        )
        found = self.s3.get_object(Bucket=BUCKET, Key=output)
        return _decoded(found["Body"].read(), found["ContentType"])


class WithSdk:
    """The same examples with mme_sdk."""

    def __init__(self, client: MMEClient) -> None:
        self.client = client
        self._endpoints: list[str] = []

    def close(self) -> None:
        for name in self._endpoints:
            self.client.endpoints.delete(name)
        self.client.close()

    def deploy(self, name: str, *served: Served, direct: bool = False, queue: bool = False) -> None:
        variant = Variant(containers=self._containers(name, served), instance_type=INSTANCE)
        self._create(
            EndpointSpec(
                name=name,
                variants=(variant,),
                role=ROLE,
                async_inference=AsyncInference(output=f"s3://{BUCKET}/{name}/answers/") if queue else None,
                extra={"CreateModel": DIRECT} if direct else {},
            )
        )

    def deploy_variants(self, name: str, variants: Mapping[str, tuple[Served, float]]) -> None:
        given = tuple(
            Variant(
                name=variant,
                containers=self._containers(f"{name}/{variant}", (served,)),
                instance_type=INSTANCE,
                weight=weight,
            )
            for variant, (served, weight) in variants.items()
        )
        self._create(EndpointSpec(name=name, variants=given, role=ROLE))

    def _create(self, spec: EndpointSpec) -> None:
        self.client.endpoints.create(spec, timeout=300)
        self._endpoints.append(spec.name)

    def _containers(self, name: str, served: tuple[Served, ...]) -> tuple[Container, ...]:
        return tuple(self._container(f"s3://{BUCKET}/{name}/{number}/", one) for number, one in enumerate(served))

    def _container(self, prefix: str, served: Served) -> Container:
        registry, several = self.client.models(prefix), not isinstance(served.models, Path)
        models = {"model": served.models} if isinstance(served.models, Path) else served.models
        versions = [
            registry.register(name, folder, version="v1", image=served.image, multi_model=several)
            for name, folder in models.items()
        ]
        return Container(
            image=served.image,
            mode="MultiModel" if several else "SingleModel",
            model_data=registry.uri if several else versions[0].uri,
            environment=served.environment,
            hostname=served.hostname,
        )

    def weights(self, name: str, weights: Mapping[str, float]) -> None:
        self.client.endpoints.get(name).weights(weights)

    def ask(
        self,
        name: str,
        body: str | bytes,
        content_type: str,
        accept: str,
        *,
        model: str | None = None,
        variant: str | None = None,
        container: str | None = None,
    ) -> Answer:
        reply = self.client.endpoint(name).invoke(
            body,
            content_type=content_type,
            accept=accept,
            model=None if model is None else f"{model}/v1.tar.gz",
            target_variant=variant,
            target_container=container,
        )
        assert reply.content_type is not None
        assert reply.variant is not None
        value = reply.value if reply.content_type.startswith(JSON) else reply.numpy()
        return Answer(value, reply.content_type, reply.variant)

    def stream(self, name: str, body: str, content_type: str) -> list[Any]:
        with self.client.endpoint(name).invoke_stream(body, content_type=content_type) as stream:
            return list(stream.json_lines())

    def scale_from_zero(self, name: str) -> None:
        endpoint = self.client.endpoints.get(name)
        endpoint.autoscale(Autoscaling(min=0, max=2, target=5, metric="backlog", from_zero=FromZero()))
        endpoint.scale(0)

    def instances(self, name: str) -> int:
        count = self.client.endpoints.get(name).describe().variants[0].instance_count
        assert count is not None
        return count

    def ask_later(self, name: str, body: str, content_type: str) -> Any:
        queued = self.client.endpoint(name).invoke_async(
            body, content_type=content_type, upload_to=f"s3://{BUCKET}/{name}/inputs/"
        )
        return queued.result(timeout=300).value


def _decoded(body: bytes, content_type: str) -> Any:
    kind = content_type.partition(";")[0]
    if kind == JSON:
        return json.loads(body)
    if kind == NPY:
        return np.load(io.BytesIO(body))
    assert kind == CSV, content_type
    return np.genfromtxt(io.StringIO(body.decode()), delimiter=",")
