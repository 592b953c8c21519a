"""Reading a live endpoint back: its description, and the spec that would make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.aws import Flow
from mme_sdk.endpoints import autoscaling, parking
from mme_sdk.endpoints.autoscaling import Attached
from mme_sdk.endpoints.calls import look, pages, sagemaker, together
from mme_sdk.endpoints.description import EndpointDescription, VariantDescription, parse_summary
from mme_sdk.endpoints.spec import (
    AsyncInference,
    Container,
    DataCapture,
    EndpointSpec,
    Serverless,
    Variant,
    Vpc,
)
from mme_sdk.errors import AccessDeniedError, InvalidInputError, NotFoundError, ServiceError

__all__ = ["Live", "list_all", "read_live", "spec_of_config"]

_NOT_IN_CONFIG = frozenset({"EndpointConfigName", "EndpointConfigArn", "CreationTime", "ResponseMetadata"})
_NOT_IN_MODEL = frozenset({"ModelName", "ModelArn", "CreationTime", "ResponseMetadata", "DeploymentRecommendation"})


@attrs.frozen(kw_only=True)
class Live:
    """An endpoint as it is.

    Attributes:
        description: What `describe` answers.
        config: DescribeEndpointConfig's answer; empty where the configuration is gone.
        models: DescribeModel's answers by name.
        attached: Autoscaling by variant; None where it could not be read.
        tags: The endpoint's tags; None where they could not be read.
        noted: Tags in which an update that did not end has written down the autoscaling that it took off.
    """

    description: EndpointDescription
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    models: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, repr=False, hash=False)
    attached: Mapping[str, Attached] | None = attrs.field(default=None, repr=False, hash=False)
    tags: Mapping[str, str] | None = attrs.field(default=None, hash=False)
    noted: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    @property
    def parked(self) -> dict[str, Attached]:
        """Autoscaling that an update took off and has not put back, by variant; none where that cannot be known."""
        if self.attached is None:
            return {}
        found = parking.parked_in(self.noted)
        return {key: one for key, one in found.items() if parking.lacks(self.attached.get(key), one)}

    def spec(self) -> EndpointSpec:
        """The spec that would make this endpoint, with the counts, weights and autoscaling that it has now.

        Autoscaling that `Autoscaling` cannot say is left out of it; `description` shows all that is attached.

        Raises:
            InvalidInputError: It cannot be said as a spec, because its configuration or a model is gone or has a
                shape that specs have not.
        """
        if not self.config:
            raise InvalidInputError(
                f"endpoint {self.description.name}: its configuration {self.description.config_name} is gone",
                endpoint=self.description.name,
            )
        spec = spec_of_config(self.description.name, self.config, self.models, self.tags or {})
        now = {one.name: one for one in self.description.variants}
        return attrs.evolve(spec, variants=tuple(self._as_it_runs(one, now.get(one.name)) for one in spec.variants))

    def _as_it_runs(self, variant: Variant, seen: VariantDescription | None) -> Variant:
        if seen is None:
            return variant
        changes: dict[str, Any] = {}
        attached = (self.attached or {}).get(variant.name)
        if seen.desired_count and variant.serverless is None:
            changes["instance_count"] = seen.desired_count
        if attached is not None and variant.instance_type is not None:
            scaling = autoscaling.read_back(self.description.name, variant.instance_type, attached)
            count = changes.get("instance_count", variant.instance_count)
            if scaling is not None:  # a count on its way to the limits is none that a spec may begin with
                changes |= {"autoscaling": scaling, "instance_count": min(max(count, scaling.min), scaling.max)}
        if seen.desired_weight is not None:
            changes["weight"] = seen.desired_weight
        return attrs.evolve(variant, **changes)


def list_all(name_contains: str | None = None) -> Flow[list[EndpointDescription]]:
    """Every endpoint, newest first."""
    if name_contains is not None and not isinstance(name_contains, str):
        raise InvalidInputError(f"name_contains: wants a part of a name, not {name_contains!r}")
    narrowed = {"NameContains": name_contains} if name_contains else {}
    found = yield from pages(
        sagemaker("list_endpoints", SortBy="CreationTime", SortOrder="Descending", **narrowed), "Endpoints"
    )
    return [parse_summary(one) for one in found]


def read_live(name: str) -> Flow[Live]:
    """Read an endpoint, its configuration, its models, its autoscaling and its tags.

    Raises:
        EndpointNotFoundError: There is none of this name.
    """
    seen = yield from look(name)
    variants = [one.name for one in seen.variants]
    (config, models), (attached, no_scaling), (tags, no_tags) = yield from together(
        [_config(name, seen.config_name), autoscaling.read_if_allowed(name, variants), _tags(name, seen.arn)]
    )
    live = Live(
        description=seen,
        config=config,
        models=models,
        attached=attached if no_scaling is None else None,
        tags=None if no_tags is not None else {k: v for k, v in tags.items() if not k.startswith(parking.PREFIX)},
        noted={key: value for key, value in tags.items() if key.startswith(parking.PREFIX)},
    )
    return attrs.evolve(live, description=_enriched(live, tuple(one for one in (no_scaling, no_tags) if one)))


def _config(name: str, config_name: str | None) -> Flow[tuple[dict[str, Any], dict[str, Any]]]:
    if config_name is None:
        return {}, {}
    try:
        config = yield sagemaker("describe_endpoint_config", name, EndpointConfigName=config_name)
    except NotFoundError:
        return {}, {}
    return config, (yield from models_of(name, config))


def models_of(name: str, config: Mapping[str, Any]) -> Flow[dict[str, Any]]:
    """DescribeModel's answers for a configuration's models that are still there."""
    names = list(dict.fromkeys(one["ModelName"] for one in config.get("ProductionVariants", []) if "ModelName" in one))
    found = yield from together([_model(name, one) for one in names])
    return {model: answer for model, answer in zip(names, found, strict=True) if answer is not None}


def _model(endpoint: str, model: str) -> Flow[Any]:
    try:
        return (yield sagemaker("describe_model", endpoint, ModelName=model))
    except NotFoundError:
        return None


def _tags(name: str, arn: str) -> Flow[tuple[dict[str, str], str | None]]:
    if not arn:
        return {}, None
    try:
        found = yield from pages(sagemaker("list_tags", name, ResourceArn=arn), "Tags")
    except (AccessDeniedError, NotFoundError) as error:  # it may be gone since it was looked at
        return {}, f"tags could not be read: {error.message}"
    return {one["Key"]: one["Value"] for one in found if not one["Key"].startswith("aws:")}, None


def _enriched(live: Live, notes: tuple[str, ...]) -> EndpointDescription:
    configured = {one.get("VariantName"): one for one in live.config.get("ProductionVariants", [])}
    containers = [one for model in live.models.values() for one in _containers(model)]
    multi = any(one.get("Mode") == "MultiModel" for one in containers)
    data = [one["ModelDataUrl"] for one in containers if one.get("ModelDataUrl")]
    prefixes = [one["ModelDataUrl"] for one in containers if one.get("Mode") == "MultiModel"]
    return attrs.evolve(
        live.description,
        mode=("MultiModel" if multi else "SingleModel") if containers else None,
        model_data=next(iter(prefixes or data), None),
        tags=live.tags or {},
        notes=notes,
        variants=tuple(
            attrs.evolve(
                one,
                instance_type=configured.get(one.name, {}).get("InstanceType"),
                model_name=configured.get(one.name, {}).get("ModelName"),
                autoscaling=live.attached[one.name].described()
                if live.attached is not None and one.name in live.attached
                else None,
            )
            for one in live.description.variants
        ),
    )


def _containers(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    primary = model.get("PrimaryContainer")
    return [primary] if primary else list(model.get("Containers", []))


def spec_of_config(
    name: str, config: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], tags: Mapping[str, str]
) -> EndpointSpec:
    """The spec that an endpoint's configuration and models amount to.

    Raises:
        InvalidInputError: They have a shape that specs have not.
    """
    variants = config.get("ProductionVariants", [])
    used: list[Mapping[str, Any]] = []
    for one in variants:
        if "ModelName" not in one:
            raise InvalidInputError(
                f"endpoint {name}: variant {one.get('VariantName')} hosts inference components, which specs have not",
                endpoint=name,
            )
        model = models.get(one["ModelName"])
        if model is None:
            raise InvalidInputError(f"endpoint {name}: model {one.get('ModelName')} is gone", endpoint=name)
        used.append(model)
    shared = [_shared(one) for one in used]
    if any(one != shared[0] for one in shared):
        raise InvalidInputError(
            f"endpoint {name}: its variants' models differ in role, VPC or network isolation", endpoint=name
        )
    first = shared[0]
    vpc = first.pop("VpcConfig", None)
    try:
        role, isolated = first.pop("ExecutionRoleArn"), first.pop("EnableNetworkIsolation", False)
        known = {"ProductionVariants", "KmsKeyId", "DataCaptureConfig", "AsyncInferenceConfig", "ExplainerConfig"}
        rest = {k: v for k, v in config.items() if k not in known | _NOT_IN_CONFIG and v not in (None, False, [], {})}
        return EndpointSpec(
            name=name,
            variants=tuple(
                _variant(one, [_container(c) for c in _containers(model)])
                for one, model in zip(variants, used, strict=True)
            ),
            role=role,
            network_isolation=bool(isolated),
            vpc=None if vpc is None else Vpc(subnets=vpc["Subnets"], security_groups=vpc["SecurityGroupIds"]),
            kms_key=config.get("KmsKeyId"),
            tags=tags,
            data_capture=_data_capture(config.get("DataCaptureConfig")),
            async_inference=_async_inference(config.get("AsyncInferenceConfig")),
            explainer=config.get("ExplainerConfig"),
            extra={key: value for key, value in (("CreateModel", first), ("CreateEndpointConfig", rest)) if value},
        )
    except KeyError as error:
        raise ServiceError(f"endpoint {name}: the answer lacks {error.args[0]}", endpoint=name) from None


def _shared(model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in model.items()
        if key not in _NOT_IN_MODEL | {"PrimaryContainer", "Containers"} and value not in (None, False, [], {})
    }


def _container(raw: Mapping[str, Any]) -> Container:
    known = {"Image", "Mode", "ModelDataUrl", "Environment", "ContainerHostname", "MultiModelConfig"}
    extra = {key: value for key, value in raw.items() if key not in known and value not in (None, [], {})}
    if raw.get("ModelDataUrl"):
        extra.pop("ModelDataSource", None)  # SageMaker shows the address a second time in this shape
    mode = raw.get("Mode", "SingleModel")
    cache = raw.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled")
    return Container(
        image=raw.get("Image", ""),
        mode=mode,
        model_data=raw.get("ModelDataUrl"),
        environment=raw.get("Environment", {}),
        hostname=raw.get("ContainerHostname"),
        model_cache=mode != "MultiModel" or cache != "Disabled",
        extra=extra,
    )


def _variant(raw: Mapping[str, Any], containers: Sequence[Container]) -> Variant:
    known = {
        "VariantName",
        "ModelName",
        "InstanceType",
        "InitialInstanceCount",
        "InitialVariantWeight",
        "VolumeSizeInGB",
        "ModelDataDownloadTimeoutInSeconds",
        "ContainerStartupHealthCheckTimeoutInSeconds",
        "ServerlessConfig",
    }
    serverless = raw.get("ServerlessConfig")
    return Variant(
        name=raw["VariantName"],
        containers=tuple(containers),
        instance_type=raw.get("InstanceType"),
        instance_count=raw.get("InitialInstanceCount", 1),
        weight=raw.get("InitialVariantWeight", 1.0),
        volume_gb=raw.get("VolumeSizeInGB"),
        download_timeout=raw.get("ModelDataDownloadTimeoutInSeconds"),
        startup_timeout=raw.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        serverless=None
        if serverless is None
        else Serverless(
            memory_mb=serverless["MemorySizeInMB"],
            max_concurrency=serverless["MaxConcurrency"],
            provisioned_concurrency=serverless.get("ProvisionedConcurrency"),
        ),
        extra={key: value for key, value in raw.items() if key not in known and value is not None},
    )


def _data_capture(raw: Mapping[str, Any] | None) -> DataCapture | None:
    if not raw or raw.get("EnableCapture") is False:
        return None
    header = raw.get("CaptureContentTypeHeader", {})
    return DataCapture(
        destination=raw["DestinationS3Uri"],
        percent=raw["InitialSamplingPercentage"],
        capture=tuple(one["CaptureMode"] for one in raw["CaptureOptions"]),
        kms_key=raw.get("KmsKeyId"),
        csv_types=tuple(header.get("CsvContentTypes", ())),
        json_types=tuple(header.get("JsonContentTypes", ())),
    )


def _async_inference(raw: Mapping[str, Any] | None) -> AsyncInference | None:
    if not raw:
        return None
    output = raw["OutputConfig"]
    topics = output.get("NotificationConfig", {})
    return AsyncInference(
        output=output["S3OutputPath"],
        failure=output.get("S3FailurePath"),
        max_concurrent=raw.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance"),
        success_topic=topics.get("SuccessTopic"),
        error_topic=topics.get("ErrorTopic"),
        kms_key=output.get("KmsKeyId"),
    )
