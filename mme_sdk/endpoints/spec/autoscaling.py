"""Autoscaling of a variant: target tracking of the instance count, with scheduled limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from mme_sdk import instance_types
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_int, check_instance, check_number, number, optional, optional_float, optional_int
from mme_sdk.endpoints.spec import validators
from mme_sdk.errors import InvalidInputError

__all__ = ["Autoscaling", "Schedule", "check_metric", "check_scales", "reason_against"]

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


@short_tracebacks
@attrs.frozen(kw_only=True)
class Autoscaling:
    """Target tracking of a variant's instance count.

    Attributes:
        min: Minimum number of instances, 1 or more. An asynchronous endpoint that tracks `backlog` can have 0; then its
            first instance starts when more than `target` requests wait.
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

    Example:
        >>> Autoscaling(min=2, max=8).metric, Autoscaling.for_rps(min=2, max=8, rps=20).target
        ('cpu', 600.0)
    """

    min: int = attrs.field(converter=as_int, validator=number(at_least=0, at_most=10_000, integer=True))
    max: int = attrs.field(converter=as_int, validator=number(at_least=1, at_most=10_000, integer=True))
    target: float | None = attrs.field(default=None, converter=optional_float, validator=optional(number(over=0)))
    metric: str | Mapping[str, Any] = attrs.field(
        default=attrs.Factory(lambda self: "cpu" if self.target is None else "invocations", takes_self=True), hash=False
    )
    scale_in_cooldown: int = attrs.field(
        default=300, converter=as_int, validator=number(at_least=0, at_most=86_400, integer=True)
    )
    scale_out_cooldown: int = attrs.field(
        default=300, converter=as_int, validator=number(at_least=0, at_most=86_400, integer=True)
    )
    scale_in: bool = True
    schedule: tuple[Schedule, ...] = attrs.field(default=(), converter=validators.sequence)

    def __attrs_post_init__(self) -> None:
        check_instance("scale_in", self.scale_in, bool)
        if self.min > self.max:
            raise InvalidInputError(f"autoscaling: min {self.min} is greater than max {self.max}")
        validators.each("schedule", self.schedule, Schedule)
        validators.unique("schedule", [one.name for one in self.schedule])
        if isinstance(self.metric, str):
            if self.metric not in _METRICS:
                raise InvalidInputError(
                    f"metric: {self.metric!r} is not one of {', '.join(map(repr, _METRICS))}",
                    hint="give a CustomizedMetricSpecification mapping for any other metric",
                )
            if self.metric in ("cpu", "gpu"):
                object.__setattr__(self, "target", 60.0 if self.target is None else self.target)
                if self.target is not None and self.target > 100:
                    raise InvalidInputError(f"target: {self.target:g} is over 100 percent of {self.metric}")
        if self.target is None:
            raise InvalidInputError("target: required for this metric")
        object.__setattr__(self, "target", float(self.target))

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
    """Raise InvalidInputError if instances of a type do not have the metric; None stands for instance pools."""
    metric = scaling.metric
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
            f"autoscaling: {reason}", hint="use metric='backlog'" if asynchronous else "use another metric, and min=1"
        )


def reason_against(scaling: Autoscaling, *, asynchronous: bool) -> str | None:
    """Return why autoscaling does not suit an asynchronous or a synchronous endpoint; None if it does."""
    tracked = _tracked(scaling)
    if asynchronous and tracked in _SYNCHRONOUS_ONLY:
        return f"asynchronous endpoints do not publish {tracked}, so that the policy would never scale"
    if not asynchronous and tracked in _ASYNCHRONOUS_ONLY:
        return f"only asynchronous endpoints publish {tracked}; the policy would never scale"
    if min(scaling.min, *(one.min for one in scaling.schedule if one.min is not None), 1) > 0:
        return None
    if not asynchronous:
        return "only asynchronous endpoints can have min 0"
    if scaling.metric in ("cpu", "gpu"):
        return f"{scaling.metric} has no value without an instance, so that the policy would never leave 0 instances"
    return None


def _tracked(scaling: Autoscaling) -> str | None:
    """Return the name of the tracked metric if it is in the namespace AWS/SageMaker."""
    if isinstance(scaling.metric, Mapping):
        return scaling.metric.get("MetricName") if scaling.metric.get("Namespace") == "AWS/SageMaker" else None
    return {"invocations": "InvocationsPerInstance", "backlog": "ApproximateBacklogSizePerInstance"}.get(scaling.metric)
