"""The checks of numbers: what is accepted is usable, what is refused is named, and the message is true."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mme_sdk import RetryPolicy, Timeouts
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime import InvokeOptions
from mme_sdk.runtime.options import check_options

HUGE = 10**400  # larger than every float


@pytest.mark.parametrize("value", [1, 1.5, np.float32(1.5), np.float64(1.5), np.int64(2), Fraction(3, 2), 10**300])
def test_any_real_number_is_a_number_of_seconds(value: Any) -> None:
    assert Timeouts(deadline=value).deadline == value
    check_options(InvokeOptions(deadline=value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (np.float64("nan"), "nan"),
        (np.float32("inf"), "inf"),
        (True, "True"),
        (np.bool_(True), "True"),
        (Decimal("1.5"), "Decimal('1.5')"),
        (Decimal("nan"), "Decimal('NaN')"),
        ("5", "'5'"),
        (1j, "1j"),
        ([1.0], "[1.0]"),
        (np.array([1.0]), "array"),
        (HUGE, "an integer that exceeds every float"),
        (-HUGE, "a negative integer that exceeds every float"),
        (0, "0"),
        (-1, "-1"),
    ],
)
def test_what_is_not_a_number_of_seconds_is_refused_by_name_and_shown(value: Any, shown: str) -> None:
    for name, call in (
        ("Timeouts.deadline", lambda: Timeouts(deadline=value)),
        ("deadline", lambda: check_options(InvokeOptions(deadline=value))),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        message = caught.value.message
        assert message.startswith(f"{name} must be a finite number over 0, not "), message
        assert shown in message


@pytest.mark.parametrize("value", [HUGE, -HUGE, 1.0, np.float64(3), Decimal(3), Fraction(3), np.bool_(True)])
def test_what_is_not_a_count_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="RetryPolicy.budget must be a whole number at least 1, not "):
        RetryPolicy(budget=value)


def test_a_number_with_too_many_digits_to_print_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="Timeouts.read must be .* not an integer that exceeds every float"):
        Timeouts(read=10**5000)


def test_a_count_may_be_numpys() -> None:
    assert RetryPolicy(budget=np.int64(3)).budget == 3


def test_infinity_is_accepted_only_where_it_is_asked_for() -> None:
    check_number("timeout", math.inf, over=0, infinite=True)
    for value in (-math.inf, math.nan, HUGE):
        with pytest.raises(InvalidInputError, match="timeout must be a number over 0, not "):
            check_number("timeout", value, over=0, infinite=True)
