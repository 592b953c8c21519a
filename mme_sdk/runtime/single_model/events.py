"""Server-sent events of a streamed answer."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import attrs

__all__ = ["EventParser", "ServerSentEvent"]

_LINE_END = re.compile("\r\n|\r|\n")


@attrs.frozen(kw_only=True)
class ServerSentEvent:
    """One server-sent event of a streamed answer.

    Attributes:
        data: Text of the `data:` lines, joined by line feeds.
        event: Type of the event. Default: `message`.
        id: Id of this or the last event that had one. Default: None, no event had one.
        retry: Milliseconds that the server asks a client to wait before it connects again. Default: None.
    """

    data: str
    event: str = "message"
    id: str | None = None
    retry: int | None = None


class EventParser:
    """Parses a stream of server-sent events that arrives in pieces.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that a chunk completes. An event that the stream does not complete is dropped."""
        text = self._rest + self._decoder.decode(chunk)
        # A carriage return at the end can be the first half of a line end.
        held = "\r" if text.endswith("\r") else ""
        *lines, self._rest = _LINE_END.split(text.removesuffix("\r"))
        self._rest += held
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event

    def close(self, *, incomplete: bool = False) -> Iterator[ServerSentEvent]:
        """Yield the event that ends with the last carriage return of the stream.

        Args:
            incomplete: Whether to yield an event without an empty line after it, too.
        """
        if incomplete:
            yield from self.feed(b"\n\n")
        elif self._rest.endswith("\r"):
            yield from self.feed(b"\n")

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdecimal():
                self._retry = int(value)
        return None

    def _complete(self) -> ServerSentEvent | None:
        data, self._data = self._data, []
        event, self._event = self._event, ""
        retry, self._retry = self._retry, None
        if not data:
            return None
        return ServerSentEvent(data="\n".join(data), event=event or "message", id=self._id, retry=retry)
