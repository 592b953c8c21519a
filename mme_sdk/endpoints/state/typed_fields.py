"""Convert SageMaker's answers to a spec: known members to fields, all others to an `extra`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.endpoints.spec.components import (
    AsyncInference,
    Container,
    DataCapture,
    MetricsSettings,
    Serverless,
    Variant,
    Vpc,
)
from mme_sdk.endpoints.spec.instances import InstancePool
from mme_sdk.endpoints.spec.requests import container_request, uncompressed_source, variant_request
from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.endpoints.state import content
from mme_sdk.errors import InvalidInputError, ServiceError

__all__ = ["spec_of_config"]

Read = Callable[[Any], Any]
Tags = Mapping[str, str]


def spec_of_config(
    name: str,
    config: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    tags: Tags,
    config_tags: Tags | None = None,
    model_tags: Mapping[str, Tags | None] | None = None,
) -> EndpointSpec:
    """Return the spec of an endpoint's configuration and models. Members without a field are in an `extra`.

    Args:
        name: EndpointName.
        config: Answer of DescribeEndpointConfig.
        models: Answers of DescribeModel by name.
        tags: The endpoint's tags.
        config_tags: The configuration's tags; None if unknown.
        model_tags: The models' tags by name, as far as they are known.

    Returns:
        The spec.

    Raises:
        InvalidInputError: A spec cannot describe this configuration.
    """
    variants = config.get("ProductionVariants") or []
    used = [_model_of(name, one, models) for one in variants]
    shared = [_shared(one) for one in used]
    first = shared[0] if shared else {}
    try:
        spec = EndpointSpec(
            name=name,
            variants=tuple(
                _variant(
                    one,
                    [_container(c) for c in content.containers_of(model)],
                    model_extra={key: own.get(key) for key in {**first, **own} if own.get(key) != first.get(key)},
                    model_tags=_where_other(tags, (model_tags or {}).get(one["ModelName"])),
                )
                for one, model, own in zip(variants, used, shared, strict=True)
            ),
            role=None,
            tags=tags,
            config_tags=_where_other(tags, config_tags),
        )
        spec = _typed(spec, "CreateModel", first, used[0])
        rest = {key: value for key, value in content.of_config(config).items() if key != "ProductionVariants"}
        return _typed(spec, "CreateEndpointConfig", rest, config)
    except KeyError as error:
        raise ServiceError(f"endpoint {name}: the answer has no {error.args[0]}", endpoint=name) from None


def _model_of(name: str, variant: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    if "ModelName" not in variant:
        raise InvalidInputError(
            f"endpoint {name}: variant {variant.get('VariantName')} hosts inference components: no spec supports these",
            endpoint=name,
        )
    model = models.get(variant["ModelName"])
    if model is None:
        raise InvalidInputError(f"endpoint {name}: model {variant['ModelName']} is deleted", endpoint=name)
    return model


def _where_other(tags: Tags, own: Tags | None) -> Tags | None:
    return None if own is None or own == tags else own


def _shared(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.of_model(model).items() if key != "Containers"}


def _typed(spec: EndpointSpec, operation: str, members: Mapping[str, Any], answer: Mapping[str, Any]) -> EndpointSpec:
    """Add members of a request to a spec: to a field if the field sends exactly that member, else to `extra`."""
    for member, value in members.items():
        field, read = _SPEC_FIELDS.get(member, ("", None))
        typed = None if read is None else _evolved(spec, **{field: _try(read, answer[member])})
        if typed is not None and _sent(typed, operation).get(member) == value:
            spec = typed
        else:
            more = {**spec.extra.get(operation, {}), member: value}
            spec = attrs.evolve(spec, extra={**spec.extra, operation: more})
    return spec


def _sent(spec: EndpointSpec, operation: str) -> dict[str, Any]:
    requests = spec.to_requests()
    return content.of_model(requests.models[0]) if operation == "CreateModel" else content.of_config(requests.config)


def _try(read: Read, value: Any) -> Any:
    try:
        return read(value)
    except (InvalidInputError, KeyError, TypeError):
        return None


def _evolved(part: Any, **fields: Any) -> Any:
    """Return a component with other fields; None if its rules do not allow them."""
    try:
        return attrs.evolve(part, **fields)
    except InvalidInputError:
        return None


def _container(raw: Mapping[str, Any]) -> Container:
    rest = content.of_container(raw)
    fields: dict[str, Any] = {
        "image": rest.pop("Image", None),
        "environment": rest.pop("Environment", {}),
        "hostname": rest.pop("ContainerHostname", None),
    }
    address = rest.pop("ModelDataUrl", None)
    if rest.pop("Mode", None) == "MultiModel":
        cache = rest.pop("MultiModelConfig", {}).get("ModelCacheSetting")
        container = Container(
            mode="MultiModel", model_data=address, model_cache=cache != "Disabled", extra=rest, **fields
        )
        if container.model_data != address:
            # A spec adds the final slash to the prefix. This endpoint has none, so that `extra` keeps the address.
            container = attrs.evolve(container, extra={**rest, "ModelDataUrl": address})
        return _with_registry(container)
    if address is not None:
        container = Container(extra={**rest, "ModelDataUrl": address}, **fields)
        return _with_registry(_evolved(container, model_data=address, extra=rest) or container)
    container = Container(extra=rest, **fields)
    source = rest.pop("ModelDataSource", None)
    if source is not None:
        address = source.get("S3DataSource", {}).get("S3Uri")
        typed = _evolved(container, model_data=address, compressed=False, extra=rest)
        if typed is not None and source == uncompressed_source(str(address)):
            container = typed
    return _with_registry(container)


def _with_registry(container: Container) -> Container:
    rest = dict(container.extra)
    settings = rest.pop("ImageConfig", None)
    if settings is None:
        return container
    auth = settings.get("RepositoryAuthConfig", {}).get("RepositoryCredentialsProviderArn")
    typed = _evolved(container, vpc_registry=True, registry_credentials=auth, extra=rest)
    return typed if typed is not None and container_request(typed).get("ImageConfig") == settings else container


def _variant(
    raw: Mapping[str, Any], containers: Sequence[Container], *, model_extra: Mapping[str, Any], model_tags: Tags | None
) -> Variant:
    found = content.of_variant(raw)
    rest = {key: value for key, value in found.items() if key not in ("VariantName", "ModelName")}
    variant = Variant(
        name=raw["VariantName"],
        containers=tuple(containers),
        instance_count=None,
        extra=rest,
        model_extra=model_extra,
        model_tags=model_tags,
    )
    for member, (field, read) in _VARIANT_FIELDS.items():
        if member in rest:
            less = {key: value for key, value in variant.extra.items() if key != member}
            typed = _evolved(variant, **{field: _try(read, rest[member])}, extra=less)
            if typed is not None and content.of_variant(variant_request(typed, "")).get(member) == rest[member]:
                variant = typed
    return variant


def _serverless(raw: Mapping[str, Any]) -> Serverless:
    return Serverless(
        memory_mb=raw["MemorySizeInMB"],
        max_concurrency=raw["MaxConcurrency"],
        provisioned_concurrency=raw.get("ProvisionedConcurrency"),
    )


def _vpc(raw: Mapping[str, Any]) -> Vpc:
    return Vpc(subnets=raw["Subnets"], security_groups=raw["SecurityGroupIds"])


def _data_capture(raw: Mapping[str, Any]) -> DataCapture:
    header = raw.get("CaptureContentTypeHeader", {})
    return DataCapture(
        destination=raw["DestinationS3Uri"],
        percent=raw["InitialSamplingPercentage"],
        capture=tuple(one["CaptureMode"] for one in raw["CaptureOptions"]),
        kms_key=raw.get("KmsKeyId"),
        csv_types=tuple(header.get("CsvContentTypes", ())),
        json_types=tuple(header.get("JsonContentTypes", ())),
        enabled=raw.get("EnableCapture", True),
    )


def _async_inference(raw: Mapping[str, Any]) -> AsyncInference:
    output = raw["OutputConfig"]
    topics = output.get("NotificationConfig", {})
    return AsyncInference(
        output=output["S3OutputPath"],
        failure=output.get("S3FailurePath"),
        max_concurrent=raw.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance"),
        success_topic=topics.get("SuccessTopic"),
        error_topic=topics.get("ErrorTopic"),
        kms_key=output.get("KmsKeyId"),
        include_response_in=tuple(topics.get("IncludeInferenceResponseIn", ())),
    )


def _pools(raw: Sequence[Mapping[str, Any]]) -> tuple[InstancePool, ...]:
    return tuple(InstancePool(instance_type=one["InstanceType"], priority=one["Priority"]) for one in raw)


def _metrics(raw: Mapping[str, Any]) -> MetricsSettings:
    return MetricsSettings(
        enhanced=raw.get("EnableEnhancedMetrics", False), frequency=raw.get("MetricPublishFrequencyInSeconds", 60)
    )


def _same(value: Any) -> Any:
    return value


_SPEC_FIELDS: dict[str, tuple[str, Read]] = {
    "ExecutionRoleArn": ("role", _same),
    "EnableNetworkIsolation": ("network_isolation", _same),
    "VpcConfig": ("vpc", _vpc),
    "KmsKeyId": ("kms_key", _same),
    "DataCaptureConfig": ("data_capture", _data_capture),
    "AsyncInferenceConfig": ("async_inference", _async_inference),
    "ExplainerConfig": ("explainer", _same),
    "MetricsConfig": ("metrics", _metrics),
}
_VARIANT_FIELDS: dict[str, tuple[str, Read]] = {
    "ServerlessConfig": ("serverless", _serverless),
    "InstanceType": ("instance_type", _same),
    "InitialInstanceCount": ("instance_count", _same),
    "InitialVariantWeight": ("weight", _same),
    "VolumeSizeInGB": ("volume_gb", _same),
    "ModelDataDownloadTimeoutInSeconds": ("download_timeout", _same),
    "ContainerStartupHealthCheckTimeoutInSeconds": ("startup_timeout", _same),
    "InstancePools": ("instance_pools", _pools),
    "RoutingConfig": ("routing", lambda raw: raw["RoutingStrategy"]),
    "InferenceAmiVersion": ("ami_version", _same),
    "CapacityReservationConfig": ("capacity_reservation", lambda raw: raw["MlReservationArn"]),
}
