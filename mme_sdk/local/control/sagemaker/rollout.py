"""Move the traffic of an update to the new fleet in the steps of its DeploymentConfig, and roll back on an alarm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.local.hosting_interface import HostingError, TrafficShift

__all__ = ["RolloutStep", "make_traffic_shift", "rollout_steps"]


@attrs.frozen
class RolloutStep:
    """One step of a rollout.

    Attributes:
        share: Share of the traffic for the new fleet, 0 to 1.
        wait: Seconds to wait, and to check the alarms, before the next step.
    """

    share: float
    wait: float


def rollout_steps(config: Mapping[str, Any], instances: int) -> list[RolloutStep]:
    """Return the steps of a DeploymentConfig.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html. The host runs a
    rolling update as traffic that moves batch by batch.

    Args:
        config: DeploymentConfig; may be empty.
        instances: Number of instances of the fleet, for sizes of type INSTANCE_COUNT.

    Returns:
        The steps. The last one moves all traffic.
    """
    if rolling := config.get("RollingUpdatePolicy"):
        return _equal_steps(
            _traffic_share(rolling["MaximumBatchSize"], instances), rolling["WaitIntervalInSeconds"], 0.0
        )
    policy = config.get("BlueGreenUpdatePolicy", {})
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    end = float(policy.get("TerminationWaitInSeconds", 0))
    wait = float(routing["WaitIntervalInSeconds"])
    match routing["Type"]:
        case "CANARY":
            return [RolloutStep(_traffic_share(routing["CanarySize"], instances), wait), RolloutStep(1.0, end)]
        case "LINEAR":
            return _equal_steps(_traffic_share(routing["LinearStepSize"], instances), wait, end)
        case _:
            return [RolloutStep(1.0, max(wait, end))]


def _equal_steps(share: float, wait: float, end: float) -> list[RolloutStep]:
    count = max(1, round(1 / share))
    return [RolloutStep((i + 1) / count, wait) for i in range(count - 1)] + [RolloutStep(1.0, end)]


def _traffic_share(size: Mapping[str, Any], instances: int) -> float:
    if size["Type"] == "CAPACITY_PERCENT":
        return min(1.0, float(size["Value"]) / 100)
    return min(1.0, float(size["Value"]) / instances)


def make_traffic_shift(
    config: Mapping[str, Any],
    instances: int,
    *,
    scale: float,
    alarms_in_alarm_state: Callable[[Sequence[str]], list[str]],
    sleep: Callable[[float], Awaitable[None]],
    stage: Callable[[str], None],
) -> TrafficShift | None:
    """Return the function with which hosting moves the traffic from the old fleet to the new one.

    Args:
        config: DeploymentConfig; may be empty.
        instances: Number of instances of the fleet.
        scale: Factor on every wait.
        alarms_in_alarm_state: Function that returns the names of those alarms that are in the state ALARM.
        sleep: Function that waits for a number of seconds.
        stage: Function that records the VariantStatus of the new fleet: `ActivatingTraffic` while a step moves traffic,
            `Baking` while the alarms are watched after it.

    Returns:
        The function; None if all traffic moves at once without a wait.
    """
    plan = rollout_steps(config, instances)
    alarms = [one["AlarmName"] for one in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    policy = config.get("BlueGreenUpdatePolicy") or config.get("RollingUpdatePolicy") or {}
    limit = policy.get("MaximumExecutionTimeoutInSeconds")
    if not alarms and all(step.wait == 0 for step in plan):
        return None

    def check() -> None:
        if fired := alarms_in_alarm_state(alarms):
            raise HostingError(f"The deployment was rolled back: alarm(s) {', '.join(fired)} went into ALARM state.")

    async def shift(set_share: Callable[[float], None]) -> None:
        for step in plan:
            check()
            stage("ActivatingTraffic")
            set_share(step.share)
            stage("Baking")
            left = step.wait * scale
            while left > 0:
                await sleep(min(left, 0.25))
                left -= 0.25
                check()

    async def shift_in_time(set_share: Callable[[float], None]) -> None:
        try:
            async with asyncio.timeout(None if limit is None else limit * scale):
                await shift(set_share)
        except TimeoutError as error:
            text = f"The deployment was rolled back: it took longer than MaximumExecutionTimeoutInSeconds ({limit})."
            raise HostingError(text) from error

    return shift_in_time
