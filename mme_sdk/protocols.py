"""What rooms and users' own code may rely on, and nothing more: narrow protocols, easy to implement in a test."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, runtime_checkable

from mme_sdk.errors import MMEError
from mme_sdk.shapes.model import ModelVersion
from mme_sdk.shapes.reply import Reply

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AsyncClock",
    "AsyncInvoker",
    "AsyncManyInvoker",
    "AsyncModelStore",
    "Clock",
    "InvokeOptions",
    "Invoker",
    "ItemOutcome",
    "ManyInvoker",
    "ModelStore",
    "ReadMetrics",
    "Rng",
    "WarmUp",
    "WarmUpOutcome",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Clock(Protocol):
    """Time, as the synchronous clients see it."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


@runtime_checkable
class AsyncClock(Protocol):
    """Time, as the asynchronous clients see it."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float, /) -> Awaitable[None]:
        """Wait, letting other tasks run."""
        ...


@runtime_checkable
class Rng(Protocol):
    """A source of randomness; `random.Random` is one."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def uniform(self, a: float, b: float) -> float:
        """A float between a and b."""
        ...


class InvokeOptions(TypedDict, total=False):
    """Options of an invocation, as handles pass them on to an `Invoker`; `Invoker.invoke` says what each does."""

    content_type: str | None
    accept: str | None
    deadline: float | None
    target_variant: str | None
    inference_id: str | None
    custom_attributes: str | None
    idempotent: bool
    sticky: str | None


@runtime_checkable
class Invoker(Protocol):
    """Sends a payload to an endpoint and waits for the model's answer."""

    def invoke(
        self,
        endpoint: str,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
    ) -> Reply[Any]:
        """Invoke a model.

        Args:
            endpoint: The endpoint's name.
            data: The payload; encoded by its type unless `content_type` says otherwise.
            model: Target model of a multi-model endpoint.
            content_type: Media type to send.
            accept: Media type wanted back.
            deadline: Seconds for the call with all its attempts.
            response_type: What to decode the answer to.
            target_variant: Production variant to send to.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            idempotent: Whether a request whose outcome is unknown may be sent again to a warm model.
            sticky: Key of a weighted alias: one key always gets one version.
            prefix: The endpoint's S3 model prefix, where known, for `name@alias` models.

        Returns:
            The answer.

        Raises:
            MMEError: No answer; the kind says why.
        """
        ...


@runtime_checkable
class AsyncInvoker(Protocol):
    """`Invoker`, awaited."""

    def invoke(
        self,
        endpoint: str,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
    ) -> Awaitable[Reply[Any]]:
        """Invoke a model; arguments and errors are those of `Invoker.invoke`."""
        ...


class ItemOutcome(Protocol[T_co]):
    """What became of one item of `invoke_many`."""

    @property
    def index(self) -> int:
        """Its place in the input, from 0."""
        ...

    @property
    def item(self) -> T_co:
        """The item."""
        ...

    @property
    def reply(self) -> Reply[Any] | None:
        """The answer; None where there is none."""
        ...

    @property
    def error(self) -> MMEError | None:
        """Why there is none."""
        ...

    @property
    def value(self) -> Any:
        """The decoded answer.

        Raises:
            MMEError: There is none.
        """
        ...


class WarmUpOutcome(Protocol):
    """What became of one model of a warm-up."""

    @property
    def model(self) -> str:
        """The target model."""
        ...

    @property
    def took(self) -> float:
        """Seconds."""
        ...

    @property
    def error(self) -> MMEError | None:
        """Why it failed."""
        ...


class WarmUp(Protocol):
    """What a warm-up did."""

    @property
    def loaded(self) -> tuple[str, ...]:
        """Models that are loaded now."""
        ...

    @property
    def failed(self) -> tuple[WarmUpOutcome, ...]:
        """Models that could not be loaded."""
        ...

    @property
    def left_out(self) -> tuple[str, ...]:
        """Models for which there was no memory."""
        ...


class ManyInvoker(Invoker, Protocol):
    """An `Invoker` that handles can ask for many items, for data frames, and to load models beforehand."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T],
        *,
        model_of: Callable[[T], str | ModelVersion | None] = ...,
        data_of: Callable[[T], Any] | None = None,
        **options: Any,
    ) -> Iterator[ItemOutcome[T]]:
        """Invoke for each item.

        Args:
            endpoint: The endpoint's name.
            items: The payloads.
            model_of: The target model of an item.
            data_of: The payload of an item; the item itself where None.
            options: Further options of the invoker.
        """
        ...

    def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame, grouped by model.

        Args:
            endpoint: The endpoint's name.
            frame: The rows.
            model_of: Column that names the target model; or a function of a row.
            options: Further options of the invoker.
        """
        ...

    def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        **options: Any,
    ) -> WarmUp:
        """Load models before they are called.

        Args:
            endpoint: The endpoint's name.
            models: The models.
            expected: Calls per second by model name or target model.
            options: Further options of the invoker.
        """
        ...

    def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        **options: Any,
    ) -> WarmUp:
        """Call models once so that they stay in memory; refused where it is a net loss.

        Args:
            endpoint: The endpoint's name.
            models: The models to keep.
            rates: Calls per second of each model of the endpoint, by target model.
            sizes: Bytes of each in memory.
            capacity: Bytes of models that an instance's memory holds.
            bound_by_slo: Do it even where more calls of others become cold.
            options: Further options of the invoker.
        """
        ...

    def invoke_stream(self, endpoint: str, data: Any, **options: Any) -> Any:
        """Invoke a single-model endpoint and read the answer while it is written."""
        ...

    def invoke_async(self, endpoint: str, data: Any, *, upload_to: str | None = None, **options: Any) -> Any:
        """Submit an asynchronous inference to a single-model endpoint."""
        ...


class AsyncManyInvoker(AsyncInvoker, Protocol):
    """`ManyInvoker`, awaited."""

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        *,
        model_of: Callable[[T], str | ModelVersion | None] = ...,
        data_of: Callable[[T], Any] | None = None,
        **options: Any,
    ) -> AsyncIterator[ItemOutcome[T]]:
        """Invoke for each item; see `ManyInvoker.invoke_many`."""
        ...

    def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
        **options: Any,
    ) -> Awaitable[pd.DataFrame]:
        """Invoke with the rows of a data frame; see `ManyInvoker.invoke_frame`."""
        ...

    def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        **options: Any,
    ) -> Awaitable[WarmUp]:
        """Load models before they are called; see `ManyInvoker.warm`."""
        ...

    def keep_warm(
        self,
        endpoint: str,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        **options: Any,
    ) -> Awaitable[WarmUp]:
        """Call models once so that they stay in memory; see `ManyInvoker.keep_warm`."""
        ...

    def invoke_stream(self, endpoint: str, data: Any, **options: Any) -> Awaitable[Any]:
        """Read an answer while it is written; see `ManyInvoker.invoke_stream`."""
        ...

    def invoke_async(self, endpoint: str, data: Any, *, upload_to: str | None = None, **options: Any) -> Awaitable[Any]:
        """Submit an asynchronous inference; see `ManyInvoker.invoke_async`."""
        ...


class ReadMetrics(Protocol):
    """Reads CloudWatch: gives the flow that `Aws.run` drives."""

    def __call__(
        self, endpoint: str, /, *, variant: str, hours: float, period: int, now: datetime
    ) -> Generator[Any, Any, Any]:
        """The flow; its arguments are those of `mme_sdk.metrics.read_metrics`."""
        ...


@runtime_checkable
class ModelStore(Protocol):
    """What an invoker needs of a model registry."""

    def resolve(self, reference: str, *, key: str | None = None) -> ModelVersion | str:
        """The target model behind a reference.

        Called before every invocation: it answers from memory, refreshes in the background, and calls S3 only for a
        reference that it has not seen before.

        Args:
            reference: `name@alias`, or a target model, which comes back as it is.
            key: Makes a weighted alias sticky: one key always gets one version.

        Returns:
            The version to invoke, or its target model.

        Raises:
            ModelNotFoundError: No such alias, or the model was deleted.
            InvalidInputError: No legal reference.
        """
        ...


@runtime_checkable
class AsyncModelStore(Protocol):
    """`ModelStore`, awaited."""

    def resolve(self, reference: str, *, key: str | None = None) -> Awaitable[ModelVersion | str]:
        """The target model behind a reference; arguments and errors are those of `ModelStore.resolve`."""
        ...
