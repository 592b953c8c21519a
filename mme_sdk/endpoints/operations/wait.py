"""Wait for an endpoint, for a limited time; errors carry SageMaker's reason and the statuses that were seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mme_sdk._validation import check_number
from mme_sdk.aws import Flow, Sleep
from mme_sdk.aws.failure_hints import brief, hint_for
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.operations.calls import Now, describe_endpoint
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.errors import ConflictError, EndpointFailedError, EndpointNotFoundError, WaitTimeoutError

__all__ = ["failure", "until_gone", "until_settled", "waiting_for"]

History = tuple[tuple[float, str], ...]

_ENDED_BADLY = frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"})
_DOING = {
    "Creating": "provisioning",
    "Updating": "updating",
    "SystemUpdating": "patching",
    "RollingBack": "rolling back",
    "Deleting": "deleting",
}
# VariantStatus of the API, in the order in which it is shown.
_STAGES = {"ActivatingTraffic": "activating traffic", "Baking": "baking: watching the alarms of the new fleet"}
JUST_CREATED = 30.0  # seconds in which a new endpoint, or a new status, may not be visible


def waiting_for(seen: EndpointDescription) -> str:
    """Return what an endpoint is being waited for, such as `provisioning 1 of 2 instances`; its status at the end.

    The stage of each variant follows, if there are several, or if the stage says more than the status.
    """
    stages = set(seen.stages.values())
    doing = _DOING.get(seen.status)
    if doing is None:
        text = seen.status
    elif stages & set(_STAGES):
        text = next(text for stage, text in _STAGES.items() if stage in stages)
    else:
        wanted = sum(variant.desired_count or 0 for variant in seen.variants)
        running = sum(variant.instance_count or 0 for variant in seen.variants)
        text = f"{doing} {running} of {wanted} instances" if wanted > running else doing
    if len(seen.stages) > 1 or not stages <= {seen.status, *_STAGES}:
        text += f" ({stages_text(seen)})"
    return text


def stages_text(seen: EndpointDescription) -> str:
    """Return the stage of each variant, such as `A Baking, B Deleting`."""
    return ", ".join(f"{variant} {stage}" for variant, stage in seen.stages.items())


def pauses() -> Iterator[float]:
    """Yield the pauses between two calls in seconds, from 0.2 growing to 15."""
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 1.4, 15.0)


class _Watch:
    """The clock and the history of one wait."""

    def __init__(self, name: str, timeout: float, now: Now, progress: Reporter | None) -> None:
        check_number("timeout", timeout, over=0, infinite=True)
        self.name = name
        self.timeout = float(timeout)
        self.now = now
        self.start = now()
        self.progress = progress
        self.history: History = ()
        self._pauses = pauses()
        self._stages = ""

    @property
    def elapsed(self) -> float:
        return self.now() - self.start

    def saw(self, seen: EndpointDescription) -> None:
        if not self.history or self.history[-1][1] != seen.status:
            self.history += ((round(self.elapsed, 3), seen.status),)
        self._stages = stages_text(seen)
        if self.progress is not None:
            self.progress(status=seen.status, doing=waiting_for(seen))

    def pause(self, wanted: str, hint: str) -> Flow[None]:
        left = self.timeout - self.elapsed
        if left <= 0:
            seen = " → ".join(status for _, status in self.history)
            seen = f"{seen}; variants: {self._stages}" if self._stages else seen
            raise WaitTimeoutError(
                f"endpoint {self.name} is not {wanted} after {self.timeout:g} s (seen: {seen})",
                hint=hint,
                history=self.history,
                endpoint=self.name,
            )
        # The last call is made at the deadline.
        yield Sleep(min(next(self._pauses), left))


def until_settled(
    name: str,
    *,
    timeout: float,
    now: Now,
    progress: Reporter | None = None,
    just_created: bool = False,
    wanted_config: str | None = None,
    config_before: str | None = None,
    reason_before: str | None = None,
) -> Flow[EndpointDescription]:
    """Wait until an endpoint is in service.

    Args:
        name: EndpointName.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        progress: Reports each DescribeEndpoint.
        just_created: Whether DescribeEndpoint may not find the endpoint yet.
        wanted_config: Configuration that an update sets. If another one is in service at the end, the update failed.
        config_before: Configuration before the update; it is in service again after a rollback.
        reason_before: FailureReason before the update, which is not a failure of this update.

    Returns:
        The endpoint in service.

    Raises:
        EndpointFailedError: The endpoint ended in another status, or the update was rolled back.
        ConflictError: Another update replaced this one.
        WaitTimeoutError: The endpoint is not in service after `timeout`; the change itself continues.
        EndpointNotFoundError: The endpoint does not exist, or was deleted.
    """
    watch = _Watch(name, timeout, now, progress)
    hint = "the change continues: wait again with a longer timeout"
    while True:
        try:
            seen = yield from describe_endpoint(name)
        except EndpointNotFoundError:
            if not (just_created and not watch.history and watch.elapsed < JUST_CREATED):
                raise
            yield from watch.pause("InService", hint)
            continue
        watch.saw(seen)
        if seen.status in _ENDED_BADLY:
            raise failure(seen, watch.history)
        if seen.status == "InService":
            if wanted_config is None:
                return seen
            news = seen.failure_reason if seen.failure_reason != reason_before else None
            if seen.config_name == wanted_config and not news:
                return seen
            if seen.config_name not in (wanted_config, config_before or seen.config_name):
                raise ConflictError(
                    f"endpoint {name}: another update followed this one; {seen.config_name} is in service now",
                    hint="change an endpoint from one client at a time; endpoints.plan(spec) shows the differences",
                    endpoint=name,
                )
            # The status of a new update may not be visible yet, which looks like a rollback.
            if news or len(watch.history) > 1 or watch.elapsed > JUST_CREATED:
                raise failure(seen, watch.history, rolled_back=True)
        yield from watch.pause("InService", hint)


def until_gone(
    name: str,
    *,
    timeout: float,
    now: Now,
    progress: Reporter | None = None,
    created: datetime | None = None,
) -> Flow[History]:
    """Wait until an endpoint is deleted.

    Args:
        name: EndpointName.
        timeout: Longest time to wait, in seconds.
        now: The monotonic clock.
        progress: Reports each DescribeEndpoint.
        created: CreationTime of the endpoint. An endpoint of this name with another CreationTime is a new one.

    Returns:
        The statuses seen.

    Raises:
        WaitTimeoutError: The endpoint is not deleted after `timeout` seconds.
    """
    watch = _Watch(name, timeout, now, progress)
    while True:
        try:
            seen = yield from describe_endpoint(name)
        except EndpointNotFoundError:
            return watch.history
        if created is not None and seen.created is not None and seen.created != created:
            return watch.history
        watch.saw(seen)
        yield from watch.pause("deleted", "delete() again continues")


def failure(seen: EndpointDescription, history: History, *, rolled_back: bool = False) -> EndpointFailedError:
    """Return the error for an endpoint that failed."""
    what = "the update was rolled back" if rolled_back else f"ended as {seen.status}"
    reason = seen.failure_reason
    facts: dict[str, Any] = {"history": history, "endpoint": seen.name, "reason": reason}
    return EndpointFailedError(
        f"endpoint {seen.name}: {what}: {brief(reason) or 'SageMaker gives no reason'}",
        hint=f"{hint_for(reason or '') or 'read the logs of the containers'}; logs: "
        f"client.endpoint({seen.name!r}).logs(), on AWS also {seen.logs_url or seen.log_group}",
        fault="caller" if "model data" in (reason or "") else "service",
        **facts,
    )
