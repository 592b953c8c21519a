"""AWS calls that explain a missing model: the S3 prefix of an endpoint, and similar names below it."""

from __future__ import annotations

from mme_sdk._flows.effects import Call, Flow

__all__ = ["model_prefix"]


def model_prefix(endpoint: str) -> Flow[str | None]:
    """Read the S3 prefix of a multi-model endpoint.

    Args:
        endpoint: Name of the endpoint.

    Returns:
        A flow that returns the prefix; None for a single-model endpoint.
    """
    described = yield Call(service="sagemaker", operation="describe_endpoint", params={"EndpointName": endpoint})
    config = yield Call(
        service="sagemaker",
        operation="describe_endpoint_config",
        params={"EndpointConfigName": described["EndpointConfigName"]},
    )
    name = config["ProductionVariants"][0].get("ModelName")
    if name is None:
        return None
    model = yield Call(service="sagemaker", operation="describe_model", params={"ModelName": name})
    containers = [model["PrimaryContainer"]] if "PrimaryContainer" in model else model.get("Containers", [])
    for container in containers:
        if container.get("Mode") == "MultiModel":
            return str(container["ModelDataUrl"])
    return None
