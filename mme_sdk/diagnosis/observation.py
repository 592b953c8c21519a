"""What a diagnosis looks at: the control plane, CloudWatch's series, the registry and recordings, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import attrs

from mme_sdk.metrics import EndpointMetrics, Series
from mme_sdk.recording.minutes import RecordedMinute

__all__ = [
    "ObservedAlias",
    "ObservedEndpoint",
    "ObservedPolicy",
    "ObservedRegistry",
    "ObservedScaling",
    "ObservedVariant",
]


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
