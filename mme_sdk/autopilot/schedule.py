"""Scheduled limits, learned from the decisions of the same hours a week earlier."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from mme_sdk._validation import check_number
from mme_sdk.autopilot.decision import Decision
from mme_sdk.autopilot.state import Bounds
from mme_sdk.endpoints import Schedule

__all__ = ["learned_floor", "learned_schedule"]

_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_WEEK = timedelta(days=7)


def learned_floor(decisions: Iterable[Decision], at: datetime, *, lead: int = 15) -> int:
    """Return the number of instances that the rule wanted throughout the same hour a week earlier.

    Args:
        decisions: Decisions of the past.
        at: Time, with a time zone.
        lead: Minutes by which to be early, so that new instances are in service in time. Default 15.

    Returns:
        The smallest number that the rule wanted from `lead` minutes after that time to an hour after that; 0 without
        decisions.
    """
    begin = at + timedelta(minutes=lead) - _WEEK
    wanted = [
        one.wanted for one in decisions if one.wanted is not None and begin <= one.at < begin + timedelta(hours=1)
    ]
    return min(wanted, default=0)


def learned_schedule(decisions: Iterable[Decision], bounds: Bounds, *, lead: int = 15) -> tuple[Schedule, ...]:
    """Return scheduled limits for each hour of the week, from decisions of a week.

    A limit is the smallest number of instances that the rule wanted in that hour, so that a schedule never holds more
    than the week before needed throughout. Application Auto Scaling keeps a limit until the next one.

    Args:
        decisions: Decisions of one week.
        bounds: Smallest and largest number of instances.
        lead: Minutes by which a limit is early, so that new instances are in service in time; 0 to 59. Default 15.

    Returns:
        A limit for each hour at whose beginning it changes; none without decisions.

    Raises:
        InvalidInputError: `lead` is out of range.
    """
    check_number("lead", lead, at_least=0, at_most=59, integer=True)
    hours: dict[int, int] = {}
    for one in decisions:
        if one.wanted is not None:
            moment = one.at.astimezone(UTC)
            hour = moment.weekday() * 24 + moment.hour
            hours[hour] = min(hours.get(hour, one.wanted), one.wanted)
    if not hours:
        return ()
    floors = [min(max(hours.get(hour, bounds.smallest), bounds.smallest), bounds.largest) for hour in range(168)]
    found = []
    for hour, floor in enumerate(floors):
        if floor == floors[hour - 1] and hour:
            continue
        minutes = (hour * 60 - lead) % (168 * 60)
        day, rest = divmod(minutes, 1440)
        clock = f"{rest // 60:02d}{rest % 60:02d}"
        found.append(
            Schedule(
                name=f"autopilot-{_DAYS[day]}-{clock}",
                when=f"cron({rest % 60} {rest // 60} ? * {_DAYS[day]} *)",
                min=floor,
                timezone="UTC",
            )
        )
    return tuple(found)
