"""The six faults of the drill. Each is made as it happens in practice, then its traffic runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from mme_sdk import Endpoint, EndpointSpec, MMEClient, ModelRegistry
from mme_sdk.errors import MMEError
from mme_sdk.local import Fault, HostingSettings, LocalSageMaker

NAME, URI = "scoring", "s3://ml-models/prod/"
ROOM = 5  # models that fit into the memory of an instance
MB = 1 << 20

SETTINGS = HostingSettings(
    memory_bytes=ROOM * 100 * MB + 50 * MB, memory_per_model=100 * MB, loader_slots=1, metrics_seconds=0.2
)
SPEC = EndpointSpec.multi_model(
    name=NAME,
    models=URI,
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scoring:1",
    role="arn:aws:iam::123456789012:role/sagemaker-execution",
    instance_type="ml.m5.large",
)
SCRIPT = """
import json
from pathlib import Path


def model_fn(model_dir):
    return json.loads((Path(model_dir) / "model.json").read_text())


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(value, factor):
    return value * factor


def output_fn(value, accept):
    return json.dumps(value), "application/json"
"""


@attrs.frozen
class World:
    """What the faults work on.

    Attributes:
        host: The embedded SageMaker.
        client: A client of it.
        folder: A folder for model directories.
    """

    host: LocalSageMaker
    client: MMEClient
    folder: Path

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the drill."""
        return self.client.endpoint(NAME)

    @property
    def models(self) -> ModelRegistry:
        """Its models. The commands run in another client, and callers see its changes at once here, not within 5 s."""
        return self.client.models(URI, staleness=0.001)

    def call(self, models: Iterable[str], *, together: bool = False) -> None:
        """Invoke models, one after the other or all together. Errors are the callers' matter; they are recorded."""

        def invoke(model: str) -> None:
            try:
                self.endpoint.invoke(21, model=model)
            except MMEError as error:
                print(f"    {model}: {error.message.splitlines()[0][:90]}")

        named = list(models)
        with ThreadPoolExecutor(len(named) if together else 1) as pool:
            list(pool.map(invoke, named))

    def publish(self, name: str, version: str, alias: str | None = "live") -> str:
        """Register a version of a model, point its alias at it, and return the reference that callers use."""
        source = self.folder / name / version
        (source / "code").mkdir(parents=True)
        (source / "code" / "inference.py").write_text(SCRIPT)
        (source / "model.json").write_text(str(int(version[1:])))
        registered = self.models.register(name, source, version=version)
        if alias is None:
            return registered.target_model
        self.models.alias(name, alias, version)
        return f"{name}@{alias}"

    def aws(self, service: str, operation: str, **params: Any) -> Any:
        """Call AWS as another tool does, beside the SDK."""
        client = self.host.boto(service)
        try:
            return getattr(client, operation)(**params)
        finally:
            client.close()


def rolled_back_update(world: World) -> None:
    """A pipeline updates the endpoint, AWS has no instances, and nobody reads the FailureReason."""
    old = world.aws("sagemaker", "describe_endpoint_config", EndpointConfigName=world.endpoint.describe().config_name)
    (variant,) = old["ProductionVariants"]
    world.aws(
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName=f"{NAME}-next",
        ProductionVariants=[{**variant, "VolumeSizeInGB": 40}],
    )
    world.host.faults.add(Fault(kind="capacity", endpoint=NAME, times=1))
    world.aws("sagemaker", "update_endpoint", EndpointName=NAME, EndpointConfigName=f"{NAME}-next")
    world.aws("sagemaker", "get_waiter", waiter_name="endpoint_in_service").wait(
        EndpointName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def release_that_fails(world: World) -> None:
    """A release of a model does not load."""
    world.host.faults.add(Fault(kind="failed_load", model="fraud/v2.tar.gz", message="No module named 'rapidjson'"))
    world.call([world.publish("fraud", "v2")] * 4)


def deleted_archive(world: World) -> None:
    """A clean-up of the bucket deletes an archive that an alias refers to."""
    world.publish("risk", "v2")
    world.aws("s3", "delete_object", Bucket="ml-models", Key="prod/risk/v2.tar.gz")
    world.call(["risk@live"] * 3)


def more_models_than_memory(world: World) -> None:
    """There are more models in use than fit into the memory of the instance."""
    for number in range(8):
        world.publish(f"tenant-{number}", "v1")
    call_tenants(world)


def call_tenants(world: World) -> None:
    """Call the models that are too many for one instance."""
    for _ in range(5):
        world.call(f"tenant-{number}@live" for number in range(8))


def slow_loads(world: World) -> None:
    """Many models are called for the first time at once, and each takes long to load."""
    world.host.faults.add(Fault(kind="slow_load", endpoint=NAME, seconds=0.5))
    world.call((world.publish(f"night-{number}", "v1", alias=None) for number in range(10)), together=True)


def wrong_metric(world: World) -> None:
    """Somebody attaches autoscaling on a metric of a variant that does not exist."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{NAME}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    count = world.endpoint.describe().variants[0].instance_count or 1
    autoscaling = "application-autoscaling"
    world.aws(autoscaling, "register_scalable_target", **target, MinCapacity=count, MaxCapacity=count + 1)
    world.aws(
        autoscaling,
        "put_scaling_policy",
        **target,
        PolicyName="by-requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 600.0,
            "CustomizedMetricSpecification": {
                "Namespace": "AWS/SageMaker",
                "MetricName": "InvocationsPerInstance",
                "Dimensions": [{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "Main"}],
                "Statistic": "Sum",
            },
        },
    )
    world.call(["fraud@live"] * 80)


FAULTS: dict[str, Callable[[World], None]] = {
    "unseen_rollback": rolled_back_update,
    "failing_model": release_that_fails,
    "stale_alias": deleted_archive,
    "thrashing": more_models_than_memory,
    "loader_slots": slow_loads,
    "autoscaling_cannot_move": wrong_metric,
}
"""The faults, by the kind of the finding that names each."""

AGAIN: dict[str, Callable[[World], None]] = {"thrashing": call_tenants}
"""Traffic that met the fault, and meets it no more when the command has mended it."""
