"""`AsyncSingleModelMixin`: the methods of an invoker that only single-model endpoints support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mme_sdk.runtime.options import (
    DEFAULT_ASYNC_INFERENCE_OPTIONS,
    DEFAULT_OPTIONS,
    AsyncInferenceOptions,
    InvokeOptions,
)

if TYPE_CHECKING:
    from mme_sdk.aws.session import Aws
    from mme_sdk.runtime.payloads.codecs import Codecs
    from mme_sdk.runtime.single_model.async_queued_invocation import AsyncQueuedInvocation
    from mme_sdk.runtime.single_model.async_stream import AsyncReplyStream

__all__ = ["AsyncSingleModelMixin"]


class AsyncSingleModelMixin:
    """Methods of an invoker that only single-model endpoints support: streams and asynchronous inference.

    Their arguments are those of `AsyncEndpoint`, with the endpoint's name first and the options in objects.
    """

    _aws: Aws
    _codecs: Codecs
    _payload_limit: int

    async def invoke_stream(
        self, endpoint: str, data: Any, options: InvokeOptions = DEFAULT_OPTIONS
    ) -> AsyncReplyStream:
        """Invoke a single-model endpoint and return its answer as a stream; see `AsyncEndpoint.invoke_stream`.

        Args:
            endpoint: Name of the endpoint.
            data: The payload.
            options: Options of the call.

        Returns:
            The stream.

        Raises:
            InvalidInputError: An argument or an option is invalid, or the endpoint cannot stream.
        """
        from mme_sdk.runtime.single_model.async_stream import AsyncReplyStream
        from mme_sdk.runtime.single_model.stream_base import open_stream, stream_request

        request = stream_request(self._codecs, data, options, endpoint=endpoint, payload_limit=self._payload_limit)
        return AsyncReplyStream(endpoint, await self._aws.arun(open_stream(request)), self._aws)

    async def invoke_async(
        self,
        endpoint: str,
        data: Any,
        options: InvokeOptions = DEFAULT_OPTIONS,
        queue_options: AsyncInferenceOptions = DEFAULT_ASYNC_INFERENCE_OPTIONS,
    ) -> AsyncQueuedInvocation:
        """Submit an asynchronous inference; see `AsyncEndpoint.invoke_async`.

        Args:
            endpoint: Name of the endpoint.
            data: The payload, or the `s3://` address of a payload that is in S3 already.
            options: Options of the call.
            queue_options: Options that only asynchronous inference has.

        Returns:
            The submitted request.

        Raises:
            InvalidInputError: An argument or an option is invalid.
        """
        from mme_sdk.runtime.single_model.async_inference import submit
        from mme_sdk.runtime.single_model.async_queued_invocation import AsyncQueuedInvocation

        submission = await self._aws.arun(submit(self._codecs, endpoint, data, options, queue_options))
        return AsyncQueuedInvocation(submission, self._aws, self._codecs)
