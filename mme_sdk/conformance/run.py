"""Runs the checks within a time budget, removes what they created, and reports what was seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import Check, Difference, Outcome
from mme_sdk.protocols import Clock

__all__ = ["ENDPOINT_MINUTES", "Report", "minutes_at_most", "run_checks"]

ENDPOINT_MINUTES = 8.0
"""Longest time of the creation of an endpoint, in minutes, that the budget allows for."""


@attrs.frozen(kw_only=True)
class Report:
    """What a run saw.

    Attributes:
        target: What the checks ran against.
        region: AWS region.
        started: Start, in ISO 8601.
        outcomes: One for each check, in order.
        left_behind: Resources that could not be removed, with the reason.
    """

    target: str
    region: str
    started: str
    outcomes: tuple[Outcome, ...]
    left_behind: dict[str, str]

    @property
    def differences(self) -> tuple[Outcome, ...]:
        """The outcomes in which SageMaker does not do what the contract says."""
        return tuple(one for one in self.outcomes if one.verdict == "differs")

    def to_json(self) -> str:
        """Return the report as JSON text, with two spaces of indentation."""
        return json.dumps(attrs.asdict(self), indent=2, default=str) + "\n"


def minutes_at_most(checks: Sequence[Check]) -> float:
    """Return the minutes that the checks take at most, the creation of their endpoints included.

    Args:
        checks: The checks.

    Returns:
        Minutes.
    """
    endpoints = {one.needs for one in checks} - {"nothing"}
    return sum(one.minutes for one in checks) + ENDPOINT_MINUTES * len(endpoints)


def run_checks(
    account: Account,
    checks: Sequence[Check],
    *,
    budget_minutes: float,
    clock: Clock,
    target: str,
    region: str,
    started: str,
    progress: Callable[[Outcome], None] = lambda _: None,
) -> Report:
    """Run checks one after the other and remove everything that they created.

    A check that would end after the budget is skipped. Ctrl-C ends the run after the removal.

    Args:
        account: Where to run; closed at the end.
        checks: The checks, in order.
        budget_minutes: Minutes for all checks, without the removal.
        clock: Time.
        target: What the report calls the account.
        region: AWS region, for the report.
        started: Start of the run, for the report.
        progress: Called with each outcome.

    Returns:
        The report.
    """
    start = clock.monotonic()
    created: set[str] = {"nothing"}
    outcomes: list[Outcome] = []
    left: dict[str, str] = {}
    with account.closing(left):
        for one in checks:
            begin = clock.monotonic()
            needed = one.minutes + (0.0 if one.needs in created else ENDPOINT_MINUTES)
            if (begin - start) / 60 + needed > budget_minutes:
                verdict, seen = "skipped", f"it takes up to {needed:g} minutes, more than the budget has left"
            else:
                verdict, seen = _observe(one, account)
                created.add(one.needs)
            outcome = Outcome(
                name=one.name,
                line=one.line,
                expected=one.expected,
                verdict=verdict,  # type: ignore[arg-type]
                seen=seen,
                seconds=round(clock.monotonic() - begin, 3),
            )
            outcomes.append(outcome)
            progress(outcome)
    return Report(target=target, region=region, started=started, outcomes=tuple(outcomes), left_behind=left)


def _observe(one: Check, account: Account) -> tuple[str, Any]:
    try:
        seen = one.function(account)
    except Difference as difference:
        return "differs", difference.args[0]
    except Exception as error:  # noqa: BLE001 - the other checks go on; the report has this one
        return "failed", f"{type(error).__name__}: {error}"
    return ("agrees" if one.known else "observed"), seen
