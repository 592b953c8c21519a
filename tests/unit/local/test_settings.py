"""Settings of hosting: whole numbers are whole and finite."""

from __future__ import annotations

import math

import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.local import HostingSettings

WHOLE = (
    *("max_payload", "memory_bytes", "volume_bytes", "loader_slots", "spill_outstanding", "memory_per_model", "seed"),
)


@pytest.mark.parametrize("field", WHOLE)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1.5, True, "1"])
def test_a_whole_number_is_whole_and_finite(field, value):
    with pytest.raises(InvalidInputError, match=f"{field} must be a whole number"):
        HostingSettings(**{field: value})


@pytest.mark.parametrize("field", WHOLE[:-1])
def test_a_limit_is_not_negative(field):
    with pytest.raises(InvalidInputError, match=f"{field} must be a whole number"):
        HostingSettings(**{field: -1})


@pytest.mark.parametrize("field", ["answer_limit", "load_limit", "invocation_limit", "startup_limit", "stop_seconds"])
def test_a_limit_in_seconds_may_be_infinite(field):
    assert getattr(HostingSettings(**{field: math.inf}), field) == math.inf
