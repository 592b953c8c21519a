"""What rooms and users' own code may rely on, and nothing more: narrow protocols, easy to implement in a test."""

from __future__ import annotations

import os
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
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from mme_sdk.errors import MMEError
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AsyncClock",
    "AsyncInvoker",
    "AsyncManyInvoker",
    "AsyncModelStore",
    "Clock",
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
Model = str | ModelVersion | None
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
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        enable_explanations: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
    ) -> Reply[Any]:
        """Invoke a model.

        Args:
            endpoint: The endpoint's name.
            data: The payload; encoded by its type unless `content_type` says otherwise.
            model: Target model of a multi-model endpoint.
            content_type: Media type to send; by the type of the payload where None.
            accept: Media type wanted back.
            deadline: Seconds for the call with all its attempts; that of `Timeouts` where None.
            response_type: What to decode the answer to, into the reply's `value`: a pydantic model, any type that
                pydantic reads from JSON, `bytes`, `str`, `numpy.ndarray`, `pandas.DataFrame`, or a codec.
            target_variant: Production variant to send to.
            target_container: Host name of the container to ask, where the endpoint has several that are invoked
                directly.
            inference_component: Inference component to ask; excludes `model` and `target_container`.
            session_id: Stateful session of the call, or `NEW_SESSION` to open one; the reply has its `new_session_id`.
            inference_id: Id that SageMaker logs with the request.
            custom_attributes: Passed to the container as they are.
            enable_explanations: JMESPath expression that replaces the one of the endpoint's explainer for this call.
            prefix_aware_id: Requests of one id go to one instance, where the variant routes by prefix or by key-value
                cache.
            idempotent: Whether a request whose outcome is unknown may be sent again to a loaded model.
            sticky: Key of a weighted alias: one key, such as a customer's, always gets one version. It needs
                an alias.
            prefix: The endpoint's S3 model prefix, where known; asked for when it is needed otherwise.

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
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        enable_explanations: str | None = None,
        prefix_aware_id: str | None = None,
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
    """An `Invoker` that handles can ask for many items, data frames, warm-ups, streams and queued inferences.

    The arguments are those of `Endpoint`, after the endpoint's name.
    """

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T],
        *,
        model_of: Callable[[T], Model] = ...,
        data_of: Callable[[T], Any] | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        enable_explanations: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[ItemOutcome[T]]:
        """Invoke for each item."""
        ...

    def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], Model] | None = None,
        rows_per_call: int = 256,
        content_type: str = ...,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame, grouped by model."""
        ...

    def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = ...,
        content_type: str = ...,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmUp:
        """Load models before they are called."""
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
        at_a_time: int | None = None,
        payload: Any = ...,
        content_type: str = ...,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmUp:
        """Call models once so that they stay in memory; refused where it is a net loss."""
        ...

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
    ) -> Any:
        """Invoke a single-model endpoint and read the answer while it is written."""
        ...

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
    ) -> Any:
        """Submit an asynchronous inference to a single-model endpoint."""
        ...


class AsyncManyInvoker(AsyncInvoker, Protocol):
    """`ManyInvoker`, awaited.

    The arguments are those of `AsyncEndpoint`, after the endpoint's name.
    """

    def invoke_many(
        self,
        endpoint: str,
        items: Iterable[T] | AsyncIterable[T],
        *,
        model_of: Callable[[T], Model] = ...,
        data_of: Callable[[T], Any] | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        deadline: float | None = None,
        response_type: Any = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        enable_explanations: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AsyncIterator[ItemOutcome[T]]:
        """Invoke for each item."""
        ...

    def invoke_frame(
        self,
        endpoint: str,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], Model] | None = None,
        rows_per_call: int = 256,
        content_type: str = ...,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_component: str | None = None,
        session_id: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        prefix_aware_id: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        settings: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Awaitable[pd.DataFrame]:
        """Invoke with the rows of a data frame, grouped by model."""
        ...

    def warm(
        self,
        endpoint: str,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        capacity: int | None = None,
        at_a_time: int | None = None,
        payload: Any = ...,
        content_type: str = ...,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Awaitable[WarmUp]:
        """Load models before they are called."""
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
        at_a_time: int | None = None,
        payload: Any = ...,
        content_type: str = ...,
        accept: str | None = None,
        deadline: float | None = None,
        target_variant: str | None = None,
        target_container: str | None = None,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
        idempotent: bool = False,
        sticky: str | None = None,
        prefix: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Awaitable[WarmUp]:
        """Call models once so that they stay in memory; refused where it is a net loss."""
        ...

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
    ) -> Awaitable[Any]:
        """Invoke a single-model endpoint and read the answer while it is written."""
        ...

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
    ) -> Awaitable[Any]:
        """Submit an asynchronous inference to a single-model endpoint."""
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
