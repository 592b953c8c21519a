"""The invokers: one call in, one typed reply out, in threads or on an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from mme_sdk.aws.session import Aws
from mme_sdk.config import RetryPolicy, Timeouts
from mme_sdk.protocols import AsyncClock, AsyncModelStore, Clock, ModelStore, Rng
from mme_sdk.runtime._invoker_base import PAYLOAD_LIMIT
from mme_sdk.runtime.batch.mixin import AsyncSeveral, Several
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.runtime.effects import Waitable
from mme_sdk.runtime.interpreters import async_interpreter, interpreter, wait_in_thread, wait_on_loop
from mme_sdk.runtime.options import CallOptions
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.single_model.mixin import AsyncSingleModel, SingleModel
from mme_sdk.runtime.telemetry.hooks import Hook
from mme_sdk.runtime.transport_interface import AsyncTransport, Transport
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = ["AsyncRuntimeInvoker", "RuntimeInvoker"]


class RuntimeInvoker(Several, SingleModel):
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
        stores: Registries in use, by prefix: what they know to be deleted is refused before it is sent.
        memory: What is known of endpoints and models; hand one to several invokers to share it.
        hooks: Functions that are told what happens, see `mme_sdk.runtime.telemetry.hooks`.
        payload_limit: Largest payload in bytes.
        wait: Waits for an event, so many seconds at most; real time, unless a test brings its own.
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
        stores: MutableMapping[str, ModelStore] | None = None,
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        payload_limit: int = PAYLOAD_LIMIT,
        wait: Callable[[Waitable, float], bool] = wait_in_thread,
    ) -> None:
        super().__init__(
            aws,
            timeouts=timeouts,
            retry=retry,
            clock=clock,
            rng=rng,
            codecs=codecs,
            models=models,
            stores=stores,
            memory=memory,
            hooks=hooks,
            payload_limit=payload_limit,
        )
        self._transport = transport
        self._interpreter = interpreter(transport, clock=clock or aws.clock, aws=aws, wait=wait)

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
    ) -> Reply[Any]:
        """Invoke a model and wait for its answer.

        Args:
            endpoint: The endpoint's name.
            data: The payload: bytes, str, anything JSON can say, a numpy array, a pandas frame, a pydantic model.
            model: Target model of a multi-model endpoint, or `name@alias`.
            content_type: Media type to send; by the type of `data` where None. CSV of a frame has no header row, unless
                this is `text/csv; header=present`.
            accept: Media type wanted back.
            deadline: Seconds for the call with all its attempts; that of `Timeouts` where None.
            response_type: What to decode the answer to, into the reply's `value`: a pydantic model, any type that
                pydantic reads from JSON, `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, or a codec.
            target_variant: Production variant to send to.
            target_container: Host name of the container to ask, where the endpoint has several that are invoked
                directly.
            inference_component: Inference component to ask; excludes `model` and `target_container`.
            session_id: Stateful session of the call, or `NEW_SESSION` to open one; the reply has its `new_session_id`.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            enable_explanations: JMESPath expression that replaces the one of the endpoint's explainer for this call.
            prefix_aware_id: Requests of one id go to one instance, where the variant routes by prefix or by key-value
                cache.
            idempotent: Whether a request whose outcome is unknown may be sent again to a loaded model.
            sticky: Key of a weighted alias: one key, such as a customer's, always gets one version. It needs
                an alias.
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
            RowCountError: The payload is a table, and the answer has more or fewer rows.
        """
        options = CallOptions(
            content_type,
            accept,
            deadline,
            response_type,
            target_variant,
            target_container,
            inference_component,
            session_id,
            inference_id,
            custom_attributes,
            enable_explanations,
            prefix_aware_id,
            idempotent,
            sticky,
            prefix,
        )
        return self._call(endpoint, data, model, options)

    def _call(self, endpoint: str, data: Any, model: str | ModelVersion | None, options: CallOptions) -> Reply[Any]:
        return self._interpreter.run(self._flow(endpoint, data, model, options))

    def close(self) -> None:
        """Close the transport; calls fail afterwards."""
        self._closed = True
        self._transport.close()


class AsyncRuntimeInvoker(AsyncSeveral, AsyncSingleModel):
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
        stores: Registries in use, by prefix: what they know to be deleted is refused before it is sent.
        memory: What is known of endpoints and models; hand one to several invokers to share it.
        hooks: Functions that are told what happens, see `mme_sdk.runtime.telemetry.hooks`.
        payload_limit: Largest payload in bytes.
        wait: Waits for an event, so many seconds at most; real time, unless a test brings its own.
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
        stores: MutableMapping[str, AsyncModelStore] | None = None,
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        payload_limit: int = PAYLOAD_LIMIT,
        wait: Callable[[Waitable, float], Awaitable[bool]] = wait_on_loop,
    ) -> None:
        super().__init__(
            aws,
            timeouts=timeouts,
            retry=retry,
            clock=clock or aws.async_clock,
            rng=rng,
            codecs=codecs,
            models=models,
            stores=stores,
            memory=memory,
            hooks=hooks,
            payload_limit=payload_limit,
        )
        self._transport = transport
        self._interpreter = async_interpreter(transport, clock=clock or aws.async_clock, aws=aws, wait=wait)

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
    ) -> Reply[Any]:
        """Invoke a model and await its answer; arguments and errors are those of `RuntimeInvoker.invoke`."""
        options = CallOptions(
            content_type,
            accept,
            deadline,
            response_type,
            target_variant,
            target_container,
            inference_component,
            session_id,
            inference_id,
            custom_attributes,
            enable_explanations,
            prefix_aware_id,
            idempotent,
            sticky,
            prefix,
        )
        return await self._call(endpoint, data, model, options)

    async def _call(
        self, endpoint: str, data: Any, model: str | ModelVersion | None, options: CallOptions
    ) -> Reply[Any]:
        return await self._interpreter.run(self._flow(endpoint, data, model, options))

    async def close(self) -> None:
        """Close the transport; calls fail afterwards."""
        self._closed = True
        await self._transport.close()
