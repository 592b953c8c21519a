"""Calls through a router: which cell answers, when another one is called, and what the caller sees."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections import Counter
from typing import Any

import pytest

from mme_sdk import AsyncMMEClient, MMEClient
from mme_sdk.errors import (
    AccessDeniedError,
    EndpointNotFoundError,
    InvalidInputError,
    ModelInputError,
    ModelNotFoundError,
    OutcomeUnknownError,
    ServiceError,
    ThrottledError,
)
from mme_sdk.router import AsyncRouter, Cell, Router
from mme_sdk.runtime import BatchSettings
from mme_sdk.runtime.interpreters import interpreter, wait_in_thread
from mme_sdk.types.model import ModelVersion
from tests.support.router.fakes import async_router, connect, new_async_cells, new_cells, router

TARGETS = [f"m{number}/v1.tar.gz" for number in range(12)]
ONE = BatchSettings(max_concurrency=1)


def call(made: Router, model: Any = TARGETS[0], **options: Any) -> Any:
    return made.invoke(b"{}", model=model, **options)


class TestHome:
    def test_a_model_is_called_in_its_cell_only(self) -> None:
        cells = new_cells()
        made = router(cells)
        for _ in range(3):
            for model in TARGETS:
                assert call(made, model).endpoint == made.placement(model)[0]
        assert set(Counter(cells.sent).values()) == {3}
        assert set(cells.loads.values()) == {1}
        assert len({cell for cell, _ in cells.sent}) == 3

    def test_all_names_of_a_model_have_one_cell(self) -> None:
        made = router(new_cells())
        version = ModelVersion(name="m0", version="v9", target_model="m0/v9.tar.gz", uri="s3://models/p/m0/v9.tar.gz")
        names = ["m0", "m0/v1.tar.gz", "m0/v2.tar.gz", "m0@live", "m0@latest", version]
        assert len({made.placement(name) for name in names}) == 1
        other = router(new_cells(), key="models/{name}-{version}.tgz")
        assert other.placement("models/m0-v1.tgz") == other.placement("m0@live") == other.placement(version)

    def test_a_call_without_a_model_goes_to_cells_by_weight(self) -> None:
        cells = new_cells()
        made = router(cells, [Cell("a", weight=3), "b"])
        draws = iter(range(1_000))
        made._routing.draw = lambda: next(draws) * 37 % 100 / 100
        for _ in range(400):
            made.invoke(b"{}")
        assert Counter(cell for cell, _ in cells.sent) == {"a": 300, "b": 100}
        same = {made.invoke(b"{}", prefix_aware_id="chat-7").endpoint for _ in range(20)}
        assert len(same) == 1

    def test_a_call_without_a_model_goes_to_all_cells_of_the_same_weight(self) -> None:
        cells = new_cells()
        made = router(cells, ["a", "b", Cell("own", models=["big"])])
        draws = iter(range(1_000))
        made._routing.draw = lambda: next(draws) * 37 % 100 / 100
        for _ in range(200):
            made.invoke(b"{}")
        assert Counter(cell for cell, _ in cells.sent)["a"] == pytest.approx(100, abs=3)
        cells.states["a"] = "deleted"
        assert {made.invoke(b"{}").endpoint for _ in range(10)} == {"b"}
        made.evacuate("a", drain=0)
        assert {made.invoke(b"{}").endpoint for _ in range(10)} == {"b"}

    def test_a_dedicated_model(self) -> None:
        cells = new_cells()
        made = router(cells, ["a", "b", Cell("own", models=["m0"])])
        for model in TARGETS:
            call(made, model)
        assert [model for cell, model in cells.sent if cell == "own"] == [TARGETS[0]]
        assert cells.cells_of(TARGETS[0]) == ["own"]

    def test_copies_share_the_calls(self) -> None:
        cells = new_cells()
        made = router(cells)
        made.rebalance(rates={"m0": 500.0, "m1": 1.0}, sizes={"m0": 10, "m1": 10})
        homes = made._routes.known.placement.exceptions["m0"]
        draws = iter(range(1_000))
        made._routing.draw = lambda: next(draws) * 37 % 100 / 100
        for _ in range(60):
            call(made)
        counts = Counter(cells.cells_of(TARGETS[0]))
        assert set(counts) == set(homes)
        assert min(counts.values()) > 0.6 * max(counts.values())

    def test_a_sweep_over_all_models_makes_no_second_copies(self) -> None:
        cells = new_cells()
        made = router(cells)
        made.rebalance(
            rates={"m0": 500.0} | dict.fromkeys(TARGETS[1:], 1 / 86_400), sizes=dict.fromkeys([*TARGETS, "m0"], 10)
        )
        cells.sent.clear()
        for model in TARGETS[1:]:
            call(made, model)
        assert all(count == 1 for count in cells.loads.values())


class TestFailover:
    @pytest.mark.parametrize("state", ["deleted", "error", "refused", "throttled", "busy"])
    def test_another_cell_answers(self, state: str) -> None:
        cells = new_cells()
        made = router(cells)
        home, second, _ = made.placement(TARGETS[0])
        cells.states[home] = state
        reply = call(made, deadline=2 if state == "throttled" else None)
        assert reply.endpoint == second
        asked = len(cells.cells_of(TARGETS[0]))
        assert reply.attempts == asked >= 2
        assert reply.history[-1].status == 200
        assert reply.latency >= 1.0
        assert [one.at for one in reply.history] == sorted(one.at for one in reply.history)

    def test_all_of_it_within_one_deadline(self) -> None:
        cells = new_cells()
        made = router(cells)
        cells.states = dict.fromkeys("abc", "throttled")
        began = cells.clock.now
        with pytest.raises(ThrottledError):
            call(made, deadline=3)
        assert cells.clock.now - began <= 3.05

    @pytest.mark.parametrize(
        ("state", "kind"),
        [("bad", ModelInputError), ("denied", AccessDeniedError), ("unknown", ModelNotFoundError)],
    )
    def test_an_answer_that_is_final_is_not_sent_elsewhere(self, state: str, kind: type[Exception]) -> None:
        cells = new_cells()
        made = router(cells)
        cells.states[made.placement(TARGETS[0])[0]] = state
        with pytest.raises(kind):
            call(made)
        assert len(set(cells.cells_of(TARGETS[0]))) == 1
        assert {one.state for one in made.cells} == {"serving"}

    def test_a_request_that_may_have_run_is_sent_elsewhere_only_if_it_may_run_twice(self) -> None:
        cells = new_cells()
        made = router(cells)
        home, second, _ = made.placement(TARGETS[0])
        cells.states[home] = "dropped"
        with pytest.raises(OutcomeUnknownError):
            call(made)
        assert set(cells.cells_of(TARGETS[0])) == {home}
        assert call(made, idempotent=True).endpoint == second

    def test_if_all_fail_the_error_is_that_of_the_home_and_names_the_others(self) -> None:
        cells = new_cells()
        made = router(cells)
        cells.states = dict.fromkeys("abc", "error")
        with pytest.raises(ServiceError) as caught:
            call(made)
        home, second, third = made.placement(TARGETS[0])
        assert caught.value.endpoint == home
        assert f"ServiceError at {second}, ServiceError at {third}" in str(caught.value.hint)
        history = caught.value.attempt_history
        assert len(history) == len(cells.sent) == 12
        assert [one.at for one in history] == sorted(one.at for one in history)

    def test_a_lost_cell_is_not_asked_again_until_its_rest_is_over(self) -> None:
        cells = new_cells()
        made = router(cells)
        home = made.placement(TARGETS[0])[0]
        cells.states[home] = "deleted"
        for _ in range(20):
            call(made)
        assert cells.cells_of(TARGETS[0]).count(home) == 1
        assert {one.name: one.state for one in made.cells}[home] == "lost"
        cells.states[home] = "ok"
        cells.clock.now += 6
        assert call(made).endpoint == home
        assert {one.state for one in made.cells} == {"serving"}
        assert call(made).endpoint == home

    def test_one_failing_model_does_not_lose_the_cell(self) -> None:
        cells = new_cells()
        made = router(cells)
        home = made.placement(TARGETS[0])[0]
        mates = [model for model in TARGETS if made.placement(model)[0] == home]
        cells.models[home, TARGETS[0]] = "error"
        assert len(mates) > 1
        for _ in range(5):
            assert call(made).endpoint != home
            assert call(made, mates[1]).endpoint == home
        assert {one.state for one in made.cells} == {"serving"}
        assert cells.cells_of(TARGETS[0]).count(home) == 4  # the attempts of one call

    def test_models_without_memory_do_not_lose_the_cell(self) -> None:
        cells = new_cells()
        made = router(cells)
        home = made.placement(TARGETS[0])[0]
        cells.states[home] = "busy"
        for model in TARGETS:
            assert call(made, model).endpoint != home
        assert {one.state for one in made.cells} == {"serving"}

    def test_two_failing_models_do(self) -> None:
        cells = new_cells()
        made = router(cells)
        home = made.placement(TARGETS[0])[0]
        mates = [model for model in TARGETS if made.placement(model)[0] == home]
        cells.states[home] = "error"
        for model in mates:
            call(made, model)
        lost = [model for cell, model in cells.sent if cell == home]
        assert len(set(lost)) == 2

    def test_a_lost_cell_tells_the_others_that_its_models_arrive_cold(self) -> None:
        cells = new_cells()
        made = router(cells)
        for model in TARGETS:
            call(made, model)
        cells.states["a"] = "deleted"
        call(made, next(model for model in TARGETS if made.placement(model)[0] == "a"))
        memory = made._client.memory
        assert memory.endpoint("b").warm_share == pytest.approx(0.0, abs=0.06)
        assert memory.endpoint("c").warm_share == pytest.approx(0.0, abs=0.06)

    def test_a_trial_is_one_call(self) -> None:
        cells = new_cells()
        made = router(cells)
        home = made.placement(TARGETS[0])[0]
        cells.states[home] = "deleted"
        call(made)
        health = made._routing.link(home).health
        cells.clock.now += 6
        assert [health.usable("m0") for _ in range(3)] == [True, False, False]
        health.failed("m0", EndpointNotFoundError("?"))
        cells.clock.now += 6
        assert not health.usable("m0")  # the rest has doubled
        cells.clock.now += 5
        assert health.usable("m0")

    def test_all_cells_of_one_name_without_a_model(self) -> None:
        cells = new_cells()
        made = router(cells, ["a", "b"])
        cells.states["a"] = "deleted"
        for draw in range(10):
            made._routing.draw = lambda draw=draw: draw / 10  # type: ignore[misc]
            assert made.invoke(b"{}").endpoint == "b"


class TestMany:
    def test_invoke_many_and_frame(self) -> None:
        pandas = pytest.importorskip("pandas")
        cells = new_cells()
        made = router(cells)
        home = made.placement(TARGETS[0])[0]
        cells.states[home] = "deleted"
        results = list(made.invoke_many(TARGETS * 3, model_of=lambda one: one, data_of=lambda _: b"{}", settings=ONE))
        assert [one.error for one in results] == [None] * 36
        assert set(cells.loads.values()) == {1}
        frame = pandas.DataFrame({"tenant": TARGETS, "x": 1.0})
        answered = made.invoke_frame(frame, model_of="tenant", settings=ONE)
        assert answered["error"].isna().all()

    def test_warm_loads_each_model_in_its_cell(self) -> None:
        cells = new_cells()
        made = router(cells)
        report = made.warm(TARGETS, expected={TARGETS[3]: 9.0})
        assert sorted(report.loaded) == sorted(TARGETS)
        assert {(made.placement(model)[0], model) for model in TARGETS} == set(cells.loads)
        with pytest.raises(InvalidInputError, match="models must be a list"):
            made.warm("m0/v1.tar.gz")

    def test_keep_warm_weighs_each_cell(self) -> None:
        made = router(new_cells())
        rates, sizes = dict.fromkeys(TARGETS, 1.0), dict.fromkeys(TARGETS, 100)
        with pytest.raises(InvalidInputError, match="net loss"):
            made.keep_warm(TARGETS[:1], rates=rates, sizes=sizes, capacity=150)
        report = made.keep_warm(TARGETS[:1], rates=rates, sizes=sizes, capacity=150, bound_by_slo=True)
        assert report.loaded == (TARGETS[0],)


def test_asynchronously() -> None:
    async def main() -> None:
        cells = new_async_cells()
        made = async_router(cells)
        home, second, _ = made.placement(TARGETS[0])
        assert (await made.invoke(b"{}", model=TARGETS[0])).endpoint == home
        assert (await made.invoke(b"{}", model=TARGETS[0])).endpoint == home
        cells.states[home] = "deleted"
        assert (await made.invoke(b"{}", model=TARGETS[0])).endpoint == second
        assert sorted((await made.warm(TARGETS)).loaded) == sorted(TARGETS)
        found = [one async for one in made.invoke_many(TARGETS, model_of=lambda one: one, data_of=lambda _: b"{}")]
        assert [one.error for one in found] == [None] * 12

    asyncio.run(main())


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"cells": []}, "neither cells nor a route table"),
            ({"cells": "a"}, "must be a list"),
            ({"cells": ["a", "a"]}, "two cells have the name 'a'"),
            ({"cells": [1]}, "cells or names of endpoints"),
            ({"cells": ["a"], "table": "http://x"}, "s3"),
            ({"cells": ["a"], "staleness": 0}, "staleness"),
            ({"cells": ["a"], "key": "x"}, "key template"),
            ({"cells": [Cell("a", models=["m"]), Cell("b", models=["m"])]}, "`models` of the cells a, b"),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInputError, match=message):
            connect(new_cells()).router("scoring", **arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"weight": 0}, "weight"),
            ({"weight": "x"}, "weight"),
            ({"name": "a b"}, "name must be"),
            ({"region": ""}, "region"),
            ({"client": 7}, "client must be"),
            ({"models": ["m/v1.tar.gz"]}, "names of models"),
            ({"models": ["m@live"]}, "names of models"),
            ({"models": 7}, "names of models"),
            ({"region": "eu-west-1", "client": MMEClient(region="eu-west-1")}, "exclude each other"),
        ],
    )
    def test_cells(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInputError, match=message):
            Cell("a", **arguments)

    def test_calls(self) -> None:
        made = router(new_cells())
        with pytest.raises(InvalidInputError, match="session_id"):
            call(made, session_id="s")
        call(made)
        with pytest.raises(InvalidInputError, match="session_id"):
            call(made, session_id="s")
        with pytest.raises(InvalidInputError, match="S3 address"):
            call(made, "s3://models/p/m0/v1.tar.gz")
        with pytest.raises(InvalidInputError, match="deadline"):
            call(made, deadline=-1)
        own = router(new_cells(), [Cell("own", models=["big"])])
        with pytest.raises(InvalidInputError, match="no cell serves 'm0'"):
            call(own)
        with pytest.raises(InvalidInputError, match="no cell serves calls without a model"):
            own.invoke(b"{}")


class TestOtherClients:
    def test_a_cell_with_a_client_of_its_own(self) -> None:
        here, there = new_cells(), new_cells()
        made = router(here, ["a", Cell("b", client=connect(there))])
        for model in TARGETS:
            call(made, model)
        assert {cell for cell, _ in here.sent} == {"a"}
        assert {cell for cell, _ in there.sent} == {"b"}
        # A version of this bucket is called by its target model where the bucket is another one.
        model = next(one for one in TARGETS if made.placement(one)[0] == "b")
        name, version = model.split("/")
        given = ModelVersion(name=name, version=version, target_model=model, uri=f"s3://mine/{model}")
        assert call(made, given).endpoint == "b"

    def test_a_client_of_the_other_kind_is_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="cell b: its client is a AsyncMMEClient"):
            router(new_cells(), ["a", Cell("b", client=AsyncMMEClient(region="us-east-1"))])
        with pytest.raises(InvalidInputError, match="cell b: its client is a MMEClient"):
            AsyncMMEClient(region="us-east-1").router("scoring", cells=[Cell("b", client=connect(new_cells()))])

    def test_a_cell_of_another_region_has_a_client_that_the_router_closes(self) -> None:
        made = router(new_cells(), ["a", Cell("b", region="eu-west-1")])
        link = made._routing.link("eu-west-1/b")
        client = made._clients["eu-west-1"]
        assert client.region == "eu-west-1"
        assert link.invoker is client._invoker.get()
        made.close()
        made.close()
        assert client._closed
        assert not made._client._closed

    def test_it_travels(self) -> None:
        client = MMEClient(region="us-east-1")
        made = client.router("scoring", cells=["a", Cell("b", weight=2)], table="s3://models/p/", staleness=2)
        again = pickle.loads(pickle.dumps(made))
        assert again.placement("m0") == made.placement("m0")
        assert (again.name, repr(again), again._options) == (made.name, repr(made), made._options)
        assert copy.deepcopy(made) is made
        assert "a (serving)" in repr(made)
        assert "scoring" in made._repr_html_()
        assert isinstance(again, Router)
        assert not isinstance(again, AsyncRouter)


class TestStampede:
    def test_the_models_of_a_lost_cell_are_loaded_a_few_at_a_time_in_each_other_cell(self) -> None:
        cells = new_cells()
        made = router(cells)
        for model in TARGETS:
            call(made, model)  # the other cells answer well, so that first probes need no permits
        home = "a"
        memory = made._client.memory
        others = [memory.endpoint(name) for name in ("b", "c")]
        for one in others:
            one.warm_share = 1.0
        moved = [f"n{number}/v1.tar.gz" for number in range(150)]
        moved = [model for model in moved if made.placement(model)[0] == home]
        loading, gate, most = Counter[str](), threading.Event(), Counter[str]()
        lock, step, permits = threading.Lock(), cells.step, list[Any]()
        asked = threading.Condition(lock)

        def slow(request: Any) -> Any:
            if request.endpoint != home:
                with lock:
                    loading[request.endpoint] += 1
                    most[request.endpoint] = max(most[request.endpoint], loading[request.endpoint])
                assert gate.wait(60)
                with lock:
                    loading[request.endpoint] -= 1
            return step(request)

        made._client._invoker.get()._interpreter = interpreter(
            cells, clock=cells.clock, aws=made._client._aws, wait=wait_in_thread
        )
        cells.states[home] = "deleted"
        call(made, moved[0])  # the cell is lost now
        cells.step = slow  # type: ignore[method-assign]

        def counted(acquire: Any) -> Any:
            def ask(**how: Any) -> Any:
                permit = acquire(**how)
                with lock:
                    permits.append(permit)
                    asked.notify_all()
                return permit

            return ask

        for one in others:
            one.load_limiter.acquire = counted(one.load_limiter.acquire)  # type: ignore[method-assign]
        threads = [
            threading.Thread(target=call, args=(made, model), kwargs={"deadline": 10_000}) for model in moved[1:]
        ]
        for thread in threads:
            thread.start()
        with lock:  # until each call loads or waits for a permit
            assert asked.wait_for(lambda: len(permits) == len(threads), 60)
        assert len(threads) > 30
        assert all(one.load_limiter.used <= 4 for one in others)
        assert set(most.values()) <= {1, 2, 3, 4}
        gate.set()
        for thread in threads:
            thread.join(60)
        assert {(cell, model) for cell, model in cells.loads if model in moved} == {
            (made.placement(model)[1], model) for model in moved
        }
