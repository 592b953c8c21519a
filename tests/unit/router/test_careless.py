"""What a careless caller and a hostile route table do to a router."""

from __future__ import annotations

from typing import Any

import pytest

from mme_sdk.errors import ConflictError, InvalidInputError, ServiceError
from mme_sdk.router import Cell
from tests.support.router.fakes import new_cells, router

KEY = "models/p/.mme/routes/scoring.json"


@pytest.mark.parametrize("weight", [1e308, 5e-324, 1e7, 1e-7])
def test_weights_whose_sum_is_not_a_number_are_refused(weight: float) -> None:
    with pytest.raises(InvalidInputError, match=r"Cell\.weight must be a finite number at least 1e-06"):
        Cell("a", weight=weight)


def test_extreme_weights_divide_calls_without_a_model() -> None:
    made = router(new_cells(), [Cell("a", weight=1e6), Cell("b", weight=1e6), Cell("c", weight=1e-6)])
    placement = made._routes.known.placement
    assert {placement.drawn(draw / 100).homes[0] for draw in range(100)} == {"a", "b"}


@pytest.mark.parametrize("region", ["eu west", "EU", "x" * 500, "eu/west", "\n", "-"])
def test_a_region_that_none_can_be_is_named_as_the_region(region: str) -> None:
    with pytest.raises(InvalidInputError, match="region must be the name of an AWS region"):
        Cell("a", region=region)


@pytest.mark.parametrize("models", [[5], [None], [[]], [{}], [""], [b"a"], 5, "fraud"])
def test_models_that_are_none_are_refused_before_the_table_changes(models: Any) -> None:
    cells = new_cells()
    for change in (
        lambda: router(cells).evacuate("a", models=models, drain=0),
        lambda: router(cells).admit(Cell("d"), models=models),
    ):
        with pytest.raises(InvalidInputError, match="models must be"):
            change()
    assert cells.s3.objects == {}


@pytest.mark.parametrize(
    ("rates", "sizes"),
    [({5: 1}, {5: 1}), ({(1,): 1}, {(1,): 1}), ({"a": 1e308, "b": 1e308}, {"a": 1, "b": 1}), ({"a": 1}, {"a": 1e308})],
)
def test_rates_and_sizes_that_have_no_sum_are_refused(rates: Any, sizes: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"rates|sizes"):
        router(new_cells()).rebalance(rates=rates, sizes=sizes)


def test_the_last_cell_of_all_models_does_not_become_one_of_a_few() -> None:
    cells = new_cells()
    made = router(cells, ["a", "b"])
    made.evacuate("b", drain=0)
    before = cells.s3.objects[KEY]
    with pytest.raises(ConflictError, match="no other cell would serve the other models"):
        made.admit(Cell("a", models=["fraud"]))
    assert cells.s3.objects[KEY] == before
    made.admit("b")
    made.admit(Cell("a", models=["fraud"]))
    assert made.invoke(b"{}", model="fraud/v1.tar.gz").endpoint == "a"
    assert made.invoke(b"{}", model="other/v1.tar.gz").endpoint == "b"


@pytest.mark.parametrize(
    "damage",
    [
        b"[" * 100_000,
        b"\xff",
        b"null",
        b'{"cells": {"a": 5}}',
        b'{"cells": {"a": {"endpoint": "a", "weight": 1e999}}}',
        b'{"cells": {"a": {"endpoint": "a", "weight": 1, "region": "eu west"}}}',
        b'{"cells": {"a": {"endpoint": "a", "weight": 1, "models": 5}}}',
        b'{"cells": {"a": {"endpoint": "a", "weight": 1}}, "homes": {"m": "abc"}}',
        b'{"cells": {"a": {"endpoint": "a", "weight": 1}}, "homes": {"m": [5]}}',
    ],
)
def test_a_hostile_table_is_named_and_not_used(damage: bytes) -> None:
    cells = new_cells()
    made = router(cells)
    made.evacuate("a", drain=0)
    cells.s3.objects[KEY] = (damage, ())
    cells.clock.now += 100
    assert made.invoke(b"{}", model="m/v1.tar.gz").endpoint in ("b", "c")
    for change in (made.refresh, lambda: made.admit("a"), lambda: made.remove("a")):
        with pytest.raises(ServiceError, match="damaged"):
            change()
    assert cells.s3.objects[KEY][0] == damage
