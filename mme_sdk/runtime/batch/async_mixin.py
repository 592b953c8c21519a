"""`AsyncBatchMixin`: the methods of an invoker that make many calls."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from mme_sdk._flows.effects import Flow
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError, MMEError, ModelInputError
from mme_sdk.runtime._invoker_base import Invocations
from mme_sdk.runtime.options import DEFAULT_OPTIONS, InvokeOptions, check_options, check_unsupported
from mme_sdk.runtime.payloads.arrow import is_table, like, to_pandas
from mme_sdk.runtime.payloads.codecs import CSV, JSON
from mme_sdk.runtime.payloads.requests import check_endpoint

if TYPE_CHECKING:
    from mme_sdk.display.progress import ProgressOption
    from mme_sdk.runtime.batch.batch import BatchSettings, ItemResult, Model
    from mme_sdk.runtime.batch.frames import FramePart
    from mme_sdk.runtime.batch.warm import WarmReport
    from mme_sdk.runtime.ledger.async_calls import AsyncLedgerCalls
    from mme_sdk.runtime.ledger.stores import AnswerStore
    from mme_sdk.types.model import ModelVersion
    from mme_sdk.types.reply import Reply

__all__ = ["AsyncBatchMixin"]

T = TypeVar("T")
FrameT = TypeVar("FrameT")
_NOT_FOR_FRAMES = ("response_type", "enable_explanations")
_NOT_FOR_WARM = (*_NOT_FOR_FRAMES, "inference_component", "session_id", "prefix_aware_id")


class AsyncBatchMixin(Invocations):
    """Methods of an invoker that make many calls.

    Their arguments are those of `AsyncEndpoint`, with the endpoint's name first and the options in one object.
    """

    @abstractmethod
    async def invoke(
        self, endpoint: str, data: Any, model: Model = None, options: InvokeOptions = DEFAULT_OPTIONS
    ) -> Reply[Any]:
        """Invoke a model and return its answer."""

    @abstractmethod
    async def _invoke_item(self, endpoint: str, data: Any, model: Model, options: InvokeOptions) -> Reply[Any]:
        """Invoke for an item of a batch; throttling delays it until its deadline."""

    @abstractmethod
    async def _run(self, flow: Flow[Any]) -> Any:
        """Run a flow of an invocation."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        model_of: Callable[[T], Model] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        rows_per_call: int = 1,
        settings: BatchSettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: ProgressOption = False,
    ) -> AsyncIterator[ItemResult[T]]:
        """Invoke once for each item; see `AsyncEndpoint.invoke_many`.

        Args:
            endpoint: Name of the endpoint.
            items: The items.
            options: Options of each call.
            model_of: Returns the target model of an item.
            data_of: Returns the payload of an item. None sends the item itself.
            rows_per_call: Largest number of rows of items of one model in one request. Default 1.
            settings: Concurrency, order and memory. None means `BatchSettings()`.
            checkpoint: Ledger of the answers, or text file of the items that are done. None writes nothing.
            progress: Called with an `mme_sdk.Progress` after each result; True shows a progress bar. Default: False.

        Returns:
            An iterator over one result for each item.

        Raises:
            InvalidInputError: An argument or an option is invalid.
        """
        store: AnswerStore | None = None
        if checkpoint is not None:
            from mme_sdk.runtime.ledger.objects import is_ledger, objects_at
            from mme_sdk.runtime.ledger.stores import StreamStore

            if is_ledger(checkpoint):
                store, checkpoint = StreamStore(objects_at(checkpoint), self._settings.clock.monotonic), None
        return self._run_many(
            ("invoke_many", "item"),
            endpoint,
            items,
            options,
            model_of=model_of,
            data_of=data_of,
            rows_per_call=rows_per_call,
            settings=settings,
            checkpoint=checkpoint,
            store=store,
            progress=progress,
        )

    def _run_many(
        self,
        operation: tuple[str, str],  # the name of the method, and what it counts
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        options: InvokeOptions,
        *,
        model_of: Callable[[T], Model],
        data_of: Callable[[T], Any] | None,
        settings: BatchSettings | None,
        progress: ProgressOption,
        checkpoint: str | os.PathLike[str] | None = None,
        store: AnswerStore | None = None,
        check: Callable[[T, Reply[Any]], object] | None = None,  # of an answer before the store keeps it
        rows_per_call: int = 1,
    ) -> AsyncIterator[ItemResult[T]]:
        from mme_sdk.display.progress import reporting
        from mme_sdk.runtime.batch.async_driver import async_run_batch
        from mme_sdk.runtime.batch.batch import BatchSettings, check_batch
        from mme_sdk.runtime.batch.batch_run import Together

        check_endpoint(endpoint)
        check_options(options)
        check_batch(items, model_of, data_of, settings, progress)
        check_number("rows_per_call", rows_per_call, at_least=1, integer=True)
        if options.response_type is not None:
            self._codecs.accept(options.response_type)

        async def call(item: T, model: Model) -> Reply[Any]:
            return await self._invoke_item(endpoint, item if data_of is None else data_of(item), model, options)

        async def together(some: list[T], model: Model) -> list[Reply[Any] | MMEError]:
            payloads = some if data_of is None else [data_of(item) for item in some]
            return await self._invoke_together(endpoint, payloads, model, options, rows_per_call)

        reports = reporting(
            progress,
            operation[0],
            endpoint,
            unit=operation[1],
            total=len(items) if isinstance(items, Sized) else None,
            now=self._settings.clock.monotonic,
        )
        if store is not None:
            calls = self._ledger_calls(endpoint, options, data_of, store, check, rows_per_call)
            batch: Any = async_run_batch(
                calls.call,
                calls.numbered(items),
                together=None if rows_per_call == 1 else Together(calls.together, rows_per_call),
                model_of=lambda one: model_of(one.item),
                settings=settings or BatchSettings(),
                reports=reports,
            )
            return calls.results(batch)
        return async_run_batch(
            call,
            items,
            together=None if rows_per_call == 1 else Together(together, rows_per_call),
            model_of=model_of,
            settings=settings or BatchSettings(),
            checkpoint=checkpoint,
            reports=reports,
        )

    def _ledger_calls(
        self,
        endpoint: str,
        options: InvokeOptions,
        data_of: Callable[[T], Any] | None,
        store: AnswerStore,
        check: Callable[[T, Reply[Any]], object] | None,
        rows_per_call: int,
    ) -> AsyncLedgerCalls[T]:
        from mme_sdk.runtime.ledger.async_calls import AsyncLedgerCalls
        from mme_sdk.runtime.ledger.entries import key_of
        from mme_sdk.runtime.ledger.items import check_session
        from mme_sdk.runtime.ledger.stores import RequestStore

        check_session(options.session_id)
        wanted, codecs = options.response_type, self._codecs
        address = self._aws.client("sagemaker-runtime").meta.endpoint_url
        asked = options
        if wanted is not None and options.accept is None:
            asked = options._replace(accept=codecs.accept(wanted))
        numbered = not isinstance(store, RequestStore)

        def key(payload: Any, target: str | None, position: int) -> str:
            body, kind = codecs.encode(payload, options.content_type)
            place = position if numbered else None
            return key_of(f"{address}/{endpoint}", target, body, kind, asked, place)

        def decoded(reply: Reply[Any]) -> Reply[Any]:
            if wanted is None and not codecs.has(reply.content_type):
                return reply
            return evolve(reply, value=codecs.decode(reply.body, reply.content_type, wanted))

        pinned = options._replace(sticky=None)

        return AsyncLedgerCalls(
            store=store,
            run=self._aws.arun,
            target_of=lambda model: self._run(self._pinned(endpoint, model, options)),
            payload_of=(lambda item: item) if data_of is None else data_of,
            key_of=key,
            send=lambda payload, target: self._invoke_item(endpoint, payload, target, pinned),
            send_together=lambda some, target: self._invoke_together(endpoint, some, target, pinned, rows_per_call),
            decoded=decoded,
            check=check,
        )

    async def _invoke_together(
        self, endpoint: str, payloads: Sequence[Any], model: Model, options: InvokeOptions, most: int
    ) -> list[Reply[Any] | MMEError]:
        """Invoke with the payloads of several items, in as few requests as they fit into; return their outcomes."""
        from mme_sdk.runtime.batch.merging import divide, merge

        outcomes: dict[int, Reply[Any] | MMEError] = {}
        alone: list[int] = []
        for one in merge(payloads, options.content_type, most):
            if len(one.places) == 1:
                alone.extend(one.places)
                continue
            accept = options.accept
            if options.response_type is not None:
                accept = accept or self._codecs.accept(options.response_type, accept)
            sent = options._replace(response_type=bytes, accept=accept)
            try:
                whole = await self._invoke_item(endpoint, one.data, model, sent)
                outcomes.update(zip(one.places, divide(whole, one.rows, self._codecs, options), strict=True))
            except (InvalidInputError, ModelInputError):
                alone.extend(one.places)  # nothing ran, and perhaps for one of the items only
            except MMEError as error:
                outcomes.update(dict.fromkeys(one.places, error))
        for place in alone:
            try:
                outcomes[place] = await self._invoke_item(endpoint, payloads[place], model, options)
            except MMEError as error:
                outcomes[place] = error
        return [outcomes[place] for place in range(len(payloads))]

    async def invoke_frame(
        self,
        endpoint: str,
        frame: FrameT,
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        model_of: str | Callable[[Any], Model] | None = None,
        rows_per_call: int = 256,
        settings: BatchSettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: ProgressOption = False,
    ) -> FrameT:
        """Invoke with the rows of a data frame; see `AsyncEndpoint.invoke_frame`.

        Args:
            endpoint: Name of the endpoint.
            frame: The rows: a frame of pandas or polars, or an Arrow table.
            options: Options of each call. The default content type is `text/csv`.
            model_of: Column with the target model, or a function of a row. None for a single-model endpoint.
            rows_per_call: Largest number of rows in one request.
            settings: Concurrency, order and memory. None means `BatchSettings()`.
            checkpoint: Ledger of the answers. None keeps none.
            progress: Called with an `mme_sdk.Progress` after each request; True shows a progress bar. Default: False.

        Returns:
            A frame of the same library with one row for each row, and the same index.

        Raises:
            InvalidInputError: An argument or an option is invalid.
            MissingExtraError: pandas is not installed, or pyarrow, which Parquet needs.
            UndecodableReplyError: An answer is not one row for each row of its request.
        """
        from mme_sdk.runtime.batch.async_driver import async_collect
        from mme_sdk.runtime.batch.frames import FrameJoin, split_frame

        check_unsupported("invoke_frame", options, _NOT_FOR_FRAMES)
        if options.content_type is None:
            options = options._replace(content_type=CSV)
        self._codecs.check_parquet(options.content_type, options.accept)
        rows: Any = to_pandas(frame) if is_table(frame) else frame
        parts = split_frame(rows, model_of, rows_per_call)
        join = FrameJoin(rows, len(parts))
        results = self._invoke_parts(
            endpoint, parts, options, settings=settings, checkpoint=checkpoint, progress=progress
        )

        def finish(done: Iterable[ItemResult[FramePart]]) -> Any:
            whole = join.finish(done)
            return like(whole, type(frame)) if rows is not frame else whole

        joined: FrameT = await async_collect(results, finish, lambda: parts, join.add)
        return joined

    def _invoke_parts(
        self,
        endpoint: str,
        parts: Sequence[FramePart],
        options: InvokeOptions,
        *,
        settings: BatchSettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: ProgressOption = False,
    ) -> AsyncIterator[ItemResult[FramePart]]:
        """Invoke once for each part of a frame.

        Args:
            endpoint: Name of the endpoint.
            parts: The parts: the rows of a request and their model.
            options: Options of each call.
            settings: Concurrency, order and memory. None means `BatchSettings()`.
            checkpoint: Ledger with an object for each request. None keeps none.
            progress: Called with an `mme_sdk.Progress` after each request; True shows a progress bar. Default: False.

        Returns:
            An iterator over one result for each part.

        Raises:
            InvalidInputError: An argument or an option is invalid.
        """
        from mme_sdk.runtime.batch.frames import check_answer

        store: AnswerStore | None = None
        if checkpoint is not None:
            from mme_sdk.runtime.ledger.objects import objects_at
            from mme_sdk.runtime.ledger.stores import RequestStore

            store = RequestStore(objects_at(checkpoint))
        return self._run_many(
            ("invoke_frame", "request"),
            endpoint,
            parts,
            options,
            model_of=lambda part: part.model,
            data_of=lambda part: part.frame,
            settings=settings,
            store=store,
            check=lambda part, reply: check_answer(reply, len(part.rows)),
            progress=progress,
        )

    async def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Load models before they are called; see `AsyncEndpoint.warm`.

        Args:
            endpoint: Name of the endpoint.
            models: The models.
            options: Options of each call. The default content type is `application/json`.
            expected: Calls per second of these models, by model name or target model. None: all are equal.
            capacity: Bytes of models that the endpoint holds in memory. None means no limit.
            at_a_time: Models that are loaded at the same time. None means the learned limit of the endpoint.
            payload: The payload that is sent to each model. None sends one that suits its framework, if known.
            progress: Called with an `mme_sdk.Progress` after each model; True shows a progress bar. Default: False.

        Returns:
            The state of each model.

        Raises:
            InvalidInputError: An argument or an option is invalid.
        """
        from mme_sdk.runtime.batch.async_driver import async_collect
        from mme_sdk.runtime.batch.warm import probe_of, report_of, warm_order, warm_settings

        check_unsupported("warm", options, _NOT_FOR_WARM)
        if options.content_type is None:
            options = options._replace(content_type=JSON)
        chosen, left_out = warm_order(
            models, endpoint=endpoint, memory=self.memory, expected=expected, capacity=capacity
        )
        settings = warm_settings(at_a_time, self.memory, endpoint)
        results = self._run_many(
            ("warm", "model"),
            endpoint,
            chosen,
            options,
            model_of=lambda model: model,
            data_of=probe_of if payload is None else lambda _: payload,
            settings=settings,
            progress=progress,
        )
        return await async_collect(results, lambda done: report_of(done, left_out), lambda: chosen)

    async def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        options: InvokeOptions = DEFAULT_OPTIONS,
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        at_a_time: int | None = None,
        payload: Any = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Call models once so that they stay in memory; see `AsyncEndpoint.keep_warm`.

        Args:
            endpoint: Name of the endpoint.
            models: The models to keep in memory, by target model.
            options: Options of each call. The default content type is `application/json`.
            rates: Calls per second of each model of the endpoint.
            sizes: Bytes of each model in memory.
            capacity: Bytes of models that an instance holds in memory.
            bound_by_slo: Whether to call them even if that makes more calls of other models cold.
            at_a_time: Models that are loaded at the same time. None means the learned limit of the endpoint.
            payload: The payload that is sent to each model. None sends one that suits its framework, if known.
            progress: Called with an `mme_sdk.Progress` after each model; True shows a progress bar. Default: False.

        Returns:
            The state of each model.

        Raises:
            InvalidInputError: An argument or an option is invalid, or keeping the models warm is a net loss.
        """
        from mme_sdk.runtime.batch.warm import check_capacity, keep_warm_advice, refuse_loss

        check_unsupported("keep_warm", options, _NOT_FOR_WARM)
        check_capacity(capacity)
        if not bound_by_slo:
            refuse_loss(keep_warm_advice(rates, sizes, capacity=capacity, keep=models))
        own = {model: rate for model, rate in rates.items() if model in models}
        return await self.warm(
            endpoint, models, options, expected=own, at_a_time=at_a_time, payload=payload, progress=progress
        )
