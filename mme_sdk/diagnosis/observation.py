"""What a diagnosis looks at: the control plane, CloudWatch's series, the registry and recordings, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import attrs

from mme_sdk.metrics import EndpointMetrics, Series

__all__ = [
    "MinuteOfModel",
    "ObservedAlias",
    "ObservedEndpoint",
    "ObservedPolicy",
    "ObservedRegistry",
    "ObservedScaling",
    "ObservedVariant",
    "RecordedMinute",
]


class RecordedMinute(Protocol):
    """What a diagnosis needs of a recording: the calls of one model, tenant and variant in one minute.

    `MinuteOfModel` is one.
    """

    @property
    def at(self) -> datetime:
        """Start of the minute, with a time zone."""
        ...

    @property
    def model(self) -> str | None:
        """The target model; None on a single-model endpoint, or for models that are not recorded one by one."""
        ...

    @property
    def tenant(self) -> str | None:
        """The tenant that the calls belong to; None if it is not known."""
        ...

    @property
    def variant(self) -> str | None:
        """The variant that answered; None if it is not known."""
        ...

    @property
    def calls(self) -> int:
        """Number of calls."""
        ...

    @property
    def errors(self) -> Mapping[str, int]:
        """Number of calls that failed, by the name of the error, such as `ModelServerError`."""
        ...

    @property
    def cold(self) -> int:
        """Number of calls that waited while their model was loading."""
        ...

    @property
    def cold_seconds(self) -> float:
        """Seconds that these calls waited, all together."""
        ...

    @property
    def warm_seconds(self) -> float:
        """Seconds that the other calls that were answered took, all together."""
        ...

    @property
    def throttles(self) -> int:
        """Number of requests that were answered with ThrottlingException; one call can have several."""
        ...


@attrs.frozen(kw_only=True)
class MinuteOfModel:
    """The calls of one model, tenant and variant in one minute.

    Attributes:
        at: Start of the minute, with a time zone.
        model: The target model; None on a single-model endpoint, or for models that are not recorded one by one.
        calls: Number of calls.
        tenant: The tenant that the calls belong to. Default: None, not known.
        variant: The variant that answered. Default: None, not known.
        errors: Number of calls that failed, by the name of the error, such as `ModelServerError`. Default: none.
        cold: Number of calls that waited while their model was loading. Default: 0.
        cold_seconds: Seconds that these calls waited, all together. Default: 0.
        warm_seconds: Seconds that the other calls that were answered took, all together. Default: 0.
        throttles: Number of requests that were answered with ThrottlingException. Default: 0.
    """

    at: datetime
    model: str | None
    calls: int
    tenant: str | None = None
    variant: str | None = None
    errors: Mapping[str, int] = attrs.field(factory=dict, hash=False)
    cold: int = 0
    cold_seconds: float = 0.0
    warm_seconds: float = 0.0
    throttles: int = 0


@attrs.frozen(kw_only=True)
class ObservedPolicy:
    """A target tracking policy, and the values of the metric that it tracks.

    Attributes:
        name: PolicyName.
        metric: What it tracks, such as `AWS/SageMaker InvocationsPerInstance`.
        target: TargetValue, in the metric's unit.
        values: Values of the metric in the time range; None if they could not be read.
    """

    name: str
    metric: str
    target: float
    values: Series | None = None


@attrs.frozen(kw_only=True)
class ObservedScaling:
    """Autoscaling that is attached to a variant.

    Attributes:
        min: MinCapacity.
        max: MaxCapacity.
        policies: Target tracking policies. Default: none.
        settings: Keyword arguments of `Autoscaling` that make the same. Default: None, it cannot express it.
    """

    min: int
    max: int
    policies: tuple[ObservedPolicy, ...] = ()
    settings: Mapping[str, Any] | None = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class ObservedVariant:
    """A production variant.

    Attributes:
        name: VariantName.
        instance_type: Instance type. Default: None, not known.
        instance_count: Number of instances that run. Default: None, not known.
        weight: Current weight. Default: None, not known.
        model_name: ModelName. Default: None, not known.
        cached: False if ModelCacheSetting is Disabled. Default: True.
        scaling: Attached autoscaling. Default: None, nothing is attached.
        metrics: CloudWatch's metrics. Default: None, they could not be read.
    """

    name: str
    instance_type: str | None = None
    instance_count: int | None = None
    weight: float | None = None
    model_name: str | None = None
    cached: bool = True
    scaling: ObservedScaling | None = None
    metrics: EndpointMetrics | None = None


@attrs.frozen(kw_only=True)
class ObservedAlias:
    """An alias of a model.

    Attributes:
        name: Name of the model.
        alias: The alias.
        versions: The versions that it refers to.
        since: Time of its last change.
        before: The versions that it referred to before that. Default: none.
    """

    name: str
    alias: str
    versions: tuple[str, ...]
    since: datetime
    before: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """`name@alias`."""
        return f"{self.name}@{self.alias}"


@attrs.frozen(kw_only=True)
class ObservedRegistry:
    """The models under the endpoint's prefix.

    Attributes:
        uri: S3 address of the prefix.
        versions: Name, version and time of the upload by target model, of those that can be invoked. The version is
            empty for an archive that the registry did not name.
        deleted: Time of the deletion by target model, of those that the registry has deleted. Default: none.
        aliases: The aliases. Default: none.
        key: Template of the keys. Default: that of `MMEClient.models`.
    """

    uri: str
    versions: Mapping[str, tuple[str, str, datetime | None]] = attrs.field(hash=False)
    deleted: Mapping[str, datetime] = attrs.field(factory=dict, hash=False)
    aliases: tuple[ObservedAlias, ...] = ()
    key: str = "{name}/{version}.tar.gz"


@attrs.frozen(kw_only=True)
class ObservedEndpoint:
    """An endpoint and what is known of a time range. None means that the data is missing, never that it is zero.

    Attributes:
        name: EndpointName.
        status: EndpointStatus.
        start: Start of the time range, with a time zone.
        end: End of it.
        failure_reason: FailureReason of the last change. Default: None, it did not fail.
        modified: LastModifiedTime. Default: None, not known.
        config_name: Configuration in service. Default: None, not known.
        failed_config: The configuration that the failed update set. Default: None, not known.
        multi_model: Whether it is a multi-model endpoint. Default: True.
        variants: The variants. Default: none.
        registry: The models. Default: None, the registry could not be read.
        minutes: Recordings of the time range. Default: None, there are none.
        image: Image of the container. Default: None, not known.
        role: Execution role. Default: None, not known.
        quotas: Largest number of instances of the account by instance type. Default: None, not given.
        prices: Price of an instance and hour by instance type. Default: None, not given.
        currency: Currency of the prices. Default: `USD`.
        missing: What could not be read, and why. Default: nothing.
    """

    name: str
    status: str
    start: datetime
    end: datetime
    failure_reason: str | None = None
    modified: datetime | None = None
    config_name: str | None = None
    failed_config: str | None = None
    multi_model: bool = True
    variants: tuple[ObservedVariant, ...] = ()
    registry: ObservedRegistry | None = None
    minutes: tuple[RecordedMinute, ...] | None = attrs.field(default=None, repr=False)
    image: str | None = None
    role: str | None = None
    quotas: Mapping[str, int] | None = attrs.field(default=None, hash=False)
    prices: Mapping[str, float] | None = attrs.field(default=None, hash=False, repr=False)
    currency: str = "USD"
    missing: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the time range, in seconds."""
        return (self.end - self.start).total_seconds()

    @cached_property
    def by_model(self) -> Mapping[str, Sequence[RecordedMinute]]:
        """Recorded minutes by target model, each in order of time."""
        found: dict[str, list[RecordedMinute]] = {}
        for one in sorted(self.minutes or (), key=lambda one: one.at):
            if one.model is not None:
                found.setdefault(one.model, []).append(one)
        return found


def within(minutes: Iterable[RecordedMinute], start: datetime, end: datetime) -> tuple[RecordedMinute, ...]:
    """Return the minutes that overlap a time range."""
    first = start.timestamp() - 60.0
    return tuple(one for one in minutes if first < one.at.timestamp() < end.timestamp())
