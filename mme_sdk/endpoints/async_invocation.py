"""What a handle of an endpoint does beyond its life: invoke it, in every way, on an event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mme_sdk.endpoints._endpoint_base import Handle
from mme_sdk.protocols import AsyncManyInvoker, ItemOutcome, WarmUp
from mme_sdk.types import ModelVersion, Reply

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.runtime import AsyncQueuedInvocation, AsyncReplyStream, ManySettings

__all__ = ["AsyncInvoking"]

T = TypeVar("T")
Model = str | ModelVersion | None


class AsyncInvoking(Handle):
    """Verbs of `AsyncEndpoint` that invoke."""

    __slots__ = ()

    @property
    def _invoker(self) -> AsyncManyInvoker:
        raise NotImplementedError

    @overload
    async def invoke(
        self,
        data: Any,
        *,
        model: Model = None,
        response_type: type[T],
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
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
    ) -> Reply[T]: ...

    @overload
    async def invoke(
        self,
        data: Any,
        *,
        model: Model = None,
        response_type: None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
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
    ) -> Reply[Any]: ...

    async def invoke(
        self,
        data: Any,
        *,
        model: Model = None,
        response_type: type[Any] | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
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
    ) -> Reply[Any]:
        """Invoke a model and await its answer; see `Endpoint.invoke`."""
        return await self._invoker.invoke(
            self.name,
            data,
            model=model,
            response_type=response_type,
            content_type=content_type,
            accept=accept,
            deadline=deadline,
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
            prefix=self.prefix,
        )

    def invoke_many(
        self,
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
        settings: ManySettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AsyncIterator[ItemOutcome[T]]:
        """Invoke for each item of any iterable, asynchronous ones included; see `Endpoint.invoke_many`."""
        return self._invoker.invoke_many(
            self.name,
            items,
            model_of=model_of,
            data_of=data_of,
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
            settings=settings,
            checkpoint=checkpoint,
            progress=progress,
            prefix=self.prefix,
        )

    async def invoke_frame(
        self,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], Model] | None = None,
        rows_per_call: int = 256,
        content_type: str = "text/csv",
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
        settings: ManySettings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame, grouped by model; see `Endpoint.invoke_frame`."""
        return await self._invoker.invoke_frame(
            self.name,
            frame,
            model_of=model_of,
            rows_per_call=rows_per_call,
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
            settings=settings,
            progress=progress,
            prefix=self.prefix,
        )

    async def warm(
        self,
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
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmUp:
        """Load models before they are called; see `Endpoint.warm`."""
        return await self._invoker.warm(
            self.name,
            models,
            expected=expected,
            capacity=capacity,
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
            progress=progress,
            prefix=self.prefix,
        )

    async def keep_warm(
        self,
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
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmUp:
        """Call models once so that they stay in memory; see `Endpoint.keep_warm`."""
        return await self._invoker.keep_warm(
            self.name,
            models,
            rates=rates,
            sizes=sizes,
            capacity=capacity,
            bound_by_slo=bound_by_slo,
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
            progress=progress,
            prefix=self.prefix,
        )

    async def invoke_stream(
        self,
        data: Any,
        *,
        content_type: str | None = None,
        accept: str | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        prefix_aware_id: str | None = None,
    ) -> AsyncReplyStream:
        """Invoke a single-model endpoint and read the answer while it is written; see `Endpoint.invoke_stream`."""
        stream: AsyncReplyStream = await self._invoker.invoke_stream(
            self.name,
            data,
            content_type=content_type,
            accept=accept,
            target_variant=target_variant,
            target_container=target_container,
            inference_component=inference_component,
            session_id=session_id,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            prefix_aware_id=prefix_aware_id,
        )
        return stream

    async def invoke_async(
        self,
        data: Any,
        *,
        upload_to: str | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        time_to_live: int | None = None,
        invocation_timeout: int | None = None,
        filename: str | None = None,
        output_path_extension: str | None = None,
    ) -> AsyncQueuedInvocation:
        """Submit an asynchronous inference; see `Endpoint.invoke_async`."""
        queued: AsyncQueuedInvocation = await self._invoker.invoke_async(
            self.name,
            data,
            upload_to=upload_to,
            content_type=content_type,
            accept=accept,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            time_to_live=time_to_live,
            invocation_timeout=invocation_timeout,
            filename=filename,
            output_path_extension=output_path_extension,
        )
        return queued
