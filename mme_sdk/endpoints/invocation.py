# Generated from async_invocation.py by scripts/unasync.py. Change that file, then run `make facades`.
"""`InvocationMixin`: the methods of `Endpoint` that invoke models.

One file because a reader looks for one list of these methods; most of its lines are their documentation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mme_sdk._tracebacks import short_tracebacks, shortened, shortens_itself
from mme_sdk.endpoints._endpoint_base import Handle
from mme_sdk.errors import MMEError
from mme_sdk.runtime.options import AsyncInferenceOptions, InvokeOptions

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # type checkers have it; `default` is in `typing` from Python 3.13

    from mme_sdk.display.progress import ProgressOption
    from mme_sdk.runtime import (
        BatchSettings,
        Codec,
        ItemResult,
        QueuedInvocation,
        ReplyStream,
        RuntimeInvoker,
        WarmReport,
    )
    from mme_sdk.types import ModelVersion, Reply

    T = TypeVar("T", default=Any)
    Item = TypeVar("Item")
    Frame = TypeVar("Frame")

__all__ = ["InvocationMixin"]


@short_tracebacks
class InvocationMixin(Handle):
    """Methods of `Endpoint` that invoke models.

    The options of a call are written out here, once for each method, and travel as one `InvokeOptions`.
    """

    __slots__ = ()

    @property
    def _invoker(self) -> RuntimeInvoker:
        raise NotImplementedError

    @shortens_itself
    def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: type[T] | Codec | None = None,
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
    ) -> Reply[T]:
        """Invoke a model and return its answer.

        Waits while the model is loaded, and sends the request again after throttling and failures, until the deadline.

        Args:
            data: The payload: bytes, str, a JSON value, a numpy array, a data frame or a pydantic model.
            model: Target model of a multi-model endpoint, such as `fraud/v3.tar.gz`, its `s3://` address, a
                `ModelVersion`, `name@alias`, or `name` for the version that was stored last. None for a single-model
                endpoint.
            response_type: What the answer is decoded to, in the reply's `value`: a pydantic model, any type that
                pydantic reads from JSON, `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, or a codec. None decodes
                by the answer's media type.
            content_type: Media type of the payload. None chooses it by the payload's type.
            accept: Media type of the answer. None lets the container choose.
            deadline: Seconds for the call with all its attempts. None means `Timeouts.deadline`, 360 by default.
            target_variant: Production variant that answers. None lets SageMaker choose by the variants' weights.
            target_container: Host name of the container that answers, for an endpoint whose containers are invoked
                directly. None for any other endpoint.
            inference_component: Inference component that answers. It excludes `model` and `target_container`. Default
                None.
            session_id: Stateful session of the call, or `NEW_SESSION` to open one; the reply then has its
                `new_session_id`. None means no session.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            enable_explanations: JMESPath expression that replaces the one of the endpoint's explainer. None means no
                replacement.
            prefix_aware_id: Requests with the same id go to the same instance, if the variant routes by prefix or by
                key-value cache. Default None.
            idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
            sticky: Key of a weighted alias, such as a customer's id: the same key always gets the same version. It
                requires an alias. None draws a version for each call.

        Returns:
            The answer. Its `value` is of type `response_type`.

        Raises:
            InvalidInputError: An argument is invalid, or SageMaker rejected the request.
            ModelNotReadyError: The model was still loading at the deadline.
            ModelNotFoundError: The archive does not exist. The hint lists similar names.
            EndpointNotFoundError: The endpoint does not exist, or is being deleted.
            ConflictError: The endpoint is being created or updated, and cannot be invoked yet.
            EndpointFailedError: The endpoint is out of service; with SageMaker's reason.
            ModelError: The container answered with an error.
            OutcomeUnknownError: The connection failed after the request was sent. The model may have run.
            ThrottledError: SageMaker throttled every attempt until the deadline.
            ServiceError: SageMaker failed.
            UndecodableReplyError: The answer cannot be decoded to `response_type`.
            RowCountError: The payload is a table, and the answer has another number of rows.

        Example:
            ```python
            reply = endpoint.invoke({"amount": 12.5}, model="fraud@live", response_type=Score, deadline=30)
            print(reply.value, reply.cold, reply.latency)
            ```
        """
        options = InvokeOptions(  # by position, which is faster than by name
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
            self.prefix,
        )
        try:
            return self._invoker.invoke(self.name, data, model, options)
        except MMEError as error:
            __tracebackhide__ = True
            raise shortened(error)  # noqa: B904 - it is the same error

    def invoke_many(
        self,
        items: Iterable[Item],
        *,
        model_of: Callable[[Item], str | ModelVersion | None] = lambda _: None,
        data_of: Callable[[Item], Any] | None = None,
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
        rows_per_call: int = 1,
        settings: BatchSettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: ProgressOption = False,
    ) -> Iterator[ItemResult[Item]]:
        """Invoke once for each item of an iterable, and yield the results.

        The iterable may be endless. Items are grouped by model, and the models take turns. If Ctrl-C or an exception
        ends the iteration, running requests are cancelled; the exception's `partial` attribute holds the results that
        were complete and not yet yielded.

        Args:
            items: The items, from an iterable. They are read only while there is space in
                memory for them.
            model_of: Returns the target model of an item. Default: no target model.
            data_of: Returns the payload of an item. None sends the item itself.
            content_type: Media type of the payload. None chooses it by the payload's type.
            accept: Media type of the answer. None lets the container choose.
            deadline: Seconds for each item with all its attempts. None means `Timeouts.deadline`, 360 by default.
            response_type: What the answer is decoded to, in the reply's `value`: a pydantic model, any type that
                pydantic reads from JSON, `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, or a codec. None decodes
                by the answer's media type.
            target_variant: Production variant that answers. None lets SageMaker choose by the variants' weights.
            target_container: Host name of the container that answers, for an endpoint whose containers are invoked
                directly. None for any other endpoint.
            inference_component: Inference component that answers. It excludes `model` and `target_container`. Default
                None.
            session_id: Stateful session of the call, or `NEW_SESSION` to open one; the reply then has its
                `new_session_id`. None means no session.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            enable_explanations: JMESPath expression that replaces the one of the endpoint's explainer. None means no
                replacement.
            prefix_aware_id: Requests with the same id go to the same instance, if the variant routes by prefix or by
                key-value cache. Default None.
            idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
            sticky: Key of a weighted alias, such as a customer's id: the same key always gets the same version. It
                requires an alias. None draws a version for each call.
            rows_per_call: Largest number of rows in one request. Over 1, payloads of one model and of the same form are
                joined: pandas frames, numpy arrays of two dimensions, and text or bytes of `text/csv` without a header
                row. The model must answer one result for each row, as JSON, CSV or NPY; each reply has its
                part. Other payloads have a request each. If the model rejects a joined request, its items are sent
                one by one. Default 1.
            settings: Concurrency, order and memory of the batch. None means `BatchSettings()`.
            checkpoint: A ledger, or a text file. A ledger is an S3 address such as `s3://bucket/jobs/42/`, or a local
                directory, whose path ends with `/`: it keeps the answers, and a later run returns those of equal items
                at equal positions without a call. A killed process repeats at most 256 calls and those that ran. With
                it, each alias is resolved once. A text file keeps the positions of the items that are done, and a later
                run leaves them out; an item whose result was being processed when the process ended is sent again.
                Failed items are always sent again. None keeps nothing.
            progress: Called with an `mme_sdk.Progress` after each result; True shows a progress bar. Default: False.

        Returns:
            An iterator over one result for each item. A result has a `reply` or an `error`.

        Raises:
            InvalidInputError: An argument or an option is invalid, or the checkpoint cannot be used.
            IntegrityError: An object of the ledger is damaged. The message names it.

        Example:
            ```python
            for result in endpoint.invoke_many(rows, model_of=lambda row: row["model"], checkpoint="done.txt"):
                print(result.index, result.error or result.value)
            ```
        """
        return self._invoker.invoke_many(
            self.name,
            items,
            InvokeOptions(
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
                prefix=self.prefix,
            ),
            model_of=model_of,
            data_of=data_of,
            rows_per_call=rows_per_call,
            settings=settings,
            checkpoint=checkpoint,
            progress=progress,
        )

    def invoke_frame(
        self,
        frame: Frame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
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
        settings: BatchSettings | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: ProgressOption = False,
    ) -> Frame:
        """Invoke with the rows of a data frame and return a data frame of the answers.

        Rows are grouped by model and sent in batches. If Ctrl-C or an exception ends the call, running requests are
        cancelled; the exception's `partial` attribute holds a frame like the result, in which rows without an answer
        have an `error`.

        Args:
            frame: The rows: a frame of pandas or polars, or an Arrow table; the latter two need pyarrow.
            model_of: Column with the target model, which is not sent, or a function of a row, such as
                `lambda row: "fraud"` for one model. None for a single-model endpoint.
            rows_per_call: Largest number of rows in one request. Default 256.
            content_type: Media type of the requests: CSV, JSON or Parquet. Default `text/csv`.
            accept: Media type of the answer. None lets the container choose.
            deadline: Seconds for each request with all its attempts. None means `Timeouts.deadline`, 360 by default.
            target_variant: Production variant that answers. None lets SageMaker choose by the variants' weights.
            target_container: Host name of the container that answers, for an endpoint whose containers are invoked
                directly. None for any other endpoint.
            inference_component: Inference component that answers. It excludes `model` and `target_container`. Default
                None.
            session_id: Stateful session of the call, or `NEW_SESSION` to open one; the reply then has its
                `new_session_id`. None means no session.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            prefix_aware_id: Requests with the same id go to the same instance, if the variant routes by prefix or by
                key-value cache. Default None.
            idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
            sticky: Key of a weighted alias, such as a customer's id: the same key always gets the same version. It
                requires an alias. None draws a version for each call.
            settings: Concurrency, order and memory of the batch. None means `BatchSettings()`.
            checkpoint: Ledger: an S3 address such as `s3://bucket/jobs/42/`, or a local directory. It keeps the answer
                to each request, and a later run returns the answers of equal requests to equal models without a call.
                A killed process repeats the calls that ran. Failed requests are sent again. With a ledger, each alias
                is resolved once. None keeps nothing.
            progress: Called with an `mme_sdk.Progress` after each request; True shows a progress bar. Default: False.

        Returns:
            A frame of the same library with one row for each row, and the same index. Its columns are `prediction`, the
            columns of the answers, and `error`, which is None where there is an answer; text unless it is of pandas.

        Raises:
            InvalidInputError: The column does not exist, or another argument or an option is invalid.
            UndecodableReplyError: An answer is not a table.
            RowCountError: An answer has more or fewer rows than its request.
            ModelInputError: The model rejected the form of the first requests.
            IntegrityError: An object of the ledger is damaged. The message names it.
            MissingExtraError: pandas is not installed, or pyarrow, which Parquet and frames of other libraries need.

        Example:
            ```python
            scored = frame.join(endpoint.invoke_frame(frame, model_of="model", content_type="application/json"))
            ```
        """
        return self._invoker.invoke_frame(
            self.name,
            frame,
            InvokeOptions(
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
                prefix=self.prefix,
            ),
            model_of=model_of,
            rows_per_call=rows_per_call,
            settings=settings,
            checkpoint=checkpoint,
            progress=progress,
        )

    def warm(
        self,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = None,
        content_type: str = "application/json",
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Load models before they are called, in the order of the waiting time that each saves for its size.

        If Ctrl-C or an exception ends the call, running requests are cancelled; the exception's `partial` attribute
        holds a report like the result, in which models without an answer count as failed.

        Args:
            models: The models: target models, versions, or `name@alias`.
            expected: Calls per second by model name (of a version) or target model, of these models only. None means
                that all are equal.
            capacity: Bytes of models that the endpoint holds in memory. Models that do not fit are left out. None means
                no limit.
            at_a_time: Models that are loaded at the same time. None means the limit that this client has learned for
                the endpoint.
            payload: The payload that is sent to each model. A model that rejects it is loaded nevertheless. None sends
                JSON that suits the framework of a `ModelVersion`, or else `{}`. Default None.
            content_type: Media type of the payload. Default `application/json`.
            accept: Media type of the answer. None lets the container choose.
            deadline: Seconds for each model with all its attempts. None means `Timeouts.deadline`, 360 by default.
            target_variant: Production variant that answers. None lets SageMaker choose by the variants' weights.
            target_container: Host name of the container that answers, for an endpoint whose containers are invoked
                directly. None for any other endpoint.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
            sticky: Key of a weighted alias, such as a customer's id: the same key always gets the same version. It
                requires an alias. None draws a version for each call.
            progress: Called with an `mme_sdk.Progress` after each model; True shows a progress bar. Default: False.

        Returns:
            The models that are loaded, failed or were left out, and the load times.

        Raises:
            InvalidInputError: An argument or an option is invalid.

        Example:
            ```python
            report = endpoint.warm(["fraud/v3.tar.gz", "churn/v1.tar.gz"], expected={"fraud/v3.tar.gz": 5.0})
            print(report)
            ```
        """
        return self._invoker.warm(
            self.name,
            models,
            InvokeOptions(
                content_type=content_type,
                accept=accept,
                deadline=deadline,
                target_variant=target_variant,
                target_container=target_container,
                inference_id=inference_id,
                custom_attributes=custom_attributes,
                idempotent=idempotent,
                sticky=sticky,
                prefix=self.prefix,
            ),
            expected=expected,
            capacity=capacity,
            at_a_time=at_a_time,
            payload=payload,
            progress=progress,
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
        payload: Any = None,
        content_type: str = "application/json",
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        progress: ProgressOption = False,
    ) -> WarmReport:
        """Call models once so that they stay in memory. Run it repeatedly, from a scheduler.

        Keeping a model in memory evicts another one. The call is refused if that makes more calls cold than it saves.

        Args:
            models: The models to keep in memory, by target model.
            rates: Calls per second of each model of the endpoint, by target model.
            sizes: Bytes of each model in memory, by target model.
            capacity: Bytes of models that an instance holds in memory.
            bound_by_slo: Whether to call them even if that makes more calls of other models cold. Default False.
            at_a_time: Models that are called at the same time. None means the limit that this client has learned for
                the endpoint.
            payload: The payload that is sent to each model. A model that rejects it stays in memory nevertheless. None
                sends `{}`. Default None.
            content_type: Media type of the payload. Default `application/json`.
            accept: Media type of the answer. None lets the container choose.
            deadline: Seconds for each model with all its attempts. None means `Timeouts.deadline`, 360 by default.
            target_variant: Production variant that answers. None lets SageMaker choose by the variants' weights.
            target_container: Host name of the container that answers, for an endpoint whose containers are invoked
                directly. None for any other endpoint.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
            sticky: Key of a weighted alias, such as a customer's id: the same key always gets the same version. It
                requires an alias. None draws a version for each call.
            progress: Called with an `mme_sdk.Progress` after each model; True shows a progress bar. Default: False.

        Returns:
            The models that are loaded or failed, and the load times.

        Raises:
            InvalidInputError: Keeping the models in memory is a net loss, and the message says by how much; or an
                argument or an option is invalid.

        Example:
            ```python
            endpoint.keep_warm(["fraud/v3.tar.gz"], rates=rates, sizes=sizes, capacity=8 * 2**30)
            ```
        """
        return self._invoker.keep_warm(
            self.name,
            models,
            InvokeOptions(
                content_type=content_type,
                accept=accept,
                deadline=deadline,
                target_variant=target_variant,
                target_container=target_container,
                inference_id=inference_id,
                custom_attributes=custom_attributes,
                idempotent=idempotent,
                sticky=sticky,
                prefix=self.prefix,
            ),
            rates=rates,
            sizes=sizes,
            capacity=capacity,
            bound_by_slo=bound_by_slo,
            at_a_time=at_a_time,
            payload=payload,
            progress=progress,
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
        """Invoke a single-model endpoint and return its answer as a stream of chunks.

        Args:
            data: The payload: bytes, str, a JSON value, a numpy array, a data frame or a pydantic model.
            content_type: Media type of the payload. None chooses it by the payload's type.
            accept: Media type of the answer. None lets the container choose.
            target_variant: Production variant that answers. None lets SageMaker choose by the variants' weights.
            target_container: Host name of the container that answers, for an endpoint whose containers are invoked
                directly. None for any other endpoint.
            inference_component: Inference component that answers. It excludes `target_container`. Default None.
            session_id: Stateful session of the call. `invoke` opens one. None means no session.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            prefix_aware_id: Requests with the same id go to the same instance, if the variant routes by prefix or by
                key-value cache. Default None.

        Returns:
            The stream. Use it in an `with` block.

        Raises:
            InvalidInputError: An argument or an option is invalid, or the endpoint cannot stream because it is a
                multi-model endpoint.
            ModelServerError: The model failed before its answer.
            OutcomeUnknownError: The connection failed after the request was sent.

        Example:
            ```python
            with endpoint.invoke_stream({"prompt": "Hi"}) as stream:
                for chunk in stream:
                    print(chunk.decode(), end="")
            ```
        """
        options = InvokeOptions(
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
        return self._invoker.invoke_stream(self.name, data, options)

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
        """Submit an asynchronous inference to a single-model endpoint that was created for it.

        Args:
            data: The payload, at most 1 GB, or the `s3://` address of a payload that is in S3 already.
            upload_to: S3 prefix that the payload is uploaded to. None sends a payload of at most 128,000 bytes in the
                request. Default None.
            content_type: Media type of the payload. None chooses it by the payload's type; for a payload that is in S3
                already, the Content-Type of the object counts.
            accept: Media type of the answer. None lets the container choose.
            inference_id: Id that SageMaker records with captured data. Default None.
            custom_attributes: Text that is passed to the container unchanged, at most 1024 characters. Default None.
            time_to_live: Seconds that the request may wait in SageMaker's queue, 60 to 21600. None means SageMaker's
                default, 21600.
            invocation_timeout: Seconds that the model may take, 1 to 3600. None means SageMaker's default, 900.
            filename: Name of the answer's object below the endpoint's output path. None lets SageMaker choose.
            output_path_extension: Folders between the endpoint's output path and the answer's object. Default None.

        Returns:
            The submitted request. Its `result()` waits for the answer.

        Raises:
            InvalidInputError: An argument or an option is invalid, or the payload is too large for the request and
                `upload_to` is missing.

        Example:
            ```python
            queued = endpoint.invoke_async(frame, upload_to="s3://ml-payloads/in/")
            reply = queued.result(timeout=3600)
            ```
        """
        options = InvokeOptions(
            content_type=content_type,
            accept=accept,
            inference_id=inference_id,
            custom_attributes=custom_attributes,
        )
        queue_options = AsyncInferenceOptions(
            upload_to, time_to_live, invocation_timeout, filename, output_path_extension
        )
        return self._invoker.invoke_async(self.name, data, options, queue_options)
