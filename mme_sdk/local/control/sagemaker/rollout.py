"""How an update moves traffic to the new fleet: a DeploymentConfig as steps, alarms that turn it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.local.hosting_interface import HostingError, TrafficShift

__all__ = ["Step", "gate", "steps"]


@attrs.frozen
class Step:
    """One step of a rollout.

    Attributes:
        share: Share of the traffic that the new fleet gets.
        wait: Seconds to watch the alarms before the next step.
    """

    share: float
    wait: float


def steps(config: Mapping[str, Any], instances: int) -> list[Step]:
    """The steps of a DeploymentConfig.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html. A rolling update is shown as
    traffic that moves batch by batch.

    Args:
        config: DeploymentConfig; may be empty.
        instances: Instances of the fleet, for sizes given as INSTANCE_COUNT.

    Returns:
        Steps, the last of which has all the traffic.
    """
    if rolling := config.get("RollingUpdatePolicy"):
        return _stairs(_share(rolling["MaximumBatchSize"], instances), rolling["WaitIntervalInSeconds"], 0.0)
    policy = config.get("BlueGreenUpdatePolicy", {})
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    end = float(policy.get("TerminationWaitInSeconds", 0))
    wait = float(routing["WaitIntervalInSeconds"])
    match routing["Type"]:
        case "CANARY":
            return [Step(_share(routing["CanarySize"], instances), wait), Step(1.0, end)]
        case "LINEAR":
            return _stairs(_share(routing["LinearStepSize"], instances), wait, end)
        case _:
            return [Step(1.0, max(wait, end))]


def _stairs(share: float, wait: float, end: float) -> list[Step]:
    count = max(1, round(1 / share))
    return [Step((i + 1) / count, wait) for i in range(count - 1)] + [Step(1.0, end)]


def _share(size: Mapping[str, Any], instances: int) -> float:
    if size["Type"] == "CAPACITY_PERCENT":
        return min(1.0, float(size["Value"]) / 100)
    return min(1.0, float(size["Value"]) / instances)


def gate(
    config: Mapping[str, Any],
    instances: int,
    *,
    scale: float,
    alarms_in_alarm_state: Callable[[Sequence[str]], list[str]],
    sleep: Callable[[float], Awaitable[None]],
) -> TrafficShift | None:
    """What hosting awaits between bringing the new fleet up and removing the old one.

    Args:
        config: DeploymentConfig; may be empty.
        instances: Instances of the fleet.
        scale: Factor on every wait.
        alarms_in_alarm_state: Which of these alarms are in ALARM.
        sleep: Waits.

    Returns:
        The gate; None where all traffic moves at once and nothing is waited for.
    """
    plan = steps(config, instances)
    alarms = [one["AlarmName"] for one in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    policy = config.get("BlueGreenUpdatePolicy") or config.get("RollingUpdatePolicy") or {}
    limit = policy.get("MaximumExecutionTimeoutInSeconds")
    if not alarms and all(step.wait == 0 for step in plan):
        return None

    def check() -> None:
        if fired := alarms_in_alarm_state(alarms):
            raise HostingError(f"The deployment was rolled back: alarm(s) {', '.join(fired)} went into ALARM state.")

    async def move(send: Callable[[float], None]) -> None:
        for step in plan:
            check()
            send(step.share)
            left = step.wait * scale
            while left > 0:
                await sleep(min(left, 0.25))
                left -= 0.25
                check()

    async def move_in_time(send: Callable[[float], None]) -> None:
        try:
            async with asyncio.timeout(None if limit is None else limit * scale):
                await move(send)
        except TimeoutError as error:
            text = f"The deployment was rolled back: it took longer than MaximumExecutionTimeoutInSeconds ({limit})."
            raise HostingError(text) from error

    return move_in_time
