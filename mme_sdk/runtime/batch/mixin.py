"""What invokers do with more than one item: many calls, frames of rows, warming up."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mme_sdk.runtime._invoker_base import Invocations
from mme_sdk.runtime.batch.batch import (
    ItemResult,
    ManySettings,
    check_batch,
    collect,
    collect_async,
    run_many,
    run_many_async,
)
from mme_sdk.runtime.batch.frames import FrameJoin, split_frame
from mme_sdk.runtime.batch.warm import WarmReport, check_capacity, keep_warm_advice, refuse_loss, report_of, warm_order
from mme_sdk.runtime.options import CallOptions, check_options
from mme_sdk.runtime.payloads.codecs import CSV
from mme_sdk.runtime.payloads.requests import check_endpoint
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AsyncSeveral", "Several"]

T = TypeVar("T")
Model = str | ModelVersion | None


class Several(Invocations):
    """Verbs over many items, in threads."""

    @abstractmethod
    def _call(self, endpoint: str, data: Any, model: Model, options: CallOptions) -> Reply[Any]:
        """Invoke once."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T],
        *,
        model_of: Callable[[T], Model] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        enable_explanations: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: ManySettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[ItemResult[T]]:
        """Invoke for each item of any iterable, even an endless one.

        Arguments, results and errors are those of `Endpoint.invoke_many`.
        """
        options = CallOptions(
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            response_type=response_type,
            target_variant=target_variant,
            target_container=target_container,
            inference_component=inference_component,
            session_id=session_id,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            enable_explanations=enable_explanations,
            prefix_aware_id=prefix_aware_id,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
        )
        return self._many(endpoint, items, model_of, data_of, options, settings, checkpoint, progress)

    def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], Model] | None = None,
        rows_per_call: int = 256,
        content_type: str = CSV,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: ManySettings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame; arguments and errors are those of `Endpoint.invoke_frame`."""
        options = CallOptions(
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            target_variant=target_variant,
            target_container=target_container,
            inference_component=inference_component,
            session_id=session_id,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            prefix_aware_id=prefix_aware_id,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
        )
        parts = split_frame(frame, model_of, rows_per_call)
        join = FrameJoin(frame, len(parts))
        return collect(
            self._many(
                endpoint, parts, lambda part: part.model, lambda part: part.frame, options, settings, None, progress
            ),
            join.finish,
            lambda: parts,
            join.add,
        )

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
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmReport:
        """Load models before they are called; arguments and result are those of `Endpoint.warm`."""
        options = CallOptions(
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            target_variant=target_variant,
            target_container=target_container,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
        )
        chosen, left = warm_order(models, endpoint=endpoint, memory=self.memory, expected=expected, capacity=capacity)
        settings = self._one_each(endpoint, at_a_time)
        return collect(
            self._many(endpoint, chosen, lambda model: model, lambda _: payload, options, settings, None, progress),
            lambda results: report_of(results, left),
            lambda: chosen,
        )

    def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        at_a_time: int | None = None,
        payload: Any = b"{}",
        content_type: str = "application/json",
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmReport:
        """Call models once so that they stay in memory; arguments and errors are those of `Endpoint.keep_warm`."""
        check_capacity(capacity)
        if not bound_by_slo:
            refuse_loss(keep_warm_advice(rates, sizes, capacity=capacity, keep=models))
        return self.warm(
            endpoint,
            models,
            expected=rates,
            at_a_time=at_a_time,
            payload=payload,
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            target_variant=target_variant,
            target_container=target_container,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
            progress=progress,
        )

    def _many(
        self,
        endpoint: str,
        items: Iterable[T],
        model_of: Callable[[T], Model],
        data_of: Callable[[T], Any] | None,
        options: CallOptions,
        settings: ManySettings | None,
        checkpoint: str | os.PathLike[str] | None,
        progress: Callable[[int, int], None] | None,
    ) -> Iterator[ItemResult[T]]:
        check_endpoint(endpoint)
        check_options(options)
        check_batch(items, model_of, data_of, settings, progress)
        if options.response_type is not None:
            self._codecs.accept(options.response_type)

        def call(item: T, model: Model) -> Reply[Any]:
            return self._call(endpoint, item if data_of is None else data_of(item), model, options)

        return run_many(
            call,
            items,
            model_of=model_of,
            settings=settings or ManySettings(),
            checkpoint=checkpoint,
            progress=progress,
        )


class AsyncSeveral(Invocations):
    """Verbs over many items, in tasks of an event loop."""

    @abstractmethod
    def _call(self, endpoint: str, data: Any, model: Model, options: CallOptions) -> Awaitable[Reply[Any]]:
        """Invoke once."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        *,
        model_of: Callable[[T], Model] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        enable_explanations: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: ManySettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AsyncIterator[ItemResult[T]]:
        """Invoke for each item of any iterable, asynchronous ones included.

        Arguments, results and errors are those of `AsyncEndpoint.invoke_many`.
        """
        options = CallOptions(
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            response_type=response_type,
            target_variant=target_variant,
            target_container=target_container,
            inference_component=inference_component,
            session_id=session_id,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            enable_explanations=enable_explanations,
            prefix_aware_id=prefix_aware_id,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
        )
        return self._many(endpoint, items, model_of, data_of, options, settings, checkpoint, progress)

    async def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], Model] | None = None,
        rows_per_call: int = 256,
        content_type: str = CSV,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: ManySettings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame; arguments and errors are those of `AsyncEndpoint.invoke_frame`."""
        options = CallOptions(
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            target_variant=target_variant,
            target_container=target_container,
            inference_component=inference_component,
            session_id=session_id,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            prefix_aware_id=prefix_aware_id,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
        )
        parts = split_frame(frame, model_of, rows_per_call)
        join = FrameJoin(frame, len(parts))
        return await collect_async(
            self._many(
                endpoint, parts, lambda part: part.model, lambda part: part.frame, options, settings, None, progress
            ),
            join.finish,
            lambda: parts,
            join.add,
        )

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
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmReport:
        """Load models before they are called; arguments and result are those of `AsyncEndpoint.warm`."""
        options = CallOptions(
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            target_variant=target_variant,
            target_container=target_container,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
        )
        chosen, left = warm_order(models, endpoint=endpoint, memory=self.memory, expected=expected, capacity=capacity)
        settings = self._one_each(endpoint, at_a_time)
        return await collect_async(
            self._many(endpoint, chosen, lambda model: model, lambda _: payload, options, settings, None, progress),
            lambda results: report_of(results, left),
            lambda: chosen,
        )

    async def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        at_a_time: int | None = None,
        payload: Any = b"{}",
        content_type: str = "application/json",
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmReport:
        """Call models once so that they stay in memory; arguments and errors are those of `AsyncEndpoint.keep_warm`."""
        check_capacity(capacity)
        if not bound_by_slo:
            refuse_loss(keep_warm_advice(rates, sizes, capacity=capacity, keep=models))
        return await self.warm(
            endpoint,
            models,
            expected=rates,
            at_a_time=at_a_time,
            payload=payload,
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            target_variant=target_variant,
            target_container=target_container,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            idempotent=idempotent,
            sticky=sticky,
            prefix=prefix,
            progress=progress,
        )

    def _many(
        self,
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        model_of: Callable[[T], Model],
        data_of: Callable[[T], Any] | None,
        options: CallOptions,
        settings: ManySettings | None,
        checkpoint: str | os.PathLike[str] | None,
        progress: Callable[[int, int], None] | None,
    ) -> AsyncIterator[ItemResult[T]]:
        check_endpoint(endpoint)
        check_options(options)
        check_batch(items, model_of, data_of, settings, progress)
        if options.response_type is not None:
            self._codecs.accept(options.response_type)

        def call(item: T, model: Model) -> Awaitable[Reply[Any]]:
            return self._call(endpoint, item if data_of is None else data_of(item), model, options)

        return run_many_async(
            call,
            items,
            model_of=model_of,
            settings=settings or ManySettings(),
            checkpoint=checkpoint,
            progress=progress,
        )
