"""What a decision is made from besides the demand: the bounds, the endpoint, and what the last decision left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from mme_sdk._validation import check_instance, instance, number, optional
from mme_sdk.autopilot.checks import check_moment, check_names
from mme_sdk.errors import InvalidInputError

__all__ = ["Bounds", "Observed", "State"]

_count, _whole = number(at_least=1, integer=True), number(at_least=0, integer=True)
_MOST = 1_000  # instances; the rule computes each number between the bounds


def _names(given: Any) -> Any:
    return given if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


def _check_names(_: object, __: object, value: Any) -> None:
    check_names("Observed.alarms", value)


@attrs.frozen(kw_only=True)
class Bounds:
    """What the autopilot may do at most.

    Attributes:
        smallest: Smallest number of instances. Default 2, as AWS recommends for production.
        largest: Largest number of instances, at most 1000.
        money_per_day: Largest sum for instances in a day of UTC, in the currency of the machine's price. It is kept:
            the autopilot removes instances at once, also cold, when the rest of the day would exceed it. Default:
            None, no limit.
        moves_per_hour: Largest number of changes within 60 minutes. Default 12.
        stale_after: Minutes without a call, after an hour that had calls, from which data count as missing. Default 5.
        unnamed: Largest share of the calls that are not recorded by model. Default 0.1.
    """

    smallest: int = attrs.field(default=2, validator=_count)
    largest: int = attrs.field(validator=number(at_least=1, at_most=_MOST, integer=True))
    money_per_day: float | None = attrs.field(default=None, validator=optional(number(over=0)))
    moves_per_hour: int = attrs.field(default=12, validator=_count)
    stale_after: int = attrs.field(default=5, validator=_count)
    unnamed: float = attrs.field(default=0.1, validator=number(at_least=0, at_most=1))

    def __attrs_post_init__(self) -> None:
        if self.smallest > self.largest:
            raise InvalidInputError(f"Bounds: smallest {self.smallest} is greater than largest {self.largest}")


@attrs.frozen(kw_only=True)
class Observed:
    """The endpoint at the time of a decision.

    Attributes:
        count: Number of instances that should run.
        status: EndpointStatus. Default `InService`.
        alarms: Alarms in the state ALARM that freeze the autopilot. Default: none.
        floor: Smallest number of instances that a schedule demands now. Default 0, none.
        missing: What could not be read, in words. Default: None, nothing.
        detached: What of the attached step policy is gone, in words. The autopilot attaches it again unless it freezes.
            Default: None, nothing.
    """

    count: int = attrs.field(validator=_whole)
    status: str = attrs.field(default="InService", validator=instance(str))
    alarms: tuple[str, ...] = attrs.field(default=(), converter=_names, validator=_check_names)
    floor: int = attrs.field(default=0, validator=_whole)
    missing: str | None = attrs.field(default=None, validator=optional(instance(str)))
    detached: str | None = attrs.field(default=None, validator=optional(instance(str)))


@attrs.frozen(kw_only=True)
class State:
    """What a decision remembers of those before it.

    Attributes:
        at: Time of the last decision. Default: None, there was none.
        count: Number of instances that ran from then on. Default 0.
        low_since: Since when fewer instances suffice. Default: None, they do not.
        low_most: The most instances wanted since then; kept if `shrink_by` is over 1. Default 0.
        moves: Times of the changes in the last hour. Default: none.
        spent: Money spent on this day of UTC until `at`. Default 0.
        packing: Share of the memory that models fill, as the measured cold calls corrected it. Default: None, they did
            not.
    """

    at: datetime | None = None
    count: int = attrs.field(default=0, validator=_whole)
    low_since: datetime | None = None
    low_most: int = attrs.field(default=0, validator=_whole)
    moves: tuple[datetime, ...] = ()
    spent: float = attrs.field(default=0.0, validator=number(at_least=0))
    packing: float | None = attrs.field(default=None, validator=optional(number(over=0, at_most=1)))

    def __attrs_post_init__(self) -> None:
        check_instance("State.moves", self.moves, tuple)
        for name, moment in (("at", self.at), ("low_since", self.low_since), *(("moves", one) for one in self.moves)):
            if moment is not None or name == "moves":
                check_moment(f"State.{name}", moment)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as values that JSON has."""
        return {
            "at": None if self.at is None else self.at.isoformat(),
            "count": self.count,
            "low_since": None if self.low_since is None else self.low_since.isoformat(),
            "low_most": self.low_most,
            "moves": [one.isoformat() for one in self.moves],
            "spent": self.spent,
            "packing": self.packing,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> State:
        """Return the state that `to_dict` gave."""

        def moment(text: str | None) -> datetime | None:
            return None if text is None else datetime.fromisoformat(text)

        return cls(
            at=moment(given["at"]),
            count=given["count"],
            low_since=moment(given["low_since"]),
            low_most=given.get("low_most", 0),  # records of older versions have neither this nor `packing`
            moves=tuple(datetime.fromisoformat(one) for one in given["moves"]),
            spent=given["spent"],
            packing=given.get("packing"),
        )
