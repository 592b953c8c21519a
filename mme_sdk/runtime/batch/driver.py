"""Run a batch in threads.

Written by hand beside `async_driver.py`: this driver polls the input between calls and waits with a time-out, so that
Ctrl-C is noticed. The asyncio driver reads its input in a task of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from mme_sdk._flows.workers import Workers
from mme_sdk.display.progress import Reporter
from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult, Model
from mme_sdk.runtime.batch.batch_run import BatchRun, Together, item_results, keep_partial
from mme_sdk.types.reply import Reply

__all__ = ["collect", "run_batch"]

T = TypeVar("T")
V = TypeVar("V")
_SILENT = nullcontext()
# Seconds. Python runs signal handlers between two instructions, so a signal that arrives just before a wait begins is
# only noticed when the wait ends.
_LONGEST_WAIT = 0.1
_READING = 0.005  # seconds for which items are read at a time, so that models have many items when they are loaded


def run_batch(
    call: Callable[[T, Model], Reply[Any]],
    items: Iterable[T],
    *,
    model_of: Callable[[T], Model],
    settings: BatchSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    reports: AbstractContextManager[Reporter | None] = _SILENT,
    together: Together | None = None,
    now: Callable[[], float] = monotonic,
) -> Iterator[ItemResult[T]]:
    """Call a function for each item, in threads, and yield the results.

    Args:
        call: Makes one call.
        items: The items. They are read only while the window has space.
        model_of: Returns the target model of an item.
        settings: Concurrency, order and memory.
        checkpoint: File of the items that are done. A later run with the same file leaves these items out.
        reports: Makes the reporter of the progress, and ends it. Default: nothing is reported.
        together: Makes one call for several items of a model. None: each item has a call of its own.
        now: Returns seconds. Default: `time.monotonic`.

    Yields:
        One result for each item. An MMEError of a call is in its result; any other exception ends the iteration.
    """
    with reports as report:
        run: BatchRun[T] = BatchRun(settings, model_of, checkpoint, report)
        source = enumerate(items)
        more = True
        futures: dict[Future[Any], list[tuple[int, T]]] = {}
        workers: Workers[Any] = Workers(settings.max_concurrency, "mme_sdk-batch")
        try:
            while more or not run.batch.idle:
                reading_ends = now() + _READING
                while more and run.batch.wants_more:
                    pair = next(source, None)
                    more = pair is not None
                    if pair is not None:
                        run.add(*pair)
                    if now() >= reading_ends:
                        break
                while (started := run.batch.start()) is not None:
                    index, item, model = started
                    more_items = [] if together is None else run.batch.start_with(index, together.most - 1)
                    items_of_call = [(index, item), *more_items]
                    if together is None or not more_items:
                        future = workers.submit(partial(call, item, model))
                    else:
                        future = workers.submit(partial(together.call, [one for _, one in items_of_call], model))
                    futures[future] = items_of_call
                # While more items can be read, completed calls are collected without waiting.
                timeout = 0.0 if more and run.batch.wants_more else _LONGEST_WAIT
                done = wait(futures, timeout=timeout, return_when=FIRST_COMPLETED).done if futures else set()
                for future in done:
                    for result in item_results(futures.pop(future), future):
                        run.batch.finish(result)
                for result in run.batch.results():
                    yield result
                    run.returned(result)
        except BaseException as reason:
            try:
                workers.close()
            finally:
                run.stop(reason, futures)
            raise
        finally:
            try:
                workers.close()
            finally:
                run.checkpoint.close()


def collect(
    results: Iterator[ItemResult[T]],
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
        The value. If Ctrl-C or another exception ends the batch, the value of the results so far is the exception's
        `partial` attribute. Items without an answer have an OutcomeUnknownError there.
    """
    done: list[ItemResult[T]] = []
    try:
        for result in results:
            add(result)
            done.append(result)
    except BaseException as reason:
        if isinstance(results, Generator):
            results.close()
        keep_partial(reason, done, make, items)
        raise
    return make(done)
