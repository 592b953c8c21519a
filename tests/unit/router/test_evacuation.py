"""Evacuation and admission: what is loaded where, in which order, and how many calls are cold after it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mme_sdk.errors import ConflictError, InvalidInputError
from mme_sdk.router import Cell
from tests.support.router.fakes import new_cells, router

MODELS = [f"m{number}/v1.tar.gz" for number in range(60)]


def call_all(made: Any, models: list[str] = MODELS) -> None:
    for model in models:
        made.invoke(b"{}", model=model)


def at(made: Any, cell: str) -> list[str]:
    return [model for model in MODELS if made.placement(model)[0] == cell]


def test_an_evacuated_cell_gets_no_calls_and_no_call_is_cold() -> None:
    cells = new_cells()
    made = router(cells)
    call_all(made)
    gone = at(made, "a")
    done = made.evacuate("a")
    assert sorted(done.moved) == sorted(model.split("/")[0] for model in gone)
    assert sorted(done.warmed.loaded) == sorted(gone)
    assert (done.cell, done.took - done.switched) == ("a", pytest.approx(65.0))
    cells.states["a"] = "deleted"
    cells.sent.clear()
    before = sum(cells.loads.values())
    call_all(made)
    assert "a" not in {cell for cell, _ in cells.sent}
    assert sum(cells.loads.values()) == before
    assert set(cells.loads.values()) == {1}  # only its own models were loaded elsewhere


def test_the_models_are_loaded_before_the_table_changes_and_the_wait_is_after_it() -> None:
    cells = new_cells()
    made = router(cells)
    call_all(made)
    moments: list[str] = []
    put, step = cells.s3.put_object, cells.step
    cells.s3.put_object = lambda **params: (moments.append("table"), put(**params))[1]  # type: ignore[method-assign]
    cells.step = lambda request: (moments.append("warm"), step(request))[1]  # type: ignore[method-assign]
    made.evacuate("a", drain=9)
    assert moments == ["warm"] * len(at(router(new_cells()), "a")) + ["table"]
    assert cells.slept == [9]


def test_the_most_waiting_time_comes_first_and_what_does_not_fit_is_left_out() -> None:
    cells = new_cells()
    made = router(cells, ["a", "b"])
    gone = at(made, "a")
    rates = dict.fromkeys(MODELS, 0.1) | {gone[7]: 50.0, gone[3]: 20.0}
    done = made.evacuate("a", expected=rates, at_a_time=1, drain=0, capacity=3 * 100_000_000)
    loaded = [model for cell, model in cells.sent if cell == "b"]
    assert loaded[:2] == [gone[7], gone[3]]
    assert len(done.warmed.loaded) == 3
    assert len(done.warmed.left_out) == len(gone) - 3
    assert len(done.moved) == len(gone)


def test_models_that_fail_do_not_stop_it() -> None:
    cells = new_cells()
    made = router(cells)
    call_all(made)
    broken = at(made, "a")[0]
    cells.models[made.placement(broken)[1], broken] = "denied"
    done = made.evacuate("a", drain=0)
    assert [one.model for one in done.warmed.failed] == [broken]
    assert {one.name: one.state for one in made.cells}["a"] == "evacuated"


def test_models_go_to_no_cell_that_is_lost_and_those_of_the_lost_cell_move_too() -> None:
    cells = new_cells()
    made = router(cells, ["a", "b", "c"])
    call_all(made)
    of_c = at(made, "c")
    cells.states["c"] = "deleted"
    call_all(made)
    gone = [model for model in MODELS if cells.cells_of(model)[-1] == "a"]
    assert set(gone) & set(of_c)
    cells.sent.clear()
    done = made.evacuate("a", drain=0)
    assert not done.warmed.failed
    assert sorted(done.warmed.loaded) == sorted(gone)
    assert {cell for cell, _ in cells.sent} == {"b"}
    cells.sent.clear()
    before = sum(cells.loads.values())
    call_all(made)
    assert sum(cells.loads.values()) == before


def test_a_cell_that_was_lost_gets_its_models_when_it_is_admitted_again() -> None:
    cells = new_cells()
    made = router(cells, ["a", "b", "c"])
    call_all(made)
    own = at(made, "c")
    cells.states["c"] = "deleted"
    call_all(made)
    made.evacuate("c", drain=0)
    cells.states["c"] = "ok"
    cells.loaded["c"].clear()
    done = made.admit("c")
    assert sorted(done.warmed.loaded) == sorted(own)
    before = sum(cells.loads.values())
    call_all(made)
    assert sum(cells.loads.values()) == before


def test_it_continues_after_an_interruption() -> None:
    cells = new_cells()
    made = router(cells)
    call_all(made)
    cells.s3_fails = True
    with pytest.raises(Exception, match="not in this test"):
        made.evacuate("a", drain=0)
    cells.s3_fails = False
    assert made.evacuate("a", drain=0).moved
    assert made.evacuate("a", drain=1).moved == ()  # it is done, and waits again
    assert cells.slept == [1]


def test_a_cell_that_may_not_go_is_refused_before_anything_is_loaded() -> None:
    cells = new_cells()
    made = router(cells, ["a", "b", Cell("own", models=["big"])])
    call_all(made)
    made.evacuate("b", drain=0)
    sent = len(cells.sent)
    with pytest.raises(ConflictError, match="no other cell would serve its models"):
        made.evacuate("a", drain=0)
    assert len(cells.sent) == sent


def test_a_dedicated_cell_gives_its_model_to_the_others() -> None:
    cells = new_cells()
    made = router(cells, ["a", "b", Cell("own", models=["m0"])])
    call_all(made, MODELS[:1])
    done = made.evacuate("own", drain=0)
    assert done.moved == ("m0",)
    before = dict(cells.loads)
    assert made.invoke(b"{}", model=MODELS[0]).endpoint in ("a", "b")
    assert cells.loads == before


def test_a_new_cell_gets_its_models_loaded_first() -> None:
    cells = new_cells()
    made, other = router(cells), router(cells)
    call_all(made)
    done = made.admit(Cell("d", weight=2))
    mine = at(made, "d")
    assert len(mine) > 12
    assert sorted(done.warmed.loaded) == sorted(mine)
    before = sum(cells.loads.values())
    call_all(made)
    assert sum(cells.loads.values()) == before
    cells.clock.now += 5
    call_all(other)
    assert sum(cells.loads.values()) == before
    assert {one.name for one in other.cells} == {"a", "b", "c", "d"}


def test_a_model_has_one_cell_to_itself() -> None:
    made = router(new_cells(), ["a", "b", Cell("own", models=["big"])])
    with pytest.raises(InvalidInputError, match="the model 'big' is in `models` of the cells own, d"):
        made.admit(Cell("d", models=["big"]))
    assert {one.name for one in made.refresh()} == {"a", "b", "own"}


def test_a_cell_comes_back() -> None:
    cells = new_cells()
    made = router(cells)
    call_all(made)
    homes = {model: made.placement(model)[0] for model in MODELS}
    made.evacuate("a", drain=0)
    made.admit("a", models=MODELS)
    assert {model: made.placement(model)[0] for model in MODELS} == homes
    assert made.admit("a").moved == ()


def test_evacuation_makes_fewer_calls_cold_than_a_plain_removal() -> None:
    """Zipf calls, and cells of which two hold about all models; the cold calls after the removal, in both ways."""
    weights = [1 / (place + 1) ** 0.9 for place in range(len(MODELS))]
    rates = dict(zip(MODELS, weights, strict=True))
    cold = {"plain": 0, "evacuated": 0}
    for seed in (1, 2, 3):
        for way in cold:
            cells, rng = new_cells(space=30), random.Random(seed)
            made = router(cells)
            call_all(made, rng.choices(MODELS, weights, k=1_000))
            if way == "evacuated":
                made.evacuate("a", expected=rates, at_a_time=1, drain=0)
            before = sum(cells.loads.values())
            cells.states["a"] = "deleted"
            call_all(made, rng.choices(MODELS, weights, k=300))
            cold[way] += sum(cells.loads.values()) - before
    assert cold["plain"] > 60
    assert cold["evacuated"] <= 0.62 * cold["plain"], cold
