"""The fields of an endpoint's spec, and the rules between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mme_sdk import instance_types
from mme_sdk._validation import check_instance, instance, optional
from mme_sdk.endpoints.spec import validators
from mme_sdk.endpoints.spec.autoscaling import check_scales
from mme_sdk.endpoints.spec.components import AsyncInference, DataCapture, MetricsSettings, Mode, Variant, Vpc
from mme_sdk.endpoints.spec.deployment import BlueGreen, Rolling, check_deployment
from mme_sdk.errors import InvalidInputError

__all__ = ["SpecFields", "check_variants_of_deployment"]

# Operations that take further members, and the members that this SDK sets itself.
_EXTRA = {
    "CreateModel": ("ModelName",),
    "CreateEndpointConfig": ("EndpointConfigName",),
    "CreateEndpoint": ("EndpointName", "EndpointConfigName"),
}
_SET_BY_FIELDS = ("Tags", "PrimaryContainer", "Containers", "ProductionVariants")
_SINGLE_MODEL_ONLY = ("DataCaptureConfig", "AsyncInferenceConfig", "ShadowProductionVariants")


@attrs.frozen(kw_only=True)
class SpecFields:
    """The fields of `EndpointSpec`, which documents them. The constructor checks every rule."""

    name: str = attrs.field(validator=validators.resource_name)
    variants: tuple[Variant, ...] = attrs.field(converter=validators.sequence)
    role: str | None = attrs.field(validator=optional(validators.role))
    network_isolation: bool = False
    vpc: Vpc | None = attrs.field(default=None, validator=optional(instance(Vpc)))
    kms_key: str | None = attrs.field(default=None, validator=optional(validators.kms))
    tags: Mapping[str, str] = attrs.field(
        factory=dict, converter=validators.strings, hash=False, validator=validators.tags
    )
    data_capture: DataCapture | None = attrs.field(default=None, validator=optional(instance(DataCapture)))
    async_inference: AsyncInference | None = attrs.field(default=None, validator=optional(instance(AsyncInference)))
    explainer: Mapping[str, Any] | None = attrs.field(
        default=None, converter=validators.copied, hash=False, validator=optional(validators.mapping)
    )
    extra: Mapping[str, Mapping[str, Any]] = attrs.field(
        factory=dict, converter=validators.copied, hash=False, validator=validators.mapping
    )
    config_tags: Mapping[str, str] | None = attrs.field(
        default=None, converter=validators.strings, hash=False, validator=optional(validators.tags)
    )
    metrics: MetricsSettings | None = attrs.field(default=None, validator=optional(instance(MetricsSettings)))
    deployment: BlueGreen | Rolling | None = None

    def __attrs_post_init__(self) -> None:
        check_instance("network_isolation", self.network_isolation, bool)
        validators.each("variants", self.variants, Variant)
        if not 1 <= len(self.variants) <= 10:
            raise InvalidInputError(f"variants: an endpoint has 1 to 10 variants, not {len(self.variants)}")
        validators.unique("variants", [one.name for one in self.variants])
        if not any(one.weight for one in self.variants):
            raise InvalidInputError("variants: at least one weight must be over 0, or no variant receives traffic")
        unknown = sorted(set(self.extra) - set(_EXTRA))
        if unknown:
            raise InvalidInputError(
                f"extra: {unknown[0]!r} is not one of {', '.join(sorted(_EXTRA))}",
                hint="Container and Variant have an `extra` for their members",
            )
        for operation, more in self.extra.items():
            validators.members(f"extra.{operation}", more)
            for named in _EXTRA[operation]:
                if named in more:
                    raise InvalidInputError(
                        f"extra.{operation}: {named} cannot be set here",
                        hint="`name` names the endpoint; other names are derived from the content",
                    )
            validators.not_in(f"extra.{operation}", more, *_SET_BY_FIELDS)
        self._check_modes()
        check_deployment(self.deployment)
        if self.deployment is not None:
            validators.not_in("extra.CreateEndpoint", self.extra.get("CreateEndpoint", {}), "DeploymentConfig")
            check_variants_of_deployment(self.deployment, self.variants)
        for operation, more in self.extra.items():
            validators.service(f"extra.{operation}", f"{operation}Input", more)
        validators.service("explainer", "ExplainerConfig", self.explainer or {}, partial=False)
        metrics = self.extra.get("CreateEndpointConfig", {}).get("MetricsConfig", {})
        if "MetricPublishFrequencyInSeconds" in metrics:
            MetricsSettings(frequency=metrics["MetricPublishFrequencyInSeconds"])  # check it
        for variant in self.variants:
            self._check_direct(variant)
            for kind in (variant.runs_on, *(one.instance_type for one in variant.instance_pools)):
                if self.kms_key is not None and kind is not None and instance_types.has_local_storage(kind):
                    raise InvalidInputError(
                        f"kms_key: not available with {kind}, because the hardware encrypts its local storage"
                    )

    def _check_direct(self, variant: Variant) -> None:
        """Check the hostnames of containers that requests name (InferenceExecutionConfig Direct)."""
        more = {**self.extra.get("CreateModel", {}), **variant.model_extra}
        if (more.get("InferenceExecutionConfig") or {}).get("Mode") != "Direct":
            return
        if not all(one.hostname or one.extra.get("ContainerHostname") for one in variant.containers):
            raise InvalidInputError("hostname: each container needs one if InferenceExecutionConfig is Direct")

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
        for variant in self.variants:
            if variant.autoscaling is not None:
                check_scales(variant.autoscaling, asynchronous=self._is_asynchronous)
        if self.async_inference is not None and len(self.variants) > 1:
            raise InvalidInputError("async_inference: available with one variant only")
        if any(one.serverless is not None for one in self.variants):
            if len(self.variants) > 1:
                raise InvalidInputError("serverless: available with one variant only")
            for field in ("vpc", "kms_key", "data_capture", "async_inference"):
                if getattr(self, field) is not None:
                    raise InvalidInputError(f"{field}: not available with serverless")
            if self.network_isolation:
                raise InvalidInputError("network_isolation: not available with serverless")

    @property
    def _is_asynchronous(self) -> bool:
        return self.async_inference is not None or "AsyncInferenceConfig" in self.extra.get("CreateEndpointConfig", {})

    @property
    def mode(self) -> Mode:
        """`MultiModel` if a variant is multi-model, else `SingleModel`."""
        return "MultiModel" if any(one.mode == "MultiModel" for one in self.variants) else "SingleModel"

    @property
    def model_data(self) -> str | None:
        """S3 address of the first variant's models: a prefix if it is multi-model, else an archive; or None."""
        containers = [one for variant in self.variants for one in variant.containers]
        first = next((one for one in containers if one.mode == self.mode and one.model_data), None)
        return None if first is None else first.model_data


def check_variants_of_deployment(deployment: BlueGreen | Rolling, variants: Sequence[Variant]) -> None:
    """Raise InvalidInputError for a deployment that SageMaker would refuse for these variants."""
    if isinstance(deployment, Rolling) and len(variants) > 1:
        raise InvalidInputError("deployment: Rolling is not available with several variants", hint="use BlueGreen(…)")
    if not all(one.has_instances for one in variants):
        raise InvalidInputError("deployment: not available with serverless")
