"""The route table: read as aliases are, changed by compare-and-swap, and never needed to go on."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mme_sdk.aws import Call
from mme_sdk.errors import ClosedError, ConflictError, InvalidInputError, MMEError, NotFoundError, ServiceError
from mme_sdk.router import Cell
from tests.support.registry.interleave import flat
from tests.support.router.fakes import connect, new_cells, plain, router

KEY = "models/p/.mme/routes/scoring.json"
M = [f"m{number}/v1.tar.gz" for number in range(12)]


def body(cells: Any) -> Any:
    return json.loads(cells.s3.objects[KEY][0])


def states(made: Any) -> dict[str, str]:
    return {one.name: one.state for one in made.cells}


class TestReading:
    def test_no_object_is_written_until_something_changes(self) -> None:
        cells = new_cells()
        made = router(cells)
        made.invoke(b"{}", model=M[0])
        assert cells.s3.objects == {}
        assert states(made.__class__(made._client, "scoring", cells=["a"])) == {"a": "serving"}
        made.evacuate("a", drain=0)
        assert {name: entry["evacuated"] for name, entry in body(cells)["cells"].items()} == {
            "a": True,
            "b": False,
            "c": False,
        }

    def test_another_client_follows_within_the_staleness(self) -> None:
        cells = new_cells()
        one, other = router(cells), router(cells)
        model = next(model for model in M if one.placement(model)[0] == "a")
        assert other.invoke(b"{}", model=model).endpoint == "a"
        one.evacuate("a", drain=0)
        assert one.invoke(b"{}", model=model).endpoint != "a"
        cells.clock.now += 5.0
        assert other.invoke(b"{}", model=model).endpoint != "a"
        assert states(other)["a"] == "evacuated"

    def test_a_client_that_is_closed_before_it_reads_lets_others_read(self) -> None:
        made = router(new_cells())

        def closed(_: Any) -> Any:
            raise ClosedError("the client is closed")

        made._client._aws.run = closed
        with pytest.raises(ClosedError):
            made.invoke(b"{}", model=M[0])
        assert made._routes.claim()[1], "the next caller would wait for a read that nobody makes"

    def test_it_is_read_in_the_background_at_half_the_staleness(self) -> None:
        cells = new_cells()
        made, reads, later = router(cells), [], []
        perform = cells.perform
        made._client._aws.run = lambda flow: (reads.append(1), perform(flow))[1]
        made._client._aws.submit = later.append
        made.invoke(b"{}", model=M[0])
        made.invoke(b"{}", model=M[0])
        assert len(reads) == 1
        cells.clock.now += 3
        made.invoke(b"{}", model=M[0])
        made.invoke(b"{}", model=M[0])
        assert (len(reads), len(later)) == (1, 1)
        later[0]()
        made.invoke(b"{}", model=M[0])
        assert (len(reads), len(later)) == (2, 1)
        cells.clock.now += 60
        made.invoke(b"{}", model=M[0])
        assert (len(reads), len(later)) == (3, 1)

    def test_without_s3_the_last_table_stays_in_use(self) -> None:
        cells = new_cells()
        made, other = router(cells), router(cells)
        other.evacuate("a", drain=0)
        made.invoke(b"{}", model=M[0])
        assert states(made)["a"] == "evacuated"
        cells.s3_fails = True
        for _ in range(5):
            cells.clock.now += 100
            assert all(made.invoke(b"{}", model=model).endpoint != "a" for model in M)
        cells.s3_fails = False
        other.admit("a")
        cells.clock.now += 5
        made.invoke(b"{}", model=M[0])  # it reads the table in the background, because S3 failed before
        assert {made.invoke(b"{}", model=model).endpoint for model in M} == {"a", "b", "c"}

    def test_a_caller_that_could_never_read_it_goes_on_with_the_cells_it_was_given(self) -> None:
        cells = new_cells()
        cells.s3_fails = True
        made = router(cells)
        assert {made.invoke(b"{}", model=model).endpoint for model in M} == {"a", "b", "c"}
        with pytest.raises(MMEError, match="not in this test"):
            made.refresh()
        with pytest.raises(MMEError, match="not in this test"):
            router(cells, ()).invoke(b"{}", model=M[0])

    def test_cells_of_the_table_alone(self) -> None:
        cells = new_cells()
        router(cells, ["a", Cell("b", weight=3), Cell("own", models=["big"])]).evacuate("a", drain=0)
        made = router(cells, ())
        with pytest.raises(InvalidInputError, match=r"no cells, and s3://models/p/\.mme/routes/scoring\.json"):
            _ = made.cells
        assert made.invoke(b"{}", model="big/v1.tar.gz").endpoint == "own"
        assert states(made) == {"a": "evacuated", "b": "serving", "own": "serving"}
        assert made.cells[1].weight == 3

    def test_a_cell_whose_client_is_not_here_is_not_called(self) -> None:
        cells, there = new_cells(), new_cells()
        with_client = router(cells, ["a", Cell("b", client=connect(there)), "c"])
        with_client.evacuate("c", drain=0)
        made = router(cells, ["a"])
        made.refresh()
        assert states(made) == {"a": "serving", "b": "evacuated", "c": "evacuated"}
        assert {made.invoke(b"{}", model=model).endpoint for model in M} == {"a"}

    @pytest.mark.parametrize(
        "damage",
        [b"{", b"[]", b"{}", b'{"cells": {"a": {}}}', b'{"cells": {"a": {"endpoint": "a", "weight": 0}}}',
         b'{"cells": {"a": {"endpoint": "a", "weight": 1}}, "homes": 7}', b'{"cells": 3}'],
    )  # fmt: skip
    def test_a_damaged_table_is_named_and_not_used(self, damage: bytes) -> None:
        cells = new_cells()
        made = router(cells)
        made.evacuate("a", drain=0)
        cells.s3.objects[KEY] = (damage, ())
        cells.clock.now += 100
        made.invoke(b"{}", model=M[0])
        assert states(made)["a"] == "evacuated"
        for change in (made.refresh, lambda: made.admit("a"), lambda: made.remove("a")):
            with pytest.raises(ServiceError, match="damaged"):
                change()
        assert cells.s3.objects[KEY][0] == damage

    def test_what_a_later_version_adds_survives(self) -> None:
        cells = new_cells()
        made = router(cells)
        made.evacuate("a", drain=0)
        later = body(cells)
        later["policy"] = {"x": 1}
        later["cells"]["b"]["zone"] = "eu-west-1a"
        cells.s3.objects[KEY] = (json.dumps(later).encode(), ())
        made.admit("a")
        assert body(cells)["policy"] == {"x": 1}
        assert body(cells)["cells"]["b"]["zone"] == "eu-west-1a"

    def test_threads_that_find_an_old_table_read_it_once(self) -> None:
        cells = new_cells()
        made = router(cells)
        perform, reads, gate, waiting = cells.perform, [], threading.Event(), threading.Event()

        def slow(flow: Any) -> Any:
            reads.append(1)
            waiting.set()
            assert gate.wait(20)
            return perform(flow)

        made._client._aws.run = slow
        threads = [threading.Thread(target=made._invoker.look) for _ in range(4)]
        threads[0].start()
        assert waiting.wait(20)
        for thread in threads[1:]:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join(20)
        assert reads == [1]


class TestChanging:
    def test_two_writers_in_every_order_of_their_requests(self) -> None:
        """Both changes are in the table, whoever is faster, and whatever was there before."""
        changes: list[tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], bool]]] = [
            (lambda r: r.evacuate("a", drain=0), lambda r: r.evacuate("b", drain=0), _both_evacuated),
            (lambda r: r.evacuate("a", drain=0), lambda r: r.admit(Cell("d")), _evacuated_and_admitted),
            (
                lambda r: r.rebalance(rates={"m0": 900.0, "m1": 1.0}, sizes={"m0": 1, "m1": 1}),
                lambda r: r.evacuate("a", drain=0),
                lambda found: found["cells"]["a"]["evacuated"] and "m0" in found["homes"],
            ),
        ]
        for first, second, holds in changes:
            for order in itertools.product([0, 1], repeat=6):
                cells = new_cells()
                one, other = router(cells), router(cells)
                _interleave(cells, [partial(first, one), partial(second, other)], order)
                assert holds(body(cells)), order

    def test_the_last_cell_stays_whoever_evacuates_the_others(self) -> None:
        for order in itertools.product([0, 1], repeat=6):
            cells = new_cells()
            one, other = router(cells, ["a", "b"]), router(cells, ["a", "b"])
            outcomes = _interleave(
                cells, [partial(one.evacuate, "a", drain=0), partial(other.evacuate, "b", drain=0)], order
            )
            assert sorted(type(one).__name__ for one in outcomes) == ["CellChange", "ConflictError"]
            assert sum(not one["evacuated"] for one in body(cells)["cells"].values()) == 1

    def test_a_change_whose_answer_was_lost_is_not_made_twice(self) -> None:
        cells = new_cells()
        made = router(cells)
        put = cells.s3.put_object

        def lost(**params: Any) -> Any:
            put(**params)
            cells.s3.put_object = put  # type: ignore[method-assign]
            raise ConflictError("changed", code="PreconditionFailed", status=412)

        cells.s3.put_object = lost  # type: ignore[method-assign]
        made.evacuate("a", drain=0)
        assert body(cells)["cells"]["a"]["evacuated"]
        assert states(made)["a"] == "evacuated"

    def test_a_read_that_began_before_a_change_does_not_undo_it(self) -> None:
        cells = new_cells()
        made = router(cells)
        made.evacuate("b", drain=0)
        cells.clock.now += 10
        reading, mine = made._routes.claim()
        assert mine
        load = flat(made._routes.load(reading))
        request = next(load)
        assert isinstance(request, Call)
        old = cells.s3.perform(request.__class__(service="s3", operation="get_object", params={
            key: value for key, value in request.params.items() if key != "IfNoneMatch"}))  # fmt: skip
        made.evacuate("a", drain=0)
        with pytest.raises(StopIteration):
            load.send(old)
        assert states(made)["a"] == "evacuated"

    def test_remove(self) -> None:
        cells = new_cells()
        made = router(cells)
        with pytest.raises(ConflictError, match=r"a was not removed, because it serves\n  evacuate\('a'\) first"):
            made.remove("a")
        made.rebalance(rates={"m0": 900.0, "m1": 1.0}, sizes={"m0": 1, "m1": 1})
        made.evacuate(Cell("a"), drain=0)
        made.remove("a")
        made.remove("a")
        assert set(states(made)) == {"b", "c"}
        assert all("a" not in names for names in body(cells)["homes"].values())

    def test_what_does_not_exist_is_named(self) -> None:
        made = router(new_cells())
        with pytest.raises(NotFoundError, match="has no cell 'x'\n  its cells are a, b, c"):
            made.evacuate("x")
        with pytest.raises(NotFoundError, match="has no cell 'x'"):
            made.admit("x")
        with pytest.raises(InvalidInputError, match="cell must be"):
            made.evacuate(7)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="drain"):
            made.evacuate("a", drain=-1)
        for arguments in (
            {"expected": 7},
            {"expected": {"m": -1}},
            {"expected": {7: 1}},
            {"models": 7},
            {"models": "m"},
            {"at_a_time": 0},
            {"capacity": -1},
            {"deadline": -1},
        ):
            with pytest.raises(InvalidInputError, match=next(iter(arguments))):
                made.evacuate("a", drain=0, **arguments)  # type: ignore[arg-type]
        for arguments in ({"rates": None, "sizes": {}}, {"sizes": 7, "rates": {}}):
            with pytest.raises(InvalidInputError, match=next(iter(arguments))):
                made.rebalance(**arguments)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="model must be"):
            made.placement(7)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="models must be"):
            made.warm(7)  # type: ignore[arg-type]
        bare = plain(connect(new_cells()).router("scoring", cells=["a", "b"]))
        for change in (
            lambda: bare.evacuate("a"),
            lambda: bare.admit("a"),
            lambda: bare.remove("a"),
            lambda: bare.rebalance(rates={}, sizes={}),
            bare.refresh,
        ):
            with pytest.raises(InvalidInputError, match="has no route table"):
                change()


def _both_evacuated(found: Any) -> bool:
    return bool(found["cells"]["a"]["evacuated"] and found["cells"]["b"]["evacuated"])


def _evacuated_and_admitted(found: Any) -> bool:
    return bool(found["cells"]["a"]["evacuated"] and "d" in found["cells"])


class _Turns:
    """Lets threads make their S3 requests in a given order."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order, self.ended = list(order), set[int]()
        self.condition = threading.Condition()

    def take(self, number: int, work: Callable[[], Any]) -> Any:
        with self.condition:
            assert self.condition.wait_for(lambda: self._may(number), 30)
            try:
                return work()
            finally:
                if self.order:
                    self.order.pop(0)
                self._skip()
                self.condition.notify_all()

    def _may(self, number: int) -> bool:
        return not self.order or self.order[0] == number

    def _skip(self) -> None:
        while self.order and self.order[0] in self.ended:
            self.order.pop(0)

    def end(self, number: int) -> None:
        with self.condition:
            self.ended.add(number)
            self._skip()
            self.condition.notify_all()


def _interleave(cells: Any, works: list[Callable[[], Any]], order: tuple[int, ...]) -> list[Any]:
    """Run two changes in threads, request by request in an order; return their outcomes."""
    turns, perform = _Turns(order), cells.s3.perform
    numbers = threading.local()
    cells.s3.perform = lambda call: turns.take(numbers.value, lambda: perform(call))
    outcomes: list[Any] = [None, None]

    def run(number: int) -> None:
        numbers.value = number
        try:
            outcomes[number] = works[number]()
        except MMEError as error:
            outcomes[number] = error
        finally:
            turns.end(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    cells.s3.perform = perform
    return outcomes
