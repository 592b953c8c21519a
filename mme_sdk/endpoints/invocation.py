"""What a handle of an endpoint does beyond its life: invoke it, in every way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mme_sdk.endpoints._endpoint_base import Handle
from mme_sdk.protocols import ItemOutcome, ManyInvoker, WarmUp
from mme_sdk.types import ModelVersion, Reply

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.runtime import ManySettings, QueuedInvocation, ReplyStream

__all__ = ["Invoking"]

T = TypeVar("T")
Model = str | ModelVersion | None


class Invoking(Handle):
    """Verbs of `Endpoint` that invoke."""

    __slots__ = ()

    @property
    def _invoker(self) -> ManyInvoker:
        raise NotImplementedError

    @overload
    def invoke(
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
    def invoke(
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

    def invoke(
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
        """Invoke a model and wait for its answer.

        Args:
            data: The payload: bytes, str, anything JSON can say, a numpy array, a pandas frame, a pydantic model.
            model: Target model of a multi-model endpoint, or `name@alias`.
            response_type: What to decode the answer to, into the reply's `value`: a pydantic model, any type that
                pydantic reads from JSON, `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, or a codec.
            content_type: Media type to send; by the type of the payload where None.
            accept: Media type wanted back.
            deadline: Seconds for the call with all its attempts; that of `Timeouts` where None.
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
        return self._invoker.invoke(
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
        settings: ManySettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[ItemOutcome[T]]:
        """Invoke for each item of any iterable, even an endless one; models are worked on together, and take turns.

        Ctrl-C, and whatever else ends it early, ends the requests in flight and the threads at once. Its
        `partial` attribute then has the results that were complete and not yet yielded.

        Args:
            items: The payloads; read only as far as there is room for them.
            model_of: The target model of an item.
            data_of: The payload of an item; the item itself where None.
            content_type: Media type to send; by the type of the payload where None.
            accept: Media type wanted back.
            deadline: Seconds for each item with all its attempts; that of `Timeouts` where None.
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
            settings: How many calls at a time, how many models at a time, and in which order results come.
            checkpoint: Text file of the items that were answered and dealt with; run again with it, only the others are
                invoked. An item whose result was being dealt with when the process ended comes again.
            progress: Called after each result: how many so far, and how many of them failed.

        Yields:
            One result an item, with its `reply` or its `error`.

        Raises:
            InvalidInputError: An option cannot be used, or the checkpoint.
        """
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

    def invoke_frame(
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
        """Invoke with the rows of a data frame, grouped by model.

        Ctrl-C, and whatever else ends it early, ends the requests in flight and the threads at once. Its
        `partial` attribute then has a frame like the result: rows without an answer have an `error`.

        Args:
            frame: The rows.
            model_of: Column that names the target model, and is not sent; or a function of a row; None on a
                single-model endpoint.
            rows_per_call: Rows in one request, at most.
            content_type: How they are sent: CSV, JSON or Parquet.
            accept: Media type wanted back.
            deadline: Seconds for each request with all its attempts; that of `Timeouts` where None.
            target_variant: Production variant to send to.
            target_container: Host name of the container to ask, where the endpoint has several that are invoked
                directly.
            inference_component: Inference component to ask; excludes `model` and `target_container`.
            session_id: Stateful session of the call, or `NEW_SESSION` to open one; the reply has its `new_session_id`.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            prefix_aware_id: Requests of one id go to one instance, where the variant routes by prefix or by key-value
                cache.
            idempotent: Whether a request whose outcome is unknown may be sent again to a loaded model.
            sticky: Key of a weighted alias: one key, such as a customer's, always gets one version. It needs
                an alias.
            settings: How many calls at a time, how many models at a time, and in which order results come.
            progress: Called after each result: how many so far, and how many of them failed.

        Returns:
            One row a row, with the same index: the answer's columns, or `prediction`; and `error`, None where there is
            an answer.

        Raises:
            InvalidInputError: No such column, or an option cannot be used.
            UndecodableReplyError: An answer has not one row for each row that was sent.
        """
        return self._invoker.invoke_frame(
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

    def warm(
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
        """Load models before they are called, those first that save most waiting for their size.

        Ctrl-C, and whatever else ends it early, ends the requests in flight and the threads at once. Its
        `partial` attribute then has a report like the result: models that had not answered count as failed.

        Args:
            models: The models.
            expected: Calls per second by model name or target model; all alike where None.
            capacity: Bytes of models that the endpoint holds in memory; those that do not fit are left out.
            at_a_time: Loads at a time; the loads that the endpoint is known to bear where None.
            payload: What to send; a model that refuses it is loaded all the same.
            content_type: Media type of the payload.
            accept: Media type wanted back.
            deadline: Seconds for each model with all its attempts; that of `Timeouts` where None.
            target_variant: Production variant to send to.
            target_container: Host name of the container to ask, where the endpoint has several that are invoked
                directly.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            idempotent: Whether a request whose outcome is unknown may be sent again to a loaded model.
            sticky: Key of a weighted alias: one key, such as a customer's, always gets one version. It needs
                an alias.
            progress: Called after each model: how many so far, and how many of them failed.

        Returns:
            What was loaded, how long it took, what failed and what did not fit.

        Raises:
            InvalidInputError: An option cannot be used.
        """
        return self._invoker.warm(
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

    def keep_warm(
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
        """Call models once so that they stay in memory; to be done again and again by a scheduler of yours.

        Args:
            models: The models to keep, by target model.
            rates: Calls per second of each model of the endpoint, by target model.
            sizes: Bytes of each in memory.
            capacity: Bytes of models that an instance's memory holds.
            bound_by_slo: Do it for these models' sake, even where more calls of others become cold.
            at_a_time: Loads at a time; the loads that the endpoint is known to bear where None.
            payload: What to send; a model that refuses it is loaded all the same.
            content_type: Media type of the payload.
            accept: Media type wanted back.
            deadline: Seconds for each model with all its attempts; that of `Timeouts` where None.
            target_variant: Production variant to send to.
            target_container: Host name of the container to ask, where the endpoint has several that are invoked
                directly.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            idempotent: Whether a request whose outcome is unknown may be sent again to a loaded model.
            sticky: Key of a weighted alias: one key, such as a customer's, always gets one version. It needs
                an alias.
            progress: Called after each model: how many so far, and how many of them failed.

        Returns:
            What was loaded, how long it took and what failed.

        Raises:
            InvalidInputError: It is a net loss, and the message says by how much; or an option cannot be used.
        """
        return self._invoker.keep_warm(
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

    def invoke_stream(
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
    ) -> ReplyStream:
        """Invoke a single-model endpoint and read the answer while the model writes it.

        Args:
            data: The payload: bytes, str, anything JSON can say, a numpy array, a pandas frame, a pydantic model.
            content_type: Media type to send; by the type of the payload where None.
            accept: Media type wanted back.
            target_variant: Production variant to send to.
            target_container: Host name of the container to ask, where the endpoint has several that are invoked
                directly.
            inference_component: Inference component to ask; excludes `target_container`.
            session_id: Stateful session of the call; `invoke` opens one.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            prefix_aware_id: Requests of one id go to one instance, where the variant routes by prefix or by key-value
                cache.

        Returns:
            The stream, to be used in a `with` block.

        Raises:
            InvalidInputError: Refused, for example by a multi-model endpoint, which cannot stream.
            ModelServerError: The model failed, before or while it answered.
            OutcomeUnknownError: The stream broke off.
        """
        stream: ReplyStream = self._invoker.invoke_stream(
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

    def invoke_async(
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
    ) -> QueuedInvocation:
        """Submit an asynchronous inference to a single-model endpoint that was made for it.

        Args:
            data: The payload, up to 1 GB, or the `s3://` address of one that is there already.
            upload_to: S3 prefix for the payload; None where it is in S3 already.
            content_type: Media type to send; by the type of the payload where None.
            accept: Media type wanted back.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            time_to_live: Seconds that the request may wait in SageMaker's queue, 60 to 21600.
            invocation_timeout: Seconds that the model may take, 1 to 3600.
            filename: Name of the answer's object below the endpoint's output path; made up where None.
            output_path_extension: Folders between the endpoint's output path and the answer's object.

        Returns:
            What was submitted; its `result()` waits for the answer.

        Raises:
            InvalidInputError: Refused, or no place for the payload.
        """
        queued: QueuedInvocation = self._invoker.invoke_async(
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
