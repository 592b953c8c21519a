"""Settings of the clients. They are immutable; `attrs.evolve(settings, field=value)` returns a changed copy."""

from __future__ import annotations

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_float, as_int, number

__all__ = ["ColdStart", "RetryPolicy", "Timeouts"]

TRANSPORTS = ("auto", "fast", "core", "botocore")
"""Accepted values of the client's `transport` setting; see `mme_sdk.runtime.transport.TransportChoice`."""

_positive = number(over=0)
_count = number(at_least=1, integer=True)


@short_tracebacks
@attrs.frozen(kw_only=True)
class Timeouts:
    """Time-outs of connections and answers, and the default deadline of a call.

    Attributes:
        connect: Seconds to make a TCP and TLS connection. Default 5.
        read: Seconds to wait for the answer to one attempt. Default 70, as AWS recommends: SageMaker answers for a
            loading model within 60 s.
        deadline: Seconds for one call with all its attempts. Default 360, the time that SageMaker gives a model to
            load.

    Raises:
        InvalidInputError: A value is not a number over 0.

    Example:
        >>> Timeouts(deadline=30).read
        70.0
    """

    connect: float = attrs.field(default=5.0, converter=as_float, validator=_positive)
    read: float = attrs.field(default=70.0, converter=as_float, validator=_positive)
    deadline: float = attrs.field(default=360.0, converter=as_float, validator=_positive)


@short_tracebacks
@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed request is sent again, and after which wait.

    A wait is drawn uniformly between 0 and a limit (full jitter). The limit starts at a base, doubles with each
    attempt, and does not exceed a cap. A "fault" is an answer with status 5xx, or a failed connection.

    Attributes:
        throttle_base: First limit of the wait after throttling, in seconds. Default 1.
        throttle_cap: Largest limit of the wait after throttling, in seconds. Default 20.
        fault_base: First limit of the wait after a fault, in seconds. Default 0.05.
        fault_cap: Largest limit of the wait after a fault, in seconds. Default 5.
        fault_attempts: Largest number of attempts for a request that meets faults. Default 4.
        budget: Tokens of an endpoint that pay for retries. There is one budget for throttling, at 5 tokens a retry, and
            one for faults, at 14. A success gives one token back. Without tokens, only first attempts are made. Default
            500.
        breaker_faults: Number of consecutive faults of an endpoint after which faults are not retried for
            `breaker_rest` seconds. First attempts are still made. Default 20.
        breaker_rest: Seconds without retries of faults; see `breaker_faults`. Default 5.

    Raises:
        InvalidInputError: A value is outside its range.

    Example:
        >>> RetryPolicy(fault_attempts=1).throttle_cap
        20.0
    """

    throttle_base: float = attrs.field(default=1.0, converter=as_float, validator=_positive)
    throttle_cap: float = attrs.field(default=20.0, converter=as_float, validator=_positive)
    fault_base: float = attrs.field(default=0.05, converter=as_float, validator=_positive)
    fault_cap: float = attrs.field(default=5.0, converter=as_float, validator=_positive)
    fault_attempts: int = attrs.field(default=4, converter=as_int, validator=_count)
    budget: int = attrs.field(default=500, converter=as_int, validator=_count)
    breaker_faults: int = attrs.field(default=20, converter=as_int, validator=_count)
    breaker_rest: float = attrs.field(default=5.0, converter=as_float, validator=_positive)


@short_tracebacks
@attrs.frozen(kw_only=True)
class ColdStart:
    """How calls wait for models that SageMaker loads.

    Attributes:
        expected: Seconds that a load takes, for a model without any observation. Default 4.
        bandwidth: Bytes a second at which an archive of known size is downloaded and loaded, until loads are observed.
            Default 100e6.
        overhead: Seconds that a load takes besides its bytes, until loads are observed. Default 2.
        probe_cost: Cost of one more attempt, as a share of the load time. An attempt may reach another instance, and
            start another load there. A higher value makes waits longer and attempts fewer. With the default of 0.07, a
            model of known load time is found loaded a tenth of that time late, in the median.
        warm_for: Seconds after an answer for which a model is assumed to be loaded. It is adapted to observations.
            Default 300.
        concurrent_loads: Initial limit of the number of models of one endpoint that are loaded at the same time. It is
            adapted to observations. Default 4.
        max_concurrent_loads: Largest value of that limit. Default 64.
        failed_loads: Number of consecutive failures of a model that never answered after which calls to it fail at
            once. Default 3.
        failed_rest: Seconds for which such calls fail at once. Default 30.

    Raises:
        InvalidInputError: A value is outside its range.

    Example:
        >>> ColdStart(expected=30).concurrent_loads
        4
    """

    expected: float = attrs.field(default=4.0, converter=as_float, validator=_positive)
    bandwidth: float = attrs.field(default=100e6, converter=as_float, validator=_positive)
    overhead: float = attrs.field(default=2.0, converter=as_float, validator=_positive)
    probe_cost: float = attrs.field(default=0.07, converter=as_float, validator=_positive)
    warm_for: float = attrs.field(default=300.0, converter=as_float, validator=_positive)
    concurrent_loads: int = attrs.field(default=4, converter=as_int, validator=_count)
    max_concurrent_loads: int = attrs.field(default=64, converter=as_int, validator=_count)
    failed_loads: int = attrs.field(default=3, converter=as_int, validator=_count)
    failed_rest: float = attrs.field(default=30.0, converter=as_float, validator=_positive)
