"""What rooms and users' own code may rely on, and nothing more: narrow protocols, easy to implement in a test."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypedDict, runtime_checkable

from mme_sdk.shapes.model import ModelVersion
from mme_sdk.shapes.reply import Reply

__all__ = ["AsyncClock", "AsyncInvoker", "AsyncModelStore", "Clock", "InvokeOptions", "Invoker", "ModelStore", "Rng"]


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
        prefix: str | None = None,
    ) -> Awaitable[Reply[Any]]:
        """Invoke a model; arguments and errors are those of `Invoker.invoke`."""
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
