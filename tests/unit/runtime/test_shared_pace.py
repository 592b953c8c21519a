"""One rate of several processes, in simulated time, with a store in memory."""

from __future__ import annotations

from typing import Any

import pytest

from mme_sdk._flows.effects import Do, Interpreter, Sleep
from mme_sdk.errors import ConfigurationError, ThrottledError
from mme_sdk.runtime import Memory, Shared
from mme_sdk.runtime.effects import RunFlow
from mme_sdk.runtime.shared.link import Link
from mme_sdk.runtime.shared.pace import SharedPace
from mme_sdk.runtime.shared.rules import Ask
from mme_sdk.runtime.shared.store import StoreRefusedError
from tests.support.runtime.scripted import FakeClock
from tests.support.runtime.shared_stores import MemoryStore
from tests.unit.scale.test_pace import Job

TRIP, TIMEOUT = 0.0003, 0.1


class Store(MemoryStore):
    """A store whose trips take time, and which counts them."""

    def __init__(self, clock: FakeClock, skew: float = 0.0) -> None:
        super().__init__(lambda: clock.now + skew)
        self.clock, self.count = clock, 0
        self.down_from, self.down_until = float("inf"), float("inf")

    def reserve(self, endpoint: str, worker: str, ask: Ask) -> Any:
        self.count += 1
        self.down = self.down_from <= self.clock.now < self.down_until
        self.clock.now += TIMEOUT if self.down else TRIP
        return super().reserve(endpoint, worker, ask)


class Fleet(Job):
    """Batches of several processes that share a store."""

    def __init__(self, *, given: float | None, **keywords: Any) -> None:
        self.store: Store | None = None
        self.links: list[Link] = []

        def memory(clock: FakeClock) -> Memory:
            self.store = self.store or Store(clock)
            shared = Shared("redis://127.0.0.1", rate=given)
            made = Memory(shared=shared)
            link = made._link = Link(shared, store=self.store, now=clock.monotonic)
            self.links.append(link)
            return made

        super().__init__(memory=memory, **keywords)


@pytest.mark.parametrize(("workers", "each"), [(1, 16), (4, 16), (4, 1), (20, 3)])
@pytest.mark.parametrize("rate", [2.0, 150.0])
def test_a_given_rate_is_used_and_not_exceeded(workers: int, each: int, rate: float) -> None:
    fleet = Fleet(given=rate, rate=rate, workers=workers, each=each)
    items = int(rate * 30) // workers * workers
    took = fleet.run(items)
    assert not fleet.failed
    assert fleet.throttled <= 0.01 * fleet.sent
    assert fleet.done == items
    # Calls that take 20 ms, one at a time, do not reach 150 a second in 4 workers at a slice's pace of their own.
    assert items / took >= 0.95 * rate
    assert fleet.store is not None
    assert fleet.store.count / took / workers <= 10.5


@pytest.mark.parametrize("workers", [1, 4])
def test_a_learned_rate_is_one_for_all(workers: int) -> None:
    fleet = Fleet(given=None, rate=150.0, workers=workers, each=16)
    items = 150 * 60 // workers * workers
    took = fleet.run(items)
    assert not fleet.failed
    assert items / took >= 0.9 * 150
    assert fleet.throttled <= 0.01 * fleet.sent + 300  # until a rate is learned, calls go out without a limit
    assert fleet.store is not None
    assert fleet.store.count / took / workers <= 10.5


@pytest.mark.parametrize("given", [150.0, None])
@pytest.mark.parametrize("back", [float("inf"), 25.0])
def test_without_its_store_the_rate_stays(given: float | None, back: float) -> None:
    fleet = Fleet(given=given, rate=150.0, workers=4, each=16)
    store, began = fleet.store, fleet.clock.now
    assert store is not None
    store.down_from, store.down_until = began + 15.0, began + back
    items = 150 * 40
    took = fleet.run(items)
    assert not fleet.failed
    assert items / took == pytest.approx(150, rel=0.1)
    assert fleet.throttled <= 0.01 * fleet.sent + (0 if given else 400)


def test_a_busy_worker_gets_the_share_of_those_that_are_idle() -> None:
    clock = FakeClock()
    store = Store(clock)
    for worker in "bcd":
        store.reserve("scoring", worker, Ask(given=150, want=4, done=0, throttled=-1))
    began, calls = clock.now, 0
    while clock.now < began + 10:
        grant = store.reserve("scoring", "a", Ask(given=150, want=100, done=0, throttled=-1))
        calls += grant.count
        clock.now += max(0.0, grant.starts_in + grant.count * grant.gap)
    assert calls == pytest.approx(1500, rel=0.05)


def _run(flow: Any, clock: FakeClock) -> Any:
    def perform(effect: RunFlow) -> Any:
        return Interpreter({Do: lambda do: do.function()}).run(effect.flow)

    return Interpreter({Sleep: lambda sleep: clock.sleep(sleep.seconds), RunFlow: perform}).run(flow)


def _pace(clock: FakeClock, store: Any, given: float | None) -> SharedPace:
    link = Link(Shared("redis://127.0.0.1", rate=given), store=store, now=clock.monotonic)
    return SharedPace(link, "scoring", given)


def test_a_turn_that_was_not_used_in_time_is_void() -> None:
    clock = FakeClock()
    pace = _pace(clock, Store(clock), 100.0)
    assert not pace.take_now(clock.now)
    for _ in range(4):
        assert _run(pace.wait_for_turn(clock.monotonic, clock.now + 9), clock)
    assert pace.take_now(clock.now)
    clock.now += 0.4
    assert not pace.take_now(clock.now)


def test_the_clock_of_a_worker_does_not_matter() -> None:
    clock = FakeClock()
    store = Store(clock)
    taken = 0
    for skew in (0.0, -1e6, 1e6):
        other = FakeClock()
        other.now = 5e6 + skew
        pace = _pace(other, store, 10.0)
        began = other.now
        while other.now < began + 10:
            clock.now, before = clock.now, other.now
            taken += _run(pace.wait_for_turn(other.monotonic, began + 20), other)
            clock.now += other.now - before
    assert taken == pytest.approx(300, rel=0.05)


def test_a_call_ends_with_its_deadline_while_the_rate_has_no_turn() -> None:
    fleet = Fleet(given=1.0, rate=100.0, workers=1, each=64, deadline=5.0)
    fleet.run(128)
    assert {type(error) for error in fleet.failed} == {ThrottledError}
    assert "the rate that processes share had no turn until the deadline of 5 s passed" in str(fleet.failed[0])
    assert fleet.done >= 5


def test_a_store_that_refuses_is_an_error_at_first_and_an_outage_later() -> None:
    clock = FakeClock()
    store = Store(clock)
    pace = _pace(clock, store, 100.0)
    store.reserve = lambda *_: (_ for _ in ()).throw(StoreRefusedError("it refuses the user or the password"))  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"cannot share state in redis://127.0.0.1: it refuses the user"):
        _run(pace.wait_for_turn(clock.monotonic, clock.now + 9), clock)
    del store.reserve
    assert _run(pace.wait_for_turn(clock.monotonic, clock.now + 9), clock)
    store.reserve = lambda *_: (_ for _ in ()).throw(StoreRefusedError("it refuses the user or the password"))  # type: ignore[method-assign]
    clock.now += 10
    assert _run(pace.wait_for_turn(clock.monotonic, clock.now + 9), clock)


def test_an_interrupted_wait_leaves_nothing_behind() -> None:
    clock = FakeClock()
    pace = _pace(clock, Store(clock), 10.0)
    flow = pace.wait_for_turn(clock.monotonic, clock.now + 9)
    assert isinstance(next(flow), RunFlow)  # it asks the store
    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())
    assert _run(pace.wait_for_turn(clock.monotonic, clock.now + 9), clock)
