"""The response of a model to an invocation."""

from __future__ import annotations

import enum
import json as _json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.display import html
from mme_sdk.display.shown import Shown
from mme_sdk.errors import MissingExtraError, UndecodableReplyError
from mme_sdk.types.matrix import array_of, is_json, media_type, to_utf8

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["NOT_DECODED", "Reply", "reply_of"]

T = TypeVar("T")
_SHOWN = 100_000  # bytes of a body that a representation decodes
_SMALL = 20  # elements of an array that a representation shows
_ROWS = 10  # rows of a frame that a representation shows
_EXPIRES = re.compile(r";\s*Expires=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z?\s*\Z")


class _Decoding(enum.Enum):
    """What stands in place of a value. A member of an enumeration remains the same object in a copy and in a pickle."""

    BY_CONTENT_TYPE = enum.auto()


NOT_DECODED: Final = _Decoding.BY_CONTENT_TYPE
_HEADERS = {
    "variant": "x-amzn-invoked-production-variant",
    "request_id": "x-amzn-requestid",
    "custom_attributes": "x-amzn-sagemaker-custom-attributes",
    "_new_session": "x-amzn-sagemaker-new-session-id",
    "closed_session_id": "x-amzn-sagemaker-closed-session-id",
}


@short_tracebacks
@attrs.frozen(kw_only=True, slots=False, repr=False)  # attrs sets this many fields twice as fast without slots
class Reply(Shown, Generic[T]):
    """The response of a model to an invocation.

    Attributes:
        body: The raw bytes.
        content_type: Media type of the body. `application/octet-stream` by default.
        model: Target model. None on a single-model endpoint.
        endpoint: Name of the endpoint.
        history: The requests of the call, in order.
        cold: Whether the call met a model that was not loaded. None if this is not known: SageMaker does not say it
            of a request that it held until the model was loaded.
        latency: Seconds from the call to the response, waits included.
        variant: Production variant that responded. None if unknown.
        request_id: AWS request id of the last request. None if unknown.
        custom_attributes: CustomAttributes of the container. None if it set none.
        closed_session_id: Id of the stateful session that the model closed with this response. None if it closed none.

    Example:
        >>> Reply(body=b'{"score": 0.5}', content_type="application/json").value
        {'score': 0.5}
    """

    body: bytes
    content_type: str = "application/octet-stream"
    _value: Any = attrs.field(default=NOT_DECODED)
    model: str | None = None
    endpoint: str = ""
    history: tuple[Attempt, ...] = ()
    cold: bool | None = None
    latency: float = 0.0
    variant: str | None = None
    request_id: str | None = None
    custom_attributes: str | None = None
    _new_session: str | None = attrs.field(default=None, alias="new_session")
    closed_session_id: str | None = None

    def __getattr__(self, name: str) -> Any:
        # `reply_of` leaves out what few programs read.
        known = self.__dict__
        if name in _HEADERS and "_headers" in known:
            known.update((field, known["_headers"].get(header)) for field, header in _HEADERS.items())
        elif name == "history" and "_answered" in known:
            took, status = known["_answered"]
            known["history"] = (Attempt(at=0.0, took=took, status=status),)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        return known[name]

    @property
    def new_session_id(self) -> str | None:
        """Id of the stateful session that the model opened with this response: the `session_id` of later calls."""
        return None if self._new_session is None else self._new_session.partition(";")[0].strip()

    @property
    def session_expires(self) -> datetime | None:
        """Time in UTC at which the session that this response opened expires. None if the model states none."""
        found = _EXPIRES.search(self._new_session or "")
        if found is None:
            return None
        try:
            return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
        except ValueError:
            return None

    @property
    def value(self) -> T:
        """The decoded body: of the requested `response_type`, else by its content type.

        JSON is decoded to Python values, NPY to an array and text to a string. Any other body remains bytes.

        Raises:
            UndecodableReplyError: The body does not have the format of its content type.
        """
        if self._value is not NOT_DECODED:
            return cast("T", self._value)
        kind = media_type(self.content_type)
        value: Any
        if is_json(kind):
            value = self.json()
        elif kind == "application/x-npy":
            value = self.numpy()
        elif kind.startswith("text/"):
            value = self.text
        else:
            value = self.body
        return cast("T", value)

    @property
    def attempts(self) -> int:
        """Number of requests of the call."""
        return len(self.history)

    @property
    def text(self) -> str:
        """The body as text, in the charset of its content type, or in UTF-8. Invalid bytes become U+FFFD."""
        try:
            body = to_utf8(self.body, self.content_type)
        except ValueError:
            body = self.body
        return body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Decode the body as JSON.

        Returns:
            The JSON value.

        Raises:
            UndecodableReplyError: The body is not JSON.
        """
        try:
            return _json.loads(to_utf8(self.body, self.content_type))
        except (ValueError, RecursionError) as error:
            raise self._undecodable("JSON", error) from error

    def numpy(self) -> npt.NDArray[Any]:
        """Decode the body as a numpy array. It must be NPY, CSV of numbers, or JSON.

        CSV has no header row unless the content type is `text/csv; header=present`.

        Returns:
            The array. A CSV of one column has one dimension, any other CSV two.

        Raises:
            MissingExtraError: numpy is not installed.
            UndecodableReplyError: The body is none of these, or the array cannot hold a value exactly.
        """
        try:
            import numpy  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("Reply.numpy() needs numpy", hint="pip install numpy") from error
        try:
            return array_of(self.body, self.content_type)
        except (ValueError, EOFError, RecursionError) as error:
            raise self._undecodable("a numpy array", error) from error

    def _facts(self) -> dict[str, object]:
        return {
            "value": html.Html(html.escape(self._shown_value())),
            "model": self.model,
            "endpoint": self.endpoint,
            "cold": self.cold,
            "latency": float(self.latency),
            "attempts": self.attempts if self.attempts > 1 else None,
            "variant": self.variant,
            "content_type": self.content_type,
            "session_id": self.new_session_id,
        }

    def _shown_value(self, limit: int = 200) -> str:
        """Return the value as one short line."""
        if self._value is NOT_DECODED and len(self.body) > _SHOWN:
            return f"<{html.size(len(self.body))} of {self.content_type}>"
        try:
            value: Any = self.value
        except UndecodableReplyError:
            return f"<{self.content_type} that cannot be decoded: {self.body[:40]!r}>"
        shape = getattr(value, "shape", None)
        if shape is not None and (getattr(value, "size", 0) > _SMALL or hasattr(value, "columns")):
            return f"<{type(value).__name__} of shape {tuple(shape)}>"
        text = " ".join(repr(value).split())
        return text if len(text) <= limit else f"{text[:limit]}…"

    def _html(self) -> str:
        frame = self._value if hasattr(self._value, "to_html") and hasattr(self._value, "head") else None
        value = (
            frame.head(_ROWS).to_html(border=0)
            if frame is not None
            else f"<code>{html.escape(self._shown_value(2000))}</code>"
        )
        shown = {"value": html.Html(value), "latency": f"{self.latency:.3g} s", "request_id": self.request_id}
        return html.facts("Reply", {**self._facts(), **shown})

    def _undecodable(self, target: str, error: Exception) -> UndecodableReplyError:
        return UndecodableReplyError(
            f"the response of {self.model or self.endpoint} ({self.content_type}) cannot be decoded as {target}: "
            f"{error}; it starts with {self.body[:60]!r}",
            hint="correct the Content-Type of the model's response, or read reply.body",
            body=self.body,
            content_type=self.content_type,
            endpoint=self.endpoint or None,
            model=self.model,
            request_id=self.request_id,
        )


def reply_of(fields: dict[str, Any]) -> Reply[Any]:
    """Return a reply with the given fields, at a fraction of the cost of the constructor.

    Args:
        fields: The fields by the names of the class. `_value` is `NOT_DECODED` if the body is decoded later.
            `_answered`, the seconds and the status of the only request, may stand in place of `history`; and
            `_headers`, the headers of the answer, in place of the fields that are headers. The reply keeps the dict.
    """
    reply: Reply[Any] = object.__new__(Reply)
    object.__setattr__(reply, "__dict__", fields)
    return reply
