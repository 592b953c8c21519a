"""A call that is interrupted while it acquires or releases what other processes see holds nothing afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mme_sdk._flows.effects import Do, Flow
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.runtime import FileLeases
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import RunFlow, Send, Wait
from mme_sdk.runtime.retry.attempts import Attempts, Settings
from mme_sdk.runtime.transport_interface import InvokeRequest
from tests.support.runtime.scripted import FakeClock, Middle, answer
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
            assert isinstance(effect, RunFlow)
            number += 1
            if number != at or do_it:
                value = perform(effect.flow)
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
