"""Settings of the clients: frozen, configured by copies (`attrs.evolve`), never mutated."""

from __future__ import annotations

import math
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["RetryPolicy", "Timeouts"]


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        owner = type(instance).__name__
        raise InvalidInputError(f"{owner}.{attribute.name} must be a positive number, not {value!r}")


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: For a TCP and TLS connection.
        read: For the answer to one attempt. AWS answers a loading model within 60 s and advises 70 s.
        deadline: For one call with all its attempts. SageMaker lets a model load for up to 360 s.

    Example:
        >>> Timeouts(deadline=30).read
        70.0
    """

    connect: float = attrs.field(default=5.0, validator=_positive)
    read: float = attrs.field(default=70.0, validator=_positive)
    deadline: float = attrs.field(default=360.0, validator=_positive)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a call that failed is made again; jitter is full (a uniform draw below the doubling limit).

    Attributes:
        throttle_base: First limit of the wait after throttling, seconds.
        throttle_cap: Largest limit of the wait after throttling, seconds.
        fault_base: First limit of the wait after a 5xx or a failed connection, seconds.
        fault_cap: Largest limit of that wait, seconds.
        fault_attempts: Attempts in all at a request that keeps meeting faults.

    Example:
        >>> RetryPolicy(fault_attempts=1).throttle_cap
        20.0
    """

    throttle_base: float = attrs.field(default=1.0, validator=_positive)
    throttle_cap: float = attrs.field(default=20.0, validator=_positive)
    fault_base: float = attrs.field(default=0.05, validator=_positive)
    fault_cap: float = attrs.field(default=5.0, validator=_positive)
    fault_attempts: int = attrs.field(default=4, validator=_positive)
