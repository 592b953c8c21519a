"""A call that is interrupted while it acquires or releases what other processes see holds nothing afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mme_sdk._flows.effects import Do, Flow
from mme_sdk.aws import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.errors import ClosedError
from mme_sdk.runtime import FileLeases
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Release, RunFlow, Send, Wait
from mme_sdk.runtime.interpreters import async_interpreter, interpreter
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse
from tests.support.runtime.scripted import FakeAsyncClock, FakeClock, Middle, SyncScript, answer
from tests.unit.runtime.test_calls import NOT_READY


class Slots:
    """Cold slots, as a shared store has them."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def take_slot(self, endpoint: str, model: str, *, seconds: float, forced: bool) -> Flow[int | None]:
        del endpoint, seconds, forced
        yield Do(lambda: self.held.add(model))
        return 0

    def free_slot(self, endpoint: str, model: str, *, verdict: int, epoch: int) -> Flow[None]:
        del endpoint, verdict, epoch
        yield Do(lambda: self.held.discard(model))


def perform(flow: Flow[Any]) -> Any:
    value: Any = None
    while True:
        try:
            effect = flow.send(value)
        except StopIteration as end:
            return end.value
        assert isinstance(effect, Do)
        value = effect.function()


def interrupted(memory: Memory, at: int, do_it: bool) -> bool:
    """Call a loading model, and interrupt its `at`-th operation. Return whether there was one."""
    clock, answers = FakeClock(), iter([NOT_READY, {}])
    process = Settings(timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=memory)
    request = InvokeRequest(endpoint="scoring", body=b"", target_model="m")
    flow = Attempts(process, request, began=clock.now, deadline=360.0).run()
    number, effect = 0, next(flow)
    try:
        while True:
            if isinstance(effect, Send):
                effect = flow.send(answer(next(answers)))
                continue
            if isinstance(effect, Wait):
                clock.now += effect.timeout
                effect = flow.send(False)
                continue
            assert isinstance(effect, (RunFlow, Release))
            number += 1
            if number != at or do_it:
                value = perform(effect.flow if isinstance(effect, RunFlow) else effect.make())
            effect = flow.throw(KeyboardInterrupt()) if number == at else flow.send(value)
    except StopIteration:
        return False
    except KeyboardInterrupt:
        return True


@pytest.mark.parametrize("do_it", [False, True], ids=["before", "after"])
def test_an_interruption_leaves_no_lease_and_no_slot(tmp_path: Path, do_it: bool) -> None:
    file, at = tmp_path / "leases.db", 1
    while True:
        memory, slots = Memory(leases=FileLeases(file)), Slots()
        memory.slots = slots  # type: ignore[assignment]
        was = interrupted(memory, at, do_it)
        with closing(sqlite3.connect(file)) as table:
            assert table.execute("SELECT count(*) FROM leases").fetchone() == (0,), at
        assert not slots.held, at
        assert len(memory.single_flight) == 0
        if not was:
            break
        at += 1
    assert at == 6  # a lease is acquired, extended and released, and a slot acquired and released


class Closing(SyncScript):
    """A transport whose client is closed after the first answer."""

    def __init__(self, aws: Aws) -> None:
        super().__init__(FakeClock(), [NOT_READY])
        self.aws = aws

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        if not self.rows:
            self.aws.close()
            raise ClosedError("the client is closed")
        return super().send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)


class AsyncClosing(Closing):
    async def send(self, request: InvokeRequest, **timeouts: float) -> InvokeResponse:  # type: ignore[override]
        return super().send(request, **timeouts)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_client_that_is_closed_during_a_call_holds_no_lease(tmp_path: Path, asynchronous: bool) -> None:
    file, aws = tmp_path / "leases.db", Aws(region="us-east-1")
    clock: Any = FakeAsyncClock() if asynchronous else FakeClock()
    process = Settings(
        timeouts=Timeouts(), retry=RetryPolicy(), clock=clock, rng=Middle(), memory=Memory(leases=FileLeases(file))
    )
    request = InvokeRequest(endpoint="scoring", body=b"", target_model="m")
    flow = Attempts(process, request, began=clock.now, deadline=360.0).run()

    def call() -> None:
        if asynchronous:
            asyncio.run(async_interpreter(AsyncClosing(aws), clock=clock, aws=aws, wait=clock.wait).run(flow))
        else:
            interpreter(Closing(aws), clock=clock, aws=aws, wait=clock.wait).run(flow)

    with pytest.raises(ClosedError):
        call()
    with closing(sqlite3.connect(file)) as table:
        assert table.execute("SELECT count(*) FROM leases").fetchone() == (0,)
