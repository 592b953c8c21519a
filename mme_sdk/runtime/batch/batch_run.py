"""One run of a batch: what the thread driver and the asyncio driver have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from mme_sdk._flows.cancellation import Cancelled, attach_partial
from mme_sdk._tracebacks import shortened
from mme_sdk.display.progress import Reporter
from mme_sdk.errors import MMEError, OutcomeUnknownError
from mme_sdk.runtime.batch.batch import Batch, BatchSettings, Checkpoint, ItemResult, Model
from mme_sdk.runtime.batch.warm import outcome_of
from mme_sdk.types.reply import Reply

__all__ = ["BatchRun", "Together", "item_results", "keep_partial"]

T = TypeVar("T")
V = TypeVar("V")


class Together(NamedTuple):
    """How one call carries several items of a model.

    Attributes:
        call: Returns the outcome of each item: a reply or an MMEError. A function of the items and the model; of the
            asyncio driver, a coroutine function.
        most: Largest number of items.
    """

    call: Callable[[list[Any], Model], Any]
    most: int


class BatchRun(Generic[T]):
    """State of one run: its schedule, its checkpoint and its progress.

    Args:
        settings: Concurrency, order and memory.
        model_of: Returns the target model of an item.
        checkpoint: File of the items that are done, or None.
        report: Reports the progress, or None.
    """

    def __init__(
        self,
        settings: BatchSettings,
        model_of: Callable[[T], Model],
        checkpoint: str | os.PathLike[str] | None,
        report: Reporter | None,
    ) -> None:
        self.batch: Batch[T] = Batch(settings)
        self.checkpoint = Checkpoint(checkpoint)
        self._model_of = model_of
        self._report = None if report is None else _BatchReport(report, len(self.checkpoint))

    def add(self, index: int, item: T) -> None:
        """Add an item, unless the checkpoint says that it is done."""
        if index not in self.checkpoint:
            model = self._model_of(item)
            if self._report is not None:
                self._report.added(index, model)
            self.batch.add(index, item, model)

    def returned(self, result: ItemResult[T]) -> None:
        """Record that the caller has processed a result."""
        if result.error is None:
            self.checkpoint.add(result.index)
        if self._report is not None:
            self._report.returned(result)

    def stop(self, reason: BaseException, calls: Mapping[Any, list[tuple[int, T]]]) -> None:
        """Set the `partial` attribute of the exception that ends the batch: the results that were not yet returned."""
        for call, items in calls.items():
            if call.done() and not call.cancelled() and not isinstance(call.exception(), Cancelled):
                with contextlib.suppress(Exception):  # the batch already ends with `reason`
                    for result in item_results(items, call):
                        self.batch.finish(result)
        attach_partial(reason, tuple(self.batch.complete()))


class _BatchReport:
    """Reports the results of a batch."""

    def __init__(self, report: Reporter, already: int) -> None:
        self._report = report
        self._models: dict[int, str | None] = {}  # of the items in memory
        self._warms = report.unit == "model"
        total = None if report.total is None else max(report.total - already, 0)
        report(total=total, doing=self._doing(0, total))

    def added(self, index: int, model: Model) -> None:
        self._models[index] = None if model is None else str(model)

    def returned(self, result: ItemResult[Any]) -> None:
        model = self._models.pop(result.index, None)
        failed = result.error is not None
        if failed and self._warms:  # a model that is loaded and rejects the probe has not failed
            failed = outcome_of(result.item, result.reply, result.error).state == "failed"
        doing = self._doing(self._report.done + 1, self._report.total)
        self._report(done=1, failed=int(failed), model=model, model_done=int(not self._warms), doing=doing)

    def _doing(self, done: int, total: int | None) -> str:
        return f"loading {done + 1} of {total}" if self._warms and total is not None and done < total else ""


def item_result(index: int, item: T, done: Future[Reply[Any]] | asyncio.Future[Reply[Any]]) -> ItemResult[T]:
    """Return the result of a call that is done. Raise its exception if that is not an MMEError."""
    error = done.exception()
    if error is None:
        return ItemResult(index, item, reply=done.result())
    if isinstance(error, MMEError):
        return ItemResult(index, item, error=shortened(error))
    if isinstance(error, Cancelled):
        raise SystemExit  # the interpreter ends while another thread runs this batch
    raise error


def item_results(items: list[tuple[int, T]], done: Future[Any] | asyncio.Future[Any]) -> list[ItemResult[T]]:
    """Return the results of the items of a call that is done. That of several items returns a list of outcomes."""
    if len(items) == 1 or done.exception() is not None:
        return [item_result(index, item, done) for index, item in items]
    return [
        ItemResult(index, item, error=shortened(outcome))
        if isinstance(outcome, MMEError)
        else ItemResult(index, item, reply=outcome)
        for (index, item), outcome in zip(items, done.result(), strict=True)
    ]


def keep_partial(
    reason: BaseException,
    done: list[ItemResult[T]],
    make: Callable[[list[ItemResult[T]]], V],
    items: Callable[[], Iterable[T]],
) -> None:
    """Set the `partial` attribute of the exception that ends a batch to the value of the results so far.

    Args:
        reason: The exception. Its `partial` attribute holds the results that were not yet returned.
        done: The results that were returned.
        make: Makes the value from one result for each item. An item without a result has an OutcomeUnknownError.
        items: Returns the items once more.
    """
    complete = {result.index: result for result in (*done, *getattr(reason, "partial", ()))}
    message = "the batch ended before the answer arrived"
    hint = "the model may have run, or may still run; invoke it again if a second run does no harm"
    results = [
        complete.get(index) or ItemResult(index, item, error=OutcomeUnknownError(message, hint=hint))
        for index, item in enumerate(items())
    ]
    attach_partial(reason, make(results))
