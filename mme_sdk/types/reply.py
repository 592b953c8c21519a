"""What an invocation answers."""

from __future__ import annotations

import json as _json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import attrs

from mme_sdk._attempt import Attempt
from mme_sdk.errors import MissingExtraError, UndecodableReplyError
from mme_sdk.types.matrix import array_of, in_utf8

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Reply"]

T = TypeVar("T")
_BY_CONTENT_TYPE: Final = object()
_EXPIRES = re.compile(r";\s*Expires=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z?\s*\Z")


@attrs.frozen(kw_only=True, slots=False)  # without slots, attrs sets the many fields in half the time
class Reply(Generic[T]):
    """An answer of a model.

    Attributes:
        body: The raw bytes.
        content_type: Their media type.
        model: Target model that answered; None on a single-model endpoint.
        endpoint: The endpoint that answered.
        history: Each request that it took.
        cold: Whether the call met a loading model.
        latency: Seconds from the call to the answer, waits included.
        variant: Production variant that answered.
        request_id: AWS request id of the last request.
        custom_attributes: What the container passed back.
        closed_session_id: The stateful session that the model closed with this answer.

    Example:
        >>> Reply(body=b'{"score": 0.5}', content_type="application/json").value
        {'score': 0.5}
    """

    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    content_type: str = "application/octet-stream"
    _value: Any = attrs.field(default=_BY_CONTENT_TYPE, repr=False)
    model: str | None = None
    endpoint: str = ""
    history: tuple[Attempt, ...] = attrs.field(default=(), repr=False)
    cold: bool = False
    latency: float = 0.0
    variant: str | None = None
    request_id: str | None = None
    custom_attributes: str | None = None
    _new_session: str | None = attrs.field(default=None, repr=False, alias="new_session")
    closed_session_id: str | None = None

    @property
    def new_session_id(self) -> str | None:
        """The stateful session that the model opened with this answer: the `session_id` of the calls that follow."""
        return None if self._new_session is None else self._new_session.partition(";")[0].strip()

    @property
    def session_expires(self) -> datetime | None:
        """When the session that this answer opened ends, as far as the model says so; with a time zone."""
        found = _EXPIRES.search(self._new_session or "")
        if found is None:
            return None
        try:
            return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
        except ValueError:
            return None

    @property
    def value(self) -> T:
        """The decoded body: of the `response_type` that was asked for, else by the content type.

        JSON gives Python values, NPY an array, text a string, anything else the bytes.

        Raises:
            UndecodableReplyError: The body is not what its content type says.
        """
        if self._value is not _BY_CONTENT_TYPE:
            return cast("T", self._value)
        kind = self.content_type.partition(";")[0].strip().lower()
        value: Any
        if kind == "application/json" or kind.endswith("+json"):
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
        """How many requests it took."""
        return len(self.history)

    @property
    def text(self) -> str:
        """The body as text, in the charset that its content type names; in UTF-8 where it names none."""
        try:
            body = in_utf8(self.body, self.content_type)
        except ValueError:
            body = self.body
        return body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body parsed as JSON.

        Raises:
            UndecodableReplyError: It is not JSON.
        """
        try:
            return _json.loads(in_utf8(self.body, self.content_type))
        except (ValueError, RecursionError) as error:
            raise self._undecodable("JSON", error) from error

    def numpy(self) -> npt.NDArray[Any]:
        """The body as a numpy array: NPY, CSV of numbers, or JSON.

        A CSV of one column has one dimension, any other CSV two. CSV has no header row, unless the content type says
        `header=present`.

        Raises:
            MissingExtraError: numpy is not installed.
            UndecodableReplyError: The body is none of these, or the array would not hold its values exactly.
        """
        try:
            import numpy  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("Reply.numpy() needs numpy", hint="pip install numpy") from error
        try:
            return array_of(self.body, self.content_type)
        except (ValueError, EOFError, RecursionError) as error:
            raise self._undecodable("numpy array", error) from error

    def _undecodable(self, wanted: str, error: Exception) -> UndecodableReplyError:
        return UndecodableReplyError(
            f"the reply of {self.model or self.endpoint} ({self.content_type}) is no readable {wanted}: "
            f"{error}; it starts with {self.body[:60]!r}",
            body=self.body,
            content_type=self.content_type,
            endpoint=self.endpoint or None,
            model=self.model,
            request_id=self.request_id,
        )
