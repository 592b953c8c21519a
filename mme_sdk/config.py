"""Settings of the clients: frozen, configured by copies (`attrs.evolve`), never mutated."""

from __future__ import annotations

import math
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["ColdStart", "RetryPolicy", "Timeouts"]


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        owner = type(instance).__name__
        raise InvalidInputError(f"{owner}.{attribute.name} must be a positive number, not {value!r}")


def _share(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        owner = type(instance).__name__
        raise InvalidInputError(f"{owner}.{attribute.name} must be a share from 0 to below 1, not {value!r}")


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
        budget: Tokens of an endpoint that pay for retries; a success gives one back. One budget for throttling (5 a
            retry), one for faults (14): when it is spent, only first attempts are made.
        breaker_faults: Faults in a row at an endpoint after which faults are not retried for `breaker_rest` seconds;
            first attempts always are made.
        breaker_rest: See `breaker_faults`.
        hedge: Share of idempotent calls of loaded models that may be sent a second time, where the answer takes longer
            than 95 of 100 do; the first good answer counts. 0 is never.

    Example:
        >>> RetryPolicy(fault_attempts=1).throttle_cap
        20.0
    """

    throttle_base: float = attrs.field(default=1.0, validator=_positive)
    throttle_cap: float = attrs.field(default=20.0, validator=_positive)
    fault_base: float = attrs.field(default=0.05, validator=_positive)
    fault_cap: float = attrs.field(default=5.0, validator=_positive)
    fault_attempts: int = attrs.field(default=4, validator=_positive)
    budget: int = attrs.field(default=500, validator=_positive)
    breaker_faults: int = attrs.field(default=20, validator=_positive)
    breaker_rest: float = attrs.field(default=5.0, validator=_positive)
    hedge: float = attrs.field(default=0.0, validator=_share)


@attrs.frozen(kw_only=True)
class ColdStart:
    """How loading models are waited for.

    Attributes:
        expected: Seconds that a load takes, for a model of which nothing is known.
        bandwidth: Bytes a second at which an archive of known size is fetched and loaded, until loads were seen.
        overhead: Seconds a load takes besides its bytes, until loads were seen.
        probe_cost: What one more attempt is worth, as a share of the load time: it may reach another instance and start
            another load there. More makes the waits longer and the attempts fewer; at 0.07 a model whose load time is
            known is found a tenth of it late, in the median.
        warm_for: Seconds after an answer for which a model is taken to be loaded; learned from there on.
        concurrent_loads: Models of one endpoint that may be cold-started at a time, to begin with; adapts to what the
            fleet bears.
        max_concurrent_loads: The most of them.
        failed_loads: Failures in a row of a model that never answered, after which calls to it fail at once.
        failed_rest: Seconds for which they do.

    Example:
        >>> ColdStart(expected=30).concurrent_loads
        4
    """

    expected: float = attrs.field(default=4.0, validator=_positive)
    bandwidth: float = attrs.field(default=100e6, validator=_positive)
    overhead: float = attrs.field(default=2.0, validator=_positive)
    probe_cost: float = attrs.field(default=0.07, validator=_positive)
    warm_for: float = attrs.field(default=300.0, validator=_positive)
    concurrent_loads: int = attrs.field(default=4, validator=_positive)
    max_concurrent_loads: int = attrs.field(default=64, validator=_positive)
    failed_loads: int = attrs.field(default=3, validator=_positive)
    failed_rest: float = attrs.field(default=30.0, validator=_positive)
