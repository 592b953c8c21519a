"""Autoscaling of a variant: target tracking of the instance count, with scheduled limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from mme_sdk import instance_types
from mme_sdk._validation import as_int, check_instance, check_number, number, optional, optional_float, optional_int
from mme_sdk.endpoints.spec import validators
from mme_sdk.errors import InvalidInputError

__all__ = ["Autoscaling", "Schedule", "check_metric"]


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


@attrs.frozen(kw_only=True)
class Autoscaling:
    """Target tracking of a variant's instance count.

    Attributes:
        min: Minimum number of instances, 1 or more.
        max: Maximum number of instances.
        target: Target value. `invocations`: invocations per instance and minute. `cpu` and `gpu`: percent of the whole
            instance, 0 to 100. Other metrics: in their own unit. Default: None, 60 for `cpu` and `gpu`.
        metric: `invocations`, `cpu`, `gpu`, or a CustomizedMetricSpecification as Application Auto Scaling names its
            members. Default: `invocations` if `target` is given, else `cpu`.
        scale_in_cooldown: Seconds between two reductions. Default: 300.
        scale_out_cooldown: Seconds between two increases. Default: 300.
        scale_in: False never removes instances. Default: True.
        schedule: Scheduled changes of the limits. Default: none.

    Example:
        >>> Autoscaling(min=2, max=8).metric, Autoscaling.for_rps(min=2, max=8, rps=20).target
        ('cpu', 600.0)
    """

    min: int = attrs.field(converter=as_int, validator=number(at_least=1, at_most=10_000, integer=True))
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
            if self.metric not in ("invocations", "cpu", "gpu"):
                raise InvalidInputError(
                    f"metric: {self.metric!r} is not one of 'invocations', 'cpu', 'gpu'",
                    hint="give a CustomizedMetricSpecification mapping for any other metric",
                )
            if self.metric != "invocations":
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
