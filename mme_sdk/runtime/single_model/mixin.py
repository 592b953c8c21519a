"""What only single-model endpoints can: streamed answers and asynchronous inference."""

from __future__ import annotations

from typing import Any

from mme_sdk.aws.session import Aws
from mme_sdk.runtime.options import CallOptions
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.single_model.async_inference import AsyncQueuedInvocation, QueuedInvocation, submit
from mme_sdk.runtime.single_model.streaming import AsyncReplyStream, ReplyStream, stream_call, stream_request

__all__ = ["AsyncSingleModel", "SingleModel"]


class SingleModel:
    """Verbs of single-model endpoints, in a thread."""

    _aws: Aws
    _codecs: Codecs
    _payload_limit: int

    def invoke_stream(
        self,
        endpoint: str,
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

        Arguments, result and errors are those of `Endpoint.invoke_stream`.
        """
        options = CallOptions(
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
        request = stream_request(self._codecs, data, options, endpoint=endpoint, payload_limit=self._payload_limit)
        return ReplyStream(endpoint, self._aws.within(lambda: self._aws.call(stream_call(request))), self._aws)

    def invoke_async(
        self,
        endpoint: str,
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
        """Submit an asynchronous inference; arguments, result and errors are those of `Endpoint.invoke_async`."""
        flow = submit(
            self._codecs,
            endpoint,
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
        return QueuedInvocation(self._aws.run(flow), self._aws, self._codecs)


class AsyncSingleModel:
    """Verbs of single-model endpoints, on an event loop."""

    _aws: Aws
    _codecs: Codecs
    _payload_limit: int

    async def invoke_stream(
        self,
        endpoint: str,
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
        """Invoke a single-model endpoint and read the answer while the model writes it.

        Arguments, result and errors are those of `AsyncEndpoint.invoke_stream`.
        """
        options = CallOptions(
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
        request = stream_request(self._codecs, data, options, endpoint=endpoint, payload_limit=self._payload_limit)
        return AsyncReplyStream(endpoint, await self._aws.acall(stream_call(request)), self._aws)

    async def invoke_async(
        self,
        endpoint: str,
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
        """Submit an asynchronous inference; arguments, result and errors are those of `AsyncEndpoint.invoke_async`."""
        flow = submit(
            self._codecs,
            endpoint,
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
        return AsyncQueuedInvocation(await self._aws.arun(flow), self._aws, self._codecs)
