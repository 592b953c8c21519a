"""What an endpoint configuration and its models consist of, without defaults: for names, ownership and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "containers_of",
    "instance_types",
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
# Their default is a member that they must have: they are left out whole, or not at all.
_WHOLE = frozenset({"RoutingConfig", "ImageConfig", "InferenceExecutionConfig"})
# Sets of ids: their order means nothing.
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
    """A container's members, without defaults."""
    found = _without(_CONTAINER, raw)
    source = found.get("ModelDataSource", {}).get("S3DataSource", {})
    if "ModelDataUrl" in found and source.get("S3Uri") == found["ModelDataUrl"]:
        del found["ModelDataSource"]  # DescribeModel repeats the address of ModelDataUrl in this form
    return found


def containers_of(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A model's containers, in order."""
    primary = model.get("PrimaryContainer")
    return [primary] if primary else list(model.get("Containers") or [])


def of_model(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A model's members, without its name, its tags and defaults."""
    rest = {k: v for k, v in raw.items() if k not in _ANSWERED and k not in ("PrimaryContainer", "Containers")}
    return _without(_MODEL, rest) | {"Containers": [of_container(one) for one in containers_of(raw)]}


def of_variant(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's members, without defaults."""
    return _without(_VARIANT, raw)


def of_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's members, without its name, its tags and defaults."""
    variants = ("ProductionVariants", "ShadowProductionVariants")
    rest = {key: value for key, value in raw.items() if key not in _ANSWERED and key not in variants}
    found = _without(_CONFIG, rest)
    return found | {key: [of_variant(one) for one in raw[key]] for key in variants if raw.get(key)}


def _variants(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(config.get("ProductionVariants") or []), *(config.get("ShadowProductionVariants") or [])]


def model_names(config: Mapping[str, Any] | None) -> list[str]:
    """Every model that a configuration names: of production and shadow variants, and of their instance pools."""
    names = []
    for variant in _variants(config or {}):
        pools: Sequence[Mapping[str, Any]] = variant.get("InstancePools") or []
        names += [variant.get("ModelName"), *(one.get("ModelNameOverride") for one in pools)]
    return list(dict.fromkeys(one for one in names if one))


def variant_names(config: Mapping[str, Any] | None) -> list[str]:
    """The variants of a configuration, shadow variants included."""
    return [one["VariantName"] for one in _variants(config or {}) if "VariantName" in one]


def scaled_variants(config: Mapping[str, Any]) -> set[str]:
    """The variants of a configuration that run on instances, which autoscaling can count."""
    return {one["VariantName"] for one in _variants(config) if "ServerlessConfig" not in one}


def instance_types(config: Mapping[str, Any]) -> dict[str, str | None]:
    """The instance type of each variant; None where it is serverless or has instance pools."""
    return {one["VariantName"]: one.get("InstanceType") for one in _variants(config)}
