"""Deployment guardrails: how an update moves traffic from the old fleet to the new one.

Source of the bounds: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html and its exclusions.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_int, number, optional, optional_int
from mme_sdk.endpoints.spec import validators
from mme_sdk.errors import InvalidInputError

__all__ = ["BlueGreen", "Deployment", "Rolling", "check_deployment", "to_request"]


def _alarms(_: Any, attribute: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    if len(value) > 10 or not all(isinstance(one, str) and one.strip() and len(one) <= 255 for one in value):
        raise InvalidInputError(f"{attribute.name} must be at most 10 names of CloudWatch alarms, not {value!r}")


_wait = number(at_least=0, at_most=3600, integer=True)
_LONGEST = 28_800
_limit = optional(number(at_least=600, at_most=_LONGEST, integer=True))


@short_tracebacks
@attrs.frozen(kw_only=True)
class BlueGreen:
    """Blue/green deployment: a complete new fleet takes over, at once, after a canary, or in steps.

    Attributes:
        canary: Percentage of the capacity that receives traffic first, 1 to 50; the rest follows after `wait`. Default:
            None.
        step: Percentage of the capacity that is moved in each step, 10 to 50. Default: None.
        wait: Seconds between steps, during which the alarms are watched, 0 to 3600. Default: 0.
        termination_wait: Seconds until the old fleet is terminated, 0 to 3600. Default: 0.
        limit: Longest duration of the deployment, 600 to 28800 seconds. Default: None, SageMaker's.
        alarms: Names of CloudWatch alarms; one in ALARM state rolls the deployment back. Default: none.

    Example:
        >>> BlueGreen(canary=10, wait=300, alarms=("scoring-5xx",)).canary
        10
    """

    canary: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=1, at_most=50, integer=True))
    )
    step: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=10, at_most=50, integer=True))
    )
    wait: int = attrs.field(default=0, converter=as_int, validator=_wait)
    termination_wait: int = attrs.field(default=0, converter=as_int, validator=_wait)
    limit: int | None = attrs.field(default=None, converter=optional_int, validator=_limit)
    alarms: tuple[str, ...] = attrs.field(default=(), converter=validators.sequence, validator=_alarms)

    def __attrs_post_init__(self) -> None:
        if self.canary is not None and self.step is not None:
            raise InvalidInputError("canary and step: give only one of them")
        steps = math.ceil(100 / self.step) if self.step else 2
        _check_waits(self.wait * (steps - 1) + self.termination_wait, self.limit)


@short_tracebacks
@attrs.frozen(kw_only=True)
class Rolling:
    """Rolling deployment: instances are replaced batch by batch. It needs less spare capacity than `BlueGreen`.

    Attributes:
        batch: Percentage of the instances that are replaced at a time, 5 to 50. Default: 50.
        wait: Seconds between batches, during which the alarms are watched, 0 to 3600. Default: 0.
        rollback_batch: Percentage that is replaced at a time in a rollback, 5 to 100. Default: None, all at once.
        limit: Longest duration of the deployment, 600 to 28800 seconds. Default: None, SageMaker's.
        alarms: Names of CloudWatch alarms; one in ALARM state rolls the deployment back. Default: none.
    """

    batch: int = attrs.field(default=50, converter=as_int, validator=number(at_least=5, at_most=50, integer=True))
    wait: int = attrs.field(default=0, converter=as_int, validator=_wait)
    rollback_batch: int | None = attrs.field(
        default=None, converter=optional_int, validator=optional(number(at_least=5, at_most=100, integer=True))
    )
    limit: int | None = attrs.field(default=None, converter=optional_int, validator=_limit)
    alarms: tuple[str, ...] = attrs.field(default=(), converter=validators.sequence, validator=_alarms)

    def __attrs_post_init__(self) -> None:
        _check_waits(self.wait * (math.ceil(100 / self.batch) - 1), self.limit)


def _check_waits(waits: int, limit: int | None) -> None:
    """Raise InvalidInputError if the waits leave no time for the deployment itself."""
    longest = limit or _LONGEST
    if waits >= longest:
        raise InvalidInputError(
            f"limit: the waits alone take {waits} s, but the whole deployment may take only {longest} s",
            hint="wait for a shorter time, take larger steps, or raise the limit",
        )


Deployment: TypeAlias = BlueGreen | Rolling


def _percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def to_request(deployment: Deployment) -> dict[str, Any]:
    """Return the DeploymentConfig for CreateEndpoint and UpdateEndpoint."""
    request: dict[str, Any]
    if isinstance(deployment, Rolling):
        policy: dict[str, Any] = {
            "MaximumBatchSize": _percent(deployment.batch),
            "WaitIntervalInSeconds": deployment.wait,
        }
        if deployment.rollback_batch is not None:
            policy["RollbackMaximumBatchSize"] = _percent(deployment.rollback_batch)
        request = {"RollingUpdatePolicy": policy}
    else:
        kind = "CANARY" if deployment.canary else "LINEAR" if deployment.step else "ALL_AT_ONCE"
        routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": deployment.wait}
        if deployment.canary:
            routing["CanarySize"] = _percent(deployment.canary)
        if deployment.step:
            routing["LinearStepSize"] = _percent(deployment.step)
        policy = {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": deployment.termination_wait,
        }
        request = {"BlueGreenUpdatePolicy": policy}
    if deployment.limit is not None:
        policy["MaximumExecutionTimeoutInSeconds"] = deployment.limit
    if deployment.alarms:
        request["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": one} for one in deployment.alarms]}
    return request


def check_deployment(given: Any) -> None:
    """Raise InvalidInputError unless `given` is a deployment or None."""
    if given is not None and not isinstance(given, BlueGreen | Rolling):
        raise InvalidInputError(f"deployment must be BlueGreen(…) or Rolling(…), not {given!r}")
