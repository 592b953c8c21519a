"""Evaluate alarms and schedules, and change the number of instances of variants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.autoscaling.schedules import Schedule
from mme_sdk.local.control.autoscaling.service import AutoScaling, variant_of
from mme_sdk.local.control.store import Store

__all__ = ["Scaler", "step_count", "tracked_count"]

_DEFAULT_COOLDOWN = 300.0  # seconds, for SageMaker variants
_MAX_INSTANCES = 2**31 - 1  # largest MaxCapacity


def tracked_count(count: int, value: float, target: float, *, scale_in: bool) -> int:
    """Return the number of instances that brings a metric to its target, as target tracking computes it.

    Args:
        count: Current number of instances.
        value: Value of the metric, which is inversely proportional to the number of instances.
        target: Target value.
        scale_in: Whether the alarm for scaling in is in the state ALARM. Then the result is not above `count`,
            otherwise not below it.

    Returns:
        The number of instances, 0 or more. MinCapacity limits it.
    """
    # Without an instance, the metrics of a queue are those of one instance.
    wanted = math.ceil(max(0.0, min(max(1, count) * value / target, _MAX_INSTANCES)))
    return min(wanted, count) if scale_in else max(wanted, count)


def step_count(count: int, excess: float, config: Mapping[str, Any]) -> int:
    """Return the number of instances that a step scaling policy sets.

    Args:
        count: Current number of instances.
        excess: Value of the metric minus the threshold of the alarm.
        config: StepScalingPolicyConfiguration.

    Returns:
        The number of instances; `count` if no step matches.
    """
    for step in config.get("StepAdjustments", []):
        low = step.get("MetricIntervalLowerBound", -math.inf)
        if low <= excess < step.get("MetricIntervalUpperBound", math.inf):
            change = step["ScalingAdjustment"]
            match config.get("AdjustmentType", "ChangeInCapacity"):
                case "ExactCapacity":
                    return int(change)
                case "PercentChangeInCapacity":
                    exact = count * change / 100
                    change = math.trunc(exact) or (math.copysign(1, exact) if exact else 0)
                    least = config.get("MinAdjustmentMagnitude", 0)
                    change = math.copysign(max(abs(change), least), change)
            return count + int(change)
    return count


@attrs.frozen
class _Proposal:
    """The number of instances that a policy wants.

    Attributes:
        policy: The policy.
        alarm: Name of the alarm that triggered it.
        wanted: The number of instances.
        cooldown: Seconds until the policy may act again.
        scale_in: Whether target tracking wants to remove instances.
    """

    policy: Mapping[str, Any]
    alarm: str
    wanted: int
    cooldown: float
    scale_in: bool


class Scaler:
    """Scales variants by the policies and scheduled actions of Application Auto Scaling.

    Args:
        store: Holds targets, policies and scheduled actions.
        autoscaling: Records the scaling activities.
        alarms: Evaluates the alarms.
        now: Function that returns the current time.
        minute: Seconds that a minute of a cooldown lasts.
        instance_count: Function that returns the desired number of instances of a variant, or None if it does not run.
        set_instance_count: Function that sets it. It returns False if the endpoint is busy.
    """

    def __init__(
        self,
        store: Store,
        autoscaling: AutoScaling,
        alarms: Alarms,
        now: Callable[[], datetime],
        minute: float,
        instance_count: Callable[[str, str], int | None],
        set_instance_count: Callable[[str, str, int], bool],
    ) -> None:
        self._store = store
        self._autoscaling = autoscaling
        self._alarms = alarms
        self._now = now
        self._minute = minute
        self._instance_count = instance_count
        self._set_instance_count = set_instance_count
        self._last_run = now()
        self._scaled_at: dict[str, datetime] = {}  # by policy ARN

    def run_once(self) -> None:
        """Evaluate the alarms, then apply the scheduled actions and policies that are due."""
        self._alarms.evaluate()
        before, self._last_run = self._last_run, self._now()
        for _, action in list(self._store.all("scheduled-action")):
            schedule = Schedule.parse(action["Schedule"], action.get("Timezone"))
            if _active(action, self._last_run) and schedule.due(before, self._last_run, action["CreationTime"]):
                self._apply_action(action)
        for key, target in list(self._store.all("scalable-target")):
            self._apply_policies(key, target)
        for _, target in list(self._store.all("scalable-target")):
            self._apply_capacity_limits(target)

    def _apply_action(self, action: Mapping[str, Any]) -> None:
        key, target = self._target(action)
        if target is None or target["SuspendedState"]["ScheduledScalingSuspended"]:
            return
        target |= action.get("ScalableTargetAction", {})
        self._store.put("scalable-target", key, target)
        self._apply_capacity_limits(
            target, cause=f"scheduled action name {action['ScheduledActionName']} was triggered"
        )

    def _apply_capacity_limits(self, target: Mapping[str, Any], cause: str = "minimum capacity was set") -> None:
        count = self._instance_count(*variant_of(target["ResourceId"]))
        if count is not None:
            self._set(target, count, count, cause)

    def _apply_policies(self, key: str, target: Mapping[str, Any]) -> None:
        """Set the number of instances that the policies of a target want together.

        The largest number wins. Target tracking removes instances only if all of its policies want that, apart from
        those with DisableScaleIn. Source:
        https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
        """
        count = self._instance_count(*variant_of(target["ResourceId"]))
        if count is None:
            return
        policies = [one for _, one in self._store.all("scaling-policy") if self._target(one)[0] == key]
        proposals: list[_Proposal] = []
        held = False
        for policy in policies:
            found = self._proposals(policy, count)
            proposals += found
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
            if tracking is not None and not tracking.get("DisableScaleIn"):
                held = held or not any(one.scale_in for one in found)
        able = [
            one
            for one in proposals
            if one.wanted != count
            and not (one.scale_in and held)
            and self._cooldown_is_over(one.policy["PolicyARN"], one.cooldown)
            and self._is_enabled(target, one.wanted - count)
        ]
        if able:
            most = max(able, key=lambda one: one.wanted)
            cause = f"monitor alarm {most.alarm} in state ALARM triggered policy {most.policy['PolicyName']}"
            if self._set(target, count, most.wanted, cause):
                self._scaled_at[most.policy["PolicyARN"]] = self._now()

    def _proposals(self, policy: Mapping[str, Any], count: int) -> list[_Proposal]:
        """Return the numbers of instances that the alarms of a policy want."""
        found = []
        for name, alarm in self._store.all("alarm"):
            has_action = alarm["ActionsEnabled"] and policy["PolicyARN"] in alarm.get("AlarmActions", [])
            if not has_action or alarm["StateValue"] != "ALARM":
                continue
            value = self._alarms.latest_value(alarm)
            if value is None:
                continue
            if policy["PolicyType"] == "TargetTrackingScaling":
                config = policy["TargetTrackingScalingPolicyConfiguration"]
                scale_in = alarm["ComparisonOperator"].startswith("Less")
                wanted = tracked_count(count, value, config["TargetValue"], scale_in=scale_in)
                cooldown = config.get("ScaleInCooldown" if scale_in else "ScaleOutCooldown", _DEFAULT_COOLDOWN)
            else:
                scale_in = False  # steps do not wait for target tracking
                config = policy["StepScalingPolicyConfiguration"]
                wanted = step_count(count, value - alarm["Threshold"], config)
                cooldown = config.get("Cooldown", _DEFAULT_COOLDOWN)
            found.append(_Proposal(policy, name, wanted, cooldown, scale_in))
        return found

    def _set(self, target: Mapping[str, Any], count: int, wanted: int, cause: str) -> bool:
        wanted = min(max(wanted, target["MinCapacity"]), target["MaxCapacity"])
        if wanted == count or not self._set_instance_count(*variant_of(target["ResourceId"]), wanted):
            return False  # if the endpoint is busy, the next run tries again
        self._autoscaling.record_activity(target, cause, wanted)
        return True

    def _target(self, document: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
        key = "/".join(document[part] for part in ("ServiceNamespace", "ResourceId", "ScalableDimension"))
        return key, self._store.get("scalable-target", key)

    def _cooldown_is_over(self, policy_arn: str, cooldown: float) -> bool:
        last = self._scaled_at.get(policy_arn)
        return last is None or (self._now() - last).total_seconds() >= cooldown * self._minute / 60

    def _is_enabled(self, target: Mapping[str, Any], change: int) -> bool:
        state = target["SuspendedState"]
        return not state["DynamicScalingInSuspended" if change < 0 else "DynamicScalingOutSuspended"]


def _active(action: Mapping[str, Any], now: datetime) -> bool:
    return (action.get("StartTime") or now) <= now <= (action.get("EndTime") or now)
