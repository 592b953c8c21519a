"""Requests to SageMaker and Application Auto Scaling that create the endpoint of a spec."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.endpoints.spec.components import Container, DataCapture, MetricsSettings, Variant
from mme_sdk.endpoints.spec.deployment import to_request
from mme_sdk.endpoints.spec.fields import SpecFields
from mme_sdk.endpoints.spec.scaling_requests import scaling_requests, service_of
from mme_sdk.endpoints.state import content

__all__ = [
    "MADE_FOR_TAG",
    "MAX_TAGS",
    "TAG_PREFIX",
    "VARIANT_TAG",
    "Requests",
    "container_request",
    "derived_name",
    "is_derived_name",
    "requests_of",
    "stem",
    "uncompressed_source",
    "variant_request",
]

Request = tuple[str, str, dict[str, Any]]
TAG_PREFIX = "mme_sdk:"
"""Prefix of the keys of this SDK's own tags."""
MADE_FOR_TAG = f"{TAG_PREFIX}made_for"
"""Tag of a configuration or model with the name of the endpoint that this SDK made it for."""
VARIANT_TAG = f"{TAG_PREFIX}variant"
"""Tag of a model with its variant, if the model of another variant has the same content and other tags."""
MAX_TAGS = 50
_DIGITS = 12


@attrs.frozen(kw_only=True)
class Requests:
    """The requests that create an endpoint, in order.

    Attributes:
        models: CreateModel requests; variants with the same model share one. The repr shows only the names, because
            environment variables may hold secrets.
        config: The CreateEndpointConfig request.
        endpoint: The CreateEndpoint request.
        autoscaling: (operation, request) pairs for Application Auto Scaling, sent when the endpoint is in service. An
            alarm of CloudWatch gets the ARN of the policy before it as AlarmActions.
    """

    models: tuple[dict[str, Any], ...] = attrs.field(repr=lambda models: str([one["ModelName"] for one in models]))
    config: dict[str, Any]
    endpoint: dict[str, Any]
    autoscaling: tuple[tuple[str, dict[str, Any]], ...] = ()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models, derived from their content."""
        return tuple(model["ModelName"] for model in self.models)

    @property
    def config_name(self) -> str:
        """Name of the configuration, derived from its content."""
        return str(self.config["EndpointConfigName"])

    def renamed(self, endpoint: str) -> Requests:
        """Return the same requests with another name of the configuration: UpdateEndpoint does not take the same one.

        Args:
            endpoint: EndpointName.
        """
        other = {"EndpointConfigName": derived_name(endpoint, {"Replaces": self.config_name})}
        return attrs.evolve(self, config=self.config | other, endpoint=self.endpoint | other)

    @property
    def calls(self) -> tuple[Request, ...]:
        """Every request as (service, operation, parameters), with boto3's names."""
        return (
            *(("sagemaker", "create_model", model) for model in self.models),
            ("sagemaker", "create_endpoint_config", self.config),
            ("sagemaker", "create_endpoint", self.endpoint),
            *((service_of(operation), operation, params) for operation, params in self.autoscaling),
        )


def stem(endpoint: str) -> str:
    """Return the part of derived names that identifies the endpoint.

    A long endpoint name is cut and completed with its digest, so that no two endpoints have the same stem.
    """
    longest = 63 - 1 - _DIGITS
    if len(endpoint) <= longest:
        return endpoint
    digest = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
    return f"{endpoint[: longest - 9].rstrip('-')}-{digest}"


def derived_name(endpoint: str, members: Mapping[str, Any]) -> str:
    """Return the name of a model or configuration, derived from its content."""
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"), default=str)
    return f"{stem(endpoint)}-{hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]}"


def is_derived_name(endpoint: str, name: str) -> bool:
    """Return whether `derived_name` can have made this name for a resource of this endpoint."""
    return re.fullmatch(rf"{re.escape(stem(endpoint))}-[0-9a-f]{{{_DIGITS}}}", name) is not None


def requests_of(spec: SpecFields) -> Requests:
    """Return the requests of a spec."""
    models: dict[str, dict[str, Any]] = {}
    variants = []
    for variant in spec.variants:
        body = _model(spec, variant)
        name = derived_name(spec.name, content.of_model(body))
        tags = spec.tags if variant.model_tags is None else variant.model_tags
        marked = _tags(tags, spec.name)
        if models.get(name, {"Tags": marked})["Tags"] != marked:
            # A model with the same content and other tags needs another name: the variant is added to the digest.
            name = derived_name(spec.name, content.of_model(body) | {"VariantName": variant.name})
            marked = _tags(tags, spec.name, variant.name)
        models[name] = {"ModelName": name, **body, "Tags": marked}
        variants.append(variant_request(variant, name))
    config = _some(
        ProductionVariants=variants,
        KmsKeyId=spec.kms_key,
        DataCaptureConfig=_data_capture(spec.data_capture),
        AsyncInferenceConfig=_async_inference(spec),
        ExplainerConfig=dict(spec.explainer) if spec.explainer else None,
        MetricsConfig=_metrics(spec.metrics),
    ) | dict(spec.extra.get("CreateEndpointConfig", {}))
    name = derived_name(spec.name, content.of_config(config))
    tags = spec.tags if spec.config_tags is None else spec.config_tags
    return Requests(
        models=tuple(models.values()),
        config={"EndpointConfigName": name, **config, "Tags": _tags(tags, spec.name)},
        endpoint={"EndpointName": spec.name, "EndpointConfigName": name}
        | _some(Tags=_tags(spec.tags), DeploymentConfig=spec.deployment and to_request(spec.deployment))
        | dict(spec.extra.get("CreateEndpoint", {})),
        autoscaling=tuple(
            request
            for variant in spec.variants
            if variant.autoscaling is not None
            for request in scaling_requests(spec.name, variant.name, variant.runs_on, variant.autoscaling)
        ),
    )


def _tags(tags: Mapping[str, str], made_for: str | None = None, variant: str | None = None) -> list[dict[str, str]]:
    """Return tags as the API takes them, with the marks of ownership if that makes at most 50."""
    marks = {key: value for key, value in ((MADE_FOR_TAG, made_for), (VARIANT_TAG, variant)) if value is not None}
    marked = dict(sorted(tags.items()))
    if len(marked) + len(marks) <= MAX_TAGS:
        marked |= marks
    return [{"Key": key, "Value": value} for key, value in marked.items()]


def _some(**members: Any) -> dict[str, Any]:
    """Return the members that are neither None nor empty."""
    return {key: value for key, value in members.items() if value is not None and value not in ([], {}, ())}


def _model(spec: SpecFields, variant: Variant) -> dict[str, Any]:
    containers = [container_request(one) for one in variant.containers]
    body = (
        _some(ExecutionRoleArn=spec.role)
        | ({"PrimaryContainer": containers[0]} if len(containers) == 1 else {"Containers": containers})
        | ({"EnableNetworkIsolation": True} if spec.network_isolation else {})
        | _some(
            VpcConfig=None
            if spec.vpc is None
            else {"SecurityGroupIds": list(spec.vpc.security_groups), "Subnets": list(spec.vpc.subnets)}
        )
        | dict(spec.extra.get("CreateModel", {}))
        | dict(variant.model_extra)
    )
    return {key: value for key, value in body.items() if value is not None}


def container_request(container: Container) -> dict[str, Any]:
    """Return a container as a member of CreateModel."""
    multi = container.mode == "MultiModel"
    return _some(
        Image=container.image,
        Mode=container.mode,
        ModelDataUrl=container.model_data if container.compressed else None,
        ModelDataSource=None if container.compressed else uncompressed_source(str(container.model_data)),
        Environment=dict(container.environment),
        ContainerHostname=container.hostname,
        MultiModelConfig={"ModelCacheSetting": "Enabled" if container.model_cache else "Disabled"} if multi else None,
        ImageConfig=_image_config(container),
    ) | dict(container.extra)


def uncompressed_source(address: str) -> dict[str, Any]:
    """Return the ModelDataSource of a prefix that ends with `/`, or of an object that is not an archive."""
    kind = "S3Prefix" if address.endswith("/") else "S3Object"
    return {"S3DataSource": {"S3Uri": address, "S3DataType": kind, "CompressionType": "None"}}


def _image_config(container: Container) -> dict[str, Any] | None:
    if not container.vpc_registry:
        return None
    auth = _some(RepositoryCredentialsProviderArn=container.registry_credentials)
    return {"RepositoryAccessMode": "Vpc"} | _some(RepositoryAuthConfig=auth)


def variant_request(variant: Variant, model_name: str) -> dict[str, Any]:
    """Return a variant as a member of CreateEndpointConfig."""
    base = {"VariantName": variant.name, "ModelName": model_name, "InitialVariantWeight": variant.weight}
    if variant.serverless is not None:
        serverless = _some(
            MemorySizeInMB=variant.serverless.memory_mb,
            MaxConcurrency=variant.serverless.max_concurrency,
            ProvisionedConcurrency=variant.serverless.provisioned_concurrency,
        )
        return base | {"ServerlessConfig": serverless} | dict(variant.extra)
    pools = variant.instance_pools
    return (
        base
        | _some(
            InstanceType=variant.instance_type,
            InitialInstanceCount=variant.instance_count,
            VolumeSizeInGB=variant.volume_gb,
            ModelDataDownloadTimeoutInSeconds=variant.download_timeout,
            ContainerStartupHealthCheckTimeoutInSeconds=variant.startup_timeout,
            InstancePools=[{"InstanceType": one.instance_type, "Priority": one.priority} for one in pools],
            RoutingConfig=_some(RoutingStrategy=variant.routing),
            InferenceAmiVersion=variant.ami_version,
            CapacityReservationConfig=_reservation(variant.capacity_reservation),
        )
        | dict(variant.extra)
    )


def _reservation(arn: str | None) -> dict[str, str] | None:
    if arn is None:
        return None
    return {"CapacityReservationPreference": "capacity-reservations-only", "MlReservationArn": arn}


def _metrics(settings: MetricsSettings | None) -> dict[str, Any] | None:
    if settings is None:
        return None
    return {"EnableEnhancedMetrics": settings.enhanced, "MetricPublishFrequencyInSeconds": settings.frequency}


def _data_capture(capture: DataCapture | None) -> dict[str, Any] | None:
    if capture is None:
        return None
    return _some(
        EnableCapture=capture.enabled,
        InitialSamplingPercentage=capture.percent,
        DestinationS3Uri=capture.destination,
        KmsKeyId=capture.kms_key,
        CaptureOptions=[{"CaptureMode": mode} for mode in capture.capture],
        CaptureContentTypeHeader=_some(
            CsvContentTypes=list(capture.csv_types), JsonContentTypes=list(capture.json_types)
        ),
    )


def _async_inference(spec: SpecFields) -> dict[str, Any] | None:
    settings = spec.async_inference
    if settings is None:
        return None
    return _some(
        ClientConfig=_some(MaxConcurrentInvocationsPerInstance=settings.max_concurrent),
        OutputConfig=_some(
            S3OutputPath=settings.output,
            S3FailurePath=settings.failure,
            KmsKeyId=settings.kms_key,
            NotificationConfig=_some(
                SuccessTopic=settings.success_topic,
                ErrorTopic=settings.error_topic,
                IncludeInferenceResponseIn=list(settings.include_response_in),
            ),
        ),
    )
