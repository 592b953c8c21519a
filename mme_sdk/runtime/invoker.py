"""The invokers: one call in, one typed reply out, in threads or on an event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mme_sdk.aws.session import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.protocols import AsyncClock, AsyncModelStore, Clock, ModelStore, Rng
from mme_sdk.runtime.codecs import Codecs
from mme_sdk.runtime.hooks import Hook
from mme_sdk.runtime.invocations import PAYLOAD_LIMIT, Invocations
from mme_sdk.runtime.many import ItemResult, ManySettings, run_many, run_many_async
from mme_sdk.runtime.memory import Memory
from mme_sdk.runtime.single import AsyncSingleModel, SingleModel
from mme_sdk.runtime.steps import Ticket, drive, drive_async, wait_in_thread, wait_on_loop
from mme_sdk.runtime.warm import WarmReport, keep_warm_advice, refuse_loss, report_of, warm_order
from mme_sdk.runtime.wire import AsyncTransport, Transport
from mme_sdk.shapes.model import ModelVersion
from mme_sdk.shapes.reply import Reply

__all__ = ["AsyncRuntimeInvoker", "RuntimeInvoker"]

T = TypeVar("T")


class RuntimeInvoker(SingleModel, Invocations):
    """Invokes models, and treats a cold start as normal. Safe to share between threads.

    Args:
        aws: The way to AWS, for questions on the side: where a missing model could be, what an alias means.
        transport: Sends requests.
        timeouts: Time-outs and the default deadline; those of `aws` where None.
        retry: When a request that failed is sent again; that of `aws` where None.
        clock: Time and sleep; that of `aws` where None.
        rng: Randomness for jitter.
        codecs: How payloads are encoded and replies decoded.
        models: Gives the registry of an S3 prefix, to resolve `name@alias`.
        memory: What is known of endpoints and models; hand one to several invokers to share it.
        hooks: Functions that are told what happens, see `mme_sdk.runtime.hooks`.
        payload_limit: Largest payload in bytes.
        wait: Waits for a ticket, so many seconds at most; real time, unless a test brings its own.
    """

    def __init__(
        self,
        aws: Aws,
        transport: Transport,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
        codecs: Codecs | None = None,
        models: Callable[[str], ModelStore] | None = None,
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        payload_limit: int = PAYLOAD_LIMIT,
        wait: Callable[[Ticket, float], bool] = wait_in_thread,
    ) -> None:
        super().__init__(
            aws,
            timeouts=timeouts,
            retry=retry,
            clock=clock,
            rng=rng,
            codecs=codecs,
            models=models,
            memory=memory,
            hooks=hooks,
            payload_limit=payload_limit,
        )
        self._clock: Clock = clock or aws.clock
        self._transport = transport
        self._wait = wait

    def invoke(
        self,
        endpoint: str,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        prefix: str | None = None,
    ) -> Reply[Any]:
        """Invoke a model and wait for its answer.

        Args:
            endpoint: The endpoint's name.
            data: The payload: bytes, str, anything JSON can say, a numpy array, a pandas frame, a pydantic model.
            model: Target model of a multi-model endpoint, or `name@alias`.
            content_type: Media type to send; by the type of `data` where None.
            accept: Media type wanted back.
            deadline: Seconds for the call with all its attempts.
            response_type: What to decode the answer to: a pydantic model, any type pydantic reads from JSON, `bytes`,
                `str`, `numpy.ndarray`, `pandas.DataFrame`, or a codec.
            target_variant: Production variant to send to.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            idempotent: Whether a request whose outcome is unknown may be sent again to a warm model.
            prefix: The endpoint's S3 model prefix, where known; asked for when it is needed otherwise.

        Returns:
            The answer.

        Raises:
            InvalidInputError: Refused before it was sent, or by SageMaker.
            ModelNotReadyError: The model was still loading at the deadline.
            ModelNotFoundError: There is no such archive; the hint lists near names.
            ModelError: The container answered with an error.
            OutcomeUnknownError: No whole answer came back; the model may have run.
            ThrottledError: Throttled for as long as the deadline allowed.
            ServiceError: SageMaker failed.
            UndecodableReplyError: The model answered, but not in the form asked for.
        """
        steps = self._steps(
            endpoint,
            data,
            model=model,
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            response_type=response_type,
            target_variant=target_variant,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            idempotent=idempotent,
            prefix=prefix,
        )
        return drive(steps, transport=self._transport, clock=self._clock, aws=self._aws, wait=self._wait)

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

    def close(self) -> None:
        """Close the transport; calls fail afterwards."""
        self._closed = True
        self._transport.close()


class AsyncRuntimeInvoker(AsyncSingleModel, Invocations):
    """`RuntimeInvoker`, awaited; the decisions are the same code.

    Args:
        aws: The way to AWS, for questions on the side.
        transport: Sends requests.
        timeouts: Time-outs and the default deadline; those of `aws` where None.
        retry: When a request that failed is sent again; that of `aws` where None.
        clock: Time and sleep; that of `aws` where None.
        rng: Randomness for jitter.
        codecs: How payloads are encoded and replies decoded.
        models: Gives the registry of an S3 prefix, to resolve `name@alias`.
        memory: What is known of endpoints and models; hand one to several invokers to share it.
        hooks: Functions that are told what happens, see `mme_sdk.runtime.hooks`.
        payload_limit: Largest payload in bytes.
        wait: Waits for a ticket, so many seconds at most; real time, unless a test brings its own.
    """

    def __init__(
        self,
        aws: Aws,
        transport: AsyncTransport,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        clock: AsyncClock | None = None,
        rng: Rng | None = None,
        codecs: Codecs | None = None,
        models: Callable[[str], AsyncModelStore] | None = None,
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        payload_limit: int = PAYLOAD_LIMIT,
        wait: Callable[[Ticket, float], Awaitable[bool]] = wait_on_loop,
    ) -> None:
        super().__init__(
            aws,
            timeouts=timeouts,
            retry=retry,
            clock=clock or aws.async_clock,
            rng=rng,
            codecs=codecs,
            models=models,
            memory=memory,
            hooks=hooks,
            payload_limit=payload_limit,
        )
        self._clock: AsyncClock = clock or aws.async_clock
        self._transport = transport
        self._wait = wait

    async def invoke(
        self,
        endpoint: str,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        prefix: str | None = None,
    ) -> Reply[Any]:
        """Invoke a model and await its answer; arguments and errors are those of `RuntimeInvoker.invoke`."""
        steps = self._steps(
            endpoint,
            data,
            model=model,
            content_type=content_type,
            accept=accept,
            deadline=deadline,
            response_type=response_type,
            target_variant=target_variant,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
            idempotent=idempotent,
            prefix=prefix,
        )
        return await drive_async(steps, transport=self._transport, clock=self._clock, aws=self._aws, wait=self._wait)

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
        """Invoke for each item of any iterable, asynchronous ones included; see `RuntimeInvoker.invoke_many`."""

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
        """Load models before they are called; see `RuntimeInvoker.warm`."""
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
        """Call models once so that they stay in memory; see `RuntimeInvoker.keep_warm`."""
        if not bound_by_slo:
            refuse_loss(keep_warm_advice(rates, sizes, capacity=capacity, keep=models))
        return await self.warm(endpoint, models, **options)

    async def close(self) -> None:
        """Close the transport; calls fail afterwards."""
        self._closed = True
        await self._transport.close()
