"""The validators of attrs fields."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from mme_sdk._validation import check_instance, check_number, instance, number, one_of, optional
from mme_sdk.errors import InvalidInputError


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "says"),
    [
        ({"at_least": 1, "integer": True}, 1, 1.0, "a whole number at least 1"),
        ({"at_least": 0, "below": 1}, 0, 1, "a finite number at least 0 and below 1"),
        ({"over": 0, "at_most": 1}, 1, 0, "a finite number over 0 and at most 1"),
        ({"over": 0, "infinite": True}, math.inf, -math.inf, "a number over 0"),
    ],
)
def test_bounds(bounds: dict[str, Any], good: Any, bad: Any, says: str) -> None:
    check_number("share", good, **bounds)
    with pytest.raises(InvalidInputError, match=f"share must be {says}, not"):
        check_number("share", bad, **bounds)


@attrs.frozen
class Settings:
    """Fields of each kind."""

    count: int = attrs.field(default=1, validator=number(at_least=1, integer=True))
    mode: str = attrs.field(default="a", validator=one_of("a", "b", 1))
    parent: Any = attrs.field(default=None, validator=optional(instance(dict)))


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ({"count": 0}, r"Settings\.count must be a whole number at least 1, not 0"),
        ({"mode": "c"}, r"Settings\.mode must be one of 'a', 'b', 1, not 'c'"),
        ({"mode": True}, r"Settings\.mode must be one of .*, not True"),
        ({"parent": []}, r"Settings\.parent must be of type dict, not list"),
    ],
)
def test_fields_are_named_with_their_class(field: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        Settings(**field)


def test_several_types() -> None:
    check_instance("session", 1, int, str)
    with pytest.raises(InvalidInputError, match="session must be of type int or str, not float"):
        check_instance("session", 1.0, int, str)
