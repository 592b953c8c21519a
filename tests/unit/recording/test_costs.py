"""The bill of an endpoint, shared among models and tenants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.costs import share_cost
from mme_sdk.errors import InvalidInputError
from mme_sdk.recording import RecordedMinute

START = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = {"ml.m5.xlarge": 0.2}


def minute(at: int, model: str | None, **more) -> RecordedMinute:
    tenant = None if model is None else model.partition("/")[0]
    return RecordedMinute(
        at=START + timedelta(minutes=at), endpoint="shop", model=model, tenant=tenant, **({"calls": 1} | more)
    )


records = st.lists(
    st.builds(
        minute,
        st.integers(0, 9),
        st.sampled_from(["a/1", "a/2", "b/1", None]),
        calls=st.integers(1, 10**9),
        warm_seconds=st.floats(0, 1e9),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(
    records, st.floats(0.01, 5000), st.floats(1e-4, 200), st.integers(1, 500), st.floats(0, 1),
    st.sampled_from(["model", "tenant"]),
)  # fmt: skip
def test_the_rows_add_up_to_the_bill(found, hours, price, count, memory_share, by) -> None:
    cost = share_cost(
        "shop", [("ml.m5.xlarge", count)], found, hours=hours, prices={"ml.m5.xlarge": price}, by=by,
        memory_share=memory_share,
    )  # fmt: skip
    assert sum(round(row.amount * 1_000_000) for row in cost.rows) == round(cost.total * 1_000_000)
    assert cost.total == pytest.approx(price * count * hours, abs=1e-6)
    assert sum(row.calls for row in cost.rows) == sum(one.calls for one in found)
    assert all(row.amount >= -1e-6 for row in cost.rows)


def test_memory_and_time_in_use_share_the_bill() -> None:
    found = [minute(0, "a/1", warm_seconds=30.0), minute(0, "b/1", warm_seconds=10.0)]
    sizes = {"a/1": 100, "b/1": 300}
    for memory_share, expected in ((0.0, 0.75), (1.0, 0.25), (0.5, 0.5)):
        cost = share_cost(
            "shop", [("ml.m5.xlarge", 5)], found, hours=1, prices=PRICES, sizes=sizes, memory_share=memory_share
        )
        assert {row.name: row.amount for row in cost.rows} == pytest.approx({"a/1": expected, "b/1": 1 - expected})
    assert (cost.total, cost.monthly, cost.currency) == (1.0, pytest.approx(730.0), "USD")
    assert cost.dedicated_monthly == pytest.approx(2 * 0.2 * 730)


def test_a_cold_model_costs_waiting() -> None:
    (row,) = share_cost(
        "shop",
        [("ml.m5.xlarge", 1)],
        [minute(0, "a/1", calls=5, cold=2, cold_seconds=20.0, warm_seconds=2.0, errors={"ModelServerError": 1})],
        hours=1,
        prices=PRICES,
    ).rows
    assert row.cold_wait_seconds == pytest.approx(20.0 - 2 * 1.0)


def test_without_calls_the_bill_is_nobodys_and_other_endpoints_do_not_count() -> None:
    other = RecordedMinute(at=START, endpoint="other", model="a/1", calls=1)
    (row,) = share_cost("shop", [("ml.m5.xlarge", 1)], [other], hours=1, prices=PRICES).rows
    assert (row.name, row.amount) == ("(no recorded calls)", 0.2)


def test_a_type_without_price_and_an_endpoint_without_instances_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"no price of ml\.c5\.large"):
        share_cost("shop", [("ml.c5.large", 1)], [], hours=1, prices=PRICES)
    with pytest.raises(InvalidInputError, match="no instances"):
        share_cost("shop", [], [], hours=1, prices=PRICES)
    with pytest.raises(InvalidInputError, match="2 numbers for 1 variants"):
        share_cost("shop", [("ml.m5.xlarge", 1)], [], hours=1, prices=PRICES, instance_hours=[1, 2])
    with pytest.raises(InvalidInputError, match="instance_hours"):
        share_cost("shop", [("ml.m5.xlarge", 1)], [], hours=1, prices=PRICES, instance_hours=[-1])
    with pytest.raises(InvalidInputError, match="by must be"):
        share_cost("shop", [("ml.m5.xlarge", 1)], [], hours=1, prices=PRICES, by="variant")  # type: ignore[arg-type]


def test_several_variants_are_named_as_an_estimate() -> None:
    one = share_cost("shop", [("ml.m5.xlarge", 1)], [], hours=1, prices=PRICES)
    two = share_cost("shop", [("ml.m5.xlarge", 1)] * 2, [], hours=1, prices=PRICES)
    assert len(two.estimated) == len(one.estimated) + 1
