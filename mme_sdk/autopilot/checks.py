"""Checks of what several modules of the autopilot take: times and names of alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mme_sdk.errors import InvalidInputError

__all__ = ["check_moment", "check_names"]


def check_names(what: str, value: Any) -> None:
    """Raise InvalidInputError unless a value is a tuple of names.

    Args:
        what: Name of the argument or field.
        value: The value.
    """
    if not isinstance(value, tuple) or not all(isinstance(one, str) and one for one in value):
        raise InvalidInputError(f"{what} must be a list of names of alarms, not {value!r:.80}")


def check_moment(what: str, value: Any) -> None:
    """Raise InvalidInputError unless a value is a time with a time zone.

    Args:
        what: Name of the argument or field.
        value: The value.
    """
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidInputError(
            f"{what} must be a time with a time zone, not {value!r:.80}", hint="use datetime.now(UTC)"
        )
