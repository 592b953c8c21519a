"""A decision as a CloudWatch metric, and the scaling policy of AWS that follows it.

The metric is the number of instances. A step policy sets exactly this number, so that a value that arrives twice
changes nothing. Without data the alarm does nothing: the endpoint keeps its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs

from mme_sdk.autopilot.decision import Bounds, Decision
from mme_sdk.aws import Flow, noting
from mme_sdk.endpoints import Schedule
from mme_sdk.endpoints.autoscaling import scaling_calls
from mme_sdk.endpoints.operations.calls import alarm_call, autoscaling_call, none_if_missing, paginate
from mme_sdk.endpoints.spec.scaling_requests import (
    PUT_ALARM,
    autopilot_alarm,
    autopilot_policy,
    scaling_target,
    scheduled_action,
)
from mme_sdk.errors import InvalidInputError

__all__ = ["METRIC", "NAMESPACE", "Lost", "attach", "detach", "find_lost", "publish"]

NAMESPACE, METRIC = "mme_sdk", "DesiredInstances"
_LIMIT = re.compile(r"autopilot-(MON|TUE|WED|THU|FRI|SAT|SUN)-\d{4}")  # the name of a learned limit
_WITH_LIMITS = "With learned limits."  # in the description of the alarm, which stays when a scalable target goes
_MOST_STEPS = 20  # step adjustments of one policy


@attrs.frozen
class Lost:
    """What an update of the endpoint, or another program, has detached.

    Attributes:
        what: What is gone, in words.
        limits: Whether learned limits were attached too.
    """

    what: str
    limits: bool


def _dimensions(endpoint: str, variant: str) -> list[dict[str, str]]:
    return [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]


def publish(decision: Decision) -> Flow[None]:
    """Publish the number of instances of a decision. A decision to freeze publishes nothing.

    Args:
        decision: The decision.
    """
    if decision.action == "freeze":
        return
    datum = {
        "MetricName": METRIC,
        "Dimensions": _dimensions(decision.endpoint, decision.variant),
        "Timestamp": decision.at,
        "Value": float(decision.count),
        "Unit": "Count",
    }
    yield alarm_call("put_metric_data", decision.endpoint, Namespace=NAMESPACE, MetricData=[datum])


def attach(endpoint: str, variant: str, bounds: Bounds, schedule: Iterable[Schedule] = ()) -> Flow[None]:
    """Attach the policy that follows the metric, and scheduled limits. What has the same name is replaced.

    New scheduled limits take the place of those that were learned before.

    Args:
        endpoint: Name of the endpoint.
        variant: Name of the production variant.
        bounds: Smallest and largest number of instances.
        schedule: Scheduled limits, such as `learned_schedule` gives. Default: none.

    Raises:
        InvalidInputError: The policy would need more than 20 steps.
        EndpointNotFoundError: The endpoint was deleted meanwhile; nothing stays attached.
    """
    numbers = range(bounds.smallest, bounds.largest + 1)
    if len(numbers) > _MOST_STEPS:
        raise InvalidInputError(
            f"a step policy has at most {_MOST_STEPS} steps, and {bounds.smallest} to {bounds.largest} instances are "
            f"{len(numbers)} numbers",
            hint='choose closer bounds, or apply="scale"',
            endpoint=endpoint,
        )
    with noting(f"the autopilot's autoscaling of {endpoint}/{variant} may be attached only in part: attach() again"):
        yield from _attach(endpoint, variant, bounds, tuple(schedule), numbers)


def _attach(endpoint: str, variant: str, bounds: Bounds, learned: tuple[Schedule, ...], numbers: range) -> Flow[None]:
    target = scaling_target(endpoint, variant)
    limits = yield from _limits(endpoint, variant)
    if learned:
        yield from _delete_limits(endpoint, variant, limits - {one.name for one in learned})
    requests: list[tuple[str, dict[str, Any]]] = [
        ("register_scalable_target", {**target, "MinCapacity": bounds.smallest, "MaxCapacity": bounds.largest}),
        ("put_scaling_policy", {**target, **_policy(endpoint, variant, numbers)}),
        *(("put_scheduled_action", {**target, **scheduled_action(one)}) for one in learned),
        # Last: until then, `find_lost` finds that something is missing.
        (PUT_ALARM, _alarm(endpoint, variant, bounds, limits=bool(learned or limits))),
    ]
    yield from scaling_calls.attach(endpoint, variant, requests)


def _policy(endpoint: str, variant: str, numbers: range) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {
            "MetricIntervalLowerBound": float(place),
            "MetricIntervalUpperBound": float(place + 1),
            "ScalingAdjustment": count,
        }
        for place, count in enumerate(numbers)
    ]
    del steps[-1]["MetricIntervalUpperBound"]
    return {
        "PolicyName": autopilot_policy(endpoint, variant),
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ExactCapacity",
            "MetricAggregationType": "Maximum",
            "Cooldown": 60,
            "StepAdjustments": steps,
        },
    }


def _alarm(endpoint: str, variant: str, bounds: Bounds, *, limits: bool) -> dict[str, Any]:
    description = f"Sets the number of instances of {endpoint} that mme_sdk's autopilot publishes. Always on."
    return {
        "AlarmName": autopilot_alarm(endpoint, variant),
        "AlarmDescription": f"{description} {_WITH_LIMITS}" if limits else description,
        "Namespace": NAMESPACE,
        "MetricName": METRIC,
        "Dimensions": _dimensions(endpoint, variant),
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "DatapointsToAlarm": 1,
        "Threshold": bounds.smallest - 0.5,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
    }


def find_lost(endpoint: str, variant: str) -> Flow[Lost | None]:
    """Return what was attached and is so no longer; None if nothing was, or all of it still is.

    Application Auto Scaling deletes policies and scheduled actions with their scalable target. The alarm stays: it says
    that a policy was attached.

    Args:
        endpoint: Name of the endpoint.
        variant: Name of the production variant.
    """
    answer = yield alarm_call("describe_alarms", endpoint, AlarmNames=[autopilot_alarm(endpoint, variant)])
    alarm = next(iter(answer.get("MetricAlarms", ())), None)
    if alarm is None:
        return None
    target, name = scaling_target(endpoint, variant), autopilot_policy(endpoint, variant)
    policies = yield from paginate(
        autoscaling_call("describe_scaling_policies", endpoint, **target, PolicyNames=[name]), "ScalingPolicies"
    )
    limits = _WITH_LIMITS in alarm.get("AlarmDescription", "")
    if not policies:
        return Lost("the step policy is not attached any more, for example because of an update", limits)
    if policies[0]["PolicyARN"] not in alarm.get("AlarmActions", ()):
        return Lost("the alarm triggers a step policy that does not exist any more", limits)
    return None


def detach(endpoint: str, variant: str) -> Flow[None]:
    """Remove the alarm, the policy and learned limits; other policies and the scalable target stay.

    Args:
        endpoint: Name of the endpoint.
        variant: Name of the production variant.
    """
    target = scaling_target(endpoint, variant)
    with noting(f"the autopilot's autoscaling of {endpoint}/{variant} may be detached only in part: detach() again"):
        yield from none_if_missing(
            alarm_call("delete_alarms", endpoint, AlarmNames=[autopilot_alarm(endpoint, variant)])
        )
        yield from none_if_missing(
            autoscaling_call(
                "delete_scaling_policy", endpoint, **target, PolicyName=autopilot_policy(endpoint, variant)
            )
        )
        limits = yield from _limits(endpoint, variant)
        yield from _delete_limits(endpoint, variant, limits)


def _limits(endpoint: str, variant: str) -> Flow[set[str]]:
    """Return the names of the scheduled limits that an autopilot has learned, whenever that was."""
    target = scaling_target(endpoint, variant)
    found = yield from paginate(autoscaling_call("describe_scheduled_actions", endpoint, **target), "ScheduledActions")
    return {name for one in found if _LIMIT.fullmatch(name := str(one["ScheduledActionName"]))}


def _delete_limits(endpoint: str, variant: str, names: Iterable[str]) -> Flow[None]:
    target = scaling_target(endpoint, variant)
    for name in sorted(names):
        yield from none_if_missing(
            autoscaling_call("delete_scheduled_action", endpoint, **target, ScheduledActionName=name)
        )
