"""Content of configurations and models without default values, for derived names, ownership and comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "containers_of",
    "instance_types",
    "model_data_of",
    "model_names",
    "of_config",
    "of_container",
    "of_model",
    "of_variant",
    "scaled_variants",
    "variant_names",
]

_ANSWERED = frozenset(
    {
        *("ModelName", "ModelArn", "EndpointConfigName", "EndpointConfigArn", "CreationTime", "ResponseMetadata"),
        *("DeploymentRecommendation", "Tags"),
    }
)
_EMPTY: tuple[Any, ...] = (None, [], (), {})
# Members that have required members: left out if they have the default value, else kept completely.
_WHOLE = frozenset({"RoutingConfig", "ImageConfig", "InferenceExecutionConfig"})
# Ids whose order has no meaning.
_SETS = frozenset({"Subnets", "SecurityGroupIds"})

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html and API_CreateEndpointConfig.html
_MODEL = {"EnableNetworkIsolation": False, "InferenceExecutionConfig": {"Mode": "Serial"}}
_CONTAINER = {
    "Mode": "SingleModel",
    "MultiModelConfig": {"ModelCacheSetting": "Enabled"},
    "ImageConfig": {"RepositoryAccessMode": "Platform"},
}
_CONFIG = {
    "EnableNetworkIsolation": False,
    "DataCaptureConfig": {"EnableCapture": True},
    "MetricsConfig": {
        "EnableEnhancedMetrics": False,
        "EnableDetailedObservability": False,
        "MetricPublishFrequencyInSeconds": 60,
    },
}
_VARIANT = {
    "InitialVariantWeight": 1.0,
    "EnableSSMAccess": False,
    "RoutingConfig": {"RoutingStrategy": "RANDOM"},
    "VolumeSizeInGB": 30,
}


def _without(defaults: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in members.items():
        default = defaults.get(key)
        if value in _EMPTY:
            continue
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            if inner := _without(default, value):
                found[key] = _plain(value, key) if key in _WHOLE else inner
        elif value != default or default is None:
            found[key] = _plain(value, key)
    return found


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item, name) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, key) for item in value]
        return sorted(items) if key in _SETS else items
    return value


def of_container(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a container's members without default values."""
    found = _without(_CONTAINER, raw)
    source = found.get("ModelDataSource", {}).get("S3DataSource", {})
    if "ModelDataUrl" in found and source.get("S3Uri") == found["ModelDataUrl"]:
        del found["ModelDataSource"]  # DescribeModel repeats ModelDataUrl in this form
    return found


def model_data_of(container: Mapping[str, Any]) -> str | None:
    """Return the S3 address of a container's model, in either member; None if it has none."""
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    return container.get("ModelDataUrl") or source.get("S3Uri")


def containers_of(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a model's containers in order."""
    primary = model.get("PrimaryContainer")
    return [primary] if primary else list(model.get("Containers") or [])


def of_model(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's members without name, tags and default values."""
    rest = {k: v for k, v in raw.items() if k not in _ANSWERED and k not in ("PrimaryContainer", "Containers")}
    return _without(_MODEL, rest) | {"Containers": [of_container(one) for one in containers_of(raw)]}


def of_variant(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variant's members without default values."""
    return _without(_VARIANT, raw)


def of_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's members without name, tags and default values."""
    variants = ("ProductionVariants", "ShadowProductionVariants")
    rest = {key: value for key, value in raw.items() if key not in _ANSWERED and key not in variants}
    found = _without(_CONFIG, rest)
    return found | {key: [of_variant(one) for one in raw[key]] for key in variants if raw.get(key)}


def _variants(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(config.get("ProductionVariants") or []), *(config.get("ShadowProductionVariants") or [])]


def model_names(config: Mapping[str, Any] | None) -> list[str]:
    """Return all models that a configuration names, in production and shadow variants and in instance pools."""
    names = []
    for variant in _variants(config or {}):
        pools: Sequence[Mapping[str, Any]] = variant.get("InstancePools") or []
        names += [variant.get("ModelName"), *(one.get("ModelNameOverride") for one in pools)]
    return list(dict.fromkeys(one for one in names if one))


def variant_names(config: Mapping[str, Any] | None) -> list[str]:
    """Return the names of all variants, shadow variants included."""
    return [one["VariantName"] for one in _variants(config or {}) if "VariantName" in one]


def scaled_variants(config: Mapping[str, Any]) -> set[str]:
    """Return the names of the variants that run on instances and can be scaled."""
    return {one["VariantName"] for one in _variants(config) if "ServerlessConfig" not in one}


def instance_types(config: Mapping[str, Any]) -> dict[str, str | None]:
    """Return each variant's instance type; None if it is serverless or has instance pools."""
    return {one["VariantName"]: one.get("InstanceType") for one in _variants(config)}
