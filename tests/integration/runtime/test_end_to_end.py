"""Invocations against an embedded SageMaker whose models load slowly, so that it answers 429 as SageMaker does."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from mme_sdk.errors import (
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    ModelError,
    ModelInputError,
    ModelNotFoundError,
    ModelNotReadyError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    UndecodableReplyError,
)
from mme_sdk.local import Fault
from mme_sdk.runtime import BatchSettings
from mme_sdk.runtime.transport import pool
from tests.support.gates import Gate
from tests.support.runtime.world import World


class Answer(BaseModel):
    model: str
    data: dict[str, float]


@contextmanager
def trouble(world: World, fault: Fault) -> Iterator[None]:
    """A fault, for a while; it must have struck."""
    name = world.host.faults.add(fault)
    try:
        yield
        assert world.host.faults.list()[name]["triggered"] == 1
    finally:
        world.host.faults.remove(name)


def test_a_cold_start_only_takes_longer(world: World) -> None:
    model = world.make("slow-once", 1.0)
    reply = world.client.endpoint("scoring").invoke({"x": 1.0}, model=model, response_type=Answer, deadline=300)
    assert reply.value == Answer(model="slow-once", data={"x": 1.0})
    assert reply.cold
    assert reply.attempts >= 2
    assert {attempt.code for attempt in reply.history[:-1]} == {"ModelNotReadyException"}
    again = world.client.endpoint("scoring").invoke({"x": 1.0}, model=model)
    assert again.cold is not True
    assert again.attempts == 1
    assert world.loads("slow-once") == 1


def test_a_herd_of_threads_causes_one_load(world: World) -> None:
    model, endpoint = world.make("herd", 1.0), world.client.endpoint("scoring")
    gate = threading.Barrier(12)

    def call(number: int) -> str:
        gate.wait()
        return str(endpoint.invoke([number], model=model, deadline=300).json()["data"][0])

    with ThreadPoolExecutor(12) as pool:
        assert sorted(map(int, pool.map(call, range(12)))) == list(range(12))
    assert world.loads("herd") == 1


def test_a_herd_of_tasks_causes_one_load_and_survives_cancellations(world: World, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    model = world.make("tasks", 0.0, gate)

    async def main() -> None:
        async with world.host.async_client() as client:
            endpoint = client.endpoint("scoring")
            calls = [asyncio.create_task(endpoint.invoke([number], model=model, deadline=300)) for number in range(12)]
            await gate.until_arrived()
            for cancelled in calls[:3]:  # the leader is among them
                cancelled.cancel()
            await asyncio.wait(calls[:3])
            gate.open()
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(each) for each in done[:3]] == [asyncio.CancelledError] * 3
            assert [each.json()["data"][0] for each in done[3:]] == list(range(3, 12))  # type: ignore[union-attr]
            assert len(client.memory.single_flight) == 0

    asyncio.run(main())
    assert world.loads("tasks") == 1


def test_a_deadline_too_short_says_how_much_is_missing(world: World) -> None:
    model, endpoint = world.make("late", 2.0), world.client.endpoint("scoring")
    endpoint.invoke({}, model=world.make("before", 1.0), deadline=60)  # shows how long a load takes
    with pytest.raises(ModelNotReadyError) as caught:
        endpoint.invoke({}, model=model, deadline=0.7)
    assert caught.value.ready_in is not None
    assert caught.value.attempts == len(caught.value.attempt_history) >= 1
    assert endpoint.invoke({}, model=model, deadline=300).value["model"] == "late"
    assert world.loads("late") == 1


def test_absent_things_are_named(world: World) -> None:
    endpoint = world.client.endpoint("scoring")
    world.make("fraud-eu", 0.0)
    with pytest.raises(ModelNotFoundError) as caught:
        endpoint.invoke({}, model="fraud-eu/v2.tar.gz")
    assert "s3://models/prod/fraud-eu/v2.tar.gz" in caught.value.message
    assert "fraud-eu/v1.tar.gz" in (caught.value.hint or "")
    with pytest.raises(ModelNotFoundError) as unlike:
        endpoint.invoke({}, model="0123456789.tar.gz")
    assert "is similar" in (unlike.value.hint or "")
    with pytest.raises(EndpointNotFoundError):
        world.client.endpoint("absent").invoke({}, model="first/v1.tar.gz")
    with pytest.raises(InvalidInputError, match="target model") as missing:
        endpoint.invoke({})
    assert "pass model=" in (missing.value.hint or "")
    with pytest.raises(PayloadTooLargeError):
        endpoint.invoke(b"x" * (26 << 20), model="first/v1.tar.gz")
    with pytest.raises(MMEError, match="nobody"):
        endpoint.invoke({}, model="nobody@live")


def test_a_model_that_refuses_its_input_is_readable(world: World) -> None:
    with pytest.raises(ModelError, match="no such feature") as caught:
        world.client.endpoint("scoring").invoke('"bad"', model="first/v1.tar.gz", content_type="application/json")
    assert caught.value.original_status == (400 if isinstance(caught.value, ModelInputError) else 500)
    with pytest.raises(UndecodableReplyError) as undecodable:
        world.client.endpoint("scoring").invoke({}, model="first/v1.tar.gz", response_type=np.ndarray)
    assert undecodable.value.body.startswith(b"{")


def test_aliases_are_resolved(world: World) -> None:
    world.models.alias("first", "live", "v1")
    reply = world.client.endpoint("scoring").invoke({}, model="first@live")
    assert reply.model == "first/v1.tar.gz"

    async def main() -> str | None:
        async with world.host.async_client() as client:
            return (await client.endpoint("scoring").invoke({}, model="first@live")).model

    assert asyncio.run(main()) == "first/v1.tar.gz"


def test_a_warm_call_that_is_dropped_may_have_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A request on a connection that was idle for a second is sent again below the attempts: it may be stale.
    monkeypatch.setattr(pool, "may_resend", lambda *_, **__: False)
    endpoint = world.client.endpoint("scoring")
    endpoint.invoke({}, model="first/v1.tar.gz")
    drop = Fault(kind="drop_after", operation="InvokeEndpoint", times=1)
    with trouble(world, drop), pytest.raises(OutcomeUnknownError) as caught:
        endpoint.invoke({}, model="first/v1.tar.gz")
    assert not caught.value.replay_safe
    with trouble(world, drop):
        assert endpoint.invoke({}, model="first/v1.tar.gz", idempotent=True).attempts == 2


def test_a_model_that_fails_to_load_is_let_alone_for_a_while(world: World) -> None:
    model, endpoint = world.make("broken", 0.0), world.client.endpoint("scoring")
    name = world.host.faults.add(Fault(kind="failed_load", model=model, message="Failed to load the model: no weights"))
    errors = []
    for _ in range(4):
        with pytest.raises(ModelError, match="no weights") as caught:
            endpoint.invoke({}, model=model)
        errors.append(caught.value)
    assert [error.sent for error in errors] == [True, True, True, False]
    requests = sum(
        len(error.attempt_history) for error in errors
    )  # 3; on a busy machine, one may come before a load fails
    assert 3 <= world.host.faults.list()[name]["triggered"] <= requests
    world.host.faults.remove(name)


def test_throttling_and_faults_pass(world: World) -> None:
    endpoint = world.client.endpoint("scoring")
    for kind in ("throttle", "error"):
        with trouble(world, Fault(kind=kind, operation="InvokeEndpoint", times=1)):  # type: ignore[arg-type]
            assert endpoint.invoke({}, model="first/v1.tar.gz").attempts == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_invokes_with_its_parents_client(world: World) -> None:
    endpoint = world.client.endpoint("scoring")
    endpoint.invoke({}, model="first/v1.tar.gz")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if endpoint.invoke({}, model="first/v1.tar.gz", deadline=300).attempts == 1 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert endpoint.invoke({}, model="first/v1.tar.gz").attempts == 1


def test_many_items_and_a_warm_up_through_the_handle(world: World, tmp_path: Path) -> None:
    endpoint = world.client.endpoint("scoring")
    models = [world.make(f"many-{number}", 0.1) for number in range(3)]
    report = endpoint.warm(models, expected={models[2]: 5.0})
    assert report.loaded[0] == models[2]
    assert sorted(report.loaded) == models
    rows = [{"id": f"many-{number}", "n": number} for number in range(60)] + [object()]
    results = endpoint.invoke_many(
        rows,
        model_of=lambda row: models[row["n"] % 3] if isinstance(row, dict) else models[0],
        checkpoint=tmp_path / "done",
        settings=BatchSettings(max_concurrency=2),  # more of one model would spill to the other instance
    )
    done = list(results)
    assert [result.index for result in done] == list(range(61))
    assert [result.value["data"]["n"] for result in done[:-1]] == list(range(60))
    assert isinstance(done[-1].error, InvalidInputError)
    assert [world.loads(f"many-{number}") for number in range(3)] == [1, 1, 1]
    assert len((tmp_path / "done").read_text().split()) == 60


def test_frames_and_keeping_warm_through_both_handles(world: World) -> None:
    models = [world.make(f"frame-{number}", 0.0) for number in range(2)]
    frame = pd.DataFrame({"to": [models[n % 2] for n in range(5)], "x": range(5)}, index=list("abcde"))
    rates, sizes = dict.fromkeys(models, 1.0), dict.fromkeys(models, 1)
    endpoint = world.client.endpoint("scoring")
    answers = [endpoint.invoke_frame(frame, model_of="to", content_type="application/json")]
    with pytest.raises(InvalidInputError, match="net loss"):
        endpoint.keep_warm(models[:1], rates=rates, sizes=sizes, capacity=2)
    kept = [endpoint.keep_warm(models[:1], rates=rates, sizes=sizes, capacity=2, bound_by_slo=True)]

    async def main() -> None:
        async with world.host.async_client() as client:
            twin = client.endpoint("scoring")
            answers.append(await twin.invoke_frame(frame, model_of="to", content_type="application/json"))
            kept.append(await twin.keep_warm(models[:1], rates=rates, sizes=sizes, capacity=2, bound_by_slo=True))

    asyncio.run(main())
    for answer in answers:
        assert list(answer.index) == list("abcde")
        assert answer["model"].tolist() == [f"frame-{n % 2}" for n in range(5)]
        assert [row["x"] for row in answer["data"]] == list(range(5))
        assert answer["error"].isna().all()
    assert [report.loaded for report in kept] == [(models[0],)] * 2
