"""Many items: order, memory, grouping, fairness, errors, checkpoints; and warming up."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mme_sdk.aws import Aws
from mme_sdk.display.progress import Progress, reporting
from mme_sdk.errors import InvalidInputError, MMEError, ModelInputError
from mme_sdk.runtime import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.runtime.batch.async_driver import async_run_batch
from mme_sdk.runtime.batch.batch import Batch, BatchSettings, ItemResult
from mme_sdk.runtime.batch.driver import run_batch
from mme_sdk.types.reply import Reply
from tests.support.runtime.scripted import AsyncScript, FakeAsyncClock, FakeClock, SyncScript


def echo(item: Any, model: Any) -> Reply[Any]:
    if item == "bad":
        raise ModelInputError("refused")
    return Reply(body=str(item).encode(), content_type="text/plain", model=model)


async def echo_async(item: Any, model: Any) -> Reply[Any]:
    await asyncio.sleep(0)
    return echo(item, model)


def collect(items: Any, kind: str, **options: Any) -> list[ItemResult[Any]]:
    options.setdefault("settings", BatchSettings(max_concurrency=4))
    options.setdefault("model_of", lambda item: f"m{hash(item) % 3}")
    if kind == "threads":
        return list(run_batch(echo, items, **options))

    async def main() -> list[ItemResult[Any]]:
        return [result async for result in async_run_batch(echo_async, items, **options)]

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_every_item_comes_back_once_and_in_order(kind: str) -> None:
    results = collect(range(500), kind)
    assert [(result.index, result.item, result.value) for result in results] == [(n, n, str(n)) for n in range(500)]


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_or_as_completed(kind: str) -> None:
    results = collect(range(200), kind, settings=BatchSettings(max_concurrency=4, ordered=False))
    assert sorted(result.index for result in results) == list(range(200))


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_an_error_is_its_items_own(kind: str) -> None:
    reported: list[Progress] = []
    results = collect(
        ["a", "bad", "b"], kind, reports=reporting(reported.append, "invoke_many", "scoring", unit="item", total=3)
    )
    assert [result.error is None for result in results] == [True, False, True]
    with pytest.raises(ModelInputError):
        results[1].value  # noqa: B018
    assert [(seen.done, seen.failed) for seen in reported if seen.done] == [(1, 0), (2, 1), (3, 1)]
    assert {(seen.operation, seen.unit, seen.total) for seen in reported} == {("invoke_many", "item", 3)}


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_checkpoint_leaves_out_what_is_done_and_tries_failures_again(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "done"
    collect(["a", "bad", "b"], kind, checkpoint=path)
    with path.open("ab") as torn:
        torn.write(b"7")  # the process ended in the middle of a line
    results = collect(["a", "good", "b", "c"], kind, checkpoint=path)
    assert [(result.index, result.item) for result in results] == [(1, "good"), (3, "c")]
    path.write_text("not an index\n")
    with pytest.raises(InvalidInputError, match="checkpoint"):
        collect(["a"], kind, checkpoint=path)


# Opens a checkpoint again and again; each time it is killed one call into the system later.
OPENS_A_CHECKPOINT = """
import os, signal, sys
from mme_sdk.runtime.batch.batch import Checkpoint
path = sys.argv[1]
for at in range(1, 1000):
    with open(path, "wb") as file:
        file.write(b"0\\n1\\n2\\n3")
    child = os.fork()
    if not child:
        seen = 0
        def watch(frame, event, called):
            global seen
            seen += event.startswith("c_")
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(watch)
        Checkpoint(path).close()
        sys.setprofile(None)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(path, "rb") as file:
        kept = file.read()
    assert kept in (b"0\\n1\\n2\\n3", b"0\\n1\\n2\\n"), (at, kept)
    if status == 0:
        print(at)
        break
"""


def test_a_checkpoint_keeps_its_lines_wherever_its_opening_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", OPENS_A_CHECKPOINT, str(tmp_path / "done")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert int(done.stdout) > 5


def test_an_endless_source_is_read_only_as_far_as_there_is_room() -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        for read in itertools.count(1):  # noqa: UP028 - `read` is looked at from outside
            yield read

    settings = BatchSettings(max_concurrency=2, window=10)
    results = run_batch(echo, endless(), model_of=lambda _: "m", settings=settings)
    for number, result in zip(range(1, 101), results, strict=False):
        assert result.item == number
        assert read <= number + 10
    threads = threading.active_count()
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() < threads


def test_a_slow_source_does_not_hold_results_back() -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 1
            await more.wait()
            yield 2

        results = async_run_batch(echo_async, source(), model_of=lambda _: "m", settings=BatchSettings())
        assert (await anext(results)).item == 1
        more.set()
        assert (await anext(results)).item == 2
        await results.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_a_cancelled_run_leaves_no_task() -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def stuck(item: Any, model: Any) -> Reply[Any]:
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

        async def consume() -> None:
            async for _ in async_run_batch(stuck, range(100), model_of=lambda _: "m", settings=BatchSettings()):
                pass

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@given(
    st.lists(st.integers(0, 6), max_size=120),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 9),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_batch_never_stalls_and_never_works_on_more_models_than_it_may(
    models: list[int], concurrency: int, at_once: int, quantum: int, ordered: bool, rng: Any
) -> None:
    settings = BatchSettings(
        max_concurrency=concurrency, models_at_once=at_once, quantum=quantum, window=20, ordered=ordered
    )
    batch: Batch[int] = Batch(settings)
    source, running, out = list(enumerate(models)), [], []
    while source or not batch.idle:
        while source and batch.wants_more:
            index, model = source.pop(0)
            batch.add(index, index, str(model))
        while (started := batch.start()) is not None:
            running.append(started)
        assert len(running) <= concurrency
        assert running, "there is work, and nobody works"
        index, item, _ = running.pop(rng.randrange(len(running)))
        batch.finish(ItemResult(index, item))
        out += [result.index for result in batch.results()]
    assert sorted(out) == list(range(len(models)))
    if ordered:
        assert out == sorted(out)


def test_models_are_grouped_and_take_turns() -> None:
    batch: Batch[int] = Batch(BatchSettings(max_concurrency=1, models_at_once=1, quantum=4, window=100))
    for index in range(60):
        batch.add(index, index, f"m{index % 3}")
    worked: list[str] = []
    while not batch.idle:
        started = batch.start()
        assert started is not None
        worked.append(str(started[2]))
        batch.finish(ItemResult(started[0], started[1]))
        list(batch.results())
    switches = sum(before != after for before, after in itertools.pairwise(worked))
    assert switches == 14  # 60 items in turns of four, not one switch an item
    assert set(worked[:12]) == {"m0", "m1", "m2"}


@pytest.mark.parametrize("bad", [{"max_concurrency": 0}, {"window": True}, {"quantum": 1.5}])
def test_settings_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(MMEError):
        BatchSettings(**bad)


@pytest.mark.parametrize("items", ["ab", b"ab", {"a": 1}, pd.DataFrame({"a": [1]})])
def test_one_payload_is_not_taken_for_many(items: Any) -> None:
    aws = Aws(region="us-east-1")
    with pytest.raises(InvalidInputError, match="items"):
        RuntimeInvoker(aws, SyncScript(FakeClock(), [])).invoke_many("scoring", items)
    with pytest.raises(InvalidInputError, match="items"):
        AsyncRuntimeInvoker(aws, AsyncScript(FakeAsyncClock(), [])).invoke_many("scoring", items)
