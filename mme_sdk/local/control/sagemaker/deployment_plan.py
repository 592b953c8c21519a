"""Make the deployment that hosting runs from the documents of an endpoint configuration and its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mme_sdk.local.control.sagemaker.rules import captures_data, containers_of, is_direct
from mme_sdk.local.hosting_interface import ContainerPlan, Deployment, VariantPlan

__all__ = ["make_deployment"]


def make_deployment(
    endpoint: str, config: Mapping[str, Any], models: Mapping[str, Any], sizes: Mapping[str, Any]
) -> Deployment:
    """Return the deployment of an endpoint.

    Args:
        endpoint: EndpointName.
        config: Document of the endpoint configuration.
        models: Documents of the models by name.
        sizes: DesiredInstanceCount and DesiredWeight by variant.

    Returns:
        The deployment.
    """
    return Deployment(
        endpoint=endpoint,
        config_name=config["EndpointConfigName"],
        asynchronous="AsyncInferenceConfig" in config,
        variants=tuple(
            VariantPlan(
                name=variant["VariantName"],
                model_name=variant["ModelName"],
                role=models[variant["ModelName"]].get("ExecutionRoleArn"),
                containers=tuple(_container(one) for one in containers_of(models[variant["ModelName"]])),
                instance_type=_instance_type(variant),
                instance_count=sizes[variant["VariantName"]]["DesiredInstanceCount"],
                weight=sizes[variant["VariantName"]]["DesiredWeight"],
                download_timeout=variant.get("ModelDataDownloadTimeoutInSeconds"),
                startup_timeout=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
                volume_gb=variant.get("VolumeSizeInGB"),
                random_routing=variant.get("RoutingConfig", {}).get("RoutingStrategy", "RANDOM") == "RANDOM",
                direct=is_direct(models[variant["ModelName"]]),
                memory_bytes=_serverless(variant, "MemorySizeInMB", 1 << 20),
                max_concurrency=_serverless(variant, "MaxConcurrency", 1),
                capture=config["DataCaptureConfig"] if captures_data(config) else None,
            )
            for variant in config["ProductionVariants"]
        ),
    )


def _serverless(variant: Mapping[str, Any], member: str, unit: int) -> int | None:
    given = variant.get("ServerlessConfig", {}).get(member)
    return None if given is None else unit * given


def _instance_type(variant: Mapping[str, Any]) -> str:
    """Return the instance type of a variant. The host always has capacity in the pool with the highest priority."""
    if pools := variant.get("InstancePools"):
        return str(min(pools, key=lambda pool: pool.get("Priority", 1))["InstanceType"])
    return str(variant.get("InstanceType", "ml.serverless"))


def _container(container: Mapping[str, Any]) -> ContainerPlan:
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return ContainerPlan(
        image=container["Image"],
        mode=container["Mode"],
        model_data_url=container.get("ModelDataUrl", source.get("S3Uri")),
        uncompressed=source.get("CompressionType") == "None",
        environment=container.get("Environment", {}),
        model_cache=container.get("MultiModelConfig", {}).get("ModelCacheSetting") != "Disabled",
        hostname=container.get("ContainerHostname"),
    )
