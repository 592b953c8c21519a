"""The schedule of `invoke_many` for items in no order: few models at a time, in bounded memory."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.batch.batch import Batch, BatchSettings, ItemResult
from mme_sdk.runtime.batch.driver import run_batch
from mme_sdk.runtime.batch.sizes import ItemSizes, size_of
from mme_sdk.types import Reply


def loads(settings: BatchSettings, *, models: int, rows: int, room: int, body: int = 10) -> tuple[float, int]:
    """Return the loads for each model, and the largest number of items in memory, for an endpoint with LRU eviction.

    A call of a loaded model takes one step, a load 40; 64 items are read in each step.
    """
    order = [f"m{place % models}" for place in range(models * rows)]
    random.Random(3).shuffle(order)
    source: Iterator[tuple[int, str]] = iter(enumerate(order))
    batch: Batch[str] = Batch(settings)
    memory: OrderedDict[str, None] = OrderedDict()
    running: list[tuple[int, int, str]] = []
    step, loaded, most, more = 0, 0, 0, True
    while more or not batch.idle:
        step += 1
        for _ in range(64):
            if more and batch.wants_more:
                pair = next(source, None)
                more = pair is not None
                if pair is not None:
                    batch.add(pair[0], pair[1], pair[1])
        most = max(most, batch._held)
        while (started := batch.start()) is not None:
            index, item, _ = started
            cold = item not in memory
            memory[item] = None
            memory.move_to_end(item)
            loaded += cold
            if len(memory) > room:
                memory.popitem(last=False)
            running.append((step + (40 if cold else 1), index, item))
        for ends, index, item in sorted(running):
            if ends <= step:
                running.remove((ends, index, item))
                batch.finish(ItemResult(index, item, reply=Reply(body=b"x" * body)))
        for _ in batch.results():
            pass
    return loaded / models, most


@pytest.mark.parametrize("ordered", [True, False])
def test_shuffled_items_load_each_model_about_once(ordered: bool) -> None:
    once, _ = loads(BatchSettings(ordered=ordered), models=100, rows=40, room=24)
    narrow, _ = loads(BatchSettings(ordered=ordered, window=256), models=100, rows=40, room=24)
    assert once <= 1.2
    assert narrow > 3  # so that the test can fail


@pytest.mark.parametrize("ordered", [True, False])
def test_memory_is_bounded_by_bytes(ordered: bool) -> None:
    settings = BatchSettings(ordered=ordered, window_bytes=1 << 20)
    _, most = loads(settings, models=20, rows=200, room=24, body=5000)
    assert 32 <= most <= (1 << 20) / 350 + 64
    tiny = BatchSettings(ordered=ordered, window_bytes=1, max_concurrency=4)
    assert loads(tiny, models=5, rows=20, room=24)[1] == 8  # the calls still have work


def test_large_items_are_counted_by_their_bytes() -> None:
    batch: Batch[bytes] = Batch(BatchSettings(max_concurrency=2, window_bytes=10_000))
    index = 0
    while batch.wants_more:
        batch.add(index, b"x" * 4000, "m")
        index += 1
    assert index == 4  # twice max_concurrency


def test_items_are_read_ahead_of_a_slow_call() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(3000):
            read.append(number)
            yield number

    def call(item: int, model: Any) -> Reply[Any]:
        return Reply(body=b"%d" % item, content_type="application/json")

    results = run_batch(call, source(), model_of=lambda item: f"m{item % 7}", settings=BatchSettings(window=1000))
    first = next(iter(results))
    assert first.value == 0
    assert len(read) <= 1000


def test_sizes_are_estimates_of_what_is_there() -> None:
    assert 100_000 <= size_of({"a": ["x" * 1000] * 100}) <= 120_000
    sizes = ItemSizes()
    assert [sizes.of(b"x" * 1000) for _ in range(3)] == [1100] * 3
    rows = [sizes.of({"amount": 1.5, "text": "y" * 500}) for _ in range(1000)]
    assert 500 <= min(rows) <= max(rows) <= 1500

    class Closed:
        def __sizeof__(self) -> int:
            raise RuntimeError

    assert size_of(Closed()) > 0


def test_a_window_of_no_bytes_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="window_bytes"):
        BatchSettings(window_bytes=0)
