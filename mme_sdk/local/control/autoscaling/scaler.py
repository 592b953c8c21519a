"""What makes autoscaling scale: alarms and schedules, looked at once a minute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mme_sdk.local.control.autoscaling.schedules import Schedule
from mme_sdk.local.control.autoscaling.service import AutoScaling, variant_of
from mme_sdk.local.control.cloudwatch import CloudWatch
from mme_sdk.local.control.store import Store

__all__ = ["Scaler", "step_count", "tracked_count"]

_DEFAULT_COOLDOWN = 300.0  # of SageMaker variants


_MOST_INSTANCES = 2**31 - 1  # the type of MaxCapacity; a metric may be any number


def tracked_count(count: int, value: float, target: float, *, scale_in: bool) -> int:
    """How many instances bring a metric to its target, as target tracking computes it.

    Args:
        count: Instances now.
        value: The metric, which shrinks in proportion to the instances.
        target: What it should be.
        scale_in: Whether fewer are wanted; then it stays above what would breach the target.

    Returns:
        The count; never fewer than one.
    """
    wanted = math.ceil(max(1.0, min(count * value / target, _MOST_INSTANCES)))
    return min(wanted, count) if scale_in else max(wanted, count)


def step_count(count: int, excess: float, config: Mapping[str, Any]) -> int:
    """How many instances a step policy sets.

    Args:
        count: Instances now.
        excess: The metric minus the alarm's threshold.
        config: StepScalingPolicyConfiguration.

    Returns:
        The count; the present one where no step fits.
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


class Scaler:
    """Scales variants by the policies and schedules of Application Auto Scaling.

    Args:
        store: Where they live.
        autoscaling: Keeps the activities.
        cloudwatch: Evaluates the alarms.
        now: The host's time.
        minute: How many seconds a minute lasts, for cooldowns.
        size: Desired instances of a variant; None where it does not serve.
        resize: Sets them.
    """

    def __init__(
        self,
        store: Store,
        autoscaling: AutoScaling,
        cloudwatch: CloudWatch,
        now: Callable[[], datetime],
        minute: float,
        size: Callable[[str, str], int | None],
        resize: Callable[[str, str, int], bool],
    ) -> None:
        self._store = store
        self._autoscaling = autoscaling
        self._cloudwatch = cloudwatch
        self._now = now
        self._minute = minute
        self._size = size
        self._resize = resize
        self._looked = now()
        self._scaled: dict[str, datetime] = {}

    def look(self) -> None:
        """Look once: evaluate alarms, and act on policies and schedules."""
        self._cloudwatch.evaluate()
        before, self._looked = self._looked, self._now()
        for _, action in list(self._store.all("scheduled-action")):
            schedule = Schedule.parse(action["Schedule"], action.get("Timezone"))
            if _active(action, self._looked) and schedule.due(before, self._looked, action["CreationTime"]):
                self._run(action)
        for _, policy in list(self._store.all("scaling-policy")):
            self._follow(policy)
        for _, target in list(self._store.all("scalable-target")):
            self._keep_within(target)

    def _run(self, action: Mapping[str, Any]) -> None:
        key, target = self._target(action)
        if target is None or target["SuspendedState"]["ScheduledScalingSuspended"]:
            return
        target |= action.get("ScalableTargetAction", {})
        self._store.put("scalable-target", key, target)
        self._keep_within(target, cause=f"scheduled action name {action['ScheduledActionName']} was triggered")

    def _keep_within(self, target: Mapping[str, Any], cause: str = "minimum capacity was set") -> None:
        count = self._size(*variant_of(target["ResourceId"]))
        if count is not None:
            self._set(target, count, count, cause)

    def _follow(self, policy: Mapping[str, Any]) -> None:
        _, target = self._target(policy)
        count = None if target is None else self._size(*variant_of(target["ResourceId"]))
        if target is None or count is None:
            return
        for name, alarm in self._store.all("alarm"):
            acts = alarm["ActionsEnabled"] and policy["PolicyARN"] in alarm.get("AlarmActions", [])
            if not acts or alarm["StateValue"] != "ALARM":
                continue
            value = self._cloudwatch.latest(alarm)
            if value is None:
                continue
            if policy["PolicyType"] == "TargetTrackingScaling":
                config = policy["TargetTrackingScalingPolicyConfiguration"]
                scale_in = alarm["ComparisonOperator"].startswith("Less")
                wanted = tracked_count(count, value, config["TargetValue"], scale_in=scale_in)
                cooldown = config.get("ScaleInCooldown" if scale_in else "ScaleOutCooldown", _DEFAULT_COOLDOWN)
            else:
                config = policy["StepScalingPolicyConfiguration"]
                wanted = step_count(count, value - alarm["Threshold"], config)
                cooldown = config.get("Cooldown", _DEFAULT_COOLDOWN)
            if self._rested(policy["PolicyARN"], cooldown) and self._allowed(target, wanted - count):
                cause = f"monitor alarm {name} in state ALARM triggered policy {policy['PolicyName']}"
                if self._set(target, count, wanted, cause):
                    self._scaled[policy["PolicyARN"]] = self._now()

    def _set(self, target: Mapping[str, Any], count: int, wanted: int, cause: str) -> bool:
        wanted = min(max(wanted, target["MinCapacity"]), target["MaxCapacity"])
        if wanted == count or not self._resize(*variant_of(target["ResourceId"]), wanted):
            return False  # nothing to do, or the endpoint is busy: the next look tries again
        self._autoscaling.record(target, cause, wanted)
        return True

    def _target(self, document: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
        key = "/".join(document[part] for part in ("ServiceNamespace", "ResourceId", "ScalableDimension"))
        return key, self._store.get("scalable-target", key)

    def _rested(self, policy_arn: str, cooldown: float) -> bool:
        last = self._scaled.get(policy_arn)
        return last is None or (self._now() - last).total_seconds() >= cooldown * self._minute / 60

    def _allowed(self, target: Mapping[str, Any], change: int) -> bool:
        state = target["SuspendedState"]
        return not state["DynamicScalingInSuspended" if change < 0 else "DynamicScalingOutSuspended"]


def _active(action: Mapping[str, Any], now: datetime) -> bool:
    return (action.get("StartTime") or now) <= now <= (action.get("EndTime") or now)
