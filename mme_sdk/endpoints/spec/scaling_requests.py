"""Requests to Application Auto Scaling and CloudWatch that attach the autoscaling of a variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mme_sdk import instance_types
from mme_sdk.endpoints.spec.autoscaling import Autoscaling, FromZero, Schedule, Tracking

__all__ = [
    "ALARM_PREFIX",
    "DIMENSION",
    "PUT_ALARM",
    "alarm_name",
    "autopilot_alarm",
    "autopilot_policy",
    "backlog_metric",
    "from_zero_policy",
    "policies_by_alarm",
    "scaling_requests",
    "scaling_target",
    "scheduled_action",
    "service_of",
]

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
PUT_ALARM = "put_metric_alarm"
"""Operation of CloudWatch among those of Application Auto Scaling."""
ALARM_PREFIX = "mme_sdk/"
"""Prefix of the names of this SDK's alarms."""


def service_of(operation: str) -> str:
    """Return the service of an operation that attaches autoscaling."""
    return "cloudwatch" if operation == PUT_ALARM else "application-autoscaling"


def alarm_name(endpoint: str, variant: str) -> str:
    """Return the name of the alarm that starts the first instance of a variant."""
    return f"{ALARM_PREFIX}{endpoint}/{variant}/backlog-without-capacity"


def from_zero_policy(endpoint: str, variant: str) -> str:
    """Return the name of the step policy that starts the first instance of a variant."""
    return f"{endpoint}-{variant}-from-zero"


def autopilot_alarm(endpoint: str, variant: str) -> str:
    """Return the name of the alarm that sets the number of instances of an autopilot."""
    return f"{ALARM_PREFIX}{endpoint}/{variant}/autopilot"


def autopilot_policy(endpoint: str, variant: str) -> str:
    """Return the name of the step policy that sets the number of instances of an autopilot."""
    return f"{endpoint}-{variant}-autopilot"


def policies_by_alarm(endpoint: str, variant: str) -> dict[str, str]:
    """Return the name of the step policy that each alarm of this SDK triggers, by the name of the alarm."""
    return {
        alarm_name(endpoint, variant): from_zero_policy(endpoint, variant),
        autopilot_alarm(endpoint, variant): autopilot_policy(endpoint, variant),
    }


def scaling_target(endpoint: str, variant: str) -> dict[str, str]:
    """Return the parameters that identify a variant to Application Auto Scaling."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": DIMENSION,
    }


def scaling_requests(
    endpoint: str, variant: str, instance_type: str | None, scaling: Autoscaling
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the requests that attach autoscaling to a variant, as (operation, parameters).

    The caller adds AlarmActions to the alarm: the ARN that the request of its policy returns; see `policies_by_alarm`.
    """
    target = scaling_target(endpoint, variant)
    requests: list[tuple[str, dict[str, Any]]] = [
        ("register_scalable_target", target | {"MinCapacity": scaling.min, "MaxCapacity": scaling.max})
    ]
    for number, policy in enumerate(scaling.tracked, 1):
        name = f"{endpoint}-{variant}" if number == 1 else f"{endpoint}-{variant}-{number}"
        tracking = {
            "TargetValue": _target_value(instance_type, policy),
            "ScaleInCooldown": policy.scale_in_cooldown,
            "ScaleOutCooldown": policy.scale_out_cooldown,
            "DisableScaleIn": not policy.scale_in,
            **_metric(endpoint, variant, policy.metric),
        }
        configuration = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": tracking}
        requests.append(("put_scaling_policy", target | {"PolicyName": name} | configuration))
    if scaling.from_zero is not None:
        requests += _from_zero(endpoint, variant, scaling.from_zero)
    requests += [("put_scheduled_action", target | scheduled_action(one)) for one in scaling.schedule]
    return tuple(requests)


def _from_zero(endpoint: str, variant: str, settings: FromZero) -> list[tuple[str, dict[str, Any]]]:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
    steps = {
        "AdjustmentType": "ChangeInCapacity",
        "MetricAggregationType": "Average",
        "Cooldown": settings.cooldown,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": settings.instances}],
    }
    policy = {"PolicyType": "StepScaling", "StepScalingPolicyConfiguration": steps}
    alarm = {
        "AlarmName": alarm_name(endpoint, variant),
        "AlarmDescription": f"Requests wait and endpoint {endpoint} has no instance. mme_sdk made this alarm.",
        "MetricName": "HasBacklogWithoutCapacity",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": settings.minutes,
        "DatapointsToAlarm": settings.minutes,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
    }
    name = {"PolicyName": from_zero_policy(endpoint, variant)}
    return [("put_scaling_policy", scaling_target(endpoint, variant) | name | policy), (PUT_ALARM, alarm)]


def scheduled_action(one: Schedule) -> dict[str, Any]:
    """Return the parameters of a scheduled action, without those that identify its variant."""
    limits = {"MinCapacity": one.min, "MaxCapacity": one.max}
    action: dict[str, Any] = {"ScheduledActionName": one.name, "Schedule": one.when}
    if one.timezone is not None:
        action["Timezone"] = one.timezone
    return action | {"ScalableTargetAction": {key: value for key, value in limits.items() if value is not None}}


def backlog_metric(endpoint: str) -> dict[str, Any]:
    """Return the CustomizedMetricSpecification of the metric `backlog`."""
    return {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
    }


def _target_value(instance_type: str | None, policy: Autoscaling | Tracking) -> float:
    value = float(policy.target or 0.0)
    if isinstance(policy.metric, str) and instance_type is not None:
        return value * (instance_types.units(instance_type, policy.metric) or 1)
    return value


def _metric(endpoint: str, variant: str, metric: str | Mapping[str, Any]) -> dict[str, Any]:
    if metric == "invocations":
        return {
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        }
    if isinstance(metric, Mapping):
        return {"CustomizedMetricSpecification": dict(metric)}
    if metric == "backlog":
        return {"CustomizedMetricSpecification": backlog_metric(endpoint)}
    return {
        "CustomizedMetricSpecification": {
            "MetricName": "CPUUtilization" if metric == "cpu" else "GPUUtilization",
            "Namespace": "/aws/sagemaker/Endpoints",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
            "Statistic": "Average",
            "Unit": "Percent",
        }
    }
