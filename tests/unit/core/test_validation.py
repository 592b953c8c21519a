"""The checks of numbers: what is accepted is usable, what is refused is named, and the message is true."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest

from mme_sdk import ColdStart, RetryPolicy, Timeouts
from mme_sdk._validation import check_number
from mme_sdk.endpoints import Autoscaling, BlueGreen, DataCapture, EndpointSpec, Rolling
from mme_sdk.endpoints.operations.complete_creation import scaling_of
from mme_sdk.errors import InvalidInputError
from mme_sdk.local import HostingSettings
from mme_sdk.runtime import InvokeOptions
from mme_sdk.runtime.batch.warm import keep_warm_advice
from mme_sdk.runtime.options import check_options
from mme_sdk.runtime.transport import PoolSettings

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
    with pytest.raises(InvalidInputError, match=r"RetryPolicy\.budget must be a whole number at least 1, not "):
        RetryPolicy(budget=value)


def test_a_number_with_too_many_digits_to_print_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match=r"Timeouts\.read must be .* not an integer that exceeds every float"):
        Timeouts(read=10**5000)


def test_numbers_of_other_libraries_become_pythons_own() -> None:
    timeouts = Timeouts(connect=np.float32(1.5), read=np.int64(2), deadline=Fraction(7, 2))  # type: ignore[arg-type]
    assert [repr(one) for one in (timeouts.connect, timeouts.read, timeouts.deadline)] == ["1.5", "2.0", "3.5"]
    policy = RetryPolicy(budget=np.int64(3), fault_base=np.float32(0.5))  # type: ignore[arg-type]
    assert [repr(one) for one in (policy.budget, policy.fault_base)] == ["3", "0.5"]
    assert repr(ColdStart(expected=np.float64(2), failed_loads=np.int8(2))).count("np.") == 0  # type: ignore[arg-type]


def test_a_spec_of_numpys_numbers_becomes_requests_and_yaml() -> None:
    spec = EndpointSpec.multi_model(
        name="scoring",
        models="s3://ml-models/prod/",
        image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/serve:1",
        role="arn:aws:iam::123456789012:role/serve",
        instance_type="ml.m5.large",
        instance_count=np.int64(2),
        volume_gb=np.int64(30),
        download_timeout=np.int64(600),
        startup_timeout=np.int32(600),
        autoscaling=Autoscaling(
            min=np.int64(1), max=np.int64(4), target=np.float32(7.5), scale_in_cooldown=np.int64(60)
        ),
    )
    assert "numpy" not in spec.to_yaml()
    json.dumps([params for _, _, params in spec.to_requests().calls])
    json.dumps(attrs.asdict(DataCapture(destination="s3://ml-models/captured/", percent=np.int64(50))))
    json.dumps([attrs.asdict(BlueGreen(canary=np.int64(20))), attrs.asdict(Rolling(batch=np.int64(20)))])
    assert all("np." not in str(one) for one in scaling_of(spec))


@pytest.mark.parametrize("value", [math.nan, "5", True, -1, HUGE, 1j, [1]])
@pytest.mark.parametrize("field", [field.name for field in attrs.fields(PoolSettings)])
def test_a_setting_of_the_connection_pool_that_is_not_a_number_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"PoolSettings.{field} must be a .*number at least 0, not "):
        PoolSettings(**{field: value})


@pytest.mark.parametrize("value", [math.nan, "5", True, 1.5, [1]])
def test_a_seed_that_is_not_a_whole_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"HostingSettings\.seed must be a whole number, not "):
        HostingSettings(seed=value)


def test_keeping_models_warm_needs_numbers() -> None:
    advice = keep_warm_advice(
        {"a": Fraction(1, 2)},  # type: ignore[dict-item]
        {"a": np.int64(5)},
        capacity=9,
        keep=["a"],
    )
    assert not advice.worth_it
    for bad in (math.nan, "5", HUGE, 1j, [1], Decimal("nan")):
        with pytest.raises(InvalidInputError, match="the rate of a must be a finite number at least 0, not "):
            keep_warm_advice({"a": bad}, {"a": 5}, capacity=9, keep=["a"])  # type: ignore[dict-item]
        with pytest.raises(InvalidInputError, match="the size of a must be a finite number over 0, not "):
            keep_warm_advice({"a": 1.0}, {"a": bad}, capacity=9, keep=["a"])  # type: ignore[dict-item]


def test_a_count_may_be_numpys() -> None:
    assert RetryPolicy(budget=np.int64(3)).budget == 3


def test_infinity_is_accepted_only_where_it_is_asked_for() -> None:
    check_number("timeout", math.inf, over=0, infinite=True)
    for value in (-math.inf, math.nan, HUGE):
        with pytest.raises(InvalidInputError, match="timeout must be a number over 0, not "):
            check_number("timeout", value, over=0, infinite=True)
