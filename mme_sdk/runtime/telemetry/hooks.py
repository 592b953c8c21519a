"""Events of invocations, and the hooks that receive them.

A hook is a function of one event. An invoker calls it in the thread or task of the call, in the order of the events, so
a hook must return quickly. An exception in a hook is logged and does not affect the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk.errors import MMEError

__all__ = [
    "AttemptMade",
    "CallCompleted",
    "CallFailed",
    "ColdStartSeen",
    "Event",
    "Hook",
    "RetryPlanned",
    "emit",
    "log_hook",
    "wanted",
]

_LOG = logging.getLogger("mme_sdk.runtime")


@attrs.define(kw_only=True)
class AttemptMade:
    """One attempt ended, with or without an answer.

    Attributes:
        endpoint: Name of the endpoint.
        model: The target model; None on a single-model endpoint.
        number: Number of the attempt in its call, from 1.
        attempt: Times and outcome of the attempt.
        sent_bytes: Size of the payload in bytes.
    """

    endpoint: str
    model: str | None
    number: int
    attempt: Attempt
    sent_bytes: int


@attrs.define(kw_only=True)
class ColdStartSeen:
    """A call found the model loading; at most once for each call.

    Attributes:
        endpoint: Name of the endpoint.
        model: The target model; None on a single-model endpoint.
        leads: Whether this call probes the model for all callers that wait.
        expected: Expected load time in seconds.
        source: Basis of the expectation; see `LoadTime.source`.
    """

    endpoint: str
    model: str | None
    leads: bool
    expected: float
    source: str


@attrs.define(kw_only=True)
class RetryPlanned:
    """A request will be sent again.

    Attributes:
        endpoint: Name of the endpoint.
        model: The target model; None on a single-model endpoint.
        reason: `cold` (the model is loading), `throttled`, or `faulty` (SageMaker, the network or the container
            failed).
        wait: Seconds until the request is sent.
    """

    endpoint: str
    model: str | None
    reason: Literal["cold", "throttled", "faulty"]
    wait: float


@attrs.define(kw_only=True)
class CallFailed:
    """A call ended with an error.

    Attributes:
        endpoint: Name of the endpoint.
        model: The target model; None on a single-model endpoint.
        error: The error that the caller receives.
        took: Seconds since the call began.
    """

    endpoint: str
    model: str | None
    error: MMEError
    took: float


@attrs.define(kw_only=True)
class CallCompleted:
    """A call ended with an answer.

    Attributes:
        endpoint: Name of the endpoint.
        model: The target model; None on a single-model endpoint.
        attempts: Number of requests.
        cold: Whether the call met a model that was not loaded; None if this is not known.
        took: Seconds since the call began.
        variant: Production variant that answered, if SageMaker named it.
        received_bytes: Size of the answer in bytes.
        sent_bytes: Size of the payload in bytes. Default 0, not known.
    """

    endpoint: str
    model: str | None
    attempts: int
    cold: bool | None
    took: float
    variant: str | None
    received_bytes: int
    sent_bytes: int = 0


Event: TypeAlias = AttemptMade | ColdStartSeen | RetryPlanned | CallFailed | CallCompleted
Hook: TypeAlias = Callable[[Event], None]


def wanted(hooks: Sequence[Hook], event: type[Event]) -> tuple[Hook, ...]:
    """Return the hooks that want a kind of events: a hook may list the kinds as its attribute `events`.

    Args:
        hooks: The hooks.
        event: The class of the events.

    Returns:
        Those that list it, and those that list nothing.
    """
    return tuple(hook for hook in hooks if event in getattr(hook, "events", (event,)))


def emit(hooks: Sequence[Hook], event: Event) -> None:
    """Pass an event to every hook.

    Args:
        hooks: The hooks.
        event: The event.
    """
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # noqa: BLE001 - a hook must not affect the call
            _LOG.exception("a hook failed for %r", event)


def log_hook(logger: logging.Logger | None = None) -> Hook:
    """Return a hook that logs events, but no payloads.

    Failed calls are logged as warnings, cold starts as information, and the other events as debug messages.

    Args:
        logger: The logger; that of `mme_sdk.runtime` if None.

    Returns:
        The hook.

    Example:
        >>> from mme_sdk import MMEClient
        >>> client = MMEClient(region="eu-west-1", hooks=[log_hook()])
    """
    log = logger or _LOG

    def hook(event: Event) -> None:
        match event:
            case CallFailed(endpoint=endpoint, model=model, error=error, took=took):
                log.warning(
                    "%s (%s): %s after %.3f s and %d attempts",
                    endpoint,
                    model,
                    type(error).__name__,
                    took,
                    len(error.attempt_history),
                )
            case ColdStartSeen(endpoint=endpoint, model=model, expected=expected, source=source):
                log.info("%s (%s) is loading; expected to take %.1f s (%s)", endpoint, model, expected, source)
            case RetryPlanned(endpoint=endpoint, model=model, reason=reason, wait=wait):
                log.debug("%s (%s): %s; again in %.3f s", endpoint, model, reason, wait)
            case AttemptMade(endpoint=endpoint, model=model, number=number, attempt=attempt):
                log.debug("%s (%s): attempt %d: %s", endpoint, model, number, attempt.code or attempt.status)
            case CallCompleted(endpoint=endpoint, model=model, attempts=attempts, took=took):
                log.debug("%s (%s): answered after %.3f s and %d attempts", endpoint, model, took, attempts)

    return hook
