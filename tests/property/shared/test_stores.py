"""The scripts of Redis and Valkey, the SQLite file and the rules in Python give the same answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mme_sdk.runtime.shared.file_store import FileStore
from mme_sdk.runtime.shared.redis_store import RedisStore
from mme_sdk.runtime.shared.rules import VOID, Ask, Grant
from tests.support.runtime.shared_stores import MemoryStore
from tests.support.runtime.valkey import valkey


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with valkey() as server:
        yield server.url


class Clock:
    def __init__(self) -> None:
        self.now = 1_764_000_000.0

    def __call__(self) -> float:
        return self.now


WORKERS, MODELS = st.sampled_from(["w1", "w2", "w3"]), st.sampled_from(["a", "b/v1.tar.gz", ""])
SECONDS = st.sampled_from([15.0, 80.0])  # longer than a test takes by the clock of the server, too
ASKS = st.builds(
    Ask,
    given=st.just(0.0),
    want=st.integers(0, 40),
    done=st.integers(0, 60),
    throttled=st.sampled_from([-1.0, -1.0, 0.0, 0.3, 2.0]),
    known=st.sampled_from([0.0, 0.0, 0.0, 33.0]),
)
TIMES = [0.0, 0.001, 0.027, 0.1, 0.3, 0.9, 1.1, 5.5, 17.0, -3.0, -40.0]
SLOT = st.fixed_dictionaries({"seconds": SECONDS, "initial": st.just(2), "forced": st.booleans()})
VERDICT = st.fixed_dictionaries(
    {"verdict": st.sampled_from([-1, 0, 1, 1]), "epoch": st.integers(0, 2), "maximum": st.just(4)}
)
LOADS = st.one_of(
    st.tuples(st.just("acquire"), MODELS, WORKERS, st.fixed_dictionaries({"seconds": SECONDS})),
    st.tuples(st.just("renew"), MODELS, WORKERS, st.fixed_dictionaries({"seconds": SECONDS})),
    st.tuples(
        st.just("release"),
        MODELS,
        WORKERS,
        st.fixed_dictionaries({"curves": st.sampled_from(["", "1.0 0.5 0.1 0.0 0.0 0.0"])}),
    ),
    st.tuples(st.just("take_slot"), MODELS, WORKERS, SLOT),
    st.tuples(st.just("take_slot"), MODELS, WORKERS, SLOT),
    st.tuples(st.just("free_slot"), MODELS, WORKERS, VERDICT),
)


def _same(one: Grant, other: Grant) -> bool:
    return (one.count, one.workers) == (other.count, other.workers) and (
        one.starts_in,
        one.gap,
        one.rate,
    ) == pytest.approx((other.starts_in, other.gap, other.rate), rel=1e-6, abs=1e-6)


@contextmanager
def _stores(url: str, clock: Clock) -> Iterator[list[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisStore(url, password=None, namespace="test", timeout=20, now=clock)
        redis._client.flushall()
        yield [
            MemoryStore(clock),
            FileStore(str(Path(folder, "shared.db")), namespace="test", timeout=20, now=clock),
            redis,
        ]
        redis._client.close()


@given(
    steps=st.lists(st.tuples(st.sampled_from(TIMES), WORKERS, ASKS), min_size=1, max_size=40),
    rate=st.sampled_from([0.0, 0.0, 0.0, 0.1, 2.0, 150.0, 1e6]),
)
@example(  # the measured rate falls far below the limit
    steps=[
        (0.0, "w1", Ask(0, 1, 0, -1)),
        (1.0, "w1", Ask(0, 1, 90, 0.0)),
        (5.5, "w1", Ask(0, 9, 1, 0.0)),
        (0.1, "w1", Ask(0, 9, 1, -1)),
    ],
    rate=0.0,
)
def test_all_stores_reserve_the_same_slices(url: str, steps: list[Any], rate: float) -> None:
    clock = Clock()
    with _stores(url, clock) as stores:
        for step, worker, ask in steps:
            clock.now += step
            answers = [store.reserve("scoring", worker, attrs.evolve(ask, given=rate)) for store in stores]
            assert _same(answers[0], answers[1])
            assert _same(answers[0], answers[2])


@given(steps=st.lists(st.tuples(st.sampled_from(TIMES), LOADS), min_size=1, max_size=60))
@example(  # another worker cannot release a lease
    steps=[
        (0.0, ("acquire", "a", "w1", {"seconds": 80.0})),
        (0.0, ("release", "a", "w2", {"curves": "x"})),
        (0.0, ("renew", "a", "w2", {"seconds": 500.0})),
        (0.0, ("acquire", "a", "w2", {"seconds": 80.0})),
        (81.0, ("acquire", "a", "w2", {"seconds": 80.0})),
    ]
)
@example(  # the limit grows by one, and is halved once
    steps=[
        *[(0.0, ("take_slot", name, "w1", {"seconds": 80.0, "initial": 2, "forced": False})) for name in "abcd"],
        *[(0.0, ("free_slot", "a", "w1", {"verdict": 1, "epoch": 0, "maximum": 9}))] * 2,
        *[(0.0, ("take_slot", name, "w1", {"seconds": 80.0, "initial": 2, "forced": False})) for name in "cdef"],
        *[(0.0, ("free_slot", name, "w1", {"verdict": -1, "epoch": 0, "maximum": 9})) for name in "bc"],
        *[(0.0, ("take_slot", name, "w2", {"seconds": 80.0, "initial": 2, "forced": False})) for name in "gh"],
    ]
)
def test_all_stores_share_loads_alike(url: str, steps: list[Any]) -> None:
    clock = Clock()
    with _stores(url, clock) as stores:
        for step, (name, model, worker, keywords) in steps:
            clock.now += step
            answers = [getattr(store, name)("scoring", model, worker, **keywords) for store in stores]
            assert answers[0] == answers[1], name
            assert answers[0] == answers[2], name


@given(
    gaps=st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0]), WORKERS, st.integers(1, 99)), max_size=80),
    rate=st.sampled_from([0.5, 3.0, 150.0, 5000.0]),
)
def test_no_window_of_time_has_more_calls_than_the_rate_allows(gaps: list[Any], rate: float) -> None:
    clock = Clock()
    store = MemoryStore(clock)
    slices: list[tuple[float, int]] = []
    for gap, worker, want in gaps:
        clock.now += gap
        grant = store.reserve("scoring", worker, Ask(given=rate, want=want, done=0, throttled=-1))
        assert grant.count <= want
        if grant.count:
            slices.append((clock.now + grant.starts_in, grant.count))
    for first, (begins, _) in enumerate(slices):
        total = 0
        for start, count in slices[first:]:
            total += count
            largest = rate * 0.12 + 1
            # The calls of a slice start within VOID; 0.2 s may be made up for, and the last slice is whole.
            assert total - count <= rate * (start - begins + 0.2 + VOID) + largest
