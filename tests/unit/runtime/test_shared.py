"""Settings of shared state, leases and cold slots in a shared store, and what follows if the store does not answer."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
import pytest

from mme_sdk import AsyncMMEClient, ColdStart, MMEClient
from mme_sdk._flows.effects import Do, Interpreter
from mme_sdk.errors import ConfigurationError, InvalidInputError, MissingExtraError
from mme_sdk.runtime import FileLeases, LoadTimes, Memory, Shared
from mme_sdk.runtime.cold_start.cold_start import ColdStartWait
from mme_sdk.runtime.effects import Release, RunFlow, Wait
from mme_sdk.runtime.shared.file_store import FileStore
from mme_sdk.runtime.shared.leases import SharedLeases
from mme_sdk.runtime.shared.link import Link
from mme_sdk.runtime.shared.rules import Ask
from mme_sdk.runtime.shared.store import StoreDownError, StoreRefusedError, parse_curves
from tests.support.runtime.scripted import FakeClock, Middle
from tests.support.runtime.shared_stores import MemoryStore

SECRET = "the-secret"


def run(flow: Any) -> Any:
    return Interpreter({Do: lambda effect: effect.function()}).run(flow)


class Worker:
    """A process with leases in a store that others use, too."""

    def __init__(self, store: MemoryStore, clock: FakeClock, **cold: Any) -> None:
        shared = Shared("redis://cache.internal")
        self.memory = Memory(ColdStart(**cold), shared=shared)
        self.link = self.memory._link = Link(shared, store=store, now=clock.monotonic)
        settings = self.memory.cold
        self.leases = self.memory.leases = self.memory.slots = SharedLeases(
            self.link,
            self.memory.load_times,
            initial=settings.concurrent_loads,
            maximum=settings.max_concurrent_loads,
        )
        self.clock = clock

    def cold_start(self, model: str) -> ColdStartWait:
        return ColdStartWait(
            self.memory,
            endpoint="scoring",
            target_model=model,
            clock=self.clock,
            rng=Middle(),
            hooks=(),
            read_timeout=10.0,
            began=self.clock.now,
            deadline=100.0,
        )

    def acquire(self, model: str) -> bool:
        return bool(run(self.leases.acquire("scoring", model, seconds=60)))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock.monotonic)


@pytest.mark.parametrize("dump", [pickle.dumps, cloudpickle.dumps])
def test_settings_travel_without_a_password(dump: Callable[[Any], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for shared in (
        Shared("redis://cache.internal:6380/2", rate=150, namespace="prod", password_env="CACHE", timeout=1),
        Shared("file:/tmp/shared.db"),
    ):
        assert pickle.loads(dump(shared)) == copy.deepcopy(shared) == shared
        memory = pickle.loads(dump(Memory(shared=shared)))
        assert (memory.shared, type(memory.leases)) == (shared, SharedLeases)
        client = pickle.loads(dump(MMEClient(region="eu-west-3", memory=Memory(shared=shared))))
        assert client.memory.shared == shared
    secret = Shared(f"redis://team:{SECRET}@cache.internal", rate=150)
    for value in (secret, Memory(shared=secret), MMEClient(region="eu-west-3", memory=Memory(shared=secret))):
        with pytest.raises(Exception, match="password") as caught:
            dump(value)
        assert SECRET not in str(caught.value)
        assert copy.deepcopy(value) is not None
    assert attrs.evolve(secret, rate=2).password == secret.password


def test_no_text_shows_the_password(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared(f"rediss://team:{SECRET}%21@cache.internal:6380/2")
    assert shared.url == "rediss://team@cache.internal:6380/2"
    assert shared.password is not None
    assert shared.password.value == f"{SECRET}!"  # type: ignore[union-attr]
    assert shared == Shared("rediss://team@cache.internal:6380/2", password=f"{SECRET}!")
    shown = [repr(shared), str(attrs.asdict(shared)), repr(MMEClient(region="a", memory=Memory(shared=shared)))]
    link = Link(shared, store=store)
    store.down = True
    with caplog.at_level(logging.INFO):
        run(link.trip(lambda store: store.reserve("scoring", "w", Ask(1.0, 1, 0, -1))))
    assert "does not answer" in caplog.text
    assert SECRET not in "".join([*shown, caplog.text])


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": f"user:{SECRET}@cache"},
        {"url": f"http://user:{SECRET}@cache"},
        {"url": f"redis://user:{SECRET}@cache:port"},
        {"url": f"redis://user:{SECRET}@cache/0?socket_timeout=9"},
        {"url": f"redis://:{SECRET}@cache", "password": "another"},
        {"url": f"redis://:{SECRET}@cache", "password_env": "CACHE"},
        {"url": "redis://cache", "password": SECRET, "password_env": "CACHE"},
        {"url": "file:/tmp/x", "password": SECRET},
        {"url": "file:/tmp/x", "password_env": "CACHE"},
        {"url": "file://host/tmp/x"},
        {"url": "file:"},
        {"url": "file:/tmp/"},
        {"url": "redis://"},
        {"url": ""},
        {"url": 7},
        {"url": "redis://cache", "password": ""},
        {"url": "redis://cache", "password_env": 7},
        {"url": "redis://cache", "namespace": "a b"},
        {"url": "redis://cache", "rate": 0},
        {"url": "redis://cache", "rate": 0.01},
        {"url": "redis://cache", "rate": float("inf")},
        {"url": "redis://cache", "rate": True},
        {"url": "redis://cache", "timeout": 0},
        {"url": "redis://cache", "timeout": 11},
    ],
)
def test_invalid_settings_are_refused_without_their_secret(wrong: dict[str, Any]) -> None:
    url = wrong.pop("url")
    with pytest.raises(InvalidInputError, match="Shared") as caught:
        Shared(url, **wrong)
    assert SECRET not in str(caught.value)


def test_a_relative_path_is_that_of_the_first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Shared("file:shared.db").url == f"file:{tmp_path}/shared.db"
    assert Shared(f"file://{tmp_path}/shared.db") == Shared("file:shared.db")


def test_a_memory_has_leases_or_a_shared_store(tmp_path: Path) -> None:
    shared = Shared(f"file:{tmp_path}/shared.db")
    with pytest.raises(InvalidInputError, match="exclude each other"):
        Memory(leases=FileLeases(tmp_path / "leases.db"), shared=shared)
    with pytest.raises(InvalidInputError, match="shared"):
        Memory(shared=f"file:{tmp_path}/shared.db")  # type: ignore[arg-type]


def test_without_redis_py_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match="pip install 'mme-sdk") as caught:
        run(Link(Shared("redis://cache")).trip(lambda store: store.renew("e", "m", "w", seconds=1)))
    assert "[shared]" in str(caught.value)


def test_a_variable_without_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.delenv("CACHE_PASSWORD", raising=False)
    link = Link(Shared("redis://cache", password_env="CACHE_PASSWORD"))
    with pytest.raises(ConfigurationError, match="CACHE_PASSWORD"):
        run(link.trip(lambda store: store.renew("e", "m", "w", seconds=1)))


def test_a_file_that_cannot_be_used_is_an_error_at_first(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "shared.db", tmp_path):
        link = Link(Shared(f"file:{path}"))
        with pytest.raises(ConfigurationError, match="cannot share state in file:"):
            run(link.trip(lambda store: store.renew("e", "m", "w", seconds=1)))
    (tmp_path / "text").write_text("this is not a database, and long enough to be refused as one" * 20)
    with pytest.raises(StoreRefusedError, match="not a database"):
        FileStore(str(tmp_path / "text"), namespace="a", timeout=1).renew("e", "m", "w", seconds=1)


def test_a_locked_file_is_a_store_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    store = FileStore(str(path), namespace="a", timeout=0.01)
    assert store.acquire("scoring", "m", "w", seconds=60) == (True, "")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreDownError, match="locked"):
        store.acquire("scoring", "m", "w", seconds=60)
    other.close()
    assert store.acquire("scoring", "m", "w2", seconds=60) == (False, "")
    assert FileStore(str(path), namespace="b", timeout=1).acquire("scoring", "m", "w2", seconds=60)[0]


def test_a_lease_and_a_slot_of_a_dead_process_expire(store: MemoryStore, clock: FakeClock) -> None:
    dead, other = Worker(store, clock, concurrent_loads=1), Worker(store, clock, concurrent_loads=1)
    assert dead.acquire("a")
    assert run(dead.leases.take_slot("scoring", "a", seconds=60, forced=False)) == 0
    assert not other.acquire("a")
    assert run(other.leases.take_slot("scoring", "b", seconds=60, forced=False)) is None
    clock.now += 59
    assert not other.acquire("a")
    clock.now += 1
    assert other.acquire("a")
    assert run(other.leases.take_slot("scoring", "b", seconds=60, forced=False)) == 0
    run(dead.leases.renew("scoring", "a", seconds=600))  # the dead process was only slow; the lease is not its own
    run(dead.leases.release("scoring", "a"))
    assert not dead.acquire("a")


def test_the_processes_share_the_limit_of_loads(store: MemoryStore, clock: FakeClock) -> None:
    workers = [Worker(store, clock, concurrent_loads=2) for _ in range(3)]
    begun: list[tuple[Worker, ColdStartWait]] = []
    for place, worker in enumerate(workers):
        worker.memory.endpoint("scoring").warm_share = 0.0  # so that a first probe needs a slot
        wait = worker.cold_start(f"m{place}")
        effect = perform(wait.wait_for_turn(), worker)
        assert isinstance(effect, Wait) == (place == 2)
        if effect is True:
            begun.append((worker, wait))
    assert len(begun) == 2
    worker, wait = begun[0]
    assert perform(wait.found_cold(clock.now, clock.now), worker) is not None
    clock.now += 3.0
    wait.answered(clock.now - 0.01, clock.now)
    assert perform(wait.leave(), worker) is None
    assert store.table.get("limit", "scoring") == "3 0"
    late = workers[2].cold_start("m3")
    assert perform(late.wait_for_turn(), workers[2]) is True


def perform(flow: Any, worker: Worker) -> Any:
    """Perform the trips of a flow. Return its result, or the first wait."""
    value: Any = None
    try:
        while True:
            effect = flow.send(value)
            if not isinstance(effect, (Release, RunFlow)):
                return effect
            value = run(effect.flow if isinstance(effect, RunFlow) else effect.make())
    except StopIteration as end:
        return end.value


def test_what_one_process_learns_of_a_model_another_one_knows(store: MemoryStore, clock: FakeClock) -> None:
    one, two = Worker(store, clock), Worker(store, clock)
    assert one.acquire("a")
    for _ in range(3):
        one.memory.load_times.observe("scoring", "a", 20.0)
    run(one.leases.release("scoring", "a"))
    assert two.acquire("a")
    assert two.memory.load_times.expected("scoring", "a") == one.memory.load_times.expected("scoring", "a")
    assert two.memory.load_times.expected("scoring", "b").source == "endpoint"


@pytest.mark.parametrize("text", ["", "x", "1 2 3 4 5", "1 2 3 4 5 nan", "1 2 3 4 5 1e999", "1 2 3 4 5 6 7"])
def test_load_times_of_another_kind_are_ignored(text: str, store: MemoryStore, clock: FakeClock) -> None:
    assert parse_curves(text) is None
    store.release("scoring", "a", "w", curves=text)
    worker = Worker(store, clock)
    assert worker.acquire("a")
    assert len(worker.memory.load_times) == 0


def test_load_times_out_of_range_are_ignored() -> None:
    times = LoadTimes()
    times.add("scoring", "a", [1e9, 99.0, -1.0, 0.0, 0.0, 0.0])
    assert times.expected("scoring", "a").source == "prior"


def test_without_the_store_each_process_decides_alone(store: MemoryStore, clock: FakeClock) -> None:
    one, two = Worker(store, clock, concurrent_loads=1), Worker(store, clock, concurrent_loads=1)
    assert one.acquire("a")
    store.down = True
    assert two.acquire("a")
    assert run(two.leases.take_slot("scoring", "b", seconds=60, forced=False)) == 0
    run(one.leases.release("scoring", "a"))
    trips = two.link.trips
    assert two.acquire("c")
    assert two.link.trips == trips  # it looks again after two seconds
    store.down = False
    clock.now += 2.0
    assert two.acquire("c")
    assert two.link.trips == trips + 1
    assert not one.acquire("c")


def test_a_forked_child_is_a_worker_of_its_own(store: MemoryStore, clock: FakeClock) -> None:
    parent = Worker(store, clock)
    shared_pace = parent.memory.endpoint("scoring").shared_pace
    assert shared_pace is not None
    assert parent.acquire("a")
    waiting = shared_pace.wait_for_turn(clock.monotonic, clock.now + 9)
    next(waiting)  # a thread of the parent asks the store at the fork
    name = parent.link.worker
    parent.link._lock._renew()  # what a fork does
    shared_pace._lock._renew()
    shared_pace._link = parent.link
    assert parent.link.worker != name
    run(parent.leases.release("scoring", "a"))
    assert not parent.acquire("a")  # the lease is the parent's

    def perform_trip(effect: RunFlow) -> Any:
        return run(effect.flow)

    assert Interpreter({RunFlow: perform_trip}).run(shared_pace.wait_for_turn(clock.monotonic, clock.now + 9))


def test_a_slow_store_does_not_block_the_event_loop() -> None:
    answered = threading.Event()

    class Slow(MemoryStore):
        def acquire(self, *arguments: Any, **keywords: Any) -> Any:
            assert answered.wait(60), "the event loop is blocked"
            return super().acquire(*arguments, **keywords)

    async def main() -> bool:
        client = AsyncMMEClient(region="eu-west-3")
        link = Link(Shared("redis://cache"), store=Slow(lambda: 1.0))
        leases = SharedLeases(link, LoadTimes(), initial=1, maximum=1)
        call = asyncio.ensure_future(client._aws.arun(leases.acquire("scoring", "a", seconds=60)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(answered.set)
        try:
            return await call
        finally:
            await client.close()

    assert asyncio.run(main())


@pytest.mark.parametrize(
    "text", ["junk", "", "1", "nan nan nan nan nan nan nan", "1e999 0 0 0 0 0 0", "0 " * 8, None, b"\xff", 5]
)
@pytest.mark.parametrize("kind", ["rate", "limit"])
def test_an_entry_of_another_program_is_named(kind: str, text: Any, tmp_path: Path) -> None:
    path = tmp_path / "state"
    store = FileStore(str(path), namespace="mme", timeout=1.0)

    def use() -> None:
        store.reserve("e", "w", Ask(given=10.0, want=1, done=0, throttled=-1.0))
        store.take_slot("e", "m", "w", seconds=1.0, initial=4, forced=True)

    use()
    with sqlite3.connect(path) as file:
        file.execute("REPLACE INTO entries VALUES ('mme', ?, 'e', ?, 9e18)", (kind, text))
    file.close()
    with pytest.raises(StoreRefusedError, match=f"the entry {kind} of e is not one of mme_sdk; delete the file"):
        use()


@pytest.mark.parametrize("url", ["file:\ud800", "redis://a b", "redis://:the-secret@a b", "redis://\ud800"])
def test_an_address_that_no_store_can_have_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match=r"Shared\.url") as caught:
        Shared(url)
    assert SECRET not in str(caught.value)
