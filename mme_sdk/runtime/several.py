"""What invokers do with more than one item: many calls, frames of rows, warming up."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar

from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.codecs import CSV
from mme_sdk.runtime.frames import FrameJoin, split_frame
from mme_sdk.runtime.invocations import Invocations
from mme_sdk.runtime.many import ItemResult, ManySettings, run_many, run_many_async
from mme_sdk.runtime.warm import WarmReport, keep_warm_advice, refuse_loss, report_of, warm_order
from mme_sdk.shapes.model import ModelVersion
from mme_sdk.shapes.reply import Reply

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AsyncSeveral", "Several"]

T = TypeVar("T")


def _refuse_checkpoint(options: Mapping[str, Any]) -> None:
    if options.get("checkpoint") is not None:
        raise InvalidInputError(
            "invoke_frame has no checkpoint: the rows of items that are done would have no answers",
            hint="use invoke_many, or leave out the rows that are done",
        )


class Several(Invocations):
    """Verbs over many items, in threads."""

    @abstractmethod
    def invoke(self, *args: Any, **options: Any) -> Reply[Any]:
        """Invoke once."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T],
        *,
        model_of: Callable[[T], str | ModelVersion | None] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        settings: ManySettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Iterator[ItemResult[T]]:
        """Invoke for each item of any iterable, even an endless one.

        Items of one model are worked on together, so that a small cache is not thrashed, and models take turns.

        Args:
            endpoint: The endpoint's name.
            items: The payloads; read only as far as there is room for them.
            model_of: The target model of an item.
            data_of: The payload of an item; the item itself where None.
            settings: How many at a time, how many models at a time, and in which order results come.
            checkpoint: Text file of the items that were answered and dealt with; run again with it, only the others are
                invoked. An item whose result was being dealt with when the process ended comes again.
            progress: Told after each result: how many so far, and how many of them failed.
            options: Any other argument of `invoke`; `deadline` is that of each item.

        Yields:
            One result an item, with its answer or its error.

        Raises:
            InvalidInputError: The checkpoint cannot be used.
        """

        def call(item: T, model: str | ModelVersion | None) -> Reply[Any]:
            return self.invoke(endpoint, item if data_of is None else data_of(item), model=model, **options)

        return run_many(
            call,
            items,
            model_of=model_of,
            settings=settings or ManySettings(),
            checkpoint=checkpoint,
            progress=progress,
        )

    def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
        rows_per_call: int = 256,
        content_type: str = CSV,
        **options: Any,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame, grouped by model.

        Args:
            endpoint: The endpoint's name.
            frame: The rows.
            model_of: Column that names the target model, and is not sent; or a function of a row; None on a
                single-model endpoint.
            rows_per_call: Rows in one request, at most.
            content_type: How they are sent: CSV, JSON, NPY or Parquet.
            options: Any other argument of `invoke_many`, except `checkpoint`.

        Returns:
            One row for each row, with the same index: `prediction`, the answer to the row; the columns that the answers
            name; and `error`, None where there is an answer.

        Raises:
            InvalidInputError: No such column, a row without a model, or rows that cannot be sent as they are.
            ModelInputError: The model refuses the form of the rows; nothing more is sent.
            RowCountError: An answer has not one row for each row that was sent.
            UndecodableReplyError: An answer is no table.
        """
        _refuse_checkpoint(options)
        parts = split_frame(frame, model_of, rows_per_call)
        join = FrameJoin(frame, len(parts))
        results = self.invoke_many(
            endpoint,
            parts,
            model_of=lambda part: part.model,
            data_of=lambda part: part.frame,
            content_type=content_type,
            **options,
        )
        with closing(results):  # type: ignore[type-var]
            for result in results:
                join.add(result)
        return join.whole()

    def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = b"{}",
        content_type: str = "application/json",
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> WarmReport:
        """Load models before they are called, those first that save most waiting for their size.

        Args:
            endpoint: The endpoint's name.
            models: The models.
            expected: Calls per second by model name or target model; all alike where None.
            capacity: Bytes of models that the endpoint holds in memory; those that do not fit are left out.
            at_a_time: Loads at a time; the cold slots of the endpoint where None.
            payload: What to send; a model that refuses it is loaded all the same.
            content_type: Media type of the payload.
            progress: Told after each model: how many so far, and how many of them failed.
            options: Any other argument of `invoke`; `deadline` is that of each model.

        Returns:
            What was loaded, how long it took, what failed and what did not fit.
        """
        chosen, left = warm_order(models, endpoint=endpoint, memory=self.memory, expected=expected, capacity=capacity)
        results = self.invoke_many(
            endpoint,
            chosen,
            model_of=lambda model: model,
            data_of=lambda _: payload,
            settings=self._one_each(endpoint, at_a_time),
            progress=progress,
            content_type=content_type,
            **options,
        )
        return report_of(results, left)

    def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        **options: Any,
    ) -> WarmReport:
        """Call models once so that they stay in memory; to be done again and again by a scheduler of yours.

        Args:
            endpoint: The endpoint's name.
            models: The models to keep.
            rates: Calls per second of each model of the endpoint, by target model.
            sizes: Bytes of each in memory.
            capacity: Bytes of models that an instance's memory holds.
            bound_by_slo: Do it for these models' sake, even where more calls of others become cold.
            options: Any other argument of `warm`.

        Returns:
            What was loaded.

        Raises:
            InvalidInputError: It is a net loss; the message says by how much.
        """
        if not bound_by_slo:
            refuse_loss(keep_warm_advice(rates, sizes, capacity=capacity, keep=models))
        return self.warm(endpoint, models, **options)


class AsyncSeveral(Invocations):
    """Verbs over many items, in tasks of an event loop."""

    @abstractmethod
    def invoke(self, *args: Any, **options: Any) -> Awaitable[Reply[Any]]:
        """Invoke once."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        *,
        model_of: Callable[[T], str | ModelVersion | None] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        settings: ManySettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> AsyncIterator[ItemResult[T]]:
        """Invoke for each item of any iterable, asynchronous ones included; see `Several.invoke_many`."""

        def call(item: T, model: str | ModelVersion | None) -> Awaitable[Reply[Any]]:
            return self.invoke(endpoint, item if data_of is None else data_of(item), model=model, **options)

        return run_many_async(
            call,
            items,
            model_of=model_of,
            settings=settings or ManySettings(),
            checkpoint=checkpoint,
            progress=progress,
        )

    async def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
        rows_per_call: int = 256,
        content_type: str = CSV,
        **options: Any,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame; see `Several.invoke_frame`."""
        _refuse_checkpoint(options)
        parts = split_frame(frame, model_of, rows_per_call)
        join = FrameJoin(frame, len(parts))
        results = self.invoke_many(
            endpoint,
            parts,
            model_of=lambda part: part.model,
            data_of=lambda part: part.frame,
            content_type=content_type,
            **options,
        )
        async with aclosing(results):  # type: ignore[type-var]
            async for result in results:
                join.add(result)
        return join.whole()

    async def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = b"{}",
        content_type: str = "application/json",
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> WarmReport:
        """Load models before they are called; see `Several.warm`."""
        chosen, left = warm_order(models, endpoint=endpoint, memory=self.memory, expected=expected, capacity=capacity)
        results = self.invoke_many(
            endpoint,
            chosen,
            model_of=lambda model: model,
            data_of=lambda _: payload,
            settings=self._one_each(endpoint, at_a_time),
            progress=progress,
            content_type=content_type,
            **options,
        )
        return report_of([result async for result in results], left)

    async def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        **options: Any,
    ) -> WarmReport:
        """Call models once so that they stay in memory; see `Several.keep_warm`."""
        if not bound_by_slo:
            refuse_loss(keep_warm_advice(rates, sizes, capacity=capacity, keep=models))
        return await self.warm(endpoint, models, **options)
