"""What an endpoint should be: declared once, checked here, before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from mme_sdk.endpoints.spec import instance_types, validators
from mme_sdk.endpoints.spec.components import (
    AsyncInference,
    Autoscaling,
    Container,
    DataCapture,
    Mode,
    Schedule,
    Serverless,
    Variant,
    Vpc,
)
from mme_sdk.endpoints.spec.requests import Requests, requests_of
from mme_sdk.errors import InvalidInputError

__all__ = [
    "AsyncInference",
    "Autoscaling",
    "Container",
    "DataCapture",
    "EndpointSpec",
    "HasUri",
    "Schedule",
    "Serverless",
    "Variant",
    "Vpc",
    "check_spec",
]

# The operations that take more members, with those that name what this SDK has to find again.
_EXTRA = {
    "CreateModel": ("ModelName",),
    "CreateEndpointConfig": ("EndpointConfigName",),
    "CreateEndpoint": ("EndpointName", "EndpointConfigName"),
}
_SAID_ELSEWHERE = ("Tags", "PrimaryContainer", "Containers", "ProductionVariants")
_SINGLE_MODEL_ONLY = ("DataCaptureConfig", "AsyncInferenceConfig", "ShadowProductionVariants")


class HasUri(Protocol):
    """Anything with an S3 address: a model registry, a model version."""

    @property
    def uri(self) -> str:
        """The address."""
        ...


@attrs.frozen(kw_only=True)
class EndpointSpec:
    """What an endpoint should be, in either hosting mode; every rule is checked when it is made.

    `multi_model` and `single_model` cover one variant with one container; the constructor takes several variants and
    serial pipelines.

    Attributes:
        name: EndpointName.
        variants: Production variants, 1 to 10.
        role: ARN of the execution role; None where the models need none.
        network_isolation: Whether containers are cut off from the network.
        vpc: Subnets and security groups.
        kms_key: KMS key of the instances' volumes.
        tags: Tags of the endpoint, its configuration and its models. Keys that begin with `mme_sdk:` are this SDK's:
            one marks each configuration and model as made for the endpoint, unless there are 50 others.
        config_tags: Tags of the configuration, where they are not `tags`. `Variant.model_tags` are those of a model.
        data_capture: Copies of requests and answers (single-model only).
        async_inference: Asynchronous inference (single-model only).
        explainer: ExplainerConfig as the API names it.
        extra: Further members of `CreateModel`, `CreateEndpointConfig` and `CreateEndpoint` by operation; they win over
            the fields above.

    Example:
        >>> spec = EndpointSpec.multi_model(
        ...     name="scoring", models="s3://ml-models/prod/", image="1.dkr.ecr.eu-west-1.amazonaws.com/mme:1",
        ...     role="arn:aws:iam::123456789012:role/mme", instance_type="ml.m5.xlarge", instance_count=2)
        >>> spec.mode, spec.model_data
        ('MultiModel', 's3://ml-models/prod/')
        >>> [operation for _, operation, _ in spec.to_requests().calls]
        ['create_model', 'create_endpoint_config', 'create_endpoint']
    """

    name: str = attrs.field(validator=validators.resource_name)
    variants: tuple[Variant, ...] = attrs.field(converter=validators.sequence)
    role: str | None = attrs.field(validator=validators.optional(validators.role))
    network_isolation: bool = False
    vpc: Vpc | None = attrs.field(default=None, validator=validators.optional(validators.a(Vpc)))
    kms_key: str | None = attrs.field(default=None, validator=validators.optional(validators.kms))
    tags: Mapping[str, str] = attrs.field(
        factory=dict, converter=validators.strings, hash=False, validator=validators.tags
    )
    data_capture: DataCapture | None = attrs.field(
        default=None, validator=validators.optional(validators.a(DataCapture))
    )
    async_inference: AsyncInference | None = attrs.field(
        default=None, validator=validators.optional(validators.a(AsyncInference))
    )
    explainer: Mapping[str, Any] | None = attrs.field(
        default=None, converter=validators.copied, hash=False, validator=validators.optional(validators.mapping)
    )
    extra: Mapping[str, Mapping[str, Any]] = attrs.field(
        factory=dict, converter=validators.copied, hash=False, validator=validators.mapping
    )
    config_tags: Mapping[str, str] | None = attrs.field(
        default=None, converter=validators.strings, hash=False, validator=validators.optional(validators.tags)
    )

    def __attrs_post_init__(self) -> None:
        validators.is_bool("network_isolation", self.network_isolation)
        validators.each("variants", self.variants, Variant)
        if not 1 <= len(self.variants) <= 10:
            raise InvalidInputError(f"variants: 1 to 10 variants, not {len(self.variants)}")
        validators.unique("variants", [one.name for one in self.variants])
        if not any(one.weight for one in self.variants):
            raise InvalidInputError("variants: one weight at least must be over 0, else nothing gets traffic")
        unknown = sorted(set(self.extra) - set(_EXTRA))
        if unknown:
            raise InvalidInputError(
                f"extra: {unknown[0]!r} is none of {', '.join(sorted(_EXTRA))}",
                hint="members of a container or a variant go into that part's own extra",
            )
        for operation, more in self.extra.items():
            validators.members(f"extra.{operation}", more)
            for named in _EXTRA[operation]:
                if named in more:
                    raise InvalidInputError(
                        f"extra.{operation}: {named} is not for a spec to say",
                        hint="the endpoint is named by `name`; its models and its configuration by their content",
                    )
            validators.not_in(f"extra.{operation}", more, *_SAID_ELSEWHERE)
        self._check_modes()
        for operation, more in self.extra.items():
            validators.service(f"extra.{operation}", f"{operation}Input", more)
        validators.service("explainer", "ExplainerConfig", self.explainer or {}, partial=False)
        for variant in self.variants:
            kind = variant.runs_on
            if self.kms_key is not None and kind is not None and instance_types.has_local_storage(kind):
                raise InvalidInputError(
                    f"kms_key: not available with {kind}, whose local storage is encrypted by the hardware"
                )

    def _check_modes(self) -> None:
        if self.mode == "MultiModel":
            if self.data_capture is not None and self.data_capture.enabled:
                raise InvalidInputError("data_capture: not available with multi-model endpoints")
            if self.async_inference is not None:
                raise InvalidInputError("async_inference: not available with multi-model endpoints")
            more = self.extra.get("CreateEndpointConfig", {})
            for member in _SINGLE_MODEL_ONLY:
                setting = more.get(member)
                off = isinstance(setting, Mapping) and setting.get("EnableCapture") is False
                if member in more and not off:
                    raise InvalidInputError(f"extra: {member} is not available with multi-model endpoints")
        if self.async_inference is not None and len(self.variants) > 1:
            raise InvalidInputError("async_inference: takes one variant, not several")
        if any(one.serverless is not None for one in self.variants):
            if len(self.variants) > 1:
                raise InvalidInputError("serverless: takes one variant, not several")
            for field in ("vpc", "kms_key", "data_capture", "async_inference"):
                if getattr(self, field) is not None:
                    raise InvalidInputError(f"{field}: not available with serverless")
            if self.network_isolation:
                raise InvalidInputError("network_isolation: not available with serverless")

    @property
    def mode(self) -> Mode:
        """`MultiModel` where a variant is, else `SingleModel`."""
        return "MultiModel" if any(one.mode == "MultiModel" for one in self.variants) else "SingleModel"

    @property
    def model_data(self) -> str | None:
        """The prefix of a multi-model endpoint, the archive of a single-model one; the first variant's."""
        containers = [one for variant in self.variants for one in variant.containers]
        first = next((one for one in containers if one.mode == self.mode and one.model_data), None)
        return None if first is None else first.model_data

    def to_requests(self) -> Requests:
        """The exact requests that this spec sends."""
        return requests_of(self)

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The spec as YAML, for a repository to keep; environment variables are written out.

        Args:
            path: Where to write it too.

        Raises:
            MissingExtraError: PyYAML is not installed.
        """
        from mme_sdk.endpoints.spec.serialization import to_yaml

        return to_yaml(self, path)

    @classmethod
    def from_yaml(cls, source: str | Path) -> EndpointSpec:
        """A spec from YAML: `multi_model` or `single_model` with their arguments, or `endpoint` with every field.

        Args:
            source: A path, or the text itself where it has more than one line.

        Raises:
            InvalidInputError: No such file, no YAML, or no spec; the message says where.
            MissingExtraError: PyYAML is not installed.
        """
        from mme_sdk.endpoints.spec.serialization import from_yaml

        return from_yaml(source)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain data; fields that have their default are left out."""
        from mme_sdk.endpoints.spec.serialization import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EndpointSpec:
        """A spec from plain data; see `from_yaml` for its shape.

        Raises:
            InvalidInputError: A key is unknown or missing, or a value breaks a rule; the message says where.
        """
        from mme_sdk.endpoints.spec.serialization import from_dict

        return from_dict(data)

    @classmethod
    def multi_model(
        cls,
        *,
        name: str,
        models: str | HasUri,
        image: str,
        role: str,
        instance_type: str,
        instance_count: int = 1,
        model_cache: bool = True,
        autoscaling: Autoscaling | None = None,
        environment: Mapping[str, str] | None = None,
        volume_gb: int | None = None,
        download_timeout: int | None = None,
        startup_timeout: int | None = None,
        variant: str = "AllTraffic",
        before: Iterable[Container] = (),
        after: Iterable[Container] = (),
        **options: Any,
    ) -> EndpointSpec:
        """One multi-model variant.

        Args:
            name: EndpointName.
            models: S3 prefix of the archives, or a model registry.
            image: Image URI of a container that is able to serve many models.
            role: ARN of the execution role.
            instance_type: A CPU type, or a single-GPU type of g4dn, g5, p2 or p3.
            instance_count: Instances to begin with; AWS recommends 2 or more in production.
            model_cache: False unloads each model right after its invocation.
            autoscaling: Target tracking of the instance count.
            environment: Environment variables of the container.
            volume_gb: Size of each instance's volume.
            download_timeout: Seconds for downloads at creation, 60 to 3600.
            startup_timeout: Seconds for the container to become healthy, 60 to 3600.
            variant: VariantName.
            before: Containers in front of it in a serial pipeline.
            after: Containers behind it in a serial pipeline.
            **options: Further fields of `EndpointSpec`.

        Returns:
            The spec.

        Raises:
            InvalidInputError: A field breaks a rule; the message names both.
        """
        container = Container(
            image=image,
            mode="MultiModel",
            model_data=validators.address("models", models),
            environment=environment or {},
            model_cache=model_cache,
        )
        validators.named("variant", variant)
        only = Variant(
            name=variant,
            containers=(*validators.sequence(before), container, *validators.sequence(after)),
            instance_type=instance_type,
            instance_count=instance_count,
            autoscaling=autoscaling,
            volume_gb=volume_gb,
            download_timeout=download_timeout,
            startup_timeout=startup_timeout,
        )
        return cls(name=name, variants=(only,), role=role, **options)

    @classmethod
    def single_model(
        cls,
        *,
        name: str,
        artifact: str | HasUri | None = None,
        image: str,
        role: str,
        instance_type: str | None = None,
        instance_count: int = 1,
        serverless: Serverless | None = None,
        autoscaling: Autoscaling | None = None,
        environment: Mapping[str, str] | None = None,
        volume_gb: int | None = None,
        download_timeout: int | None = None,
        startup_timeout: int | None = None,
        variant: str = "AllTraffic",
        before: Iterable[Container] = (),
        after: Iterable[Container] = (),
        **options: Any,
    ) -> EndpointSpec:
        """One single-model variant.

        Args:
            name: EndpointName.
            artifact: S3 address of the archive, or a registered model version; None where the image needs none.
            image: Image URI.
            role: ARN of the execution role.
            instance_type: Instance type; None with `serverless`.
            instance_count: Instances to begin with.
            serverless: Serverless settings instead of instances.
            autoscaling: Target tracking of the instance count.
            environment: Environment variables of the container.
            volume_gb: Size of each instance's volume.
            download_timeout: Seconds for downloading the archive, 60 to 3600.
            startup_timeout: Seconds for the container to become healthy, 60 to 3600.
            variant: VariantName.
            before: Containers in front of it in a serial pipeline.
            after: Containers behind it in a serial pipeline.
            **options: Further fields of `EndpointSpec`.

        Returns:
            The spec.

        Raises:
            InvalidInputError: A field breaks a rule; the message names both.
        """
        container = Container(
            image=image,
            model_data=None if artifact is None else validators.address("artifact", artifact),
            environment=environment or {},
        )
        validators.named("variant", variant)
        only = Variant(
            name=variant,
            containers=(*validators.sequence(before), container, *validators.sequence(after)),
            instance_type=instance_type,
            instance_count=instance_count,
            serverless=serverless,
            autoscaling=autoscaling,
            volume_gb=volume_gb,
            download_timeout=download_timeout,
            startup_timeout=startup_timeout,
        )
        return cls(name=name, variants=(only,), role=role, **options)


def check_spec(given: Any) -> None:
    """Refuse what is no spec.

    Raises:
        InvalidInputError: Something else was given.
    """
    if not isinstance(given, EndpointSpec):
        raise InvalidInputError(
            f"spec: wants an EndpointSpec, not {type(given).__name__}",
            hint="EndpointSpec.multi_model(…), .single_model(…), or .from_yaml(…)",
        )
