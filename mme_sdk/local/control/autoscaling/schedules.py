"""The schedule expressions `at(…)`, `rate(…)` and `cron(…)` of scheduled actions."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import attrs

from mme_sdk.local.wire.errors import ApiError

__all__ = ["Schedule"]

_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))
_NAMES = {
    name: number
    for names in ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", "SUN MON TUE WED THU FRI SAT")
    for number, name in enumerate(names.split(), 1)
}
_UNITS = {"minute": 60, "hour": 3600, "day": 86400}


@attrs.frozen
class Schedule:
    """A schedule of Application Auto Scaling. One of `at`, `every` and `cron` is set.

    Attributes:
        at: Time of `at(…)`.
        every: Seconds of the interval of `rate(…)`.
        cron: Allowed minutes, hours, days, months, weekdays (1 is Sunday) and years of `cron(…)`.
        zone: Time zone of `at` and `cron`.
    """

    at: datetime | None = None
    every: float | None = None
    cron: tuple[frozenset[int], ...] | None = None
    zone: ZoneInfo = attrs.field(factory=lambda: ZoneInfo("UTC"))

    @classmethod
    def parse(cls, text: str, timezone: str | None = None) -> Schedule:
        """Parse a schedule expression.

        Args:
            text: The expression.
            timezone: IANA name of the time zone. Default None: UTC.

        Returns:
            The schedule.

        Raises:
            ApiError: The expression or the time zone is invalid.
        """
        try:
            zone = ZoneInfo(timezone or "UTC")
            found = re.fullmatch(r"(at|rate|cron)\((.+)\)", text)
            if found is None:
                raise ValueError(text)
            kind, inner = found.groups()
            if kind == "at":
                moment = datetime.fromisoformat(inner)
                if moment.tzinfo is not None:
                    raise ValueError(text)
                return cls(at=moment.replace(tzinfo=zone), zone=zone)
            if kind == "rate":
                number, unit = inner.split()
                if not re.fullmatch("[1-9][0-9]{0,8}", number):
                    raise ValueError(text)
                return cls(every=int(number) * _UNITS[unit.removesuffix("s")], zone=zone)
            parts = inner.upper().split()
            if len(parts) != len(_FIELDS):
                raise ValueError(text)
            return cls(
                cron=tuple(_field(part, *limits) for part, limits in zip(parts, _FIELDS, strict=True)), zone=zone
            )
        except (ValueError, KeyError, OSError) as error:
            raise ApiError(
                "ValidationException", f"Invalid schedule {text!r} in time zone {timezone or 'UTC'}."
            ) from error

    def due(self, after: datetime, until: datetime, created: datetime) -> bool:
        """Return whether the schedule has a time in the interval (after, until].

        Args:
            after: Start of the interval, exclusive.
            until: End of the interval, inclusive.
            created: Creation time of the scheduled action, from which `rate` counts.
        """
        if self.at is not None:
            return after < self.at <= until
        if self.every is not None:
            count = (until - created).total_seconds() // self.every
            return count >= 1 and created + timedelta(seconds=count * self.every) > after
        minute = until.replace(second=0, microsecond=0)
        while minute > after:
            if self._matches(minute.astimezone(self.zone)):
                return True
            minute -= timedelta(minutes=1)
        return False

    def _matches(self, moment: datetime) -> bool:
        assert self.cron is not None
        values = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7 + 1, moment.year)
        return all(value in allowed for value, allowed in zip(values, self.cron, strict=True))


def _field(text: str, low: int, high: int) -> frozenset[int]:
    allowed: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start)
            last = _number(end) if dash else (high if step else first)
        if not low <= first <= last <= high:
            raise ValueError(text)
        allowed |= set(range(first, last + 1, int(step or 1)))
    return frozenset(allowed)


def _number(text: str) -> int:
    return _NAMES[text] if text in _NAMES else int(text)
