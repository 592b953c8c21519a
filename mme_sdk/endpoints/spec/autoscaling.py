"""Autoscaling of a variant: target tracking of the instance count, scheduled limits, and the start from zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from mme_sdk import instance_types
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import (
    as_int,
    check_instance,
    check_number,
    instance,
    number,
    optional,
    optional_float,
    optional_int,
)
from mme_sdk.endpoints.spec import validators
from mme_sdk.errors import InvalidInputError

__all__ = ["Autoscaling", "FromZero", "Schedule", "Tracking", "check_metric", "check_scales", "reason_against"]

_METRICS = ("invocations", "cpu", "gpu", "backlog")
# https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
_SYNCHRONOUS_ONLY = ("Invocations", "InvocationsPerInstance", "OverheadLatency")
_ASYNCHRONOUS_ONLY = ("ApproximateBacklogSize", "ApproximateBacklogSizePerInstance", "HasBacklogWithoutCapacity")


@short_tracebacks
@attrs.frozen(kw_only=True)
class Schedule:
    """A scheduled change of autoscaling's limits.

    Attributes:
        name: Name of the scheduled action, unique within the variant.
        when: `cron(0 8 ? * MON-FRI *)`, `rate(1 day)` or `at(2026-12-24T18:00:00)`.
        min: Minimum number of instances from then on. Default: None, unchanged.
        max: Maximum number of instances from then on. Default: None, unchanged.
        timezone: Time zone of `when`, such as `Europe/Berlin`. Default: None, UTC.
    """

    name: str = attrs.field(validator=validators.text(256, r"[^\s:/|](?:[^:/|]*[^\s:/|])?", "free of ':', '/' and '|'"))
    when: str = attrs.field(validator=validators.text(1600, r"(?:cron|rate|at)\(.+\)", "cron(…), rate(…) or at(…)"))
    min: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=0, at_most=10_000, integer=True))
    )
    max: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=1, at_most=10_000, integer=True))
    )
    timezone: str | None = attrs.field(
        default=None, validator=optional(validators.text(1600, r"[\w+\-/]+", "a time zone's name"))
    )

    def __attrs_post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise InvalidInputError("schedule: give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise InvalidInputError(f"schedule: min {self.min} is greater than max {self.max}")


_Metric: TypeAlias = str | Mapping[str, Any]
_cooldown = number(at_least=0, at_most=86_400, integer=True)


def _default_metric(policy: Any) -> str:
    return "cpu" if policy.target is None else "invocations"


def _check_target(policy: Any) -> None:
    """Check metric and target of a policy, and set the default target."""
    metric, target = policy.metric, policy.target
    if isinstance(metric, str):
        if metric not in _METRICS:
            raise InvalidInputError(
                f"metric: {metric!r} is not one of {', '.join(map(repr, _METRICS))}",
                hint="give a CustomizedMetricSpecification mapping for any other metric",
            )
        if metric in ("cpu", "gpu"):
            target = 60.0 if target is None else target
            if target > 100:
                raise InvalidInputError(f"target: {target:g} is over 100 percent of {metric}")
    elif not isinstance(metric, Mapping):
        raise InvalidInputError(f"metric: must be a name or a CustomizedMetricSpecification mapping, not {metric!r}")
    if target is None:
        raise InvalidInputError("target: required for this metric")
    object.__setattr__(policy, "target", float(target))


@short_tracebacks
@attrs.frozen(kw_only=True)
class Tracking:
    """A further target tracking policy of a variant.

    The policy that wants the most instances wins. Instances are removed only if all policies that may remove any agree.

    Attributes:
        target: Target value, as in `Autoscaling`. Default: None, 60 for `cpu` and `gpu`.
        metric: Metric, as in `Autoscaling`. Default: `invocations` if `target` is given, else `cpu`.
        scale_in_cooldown: Seconds between two reductions. Default: 300.
        scale_out_cooldown: Seconds between two increases. Default: 300.
        scale_in: False never removes instances. Default: True.
    """

    target: float | None = attrs.field(default=None, converter=optional_float, validator=optional(number(over=0)))
    metric: _Metric = attrs.field(default=attrs.Factory(_default_metric, takes_self=True), hash=False)
    scale_in_cooldown: int = attrs.field(default=300, converter=as_int, validator=_cooldown)
    scale_out_cooldown: int = attrs.field(default=300, converter=as_int, validator=_cooldown)
    scale_in: bool = True

    def __attrs_post_init__(self) -> None:
        check_instance("scale_in", self.scale_in, bool)
        _check_target(self)


@short_tracebacks
@attrs.frozen(kw_only=True)
class FromZero:
    """The start of the first instances of an asynchronous endpoint that has none.

    A step policy adds them when a CloudWatch alarm finds requests in the queue and no instance
    (`HasBacklogWithoutCapacity`). Policy and alarm are created and deleted with the autoscaling.

    Attributes:
        instances: Number of instances to start. Default: 1.
        minutes: Minutes for which requests must wait, 1 to 1440. Default: 1.
        cooldown: Seconds until the policy can start further instances. Default: 300.
    """

    instances: int = attrs.field(
        default=1, converter=as_int, validator=number(at_least=1, at_most=10_000, integer=True)
    )
    minutes: int = attrs.field(default=1, converter=as_int, validator=number(at_least=1, at_most=1440, integer=True))
    cooldown: int = attrs.field(default=300, converter=as_int, validator=_cooldown)


@short_tracebacks
@attrs.frozen(kw_only=True)
class Autoscaling:
    """Autoscaling of a variant's instance count by target tracking.

    Attributes:
        min: Minimum number of instances, 1 or more. An asynchronous endpoint that tracks `backlog` can have 0; then its
            first instance starts when more than `target` requests wait. With `from_zero`, it starts when one waits.
        max: Maximum number of instances.
        target: Target value. `invocations`: invocations per instance and minute. `backlog`: requests per instance that
            wait or run. `cpu` and `gpu`: percent of the whole instance, 0 to 100. Other metrics: in their own unit.
            Default: None, 60 for `cpu` and `gpu`.
        metric: `invocations`, `cpu`, `gpu`, `backlog` (asynchronous endpoints), or a CustomizedMetricSpecification as
            Application Auto Scaling names its members. Default: `invocations` if `target` is given, else `cpu`.
        scale_in_cooldown: Seconds between two reductions. Default: 300.
        scale_out_cooldown: Seconds between two increases. Default: 300.
        scale_in: False never removes instances. Default: True.
        schedule: Scheduled changes of the limits. Default: none.
        more: Further target tracking policies, each with another metric; at most 9. Default: none.
        from_zero: How the first instances of an asynchronous endpoint start, if there is none. Default: None.

    Example:
        >>> Autoscaling(min=2, max=8).metric, Autoscaling.for_rps(min=2, max=8, rps=20).target
        ('cpu', 600.0)
    """

    min: int = attrs.field(converter=as_int, validator=number(at_least=0, at_most=10_000, integer=True))
    max: int = attrs.field(converter=as_int, validator=number(at_least=1, at_most=10_000, integer=True))
    target: float | None = attrs.field(default=None, converter=optional_float, validator=optional(number(over=0)))
    metric: _Metric = attrs.field(default=attrs.Factory(_default_metric, takes_self=True), hash=False)
    scale_in_cooldown: int = attrs.field(default=300, converter=as_int, validator=_cooldown)
    scale_out_cooldown: int = attrs.field(default=300, converter=as_int, validator=_cooldown)
    scale_in: bool = True
    schedule: tuple[Schedule, ...] = attrs.field(default=(), converter=validators.sequence)
    more: tuple[Tracking, ...] = attrs.field(default=(), converter=validators.sequence)
    from_zero: FromZero | None = attrs.field(default=None, validator=optional(instance(FromZero)))

    def __attrs_post_init__(self) -> None:
        check_instance("scale_in", self.scale_in, bool)
        if self.min > self.max:
            raise InvalidInputError(f"autoscaling: min {self.min} is greater than max {self.max}")
        validators.each("schedule", self.schedule, Schedule)
        validators.unique("schedule", [one.name for one in self.schedule])
        _check_target(self)
        validators.each("more", self.more, Tracking)
        if len(self.more) > 9:
            raise InvalidInputError(f"more: at most 9 further policies, not {len(self.more)}")
        metrics = [one.metric for one in self.tracked]
        if any(metric in metrics[:number] for number, metric in enumerate(metrics)):
            raise InvalidInputError("more: each policy of a variant needs another metric")
        if self.from_zero is not None:
            if min(self.min, *(one.min for one in self.schedule if one.min is not None), 1) > 0:
                raise InvalidInputError("from_zero: the variant never has 0 instances, because min is 1 or more")
            if self.from_zero.instances > self.max:
                raise InvalidInputError(f"from_zero: {self.from_zero.instances} instances are more than max {self.max}")

    @property
    def tracked(self) -> tuple[Autoscaling | Tracking, ...]:
        """All target tracking policies: this one and `more`."""
        return (self, *self.more)

    @classmethod
    def for_rps(
        cls,
        *,
        min: int,  # noqa: A002 - the field's name
        max: int,  # noqa: A002 - the field's name
        rps: float,
        safety: float = 0.5,
        scale_in_cooldown: int = 300,
        scale_out_cooldown: int = 300,
        scale_in: bool = True,
        schedule: Iterable[Schedule] = (),
    ) -> Autoscaling:
        """Return settings that track invocations per instance, from the measured throughput of one instance.

        Args:
            min: Minimum number of instances, 1 or more.
            max: Maximum number of instances.
            rps: Requests per second that one instance can serve, as measured by a load test.
            safety: Share of `rps` to aim for. Default: 0.5.
            scale_in_cooldown: Seconds between two reductions. Default: 300.
            scale_out_cooldown: Seconds between two increases. Default: 300.
            scale_in: False never removes instances. Default: True.
            schedule: Scheduled changes of the limits. Default: none.

        Returns:
            The settings, with target = rps * safety * 60
            (https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-loadtest.html).

        Raises:
            InvalidInputError: An argument breaks a rule.

        Example:
            >>> Autoscaling.for_rps(min=2, max=8, rps=20).target
            600.0
        """
        check_number("rps", rps, over=0)
        check_number("safety", safety, over=0)
        return cls(
            min=min,
            max=max,
            target=rps * safety * 60,
            metric="invocations",
            scale_in_cooldown=scale_in_cooldown,
            scale_out_cooldown=scale_out_cooldown,
            scale_in=scale_in,
            schedule=tuple(schedule),
        )


def check_metric(scaling: Autoscaling, kind: str | None) -> None:
    """Raise InvalidInputError if instances of a type do not have a metric; None stands for instance pools."""
    for one in scaling.tracked:
        _check_metric(one.metric, kind)


def _check_metric(metric: _Metric, kind: str | None) -> None:
    if metric == "gpu" and (kind is None or instance_types.accelerator(kind) != "gpu"):
        raise InvalidInputError(f"autoscaling: {kind or 'a variant with instance pools'} has no GPU to track")
    if metric in ("cpu", "gpu") and (kind is None or instance_types.units(kind, str(metric)) is None):
        units = "vCPUs" if metric == "cpu" else "GPUs"
        raise InvalidInputError(
            f"autoscaling: the {units} of {kind or 'instance pools'} are not known; track another metric"
        )


def check_scales(scaling: Autoscaling, *, asynchronous: bool) -> None:
    """Raise InvalidInputError if autoscaling does not suit an asynchronous or a synchronous endpoint.

    Args:
        scaling: The settings.
        asynchronous: Whether the endpoint is asynchronous.

    Raises:
        InvalidInputError: The policy would never scale, or SageMaker would reject the minimum.
    """
    reason = reason_against(scaling, asynchronous=asynchronous)
    if reason is not None:
        raise InvalidInputError(
            f"autoscaling: {reason}",
            hint="use metric='backlog' or from_zero" if asynchronous else "use another metric, and min=1",
        )


def reason_against(scaling: Autoscaling, *, asynchronous: bool) -> str | None:
    """Return why autoscaling does not suit an asynchronous or a synchronous endpoint; None if it does."""
    for one in scaling.tracked:
        name = _tracked(one)
        if asynchronous and name in _SYNCHRONOUS_ONLY:
            return f"asynchronous endpoints do not publish {name}, so that the policy would never scale"
        if not asynchronous and name in _ASYNCHRONOUS_ONLY:
            return f"only asynchronous endpoints publish {name}; the policy would never scale"
    if min(scaling.min, *(one.min for one in scaling.schedule if one.min is not None), 1) > 0:
        return None
    if not asynchronous:
        return "only asynchronous endpoints can have min 0"
    if scaling.from_zero is None and all(one.metric in ("cpu", "gpu") for one in scaling.tracked):
        names = " and ".join(str(one.metric) for one in scaling.tracked)
        verb = "has" if len(scaling.tracked) == 1 else "have"
        return f"{names} {verb} no value without an instance, so that the policy would never leave 0 instances"
    return None


def _tracked(scaling: Autoscaling | Tracking) -> str | None:
    """Return the name of the tracked metric if it is in the namespace AWS/SageMaker."""
    if isinstance(scaling.metric, Mapping):
        return scaling.metric.get("MetricName") if scaling.metric.get("Namespace") == "AWS/SageMaker" else None
    return {"invocations": "InvocationsPerInstance", "backlog": "ApproximateBacklogSizePerInstance"}.get(scaling.metric)
