"""Waiting for an endpoint: bounded, with the reason and the statuses seen on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import attrs

from mme_sdk._validation import check_number
from mme_sdk.aws import Flow, Sleep
from mme_sdk.endpoints.error_hints import hint_for
from mme_sdk.endpoints.operations.calls import Now, describe_endpoint
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.errors import ConflictError, EndpointFailedError, EndpointNotFoundError, WaitTimeoutError

__all__ = ["ProgressCallback", "WaitProgress", "failure", "until_gone", "until_settled"]

History = tuple[tuple[float, str], ...]

_ENDED_BADLY = frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"})
JUST_CREATED = 30.0  # a new endpoint, or an update's status, may take a moment to show


@attrs.frozen(kw_only=True)
class WaitProgress:
    """How far a wait has come.

    Attributes:
        endpoint: The endpoint's name.
        status: Its status now.
        elapsed: Seconds waited so far.
        timeout: Seconds to wait at most.
        history: The statuses seen, as (seconds since the start, status).
    """

    endpoint: str
    status: str
    elapsed: float
    timeout: float
    history: History


ProgressCallback = Callable[[WaitProgress], None]


def pauses() -> Iterator[float]:
    """Seconds between looks: tight at first, then backing off to 15 s."""
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 1.4, 15.0)


class _Watch:
    """The clock and the history of one wait."""

    def __init__(self, name: str, timeout: float, now: Now, progress: ProgressCallback | None) -> None:
        check_number("timeout", timeout, over=0, infinite=True)
        self.name = name
        self.timeout = float(timeout)
        self.now = now
        self.start = now()
        self.progress = progress
        self.history: History = ()
        self._pauses = pauses()

    @property
    def elapsed(self) -> float:
        return self.now() - self.start

    def saw(self, status: str) -> None:
        elapsed = self.elapsed
        if not self.history or self.history[-1][1] != status:
            self.history += ((round(elapsed, 3), status),)
        if self.progress is not None:
            self.progress(
                WaitProgress(
                    endpoint=self.name, status=status, elapsed=elapsed, timeout=self.timeout, history=self.history
                )
            )

    def pause(self, wanted: str, hint: str) -> Flow[None]:
        left = self.timeout - self.elapsed
        if left <= 0:
            seen = " → ".join(status for _, status in self.history)
            raise WaitTimeoutError(
                f"endpoint {self.name} is not {wanted} after {self.timeout:g} s (seen: {seen})",
                hint=hint,
                history=self.history,
                endpoint=self.name,
            )
        # The last look happens at the deadline, not before it.
        yield Sleep(min(next(self._pauses), left))


def until_settled(
    name: str,
    *,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None = None,
    just_created: bool = False,
    wanted_config: str | None = None,
    config_before: str | None = None,
    reason_before: str | None = None,
) -> Flow[EndpointDescription]:
    """Wait until an endpoint is in service.

    Args:
        name: The endpoint's name.
        timeout: Seconds to wait at most.
        now: The clock.
        progress: Told of every look.
        just_created: Whether it was created a moment ago, and may not show yet.
        wanted_config: Configuration that an update brings; that from before at the end means that it was rolled back.
        config_before: Configuration from before the update; any third at the end is another update's.
        reason_before: FailureReason from before the update, which is not this update's.

    Returns:
        The description that ended the wait.

    Raises:
        EndpointFailedError: It ended otherwise, or the update was rolled back.
        ConflictError: Another update replaced this one.
        WaitTimeoutError: The time is over; the change itself goes on.
        EndpointNotFoundError: It is not there, or was deleted meanwhile.
    """
    watch = _Watch(name, timeout, now, progress)
    hint = "the change goes on by itself: wait again with a longer timeout"
    while True:
        try:
            seen = yield from describe_endpoint(name)
        except EndpointNotFoundError:
            if not (just_created and not watch.history and watch.elapsed < JUST_CREATED):
                raise
            yield from watch.pause("InService", hint)
            continue
        watch.saw(seen.status)
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
                    hint="let one client at a time change an endpoint; endpoints.plan(spec) shows what differs",
                    endpoint=name,
                )
            # An update that has not begun to show looks like one that was rolled back.
            if news or len(watch.history) > 1 or watch.elapsed > JUST_CREATED:
                raise failure(seen, watch.history, rolled_back=True)
        yield from watch.pause("InService", hint)


def until_gone(
    name: str,
    *,
    timeout: float,
    now: Now,
    progress: ProgressCallback | None = None,
    created: datetime | None = None,
) -> Flow[History]:
    """Wait until an endpoint is deleted; one of the same name that was created at another time is another one.

    Returns:
        The statuses seen.

    Raises:
        WaitTimeoutError: The time is over.
    """
    watch = _Watch(name, timeout, now, progress)
    while True:
        try:
            seen = yield from describe_endpoint(name)
        except EndpointNotFoundError:
            return watch.history
        if created is not None and seen.created is not None and seen.created != created:
            return watch.history
        watch.saw(seen.status)
        yield from watch.pause("deleted", "delete() again: it goes on where it stopped")


def failure(seen: EndpointDescription, history: History, *, rolled_back: bool = False) -> EndpointFailedError:
    """The error for an endpoint that ended badly."""
    what = "the update was rolled back" if rolled_back else f"ended as {seen.status}"
    reason = seen.failure_reason
    facts: dict[str, Any] = {"history": history, "endpoint": seen.name, "reason": reason}
    return EndpointFailedError(
        f"endpoint {seen.name}: {what}: {reason or 'SageMaker gives no reason'}",
        hint=f"{hint_for(reason or '') or 'look into the containers'}; logs: {seen.logs_url or seen.log_group}",
        fault="caller" if "model data" in (reason or "") else "service",
        **facts,
    )
