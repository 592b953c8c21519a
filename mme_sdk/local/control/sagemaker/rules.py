"""Rules of SageMaker that its service model does not express."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.types import S3Uri

__all__ = ["captures_data", "check_config", "check_model", "check_rollout", "containers_of", "is_direct"]

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html (KmsKeyId): instance types
# with a local NVMe volume cannot encrypt it with a KMS key.
_NVME = re.compile(r"ml\.(?:[a-z]+\d+[a-z]*d[a-z]*|g4dn|g5|g6|g6e|p4d|p4de|p5|p5e|p5en|trn1|trn1n|inf2)\.")


def containers_of(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a model in order."""
    primary = model.get("PrimaryContainer")
    return [primary] if primary is not None else list(model.get("Containers", []))


def is_direct(model: Mapping[str, Any]) -> bool:
    """Return whether each request to a model names the container that answers it."""
    return bool(model.get("InferenceExecutionConfig", {}).get("Mode") == "Direct")


def captures_data(config: Mapping[str, Any]) -> bool:
    """Return whether an endpoint configuration enables data capture. EnableCapture is true by default."""
    capture = config.get("DataCaptureConfig")
    return capture is not None and bool(capture.get("EnableCapture", True))


def check_model(params: Mapping[str, Any], multi_model: Callable[[str], bool]) -> None:
    """Raise ApiError if a CreateModel request violates a rule.

    Args:
        params: The request.
        multi_model: Function that returns whether an image has the label of multi-model containers.

    Raises:
        ApiError: ValidationException.
    """
    if "PrimaryContainer" in params and "Containers" in params:
        _refuse("You must specify either a PrimaryContainer or a list of Containers, not both.")
    containers = containers_of(params)
    if not containers:
        _refuse("You must specify a PrimaryContainer or a list of Containers.")
    for container in containers:
        if "Image" not in container:
            _refuse("Container must specify an Image or a ModelPackageName.")
        multi = container.get("Mode") == "MultiModel"
        if "ModelDataUrl" in container and "ModelDataSource" in container:
            _refuse("Container must specify either a ModelDataUrl or a ModelDataSource, not both.")
        if multi and "ModelDataUrl" not in container:
            _refuse("ModelDataUrl must be specified for a container in MultiModel mode.")
        if multi and "ModelDataSource" in container:
            _refuse("ModelDataSource is not supported for a container in MultiModel mode.")
        _check_source(container.get("ModelDataSource", {}).get("S3DataSource"))
        if multi and not multi_model(container.get("Image", "")):
            _refuse(
                f"Your Ecr Image {container.get('Image')} does not contain required "
                "com.amazonaws.sagemaker.capabilities.multi-models=true Docker label(s)."
            )
        if "MultiModelConfig" in container and not multi:
            _refuse("MultiModelConfig can only be specified for a container in MultiModel mode.")
    hosts = [container.get("ContainerHostname") for container in containers]
    if is_direct(params) and None in hosts:
        _refuse("ContainerHostname must be specified for each container if InferenceExecutionConfig is Direct.")
    if is_direct(params) and len(set(hosts)) != len(hosts):
        _refuse("ContainerHostname must be unique if InferenceExecutionConfig is Direct.")
    if sum(container.get("Mode") == "MultiModel" for container in containers) > 1:
        _refuse("An inference pipeline can have only one container in MultiModel mode.")


def _check_source(source: Mapping[str, Any] | None) -> None:
    """Check S3DataType, CompressionType and S3Uri, which depend on each other (see S3ModelDataSource)."""
    if source is None:
        return
    if source["S3DataType"] == "S3Prefix":
        if source["CompressionType"] != "None":
            _refuse("CompressionType of ModelDataSource must be None if S3DataType is S3Prefix.")
        if not source["S3Uri"].endswith("/"):
            _refuse("S3Uri of ModelDataSource must end with a forward slash (/) if S3DataType is S3Prefix.")
    elif source["S3Uri"].endswith("/"):
        _refuse("S3Uri of ModelDataSource must be the address of an object if S3DataType is S3Object.")


def check_config(params: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ApiError if a CreateEndpointConfig request violates a rule.

    Args:
        params: The request.
        models: The models of its variants by name.

    Raises:
        ApiError: ValidationException.
    """
    variants = params["ProductionVariants"]
    if "AsyncInferenceConfig" in params and len(variants) > 1:
        _refuse("Asynchronous inference is supported with one production variant only.")
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) != len(names):
        _refuse("Production variant names must be unique within an endpoint configuration.")
    for variant in variants:
        where = f"production variant {variant['VariantName']}"
        serverless = "ServerlessConfig" in variant
        multi = any(c.get("Mode") == "MultiModel" for c in containers_of(models[variant["ModelName"]]))
        if "InstanceType" in variant and "InstancePools" in variant:
            _refuse(f"InstanceType and InstancePools cannot be combined for {where}.")
        if not serverless and "InstanceType" not in variant and not variant.get("InstancePools"):
            _refuse(f"InstanceType must be specified for {where}.")
        if not serverless and variant.get("InitialInstanceCount", 0) < 1:
            _refuse(f"InitialInstanceCount must be at least 1 for {where}.")
        if serverless and variant.keys() & {"InstanceType", "InstancePools", "InitialInstanceCount"}:
            text = "ServerlessConfig cannot be combined with InstanceType, InstancePools or InitialInstanceCount"
            _refuse(f"{text} for {where}.")
        if serverless:
            _check_serverless(variant["ServerlessConfig"], where)
        if multi and serverless:
            _refuse(f"Multi-model mode is not supported with serverless inference ({where}).")
        if serverless and "AsyncInferenceConfig" in params:
            _refuse(f"Serverless inference is not supported with asynchronous inference ({where}).")
        if multi and "AsyncInferenceConfig" in params:
            _refuse("Multi-model mode is not supported with asynchronous inference.")
        if multi and captures_data(params):
            _refuse("Multi-model mode is not supported with data capture.")
        if multi and params.get("ShadowProductionVariants"):
            _refuse("Multi-model mode is not supported with shadow variants.")
        if "KmsKeyId" in params and _NVME.match(variant.get("InstanceType", "")):
            _refuse(
                f"KmsKeyId is not supported with instance type {variant['InstanceType']}, which has local NVMe storage."
            )
    if captures_data(params):
        try:
            S3Uri.parse(params["DataCaptureConfig"]["DestinationS3Uri"])
        except InvalidInputError as error:
            _refuse(f"DestinationS3Uri of DataCaptureConfig: {error.message}.")


def _check_serverless(config: Mapping[str, Any], where: str) -> None:
    # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariantServerlessConfig.html
    if config["MemorySizeInMB"] % 1024:
        _refuse(f"MemorySizeInMB must be 1024, 2048, 3072, 4096, 5120 or 6144 for {where}.")
    if config.get("ProvisionedConcurrency", 0) > config["MaxConcurrency"]:
        _refuse(f"ProvisionedConcurrency must not be greater than MaxConcurrency for {where}.")


def check_rollout(config: Mapping[str, Any], instances: int) -> None:
    """Raise ApiError if a DeploymentConfig violates a rule.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html

    Args:
        config: DeploymentConfig.
        instances: Number of instances of the fleet, for sizes of type INSTANCE_COUNT.

    Raises:
        ApiError: ValidationException.
    """
    if any("AlarmName" not in one for one in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])):
        _refuse("AlarmName must be specified for each alarm of AutoRollbackConfiguration.")
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        _refuse("You must specify either a BlueGreenUpdatePolicy or a RollingUpdatePolicy, not both.")
    if rolling:
        _check_size("MaximumBatchSize", rolling["MaximumBatchSize"], instances, low=5, high=50)
    routing = (blue_green or {}).get("TrafficRoutingConfiguration", {})
    for kind, member, low in (("CANARY", "CanarySize", 1), ("LINEAR", "LinearStepSize", 10)):
        if routing.get("Type") == kind:
            if member not in routing:
                _refuse(f"{member} must be specified for traffic routing of type {kind}.")
            _check_size(member, routing[member], instances, low=low, high=50)


def _check_size(member: str, size: Mapping[str, Any], instances: int, *, low: int, high: int) -> None:
    percent = size["Value"] if size["Type"] == "CAPACITY_PERCENT" else 100 * size["Value"] / instances
    if not low <= percent <= high:
        _refuse(f"{member} must be between {low}% and {high}% of the capacity of {instances} instances.")


def _refuse(message: str) -> None:
    raise ApiError("ValidationException", message)
