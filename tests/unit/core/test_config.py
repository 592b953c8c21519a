import math

import attrs
import pytest

from mme_sdk import RetryPolicy, Timeouts
from mme_sdk.errors import InvalidInputError


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "70", None, True])
@pytest.mark.parametrize("field", ["connect", "read", "deadline"])
def test_an_invalid_timeout_is_rejected_by_name(field, value):
    with pytest.raises(InvalidInputError, match=f"Timeouts.{field} must be a finite number over 0"):
        Timeouts(**{field: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, "4", None, True])
@pytest.mark.parametrize("field", ["fault_attempts", "budget", "breaker_faults"])
def test_a_count_that_is_not_a_whole_number_is_refused_by_name(field, value):
    with pytest.raises(InvalidInputError, match=f"RetryPolicy.{field} must be a whole number at least 1"):
        RetryPolicy(**{field: value})


def test_settings_are_copied_not_changed():
    base = RetryPolicy()
    changed = attrs.evolve(base, fault_attempts=1)
    assert (base.fault_attempts, changed.fault_attempts) == (4, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        base.fault_attempts = 2  # type: ignore[misc]
