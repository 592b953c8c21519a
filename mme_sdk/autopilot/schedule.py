"""Scheduled limits and models to warm, learned from the decisions of the same hours a week earlier."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterable
from datetime import UTC, datetime, timedelta

from mme_sdk._validation import check_number
from mme_sdk.autopilot.decision import Decision
from mme_sdk.autopilot.demand import WINDOWS, Demand
from mme_sdk.autopilot.state import Bounds
from mme_sdk.endpoints import Schedule

__all__ = ["learned_floor", "learned_models", "learned_schedule"]

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


def learned_models(
    decisions: Iterable[Decision], demand: Demand, *, ahead: int, space: float, done: Container[str] = ()
) -> tuple[str, ...]:
    """Return the models to load before they are called: those that were called in the coming minutes a week earlier.

    A model that was called in the last hour is left out, because it is in memory already.

    Args:
        decisions: Decisions of the past.
        demand: The calls until now.
        ahead: Minutes to come; 1 to 60.
        space: Bytes of memory that no model fills. Models that do not fit are left out: they would evict others.
        done: Models that were loaded already. Default: none.

    Returns:
        The models, those with the most calls first; none without a decision of these minutes.

    Raises:
        InvalidInputError: `ahead` is out of range.
    """
    check_number("ahead", ahead, at_least=1, at_most=WINDOWS[-1], integer=True)
    now = demand.at - _WEEK
    end = now + timedelta(minutes=ahead)
    newest = max((one for one in decisions if now < one.at <= end), key=lambda one: one.at, default=None)
    if newest is None:
        return ()
    past = newest.demand
    calls = past.counts[:, bisect_left(WINDOWS, ahead)]
    present = set(demand.models)
    found = []
    for row in (-calls).argsort(kind="stable").tolist():
        name, size = past.models[row], past.profiles[row].memory_bytes
        if calls[row] and name not in present and name not in done and size <= space:
            space -= size
            found.append(name)
    return tuple(found)


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
