"""Rules of Application Auto Scaling that its service model does not express.

Source: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html and the pages that it
links to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mme_sdk.local.wire.errors import ApiError

__all__ = ["check_action", "check_policy", "check_tags"]

_TARGET_VALUES = (8.515920e-109, 1.174271e108)
_MAX_STEPS = 20
_MAX_TAGS = 50
_CONFIGURATIONS = {
    "StepScaling": "StepScalingPolicyConfiguration",
    "TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration",
}


def check_policy(policy: Mapping[str, Any], kept: Mapping[str, Any] | None) -> None:
    """Raise ApiError if a scaling policy violates a rule.

    Args:
        policy: The policy as it would be stored.
        kept: The policy of the same name that it replaces, or None.

    Raises:
        ApiError: ValidationException or LimitExceededException.
    """
    kind = policy["PolicyType"]
    if kind not in _CONFIGURATIONS:
        _refuse(f"A {kind} policy is not supported by the embedded SageMaker.")
    if _CONFIGURATIONS[kind] not in policy:
        _refuse(f"{_CONFIGURATIONS[kind]} is missing.")
    if kept is not None and kept["PolicyType"] != kind:
        _refuse(f"The PolicyType of {policy['PolicyName']} is {kept['PolicyType']} and cannot be changed to {kind}.")
    if all(member in policy for member in _CONFIGURATIONS.values()):
        _refuse(f"{' and '.join(_CONFIGURATIONS.values())} are mutually exclusive.")
    config = policy[_CONFIGURATIONS[kind]]
    if kind == "StepScaling":
        _check_steps(config)
    else:
        _check_tracking(config)
    for member in ("Cooldown", "ScaleInCooldown", "ScaleOutCooldown"):
        if config.get(member, 0) < 0:
            _refuse(f"{member} must not be negative.")


def _check_tracking(config: Mapping[str, Any]) -> None:
    low, high = _TARGET_VALUES
    if not low <= config["TargetValue"] <= high:
        _refuse(f"TargetValue must be from {low} to {high}.")
    given = [name for name in ("PredefinedMetricSpecification", "CustomizedMetricSpecification") if name in config]
    if len(given) != 1:
        _refuse("Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified.")


def _check_steps(config: Mapping[str, Any]) -> None:
    if "AdjustmentType" not in config:
        _refuse("AdjustmentType is required for a step scaling policy.")
    if "MinAdjustmentMagnitude" in config and config["AdjustmentType"] != "PercentChangeInCapacity":
        _refuse("MinAdjustmentMagnitude is valid only for the AdjustmentType PercentChangeInCapacity.")
    steps: Sequence[Mapping[str, Any]] = config.get("StepAdjustments", [])
    if not steps:
        _refuse("At least one StepAdjustment is required.")
    if len(steps) > _MAX_STEPS:
        raise ApiError("LimitExceededException", f"A policy can have at most {_MAX_STEPS} step adjustments.")
    bounds = sorted(
        (step.get("MetricIntervalLowerBound", -math.inf), step.get("MetricIntervalUpperBound", math.inf))
        for step in steps
    )
    if any(lower >= upper for lower, upper in bounds):
        _refuse("MetricIntervalLowerBound must be less than MetricIntervalUpperBound in each StepAdjustment.")
    for (_, upper), (lower, _) in itertools.pairwise(bounds):
        if upper != lower:
            _refuse("StepAdjustments must not have gaps or overlaps between their intervals.")
    if config["AdjustmentType"] == "ExactCapacity" and any(step["ScalingAdjustment"] < 0 for step in steps):
        _refuse("ScalingAdjustment must not be negative for the AdjustmentType ExactCapacity.")


def check_action(action: Mapping[str, Any]) -> None:
    """Raise ApiError if a scheduled action violates a rule.

    Args:
        action: The scheduled action as it would be stored.

    Raises:
        ApiError: ValidationException.
    """
    if "StartTime" in action and "EndTime" in action and action["StartTime"] >= action["EndTime"]:
        _refuse("StartTime must be before EndTime.")
    sizes = action.get("ScalableTargetAction", {})
    if any(size < 0 for size in sizes.values()):
        _refuse("MinCapacity and MaxCapacity must not be negative.")
    if sizes.get("MinCapacity", 0) > sizes.get("MaxCapacity", math.inf):
        _refuse("MinCapacity must be at most MaxCapacity.")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise ApiError if a scalable target would have too many tags.

    Args:
        tags: All tags of the target.

    Raises:
        ApiError: TooManyTagsException.
    """
    if len(tags) > _MAX_TAGS:
        raise ApiError("TooManyTagsException", f"A scalable target cannot have more than {_MAX_TAGS} tags.")


def _refuse(message: str) -> NoReturn:
    raise ApiError("ValidationException", message)
