"""What only single-model endpoints can: streamed answers and asynchronous inference."""

from __future__ import annotations

from typing import Any

from mme_sdk.aws.session import Aws
from mme_sdk.runtime.codecs import Codecs
from mme_sdk.runtime.queued import AsyncQueuedInvocation, QueuedInvocation, submit
from mme_sdk.runtime.requests import build_request
from mme_sdk.runtime.streaming import AsyncReplyStream, ReplyStream, stream_call

__all__ = ["AsyncSingleModel", "SingleModel"]


class SingleModel:
    """Verbs of single-model endpoints, in a thread."""

    _aws: Aws
    _codecs: Codecs
    _payload_limit: int

    def invoke_stream(
        self, endpoint: str, data: Any, *, content_type: str | None = None, **options: str | None
    ) -> ReplyStream:
        """Invoke a single-model endpoint and read the answer while the model writes it.

        Args:
            endpoint: The endpoint's name.
            data: The payload.
            content_type: Media type to send.
            options: `accept`, `target_variant`, `inference_id`, `custom_attributes`.

        Returns:
            The stream, to be used in a `with` block.

        Raises:
            InvalidInputError: Refused, for example by a multi-model endpoint, which cannot stream.
            ModelServerError: The model failed, before or while it answered.
            OutcomeUnknownError: The stream broke off.
        """
        request = build_request(
            self._codecs,
            data,
            endpoint=endpoint,
            target=None,
            payload_limit=self._payload_limit,
            content_type=content_type,
            **options,
        )
        return ReplyStream(endpoint, self._aws.call(stream_call(request)))

    def invoke_async(
        self, endpoint: str, data: Any, *, upload_to: str | None = None, **options: Any
    ) -> QueuedInvocation:
        """Submit an asynchronous inference: for payloads up to 1 GB and models that take minutes.

        Args:
            endpoint: The name of a single-model endpoint with asynchronous inference.
            data: The payload, or the `s3://` address of one that is there already.
            upload_to: S3 prefix for the payload.
            options: `content_type`, `accept`, `inference_id`, `custom_attributes`, `time_to_live` and
                `invocation_timeout` in seconds.

        Returns:
            What was submitted; `result()` waits for the answer.

        Raises:
            InvalidInputError: Refused, or no place for the payload.
        """
        submission = self._aws.run(submit(self._codecs, endpoint, data, upload_to=upload_to, **options))
        return QueuedInvocation(submission, self._aws, self._codecs)


class AsyncSingleModel:
    """Verbs of single-model endpoints, on an event loop."""

    _aws: Aws
    _codecs: Codecs
    _payload_limit: int

    async def invoke_stream(
        self, endpoint: str, data: Any, *, content_type: str | None = None, **options: str | None
    ) -> AsyncReplyStream:
        """Invoke a single-model endpoint and read the answer while the model writes it; see `SingleModel`."""
        request = build_request(
            self._codecs,
            data,
            endpoint=endpoint,
            target=None,
            payload_limit=self._payload_limit,
            content_type=content_type,
            **options,
        )
        return AsyncReplyStream(endpoint, await self._aws.acall(stream_call(request)), self._aws)

    async def invoke_async(
        self, endpoint: str, data: Any, *, upload_to: str | None = None, **options: Any
    ) -> AsyncQueuedInvocation:
        """Submit an asynchronous inference; see `SingleModel.invoke_async`."""
        submission = await self._aws.arun(submit(self._codecs, endpoint, data, upload_to=upload_to, **options))
        return AsyncQueuedInvocation(submission, self._aws, self._codecs)
