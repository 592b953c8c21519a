"""Components of an endpoint's spec: containers, variants and settings of the endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from mme_sdk import instance_types
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_int, check_instance, instance, number, one_of, optional, optional_int
from mme_sdk.endpoints.spec import validators
from mme_sdk.endpoints.spec.autoscaling import Autoscaling, check_metric
from mme_sdk.endpoints.spec.instances import InstancePool
from mme_sdk.errors import InvalidInputError

__all__ = [
    "AsyncInference",
    "Container",
    "DataCapture",
    "MetricsSettings",
    "Mode",
    "Serverless",
    "Variant",
    "Vpc",
]

Mode = Literal["SingleModel", "MultiModel"]
_NOT_SERVERLESS = (
    *("instance_type", "instance_pools", "autoscaling", "volume_gb", "download_timeout", "startup_timeout"),
    *("routing", "ami_version", "capacity_reservation"),
)


@short_tracebacks
@attrs.frozen(kw_only=True)
class Container:
    """One container of a model.

    Attributes:
        image: Image URI in ECR. Default: None, for a ModelPackageName in `extra`.
        mode: `SingleModel`: `model_data` is one archive. `MultiModel`: it is a prefix with archives. Default:
            `SingleModel`.
        model_data: S3 address of the archive or the prefix, as `s3://…` or `https://…`. Default: None.
        compressed: False if `model_data` is not an archive (single-model only): a prefix that ends with `/`, whose
            objects are the files of the model, or one object that is copied as it is. Default: True.
        environment: Environment variables. The repr leaves them out, because they may hold secrets. Default: none.
        hostname: DNS name inside a pipeline. Either all of its containers have one, or none has. Default: None.
        model_cache: False unloads each model after its invocation, for models that are called once or very rarely
            (multi-model only). Default: True.
        vpc_registry: Whether the image is in a private Docker registry in the VPC, in place of ECR. Default: False.
        registry_credentials: ARN of the Lambda function that returns the credentials for `vpc_registry`. Default: None.
        extra: Further members of ContainerDefinition, as the API names them. They override the fields above. Default:
            none.
    """

    image: str | None = attrs.field(
        default=None, validator=optional(validators.text(255, r"\S+", "an image URI without white space"))
    )
    mode: Mode = "SingleModel"
    model_data: str | None = None
    compressed: bool = True
    environment: Mapping[str, str] = attrs.field(
        factory=dict, converter=validators.strings, repr=False, hash=False, validator=validators.environment
    )
    hostname: str | None = attrs.field(default=None, validator=optional(validators.resource_name))
    model_cache: bool = True
    vpc_registry: bool = False
    registry_credentials: str | None = attrs.field(default=None, validator=optional(validators.function_arn))
    extra: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=validators.copied,
        hash=False,
        repr=validators.unless_empty,
        validator=validators.mapping,
    )

    def __attrs_post_init__(self) -> None:
        if self.mode not in ("SingleModel", "MultiModel"):
            raise InvalidInputError(f"mode: 'SingleModel' or 'MultiModel', not {self.mode!r}")
        for field in ("model_cache", "compressed", "vpc_registry"):
            check_instance(field, getattr(self, field), bool)
        if self.registry_credentials is not None and not self.vpc_registry:
            raise InvalidInputError("registry_credentials: available with vpc_registry=True only")
        validators.service("extra", "ContainerDefinition", self.extra)
        if self.image is None and not {"Image", "ModelPackageName"} & set(self.extra):
            raise InvalidInputError("image: give an image URI, or a ModelPackageName in `extra`")
        if self.model_data is not None:
            validators.model_data(self.model_data)
        if self.mode == "SingleModel":
            self._check_source()
        if self.mode == "MultiModel":
            if self.model_data is None:
                raise InvalidInputError("model_data: a multi-model container needs the S3 prefix of its archives")
            if self.model_data.endswith((".tar.gz", ".tgz")):
                raise InvalidInputError(
                    f"model_data: {self.model_data!r} is an archive; a multi-model container needs a prefix",
                    hint="use EndpointSpec.single_model(artifact=…), or give the prefix of the archive",
                )
            validators.no_file("model_data", self.model_data)
            if not self.compressed:
                raise InvalidInputError("compressed: False is not available with multi-model containers")
            if "ModelDataSource" in self.extra:
                raise InvalidInputError("extra: ModelDataSource is not available with multi-model containers")
            if not self.model_data.endswith("/"):
                # Without the slash, `prod` also includes keys such as `prod-old/model.tar.gz`.
                object.__setattr__(self, "model_data", f"{self.model_data}/")
        elif not self.model_cache:
            raise InvalidInputError("model_cache: False is available with multi-model containers only")
        elif not self.compressed:
            if self.model_data is None:
                raise InvalidInputError("compressed: False needs `model_data`, the prefix or the object of the model")
            validators.uncompressed("model_data", self.model_data)
        elif self.model_data is not None:
            validators.archive("model_data", self.model_data)

    def _check_source(self) -> None:
        """Check that the model comes from one place, whether a field or an `extra` names it."""
        url = "ModelDataUrl" in self.extra or (self.model_data is not None and self.compressed)
        source = self.extra.get("ModelDataSource")
        if url and (source is not None or not self.compressed):
            raise InvalidInputError("extra: a container has either a ModelDataUrl or a ModelDataSource")
        if source is not None and "S3DataSource" in source:
            validators.data_source("extra.ModelDataSource", source["S3DataSource"])


@short_tracebacks
@attrs.frozen(kw_only=True)
class Serverless:
    """Settings of serverless inference (single-model only).

    Attributes:
        memory_mb: Memory in MB: 1024, 2048, 3072, 4096, 5120 or 6144. Default: 2048.
        max_concurrency: Maximum number of concurrent invocations, 1 to 200. Default: 5.
        provisioned_concurrency: Concurrency that is kept ready, at most `max_concurrency`. Default: None.
    """

    memory_mb: int = attrs.field(default=2048, converter=as_int, validator=one_of(1024, 2048, 3072, 4096, 5120, 6144))
    max_concurrency: int = attrs.field(
        default=5, converter=as_int, validator=number(at_least=1, at_most=200, integer=True)
    )
    provisioned_concurrency: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=1, at_most=200, integer=True))
    )

    def __attrs_post_init__(self) -> None:
        if self.provisioned_concurrency is not None and self.provisioned_concurrency > self.max_concurrency:
            raise InvalidInputError(
                f"provisioned_concurrency: {self.provisioned_concurrency} is greater than max_concurrency "
                f"{self.max_concurrency}"
            )


@short_tracebacks
@attrs.frozen(kw_only=True)
class Vpc:
    """Subnets and security groups of the containers.

    Attributes:
        subnets: 1 to 16 subnet ids.
        security_groups: 1 to 5 security group ids.
    """

    subnets: tuple[str, ...] = attrs.field(converter=validators.sequence, validator=validators.ids(1, 16, "subnet"))
    security_groups: tuple[str, ...] = attrs.field(converter=validators.sequence, validator=validators.ids(1, 5, "sg"))


@short_tracebacks
@attrs.frozen(kw_only=True)
class DataCapture:
    """Copies of requests and responses in S3 (single-model only).

    Attributes:
        destination: S3 prefix.
        percent: Percentage of the requests to copy, 0 to 100. Default: 100.
        capture: Parts to copy: `Input`, `Output`, `InputAndOutput`. Default: `Input` and `Output`.
        kms_key: KMS key that encrypts the copies. Default: None.
        csv_types: Media types to store as CSV, such as `text/csv`; at most 10. Default: none.
        json_types: Media types to store as JSON, such as `application/json`; at most 10. Default: none.
        enabled: False keeps the settings and copies nothing. Default: True.
    """

    destination: str
    percent: int = attrs.field(default=100, converter=as_int, validator=number(at_least=0, at_most=100, integer=True))
    capture: tuple[str, ...] = attrs.field(default=("Input", "Output"), converter=validators.sequence)
    kms_key: str | None = attrs.field(default=None, validator=optional(validators.kms))
    csv_types: tuple[str, ...] = attrs.field(
        default=(), converter=validators.sequence, validator=validators.media_types
    )
    json_types: tuple[str, ...] = attrs.field(
        default=(), converter=validators.sequence, validator=validators.media_types
    )
    enabled: bool = True

    def __attrs_post_init__(self) -> None:
        validators.s3("destination", self.destination, 512)
        check_instance("enabled", self.enabled, bool)
        if not self.capture or not all(one in ("Input", "Output", "InputAndOutput") for one in self.capture):
            raise InvalidInputError(f"capture: items must be Input, Output or InputAndOutput, not {self.capture!r}")


@short_tracebacks
@attrs.frozen(kw_only=True)
class AsyncInference:
    """Settings of asynchronous inference (single-model only).

    Attributes:
        output: S3 prefix of the responses.
        failure: S3 prefix of the failures. Default: None.
        max_concurrent: Maximum number of concurrent invocations per instance, 1 to 1000. Default: None, SageMaker's
            choice.
        success_topic: ARN of the SNS topic for successes. Default: None.
        error_topic: ARN of the SNS topic for failures. Default: None.
        kms_key: KMS key that encrypts the responses. Default: None.
        include_response_in: Topics whose messages contain the response: `SUCCESS_NOTIFICATION_TOPIC`,
            `ERROR_NOTIFICATION_TOPIC`. Default: none.
    """

    output: str
    failure: str | None = None
    max_concurrent: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=1, at_most=1000, integer=True))
    )
    success_topic: str | None = attrs.field(default=None, validator=optional(validators.arn("sns")))
    error_topic: str | None = attrs.field(default=None, validator=optional(validators.arn("sns")))
    kms_key: str | None = attrs.field(default=None, validator=optional(validators.kms))
    include_response_in: tuple[str, ...] = attrs.field(
        default=(),
        converter=validators.sequence,
        validator=validators.several(2, "SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"),
    )

    def __attrs_post_init__(self) -> None:
        validators.s3("output", self.output, 512)
        if self.failure is not None:
            validators.s3("failure", self.failure, 512)


@short_tracebacks
@attrs.frozen(kw_only=True)
class MetricsSettings:
    """Which metrics the endpoint publishes, and how often.

    Attributes:
        enhanced: Whether CloudWatch gets metrics of each instance too. Default: True.
        frequency: Seconds between two data points: 10, 30, 60, 120, 180, 240 or 300. Without `enhanced`, it concerns
            utilization only. Default: 60.
    """

    enhanced: bool = True
    frequency: int = attrs.field(default=60, converter=as_int, validator=one_of(10, 30, 60, 120, 180, 240, 300))

    def __attrs_post_init__(self) -> None:
        check_instance("enhanced", self.enhanced, bool)


@attrs.frozen(kw_only=True)
class Variant:
    """One production variant: a model on instances of one type, or serverless.

    Attributes:
        name: VariantName, a dimension of every CloudWatch metric. Default: `AllTraffic`.
        containers: One container, or the 2 to 15 containers of a serial pipeline, in order.
        instance_type: Instance type, such as `ml.m5.xlarge`. A type that is newer than the installed botocore goes into
            `extra` as InstanceType. Default: None, for `serverless` or `instance_pools`.
        instance_count: Initial number of instances; None sends none. Default: 1.
        weight: Share of the traffic, relative to the other variants. Default: 1.
        autoscaling: Autoscaling, attached when the endpoint is in service. Default: None, which leaves existing
            autoscaling unchanged.
        serverless: Serverless settings in place of instances. Default: None.
        volume_gb: Size of each instance's volume, 1 to 512 GB. Default: None, SageMaker's choice.
        download_timeout: Time to download model data at creation, 60 to 3600 seconds. Default: None, SageMaker's.
        startup_timeout: Time for the container to become healthy, 60 to 3600 seconds. Default: None, SageMaker's.
        instance_pools: Instance types in place of `instance_type`, of which SageMaker uses the first one that is
            available. Default: none.
        routing: How requests reach the instances: `RANDOM`, `LEAST_OUTSTANDING_REQUESTS`, `PREFIX_AWARE` or `KV_AWARE`.
            Default: None, SageMaker's choice, `RANDOM`.
        ami_version: InferenceAmiVersion, the version of the operating system and the GPU drivers. Default: None,
            SageMaker's choice.
        capacity_reservation: ARN of the ML capacity reservation that provides all instances. Default: None.
        extra: Further members of ProductionVariant, as the API names them. They override the fields above. Default:
            none.
        model_extra: Further members of this variant's CreateModel, as the API names them. They override the spec's
            role, VPC, network isolation and `extra`; None removes a member. Default: none.
        model_tags: Tags of this variant's model. Default: None, those of the spec.
    """

    name: str = attrs.field(default="AllTraffic", validator=validators.resource_name)
    containers: tuple[Container, ...] = attrs.field(converter=validators.sequence)
    instance_type: str | None = None
    instance_count: int | None = attrs.field(
        default=1, converter=optional_int, validator=optional(number(at_least=1, at_most=10_000, integer=True))
    )
    weight: float = attrs.field(default=1.0, converter=validators.as_float, validator=number(at_least=0))
    autoscaling: Autoscaling | None = attrs.field(default=None, validator=optional(instance(Autoscaling)))
    serverless: Serverless | None = attrs.field(default=None, validator=optional(instance(Serverless)))
    volume_gb: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=1, at_most=512, integer=True))
    )
    download_timeout: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=60, at_most=3600, integer=True))
    )
    startup_timeout: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=60, at_most=3600, integer=True))
    )
    instance_pools: tuple[InstancePool, ...] = attrs.field(default=(), converter=validators.sequence)
    routing: str | None = attrs.field(
        default=None, validator=optional(validators.member("ProductionVariantRoutingConfig", "RoutingStrategy"))
    )
    ami_version: str | None = attrs.field(
        default=None, validator=optional(validators.member("ProductionVariant", "InferenceAmiVersion"))
    )
    capacity_reservation: str | None = attrs.field(
        default=None,
        validator=optional(validators.member("ProductionVariantCapacityReservationConfig", "MlReservationArn")),
    )
    extra: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=validators.copied,
        hash=False,
        repr=validators.unless_empty,
        validator=validators.mapping,
    )

    model_extra: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=validators.copied,
        hash=False,
        repr=validators.unless_empty,
        validator=validators.mapping,
    )
    model_tags: Mapping[str, str] | None = attrs.field(
        default=None, converter=validators.strings, hash=False, validator=optional(validators.tags)
    )

    def __attrs_post_init__(self) -> None:
        validators.each("containers", self.containers, Container)
        validators.each("instance_pools", self.instance_pools, InstancePool)
        validators.service("extra", "ProductionVariant", self.extra, newer=frozenset({"InstanceType"}))
        given = {key: value for key, value in self.model_extra.items() if value is not None}
        validators.service("model_extra", "CreateModelInput", given)
        validators.not_in("model_extra", self.model_extra, "ModelName", "PrimaryContainer", "Containers", "Tags")
        validators.not_in("extra", self.extra, "VariantName", "ModelName")
        if not 1 <= len(self.containers) <= 15:
            raise InvalidInputError(f"containers: a variant has 1 to 15 containers, not {len(self.containers)}")
        if sum(one.mode == "MultiModel" for one in self.containers) > 1:
            raise InvalidInputError("containers: a pipeline can have only one multi-model container")
        named = [one.hostname for one in self.containers if one.hostname is not None]
        validators.unique("containers", named)
        if len(named) not in (0, len(self.containers)):
            raise InvalidInputError(
                f"hostname: {len(named)} of {len(self.containers)} containers have one; give all of them one, or none"
            )
        validators.environments([one.environment for one in self.containers])
        if self.serverless is not None:
            self._check_serverless()
        else:
            self._check_instances()

    @property
    def mode(self) -> Mode:
        """`MultiModel` if a container is multi-model, else `SingleModel`."""
        return "MultiModel" if any(one.mode == "MultiModel" for one in self.containers) else "SingleModel"

    @property
    def runs_on(self) -> str | None:
        """The instance type in effect; None if the variant is serverless or has instance pools."""
        kind = self.extra.get("InstanceType", self.instance_type)
        return kind if isinstance(kind, str) else None

    @property
    def has_instances(self) -> bool:
        """Whether the variant runs on instances."""
        return self.serverless is None and "ServerlessConfig" not in self.extra

    def _check_serverless(self) -> None:
        for field in _NOT_SERVERLESS:
            if getattr(self, field) not in (None, ()):
                raise InvalidInputError(f"{field}: not available with serverless")
        if self.mode == "MultiModel":
            raise InvalidInputError("serverless: not available with multi-model containers")
        if len(self.containers) > 1:
            raise InvalidInputError("serverless: not available with serial pipelines")

    def _check_instances(self) -> None:
        kind = self.instance_type
        self._check_pools()
        if kind is None:
            if not self.instance_pools and not {"InstanceType", "InstancePools", "ServerlessConfig"} & set(self.extra):
                raise InvalidInputError("instance_type: give an instance type, such as 'ml.m5.xlarge', or serverless=…")
            self._check_scaling(self.runs_on)
            return
        validators.hosting_type(kind)
        if "InstanceType" not in self.extra:
            validators.instance_type(kind)
        if self.instance_count is None and not {"InitialInstanceCount", "ManagedInstanceScaling"} & set(self.extra):
            raise InvalidInputError("instance_count: give a number of instances, 1 or more")
        if self.mode == "MultiModel" and not instance_types.serves_multi_model(kind):
            raise InvalidInputError(
                f"instance_type: {kind} cannot host a multi-model endpoint",
                hint="use a CPU type, or a single-GPU type of g4dn, g5, p2 or p3",
            )
        if self.volume_gb is not None and instance_types.has_local_storage(kind):
            raise InvalidInputError(f"volume_gb: {kind} has local storage of a fixed size; leave volume_gb out")
        self._check_scaling(self.runs_on)

    def _check_pools(self) -> None:
        pools = self.instance_pools
        ways = (
            self.instance_type is not None or "InstanceType" in self.extra,
            bool(pools) or "InstancePools" in self.extra,
            "ServerlessConfig" in self.extra,
        )
        if sum(ways) > 1:
            raise InvalidInputError("instance_pools: give either instance_type, instance_pools or serverless")
        if ways[2] and (self.instance_count is not None or "InitialInstanceCount" in self.extra):
            raise InvalidInputError("extra: ServerlessConfig needs instance_count=None", hint="give serverless=…")
        if len(pools) > 5:
            raise InvalidInputError(f"instance_pools: at most 5 pools, not {len(pools)}")
        validators.unique("instance_pools", [one.instance_type for one in pools])
        validators.unique("priorities of instance_pools", [str(one.priority) for one in pools])
        for one in pools:
            if self.mode == "MultiModel" and not instance_types.serves_multi_model(one.instance_type):
                raise InvalidInputError(f"instance_pools: {one.instance_type} cannot host a multi-model endpoint")
            if self.volume_gb is not None and instance_types.has_local_storage(one.instance_type):
                raise InvalidInputError(
                    f"volume_gb: {one.instance_type} of instance_pools has local storage of a fixed size; leave "
                    "volume_gb out"
                )

    def _check_scaling(self, kind: str | None) -> None:
        scaling, count = self.autoscaling, self.extra.get("InitialInstanceCount", self.instance_count)
        if scaling is None:
            return
        check_metric(scaling, kind)
        if count is not None and not scaling.min <= count <= scaling.max:
            raise InvalidInputError(f"instance_count: {count} is outside autoscaling's {scaling.min} to {scaling.max}")
