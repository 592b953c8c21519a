"""What rooms and users' own code may rely on, and nothing more: narrow protocols, easy to implement in a test."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

__all__ = ["AsyncClock", "Clock", "Rng"]


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
