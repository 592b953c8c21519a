"""What an invocation answers."""

from __future__ import annotations

import json as _json
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from mme_sdk.errors import MissingExtraError, ServiceError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Attempt", "Reply"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Attempt:
    """One request of a call.

    Attributes:
        at: Seconds since the call began when it was sent.
        took: Seconds until it was answered, or given up.
        status: HTTP status; None where no answer came.
        code: The service's error code, or our error's name; None for success.
        waited: Seconds waited afterwards, before the next one.
    """

    at: float
    took: float
    status: int | None = None
    code: str | None = None
    waited: float = 0.0


@attrs.frozen(kw_only=True)
class Reply(Generic[T]):
    """An answer of a model.

    Attributes:
        body: The raw bytes.
        content_type: Their media type.
        value: The decoded body: of `response_type` where one was asked for, else by the content type.
        model: Target model that answered; None on a single-model endpoint.
        endpoint: The endpoint that answered.
        attempts: How many requests it took.
        history: Each of them.
        cold: Whether the call met a loading model.
        latency: Seconds from the call to the answer, waits included.
        variant: Production variant that answered.
        request_id: AWS request id of the last request.
        custom_attributes: What the container passed back.
    """

    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    content_type: str = "application/octet-stream"
    value: T
    model: str | None = None
    endpoint: str = ""
    history: tuple[Attempt, ...] = attrs.field(default=(), repr=False)
    cold: bool = False
    latency: float = 0.0
    variant: str | None = None
    request_id: str | None = None
    custom_attributes: str | None = None

    @property
    def attempts(self) -> int:
        """How many requests it took."""
        return len(self.history)

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body parsed as JSON.

        Raises:
            ServiceError: It is not JSON.
        """
        try:
            return _json.loads(self.body)
        except ValueError as error:
            raise ServiceError(
                f"the reply of {self.model or self.endpoint} is no JSON: {self.body[:80]!r}",
                endpoint=self.endpoint,
                model=self.model,
                request_id=self.request_id,
            ) from error

    def numpy(self) -> npt.NDArray[Any]:
        """The body as a numpy array: NPY, or JSON.

        Raises:
            MissingExtraError: numpy is not installed.
            ServiceError: The body is neither.
        """
        try:
            import numpy as np
        except ImportError as error:
            raise MissingExtraError("Reply.numpy() needs numpy", hint="pip install numpy") from error
        if self.body[:6] == b"\x93NUMPY":
            import io

            try:
                return np.load(io.BytesIO(self.body), allow_pickle=False)  # type: ignore[no-any-return]
            except ValueError as error:
                raise ServiceError(
                    f"the reply of {self.model or self.endpoint} is no readable NPY: {error}",
                    endpoint=self.endpoint,
                    model=self.model,
                    request_id=self.request_id,
                ) from error
        return np.asarray(self.json())
