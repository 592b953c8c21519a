"""What a shared store does, whatever holds its state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from mme_sdk.runtime.shared.rules import Ask, Grant

__all__ = ["Store", "StoreDownError", "StoreRefusedError", "parse_curves"]

_CURVES = 6  # numbers that describe the load times of a model


class StoreDownError(Exception):
    """The store did not answer in time, or the connection failed. The text holds no secret."""


class StoreRefusedError(StoreDownError):
    """The store answered that it cannot be used like this: a wrong password, a file that cannot be written."""


class Store(Protocol):
    """Holds the state of all endpoints. Each method is one trip; threads may call it at the same time.

    Each method raises StoreDownError if the store does not answer.
    """

    def reserve(self, endpoint: str, worker: str, ask: Ask) -> Grant:
        """Reserve calls, and count the worker; see `rules.reserve`.

        Args:
            endpoint: Name of the endpoint.
            worker: The worker.
            ask: What it tells and asks for.
        """
        ...

    def acquire(self, endpoint: str, model: str, worker: str, *, seconds: float) -> tuple[bool, str]:
        """Acquire the lease of a model.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            worker: The worker.
            seconds: Seconds until the lease expires.

        Returns:
            Whether it was acquired, and the load times of the model as text; empty if none are known.
        """
        ...

    def renew(self, endpoint: str, model: str, worker: str, *, seconds: float) -> None:
        """Extend the lease and the cold slot that the worker holds for a model.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            worker: The worker.
            seconds: Seconds from now until both expire.
        """
        ...

    def release(self, endpoint: str, model: str, worker: str, *, curves: str) -> None:
        """Release the lease of a model, and keep its load times.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            worker: The worker.
            curves: The load times as text; empty keeps those of the store.
        """
        ...

    def take_slot(self, endpoint: str, model: str, worker: str, *, seconds: float, initial: int, forced: bool) -> int:
        """Take a cold slot, if the limit of loads allows another load. The lease of the model is extended, too.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            worker: The worker.
            seconds: Seconds from now until both expire.
            initial: The limit of an endpoint without loads.
            forced: Whether to take it above the limit too, because the load has begun.

        Returns:
            The epoch of the limit; -1 if no slot is free.
        """
        ...

    def free_slot(self, endpoint: str, model: str, worker: str, *, verdict: int, epoch: int, maximum: int) -> None:
        """Free a cold slot, and adapt the limit; see `rules.end_load`. A slot that expired changes nothing.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            worker: The worker.
            verdict: 1 after an undisturbed load, -1 after a slow one, 0 otherwise.
            epoch: What `take_slot` returned.
            maximum: The highest limit.
        """
        ...


def parse_curves(text: str) -> Sequence[float] | None:
    """Return the load times that a store kept; None if the text is not one of load times.

    Args:
        text: The text.
    """
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return None
    return numbers if len(numbers) == _CURVES and all(map(math.isfinite, numbers)) else None
