"""Streamed answers of single-model endpoints, chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from mme_sdk._cancellation import reading, shut_body
from mme_sdk._effects import Call
from mme_sdk.aws.session import Aws
from mme_sdk.errors import (
    InvalidInputError,
    MMEError,
    ModelServerError,
    OutcomeUnknownError,
    ServiceError,
    UndecodableReplyError,
)
from mme_sdk.runtime.options import NEW_SESSION, CallOptions
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.payloads.requests import build_request
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["AsyncReplyStream", "ReplyStream", "stream_call", "stream_request"]

_END = object()
_DONE = b"[DONE]"


_PARAMETERS = {
    "accept": "Accept",
    "target_variant": "TargetVariant",
    "target_container": "TargetContainerHostname",
    "inference_component": "InferenceComponentName",
    "session_id": "SessionId",
    "inference_id": "InferenceId",
    "custom_attributes": "CustomAttributes",
    "prefix_aware_id": "PrefixAwareId",
}


def stream_request(
    codecs: Codecs, data: Any, options: CallOptions, *, endpoint: str, payload_limit: int
) -> InvokeRequest:
    """The checked request of a streamed invocation.

    Raises:
        InvalidInputError: Something AWS would refuse.
        PayloadTooLargeError: The encoded payload is over the limit.
    """
    if options.session_id == NEW_SESSION:
        raise InvalidInputError(
            f"session_id={NEW_SESSION}: a stream cannot open a session",
            hint="open it with invoke(), and pass the reply's new_session_id",
            endpoint=endpoint,
        )
    return build_request(codecs, data, options, endpoint=endpoint, target=None, payload_limit=payload_limit)


def stream_call(request: InvokeRequest) -> Call:
    """The API call of a streamed invocation; its shape has no target model."""
    optional = {parameter: getattr(request, field) for field, parameter in _PARAMETERS.items()}
    return Call(
        service="sagemaker-runtime",
        operation="invoke_endpoint_with_response_stream",
        params={"EndpointName": request.endpoint, "Body": request.body, "ContentType": request.content_type}
        | {name: value for name, value in optional.items() if value is not None},
        endpoint=request.endpoint,
        replay=False,
    )


class _Stream:
    """What both streams are made of.

    Attributes:
        endpoint: The endpoint's name.
        content_type: Media type of the chunks together.
        variant: Production variant that answers.
        custom_attributes: What the container passed back.
        request_id: AWS request id.
    """

    def __init__(self, endpoint: str, answer: dict[str, Any], aws: Aws) -> None:
        self._aws = aws
        self.endpoint = endpoint
        self.content_type: str = answer.get("ContentType") or "application/octet-stream"
        self.variant: str | None = answer.get("InvokedProductionVariant")
        self.custom_attributes: str | None = answer.get("CustomAttributes")
        self.request_id: str | None = answer.get("ResponseMetadata", {}).get("RequestId")
        self._events = iter(answer["Body"])
        self._body = answer["Body"]
        self._closed = False

    def _pull(self) -> Any:
        """The next chunk, or _END; blocks."""
        from mme_sdk.aws.error_translation import translating

        try:
            with (
                reading(self._body),
                translating(service="sagemaker-runtime", operation="response stream", endpoint=self.endpoint),
            ):
                for event in self._events:
                    if "PayloadPart" in event:
                        return event["PayloadPart"]["Bytes"]
        except MMEError as error:
            raise self._told(error) from error.__cause__
        except Exception as error:  # urllib3's and botocore's parsers have exceptions of their own
            raise OutcomeUnknownError(
                f"{self.endpoint}: the stream broke off: {error}", endpoint=self.endpoint
            ) from error
        return _END

    def _told(self, error: MMEError) -> MMEError:
        facts: dict[str, Any] = {"endpoint": self.endpoint, "code": error.code, "request_id": error.request_id}
        if error.code == "ModelStreamError":
            return ModelServerError(f"{self.endpoint}: the model failed while it answered: {error.message}", **facts)
        if error.code == "InternalStreamFailure":
            return ServiceError(f"{self.endpoint}: SageMaker failed in the middle: {error.message}", **facts)
        return error

    def _texts(self, line: bytes, event: list[bytes]) -> list[bytes]:
        """JSON texts that are complete with a line; `event` holds the data of a server-sent event that is not."""
        if self.content_type.partition(";")[0].strip().lower() != "text/event-stream":
            return [line] if line.strip() else []
        line = line.rstrip(b"\r")
        if line.startswith(b"data:"):
            event.append(line[5:].removeprefix(b" "))
        if line:
            return []
        data = b"\n".join(event)
        event.clear()
        return [data] if data and data != _DONE else []

    def _line(self, line: bytes) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UndecodableReplyError(
                f"{self.endpoint}: a line of the stream is not JSON: {line[:60]!r}",
                body=line,
                content_type=self.content_type,
                endpoint=self.endpoint,
            ) from error


class ReplyStream(_Stream):
    """Chunks of an answer as the model sends them; close it, or use it in a `with` block.

    Example:
        ```python
        with invoker.invoke_stream("chat", {"prompt": "Hi"}) as stream:
            for chunk in stream:
                print(chunk.decode(), end="")
        ```
    """

    def __iter__(self) -> Iterator[bytes]:
        while not self._closed and (chunk := self._aws.within(self._pull)) is not _END:
            yield chunk

    def lines(self) -> Iterator[bytes]:
        """Whole lines, however the chunks were cut."""
        rest = b""
        for chunk in self:
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def json_lines(self) -> Iterator[Any]:
        """Values of an answer that has one JSON value a line, or a server-sent event; empty lines are passed over.

        An event `[DONE]`, with which chat models end, is not a value.

        Raises:
            UndecodableReplyError: A line is not JSON.
        """
        event: list[bytes] = []
        for line in self.lines():
            for text in self._texts(line, event):
                yield self._line(text)
        for text in self._texts(b"", event):
            yield self._line(text)

    def close(self) -> None:
        """Close the connection, read to the end or not; a thread that waits for a chunk gets an OutcomeUnknownError."""
        self._closed = True
        shut_body(self._body)
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncReplyStream(_Stream):
    """`ReplyStream`, awaited. botocore's event stream blocks, so chunks are waited for off the event loop."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._closed and (chunk := await self._aws.offload(self._pull)) is not _END:
            yield chunk

    async def lines(self) -> AsyncIterator[bytes]:
        """Whole lines; see `ReplyStream.lines`."""
        rest = b""
        async for chunk in self:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line
        if rest:
            yield rest

    async def json_lines(self) -> AsyncIterator[Any]:
        """Values of one JSON value a line or event; see `ReplyStream.json_lines`."""
        event: list[bytes] = []
        async for line in self.lines():
            for text in self._texts(line, event):
                yield self._line(text)
        for text in self._texts(b"", event):
            yield self._line(text)

    async def close(self) -> None:
        """Close the connection, read to the end or not; a task that waits for a chunk gets an OutcomeUnknownError."""
        self._closed = True
        shut_body(self._body)
        self._body.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
