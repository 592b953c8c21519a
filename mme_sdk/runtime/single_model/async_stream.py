"""`AsyncReplyStream`: the chunks of a streamed answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from mme_sdk.runtime.single_model.events import EventParser, ServerSentEvent
from mme_sdk.runtime.single_model.stream_base import DONE, END, ReplyStreamBase

__all__ = ["AsyncReplyStream"]


class AsyncReplyStream(ReplyStreamBase):
    """Streamed answer, returned by `AsyncEndpoint.invoke_stream`. Iterate over it for the chunks as bytes.

    Use it in an `async with` block, or call `close` at the end.

    Attributes:
        endpoint: Name of the endpoint.
        content_type: Media type of the whole answer.
        variant: Production variant that answers. None if SageMaker does not name it.
        custom_attributes: Custom attributes that the container returned. None if there are none.
        request_id: AWS request id.

    Raises:
        ModelServerError: The model failed during its answer.
        ServiceError: SageMaker failed during the answer.
        OutcomeUnknownError: The connection failed, or the stream was closed by another task.

    Example:
        ```python
        async with await endpoint.invoke_stream({"prompt": "Hi"}) as stream:
            async for chunk in stream:
                print(chunk.decode(), end="")
        ```
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._closed and (chunk := await self._aws.offload(self._pull)) is not END:
            yield chunk

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield complete lines, without their line ends, however the chunks are cut."""
        rest = b""
        async for chunk in self:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
        if rest:
            yield rest

    async def json_lines(self) -> AsyncIterator[Any]:
        """Yield the values of an answer with one JSON value a line, or with one a server-sent event.

        Empty lines and the event `[DONE]`, with which chat models end, are left out.

        Raises:
            UndecodableReplyError: A line is not JSON.
        """
        if self._has_events:
            async for event in self._parsed_events(incomplete=True):
                if event.data not in ("", DONE):
                    yield self._json_value(event.data.encode())
            return
        async for line in self.lines():
            if line.strip():
                yield self._json_value(line)

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yield the server-sent events of an answer of type `text/event-stream`, `[DONE]` included.

        Raises:
            UndecodableReplyError: The answer has another media type.

        Example:
            ```python
            async with await endpoint.invoke_stream({"prompt": "Hi"}) as stream:
                async for event in stream.events():
                    print(event.event, event.data)
            ```
        """
        self._check_events()
        async for event in self._parsed_events(incomplete=False):
            yield event

    async def _parsed_events(self, *, incomplete: bool) -> AsyncIterator[ServerSentEvent]:
        parser = EventParser()
        async for chunk in self:
            for event in parser.feed(chunk):
                yield event
        for event in parser.close(incomplete=incomplete):
            yield event

    async def close(self) -> None:
        """Close the connection, whether or not the answer was read to its end.

        A task that waits for a chunk gets an OutcomeUnknownError.
        """
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
