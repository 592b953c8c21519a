"""Protocols that users' own code implements: clocks, randomness and model stores.

The pairs differ in `async`; the asynchronous clients accept the `Async` one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime

    from mme_sdk.types.model import ModelVersion

__all__ = ["AsyncClock", "AsyncModelStore", "Clock", "ModelStore", "ReadMetrics", "Rng"]


@runtime_checkable
class Clock(Protocol):
    """Time for the synchronous client. The `time` module is one; tests pass a clock that does not wait."""

    def monotonic(self) -> float:
        """Return the seconds since a fixed point. The value never decreases."""
        ...

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait.

        Args:
            seconds: Seconds to wait.
        """
        ...


@runtime_checkable
class AsyncClock(Protocol):
    """Time for the asynchronous client."""

    def monotonic(self) -> float:
        """Return the seconds since a fixed point. The value never decreases."""
        ...

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...

    def sleep(self, seconds: float, /) -> Awaitable[None]:
        """Wait while other tasks run.

        Args:
            seconds: Seconds to wait.

        Returns:
            An awaitable that ends after this time.
        """
        ...


@runtime_checkable
class Rng(Protocol):
    """Source of randomness. `random.Random` is one."""

    def random(self) -> float:
        """Return a float from 0, included, to 1, excluded."""
        ...

    def uniform(self, a: float, b: float) -> float:
        """Return a float between two bounds.

        Args:
            a: One bound.
            b: The other bound.

        Returns:
            The number.
        """
        ...


@runtime_checkable
class ModelStore(Protocol):
    """What an invoker needs of a model registry. `ModelRegistry` is one."""

    def resolve(self, reference: str, *, key: str | None = None) -> ModelVersion | str:
        """Return the target model that a reference means.

        Invokers call it before each request to an alias. It answers from memory, refreshes in the background, and
        calls S3 only for a reference that it has not seen before.

        Args:
            reference: `name@alias`, `name@latest` for the newest version, or a target model, which is returned
                unchanged.
            key: Key of a weighted alias: the same key always gets the same version. None draws a version.

        Returns:
            The version to invoke, or its target model.

        Raises:
            ModelNotFoundError: The alias does not exist, or the model was deleted.
            InvalidInputError: The reference is not valid.
        """
        ...


@runtime_checkable
class AsyncModelStore(Protocol):
    """What an asynchronous invoker needs of a model registry. `AsyncModelRegistry` is one."""

    def resolve(self, reference: str, *, key: str | None = None) -> Awaitable[ModelVersion | str]:
        """Return the target model that a reference means; see `ModelStore.resolve`.

        Args:
            reference: `name@alias`, `name@latest` for the newest version, or a target model, which is returned
                unchanged.
            key: Key of a weighted alias: the same key always gets the same version. None draws a version.

        Returns:
            An awaitable of the version to invoke, or its target model.

        Raises:
            ModelNotFoundError: The alias does not exist, or the model was deleted.
            InvalidInputError: The reference is not valid.
        """
        ...


class ReadMetrics(Protocol):
    """Reads CloudWatch. `mme_sdk.metrics.read_metrics` is one."""

    def __call__(
        self, endpoint: str, /, *, variant: str, hours: float, period: int, now: datetime
    ) -> Generator[Any, Any, Any]:
        """Return the flow that `Aws.run` drives.

        Args:
            endpoint: Name of the endpoint.
            variant: Production variant.
            hours: Length of the time range, in hours.
            period: Seconds of one data point, a multiple of 60.
            now: End of the time range.
        """
        ...
