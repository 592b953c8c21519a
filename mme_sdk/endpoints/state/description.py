"""Parsed answers of DescribeEndpoint and ListEndpoints. `raw` keeps members that this SDK does not know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import attrs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mme_sdk.display.shown import Shown
from mme_sdk.endpoints.spec.instances import instances_text
from mme_sdk.endpoints.state import links
from mme_sdk.errors import ServiceError

__all__ = ["EndpointDescription", "ScalingDescription", "VariantDescription", "parse_endpoint", "parse_summary"]


@attrs.frozen(kw_only=True)
class ScalingDescription:
    """Autoscaling that is attached to a variant.

    Attributes:
        min: Minimum number of instances.
        max: Maximum number of instances.
        policies: Scaling policies, as Application Auto Scaling describes them. Default: none.
        schedule: Scheduled actions, as Application Auto Scaling describes them. Default: none.
    """

    min: int
    max: int
    policies: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False, repr=lambda value: str(len(value)))
    schedule: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False, repr=lambda value: str(len(value)))


@attrs.frozen(kw_only=True)
class VariantDescription:
    """Current state of a production variant.

    Attributes:
        name: VariantName.
        instance_type: Instance type. Default: None, serverless or not read.
        instance_count: Number of instances that run. Default: None, unknown.
        desired_count: Number of instances that should run. Default: None, unknown.
        weight: Current share of the traffic, relative to the other variants. Default: None, unknown.
        desired_weight: Share that the variant should have. Default: None, unknown.
        model_name: ModelName. Default: None, not read.
        images: Image URIs with digests. Default: none.
        autoscaling: Attached autoscaling. Default: None, nothing is attached, or not read.
        stage: What SageMaker does with the variant: `Creating`, `Updating`, `Deleting`, `ActivatingTraffic` or `Baking`
            (the alarms are watched). Default: None, nothing.
        stage_since: Time at which the stage began. Default: None, unknown.
    """

    name: str
    instance_type: str | None = None
    instance_count: int | None = None
    desired_count: int | None = None
    weight: float | None = None
    desired_weight: float | None = None
    model_name: str | None = None
    images: tuple[str, ...] = ()
    autoscaling: ScalingDescription | None = None
    stage: str | None = None
    stage_since: datetime | None = None


@attrs.frozen(kw_only=True, repr=False)
class EndpointDescription(Shown):
    """Description of an endpoint.

    Attributes:
        name: EndpointName.
        status: EndpointStatus, such as `InService`.
        arn: EndpointArn. Default: empty.
        config_name: Name of the configuration in use. Default: None, not read.
        failure_reason: FailureReason of the last change, if it failed. The status may be InService. Default: None.
        mode: `MultiModel` or `SingleModel`. Default: None, not read.
        model_data: S3 prefix or archive. Default: None, not read, or the endpoint has none.
        variants: Production variants. Default: none.
        tags: Tags, without this SDK's own. Default: none, or not read.
        created: CreationTime. Default: None, not read.
        modified: LastModifiedTime. Default: None, not read.
        pending_config: Name of the configuration that an update in progress sets. Default: None.
        pending_variants: Variants that a creation or an update in progress makes. Default: none.
        notes: What could not be read, and why. Default: none.
        raw: SageMaker's complete answer. Default: empty.
    """

    name: str
    status: str
    arn: str = ""
    config_name: str | None = None
    failure_reason: str | None = None
    mode: str | None = None
    model_data: str | None = None
    variants: tuple[VariantDescription, ...] = ()
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    created: datetime | None = None
    modified: datetime | None = None
    pending_config: str | None = None
    pending_variants: tuple[VariantDescription, ...] = ()
    notes: tuple[str, ...] = ()
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False, eq=False)

    @property
    def region(self) -> str | None:
        """AWS region, from the ARN; None without an ARN."""
        parts = self.arn.split(":")
        return parts[3] if len(parts) > 3 else None

    @property
    def stages(self) -> dict[str, str]:
        """Stage by variant, of those that a creation, an update or a deletion changes."""
        return {one.name: one.stage for one in (*self.variants, *self.pending_variants) if one.stage is not None}

    @property
    def log_group(self) -> str:
        """Name of the CloudWatch log group of the containers."""
        return links.log_group(self.name)

    @property
    def logs_url(self) -> str | None:
        """URL of the log group in the AWS console; None without an ARN."""
        return None if self.region is None else links.logs_url(self.name, self.region, self.arn.split(":")[1])

    def _facts(self) -> dict[str, object]:
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.failure_reason,
            "mode": self.mode,
            "models": self.model_data,
            "instances": instances_text(self.variants),
            "config": self.config_name,
            "updating to": self.pending_config,
            "created": self.created,
            "modified": self.modified,
            "tags": self.tags,
            "notes": self.notes,
        }


_TELLING = ("ActivatingTraffic", "Baking")  # stages that are shown before others of the same variant


class _Image(BaseModel):
    SpecifiedImage: str | None = None
    ResolvedImage: str | None = None


class _Stage(BaseModel):
    Status: str
    StartTime: datetime | None = None


class _Variant(BaseModel):
    VariantName: str
    DeployedImages: list[_Image] = Field(default_factory=list)
    CurrentWeight: float | None = None
    DesiredWeight: float | None = None
    CurrentInstanceCount: int | None = None
    DesiredInstanceCount: int | None = None
    VariantStatus: list[_Stage] = Field(default_factory=list)


class _Pending(BaseModel):
    EndpointConfigName: str | None = None
    ProductionVariants: list[_Variant] = Field(default_factory=list)


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="ignore")

    EndpointName: str
    EndpointStatus: str
    EndpointArn: str = ""
    EndpointConfigName: str | None = None
    FailureReason: str | None = None
    CreationTime: datetime | None = None
    LastModifiedTime: datetime | None = None
    ProductionVariants: list[_Variant] = Field(default_factory=list)
    PendingDeploymentSummary: _Pending | None = None


Wire = TypeVar("Wire", bound=BaseModel)


def parse(kind: type[Wire], answer: Any, subject: str) -> Wire:
    """Parse an answer.

    Raises:
        ServiceError: A required member is missing or has another type.
    """
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ServiceError(f"{subject}: the answer is not valid ({where}: {first['msg']})") from None


def parse_endpoint(answer: Mapping[str, Any]) -> EndpointDescription:
    """Parse the answer of DescribeEndpoint."""
    wire = parse(_Endpoint, answer, "describe_endpoint")
    pending = wire.PendingDeploymentSummary
    return EndpointDescription(
        name=wire.EndpointName,
        status=wire.EndpointStatus,
        arn=wire.EndpointArn,
        config_name=wire.EndpointConfigName,
        failure_reason=wire.FailureReason or None,
        created=wire.CreationTime,
        modified=wire.LastModifiedTime,
        pending_config=pending.EndpointConfigName if pending else None,
        pending_variants=tuple(_described(one) for one in pending.ProductionVariants) if pending else (),
        variants=tuple(_described(one) for one in wire.ProductionVariants),
        raw={key: value for key, value in answer.items() if key != "ResponseMetadata"},
    )


def _described(one: _Variant) -> VariantDescription:
    stages = one.VariantStatus
    stage = next((each for each in stages if each.Status in _TELLING), stages[0] if stages else None)
    return VariantDescription(
        name=one.VariantName,
        instance_count=one.CurrentInstanceCount,
        desired_count=one.DesiredInstanceCount,
        weight=one.CurrentWeight,
        desired_weight=one.DesiredWeight,
        images=tuple(
            image.ResolvedImage or image.SpecifiedImage or ""
            for image in one.DeployedImages
            if image.ResolvedImage or image.SpecifiedImage
        ),
        stage=stage.Status if stage else None,
        stage_since=stage.StartTime if stage else None,
    )


def parse_summary(answer: Mapping[str, Any]) -> EndpointDescription:
    """Parse one item of the answer of ListEndpoints."""
    wire = parse(_Endpoint, answer, "list_endpoints")
    return EndpointDescription(
        name=wire.EndpointName,
        status=wire.EndpointStatus,
        arn=wire.EndpointArn,
        created=wire.CreationTime,
        modified=wire.LastModifiedTime,
        raw=dict(answer),
    )
