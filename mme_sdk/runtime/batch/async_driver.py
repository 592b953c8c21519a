"""Run a batch in tasks of an event loop. `driver.py` says why this is not its generated twin."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any, TypeVar

from mme_sdk.display.progress import Reporter
from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult, Model
from mme_sdk.runtime.batch.batch_run import BatchRun, Together, item_results, keep_partial
from mme_sdk.types.reply import Reply

__all__ = ["async_collect", "async_run_batch"]

T = TypeVar("T")
V = TypeVar("V")
_SILENT = nullcontext()
_END = object()
_READING = 0.005  # seconds


async def async_run_batch(
    call: Callable[[T, Model], Awaitable[Reply[Any]]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    model_of: Callable[[T], Model],
    settings: BatchSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    reports: AbstractContextManager[Reporter | None] = _SILENT,
    together: Together | None = None,
) -> AsyncIterator[ItemResult[T]]:
    """Call a coroutine function for each item, in tasks, and yield the results.

    Args:
        call: Makes one call.
        items: The items, from an ordinary or an asynchronous iterable. They are read only while the window has space.
        model_of: Returns the target model of an item.
        settings: Concurrency, order and memory.
        checkpoint: File of the items that are done. A later run with the same file leaves these items out.
        reports: Makes the reporter of the progress, and ends it. Default: nothing is reported.
        together: Makes one call for several items of a model. None: each item has a call of its own.

    Yields:
        One result for each item. An MMEError of a call is in its result; any other exception ends the iteration.
    """
    with reports as report:
        run: BatchRun[T] = BatchRun(settings, model_of, checkpoint, report)
        source = (
            _one_by_one(items) if isinstance(items, AsyncIterable) else _some_at_a_time(items, lambda: run.batch.space)
        )
        index = -1
        reading: asyncio.Future[Any] | None = None
        tasks: dict[asyncio.Future[Any], list[tuple[int, T]]] = {}
        more = True
        try:
            while more or not run.batch.idle:
                if reading is None and more and run.batch.wants_more:
                    reading = asyncio.ensure_future(_next(source))
                while (started := run.batch.start()) is not None:
                    number, item, model = started
                    more_items = [] if together is None else run.batch.start_with(number, together.most - 1)
                    carried = [(number, item), *more_items]
                    if together is None or not more_items:
                        tasks[asyncio.ensure_future(call(item, model))] = carried
                    else:
                        tasks[asyncio.ensure_future(together.call([one for _, one in carried], model))] = carried
                awaited: set[asyncio.Future[Any]] = {*tasks} if reading is None else {*tasks, reading}
                if awaited:
                    done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                    if reading in done:
                        read, reading = reading, None
                        more = read.result() is not _END
                        if more:
                            for item in read.result():
                                index += 1
                                run.add(index, item)
                    for task in tasks.keys() & done:
                        for result in item_results(tasks.pop(task), task):
                            run.batch.finish(result)
                for result in run.batch.results():
                    yield result
                    run.returned(result)
        except BaseException as reason:
            run.stop(reason, tasks)
            raise
        finally:
            left = [*tasks] if reading is None else [*tasks, reading]
            for task in left:
                task.cancel()
            try:
                await asyncio.gather(*left, return_exceptions=True)
            finally:
                run.checkpoint.close()


async def async_collect(
    results: AsyncIterator[ItemResult[T]],
    make: Callable[[list[ItemResult[T]]], V],
    items: Callable[[], Iterable[T]],
    add: Callable[[ItemResult[T]], None] = lambda _: None,
) -> V:
    """Make one value of all results of a batch.

    Args:
        results: The results as they complete.
        make: Makes the value.
        items: Returns the items once more.
        add: Called with each result as it completes. An exception that it raises ends the batch.

    Returns:
        The value. If a cancellation or another exception ends the batch, the value of the results so far is the
        exception's `partial` attribute. Items without an answer have an OutcomeUnknownError there.
    """
    done: list[ItemResult[T]] = []
    try:
        async for result in results:
            add(result)
            done.append(result)
    except BaseException as reason:
        if isinstance(results, AsyncGenerator):
            await results.aclose()
        keep_partial(reason, done, make, items)
        raise
    return make(done)


async def _next(source: AsyncIterator[T]) -> Any:
    # StopAsyncIteration cannot be the result of a task.
    return await anext(source, _END)


async def _one_by_one(items: AsyncIterable[T]) -> AsyncIterator[list[T]]:
    async for item in items:
        yield [item]


async def _some_at_a_time(items: Iterable[T], space: Callable[[], int]) -> AsyncIterator[list[T]]:
    """Yield the items that are read within a few milliseconds, so that models have many when they are loaded."""
    source, some, failed = iter(items), list[T](), None
    while failed is None:
        ends, most = monotonic() + _READING, space()
        try:
            while len(some) < most and (not some or monotonic() < ends):
                some.append(next(source))
        except StopIteration:
            break
        except BaseException as error:  # noqa: BLE001 - raised once the items before it have been processed
            failed = error
        if some:
            yield some
            some = []
    if some:
        yield some
    if failed is not None:
        raise failed
