"""What an invoker tells whoever listens: frozen records, in the order in which things happen.

A hook is any function of one record. It is called in the thread or task of the call, so it should be quick; what it
raises is logged and does not harm the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk.errors import MMEError

__all__ = ["AttemptMade", "ColdStartMet", "Completed", "Event", "GaveUp", "Hook", "RetryPlanned", "emit", "log_hook"]

_LOG = logging.getLogger("mme_sdk.runtime")


@attrs.frozen(kw_only=True)
class AttemptMade:
    """One request was answered, or given up.

    Attributes:
        endpoint: Endpoint's name.
        model: Target model.
        number: Which attempt of the call, from 1.
        attempt: What it met.
        sent_bytes: Size of the payload.
    """

    endpoint: str
    model: str | None
    number: int
    attempt: Attempt
    sent_bytes: int


@attrs.frozen(kw_only=True)
class ColdStartMet:
    """A call met a model that is loading; told once a call.

    Attributes:
        endpoint: Endpoint's name.
        model: Target model.
        leads: Whether this call knocks for the others.
        expected: Seconds the load is thought to take.
        source: What the thought rests on, see `Estimate`.
    """

    endpoint: str
    model: str | None
    leads: bool
    expected: float
    source: str


@attrs.frozen(kw_only=True)
class RetryPlanned:
    """A request will be sent again; where it is `slow`, beside the one that is under way.

    Attributes:
        endpoint: Endpoint's name.
        model: Target model.
        reason: Why the last one did not do.
        wait: Seconds until then.
    """

    endpoint: str
    model: str | None
    reason: Literal["cold", "throttled", "faulty", "slow"]
    wait: float


@attrs.frozen(kw_only=True)
class GaveUp:
    """A call ends with an error.

    Attributes:
        endpoint: Endpoint's name.
        model: Target model.
        error: The error that the caller gets.
        took: Seconds since the call began.
    """

    endpoint: str
    model: str | None
    error: MMEError
    took: float


@attrs.frozen(kw_only=True)
class Completed:
    """A call ends with an answer.

    Attributes:
        endpoint: Endpoint's name.
        model: Target model.
        attempts: Requests it took.
        cold: Whether it met a loading model.
        took: Seconds since the call began.
        variant: Production variant that answered.
        received_bytes: Size of the answer.
    """

    endpoint: str
    model: str | None
    attempts: int
    cold: bool
    took: float
    variant: str | None
    received_bytes: int


Event: TypeAlias = AttemptMade | ColdStartMet | RetryPlanned | GaveUp | Completed
Hook: TypeAlias = Callable[[Event], None]


def emit(hooks: Sequence[Hook], event: Event) -> None:
    """Tell every hook."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # noqa: BLE001 - an observer must not break what it observes
            _LOG.exception("a hook failed at %r", event)


def log_hook(logger: logging.Logger | None = None) -> Hook:
    """A hook that logs: give-ups as warnings, cold starts as info, the rest as debug. Payloads are never logged.

    Args:
        logger: Where to; `mme_sdk.runtime` where None.

    Returns:
        The hook.
    """
    to = logger or _LOG

    def hook(event: Event) -> None:
        match event:
            case GaveUp(endpoint=endpoint, model=model, error=error, took=took):
                to.warning(
                    "%s (%s): %s after %.3f s and %d attempts",
                    endpoint,
                    model,
                    type(error).__name__,
                    took,
                    len(error.attempt_history),
                )
            case ColdStartMet(endpoint=endpoint, model=model, expected=expected, source=source):
                to.info("%s (%s) is loading; expected to take %.1f s (%s)", endpoint, model, expected, source)
            case RetryPlanned(endpoint=endpoint, model=model, reason=reason, wait=wait):
                to.debug("%s (%s): %s; again in %.3f s", endpoint, model, reason, wait)
            case AttemptMade(endpoint=endpoint, model=model, number=number, attempt=attempt):
                to.debug("%s (%s): attempt %d: %s", endpoint, model, number, attempt.code or attempt.status)
            case Completed(endpoint=endpoint, model=model, attempts=attempts, took=took):
                to.debug("%s (%s): answered after %.3f s and %d attempts", endpoint, model, took, attempts)

    return hook
