"""A decision as a CloudWatch metric, and the scaling policy of AWS that follows it.

The metric is the number of instances. A step policy sets exactly this number, so that a value that arrives twice
changes nothing. Without data the alarm does nothing: the endpoint keeps its size.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any

from mme_sdk.autopilot.decision import Bounds, Decision
from mme_sdk.aws import Flow
from mme_sdk.endpoints import Schedule
from mme_sdk.endpoints.operations.calls import alarm_call, autoscaling_call, none_if_missing, paginate
from mme_sdk.endpoints.spec.scaling_requests import ALARM_PREFIX, scaling_target
from mme_sdk.errors import InvalidInputError

__all__ = ["METRIC", "NAMESPACE", "attach", "detach", "publish"]

NAMESPACE, METRIC = "mme_sdk", "DesiredInstances"
_LIMIT = re.compile(r"autopilot-(MON|TUE|WED|THU|FRI|SAT|SUN)-\d{4}")  # the name of a learned limit
_MOST_STEPS = 20  # step adjustments of one policy


def _dimensions(endpoint: str, variant: str) -> list[dict[str, str]]:
    return [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]


def _policy_name(endpoint: str, variant: str) -> str:
    return f"{endpoint}-{variant}-autopilot"


def _alarm_name(endpoint: str, variant: str) -> str:
    return f"{ALARM_PREFIX}{endpoint}/{variant}/autopilot"


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
    """
    numbers = range(bounds.smallest, bounds.largest + 1)
    if len(numbers) > _MOST_STEPS:
        raise InvalidInputError(
            f"a step policy has at most {_MOST_STEPS} steps, and {bounds.smallest} to {bounds.largest} instances are "
            f"{len(numbers)} numbers",
            hint='choose closer bounds, or apply="scale"',
            endpoint=endpoint,
        )
    target = scaling_target(endpoint, variant)
    yield autoscaling_call(
        "register_scalable_target", endpoint, **target, MinCapacity=bounds.smallest, MaxCapacity=bounds.largest
    )
    steps: list[dict[str, Any]] = [
        {
            "MetricIntervalLowerBound": float(place),
            "MetricIntervalUpperBound": float(place + 1),
            "ScalingAdjustment": count,
        }
        for place, count in enumerate(numbers)
    ]
    del steps[-1]["MetricIntervalUpperBound"]
    answer = yield autoscaling_call(
        "put_scaling_policy",
        endpoint,
        **target,
        PolicyName=_policy_name(endpoint, variant),
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ExactCapacity",
            "MetricAggregationType": "Maximum",
            "Cooldown": 60,
            "StepAdjustments": steps,
        },
    )
    yield alarm_call(
        "put_metric_alarm",
        endpoint,
        AlarmName=_alarm_name(endpoint, variant),
        AlarmDescription=f"Sets the number of instances of {endpoint} that mme_sdk's autopilot publishes. Always on.",
        Namespace=NAMESPACE,
        MetricName=METRIC,
        Dimensions=_dimensions(endpoint, variant),
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        DatapointsToAlarm=1,
        Threshold=bounds.smallest - 0.5,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
        AlarmActions=[answer["PolicyARN"]],
    )
    learned = tuple(schedule)
    if learned:
        yield from _delete_limits(endpoint, variant, keep={one.name for one in learned})
    for one in learned:
        limits = {"MinCapacity": one.min, "MaxCapacity": one.max}
        yield autoscaling_call(
            "put_scheduled_action",
            endpoint,
            **target,
            ScheduledActionName=one.name,
            Schedule=one.when,
            Timezone=one.timezone or "UTC",
            ScalableTargetAction={name: value for name, value in limits.items() if value is not None},
        )


def detach(endpoint: str, variant: str) -> Flow[None]:
    """Remove the alarm, the policy and learned limits; other policies and the scalable target stay.

    Args:
        endpoint: Name of the endpoint.
        variant: Name of the production variant.
    """
    target = scaling_target(endpoint, variant)
    yield from none_if_missing(alarm_call("delete_alarms", endpoint, AlarmNames=[_alarm_name(endpoint, variant)]))
    yield from none_if_missing(
        autoscaling_call("delete_scaling_policy", endpoint, **target, PolicyName=_policy_name(endpoint, variant))
    )
    yield from _delete_limits(endpoint, variant)


def _delete_limits(endpoint: str, variant: str, keep: Container[str] = ()) -> Flow[None]:
    """Delete the scheduled limits that an autopilot has learned, whenever that was."""
    target = scaling_target(endpoint, variant)
    found = yield from paginate(autoscaling_call("describe_scheduled_actions", endpoint, **target), "ScheduledActions")
    for name in (str(one["ScheduledActionName"]) for one in found):
        if _LIMIT.fullmatch(name) and name not in keep:
            yield from none_if_missing(
                autoscaling_call("delete_scheduled_action", endpoint, **target, ScheduledActionName=name)
            )
