"""Fault injection: make operations fail on purpose, in the same way each time for the same seed."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import attrs

from mme_sdk._validation import Validator, check_instance, number, one_of, optional
from mme_sdk.errors import InvalidInputError

__all__ = ["Fault", "FaultKind", "Faults"]

FaultKind = Literal[
    "throttle",
    "rate",
    "error",
    "drop_before",
    "drop_after",
    "capacity",
    "rollback_failed",
    "slow_load",
    "failed_load",
    "container_crash",
    "instance_lost",
    "s3_denied",
]
"""The kinds of faults.

- `throttle`: the operation fails with ThrottlingException (status 400).
- `rate`: the requests beyond `rate` a second fail with ThrottlingException (status 400).
- `error`: the operation fails with `code`, `status` and `message`; by default InternalFailure with status 500.
- `drop_before`: the connection is closed before the operation runs.
- `drop_after`: the connection is closed after the operation, such as an invocation, has run.
- `capacity`: a creation, an update or a scaling gets no instances; `message` is the FailureReason.
- `rollback_failed`: the rollback of a failed update fails. The endpoint is UpdateRollbackFailed and still serves.
- `slow_load`: loading a model takes `seconds` longer.
- `failed_load`: the container fails to load the model, with `message`.
- `container_crash`: the container is killed during an invocation.
- `instance_lost`: the instance that was chosen for an invocation is lost and replaced.
- `s3_denied`: S3 denies the download of the model archive.
"""


def _line(*, pattern: str = "", longest: int = 1024) -> Validator:
    """Return an attrs validator that accepts one line of printable characters."""

    def validate(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_instance(f"Fault.{attribute.name}", value, str)
        if not value.isprintable() or len(value) > longest:
            text = f"must be one line of at most {longest} printable characters"
            raise InvalidInputError(f"Fault.{attribute.name} {text}, not {_shown(value)}")
        if pattern and re.fullmatch(pattern, value) is None:
            raise InvalidInputError(f"Fault.{attribute.name} {_shown(value)} does not match {pattern}")

    return validate


def _shown(value: str) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


@attrs.frozen(kw_only=True)
class Fault:
    """A fault, and the requests and loads that it applies to.

    Attributes:
        kind: Kind of the fault, such as `throttle`; required. `FaultKind` lists the kinds.
        operation: API operation that it applies to, such as `InvokeEndpoint`. Default None: every operation.
        endpoint: EndpointName that it applies to. Default None: every endpoint.
        model: TargetModel that it applies to. Default None: every model.
        skip: Number of matches that are not affected before the first one that is, 0 to 10^9. Default 0.
        times: Number of matches that are affected, 1 to 10^9. Default None: no limit.
        probability: Probability, 0 to 1, that a match is affected. Default 1.
        rate: Requests a second that a `rate` lets through, more than 0 and at most 10^6. It is required for this kind,
            and not allowed for another one. After a rest, the requests of one second pass at once. Default None.
        seconds: Additional seconds of a `slow_load`, 0 to 3600. Default 0.
        code: Error code of an `error`. Default `InternalFailure`.
        status: HTTP status of an `error`, 400 to 599. Default 500.
        message: Error message or FailureReason, one line. Default None: a text of the host.

    Raises:
        InvalidInputError: A value is invalid.

    Example:
        >>> Fault(kind="throttle", operation="InvokeEndpoint", times=2).probability
        1.0
    """

    kind: FaultKind = attrs.field(validator=one_of(*get_args(FaultKind)))
    operation: str | None = attrs.field(default=None, validator=optional(_line()))
    endpoint: str | None = attrs.field(default=None, validator=optional(_line()))
    model: str | None = attrs.field(default=None, validator=optional(_line()))
    skip: int = attrs.field(default=0, validator=number(at_least=0, at_most=1e9, integer=True))
    times: int | None = attrs.field(default=None, validator=optional(number(at_least=1, at_most=1e9, integer=True)))
    probability: float = attrs.field(default=1.0, validator=number(at_least=0, at_most=1))
    rate: float | None = attrs.field(default=None, validator=optional(number(over=0, at_most=1e6)))
    seconds: float = attrs.field(default=0.0, validator=number(at_least=0, at_most=3600))
    code: str = attrs.field(default="InternalFailure", validator=_line(pattern=r"[A-Za-z][A-Za-z0-9_.]*"))
    status: int = attrs.field(default=500, validator=number(at_least=400, at_most=599, integer=True))
    message: str | None = attrs.field(default=None, validator=optional(_line()))

    def __attrs_post_init__(self) -> None:
        if (self.kind == "rate") != (self.rate is not None):
            text = (
                "is required for the kind 'rate'" if self.rate is None else f"does not apply to the kind {self.kind!r}"
            )
            raise InvalidInputError(f"Fault.rate {text}", hint="for example Fault(kind='rate', rate=150)")


@attrs.define
class _Rule:
    fault: Fault
    rng: random.Random
    now: Callable[[], float]
    paid_until: float = float("-inf")  # seconds; what passed before it is paid for by the rate
    matched: int = 0
    triggered: int = 0

    def count_match(self) -> bool:
        """Count a match and return whether it is affected."""
        self.matched += 1
        if self.matched <= self.fault.skip or (self.fault.times is not None and self.triggered >= self.fault.times):
            return False
        if self.rng.random() >= self.fault.probability or self._within_rate():
            return False
        self.triggered += 1
        return True

    def _within_rate(self) -> bool:
        """Return whether the rate lets a request through; it is a bucket that holds the requests of a second."""
        if self.fault.rate is None:
            return False
        now, takes = self.now(), 1 / self.fault.rate
        begins = max(now, self.paid_until)
        if begins + takes - now > max(1.0, takes) + 1e-9:
            return False
        self.paid_until = begins + takes
        return True


class Faults:
    """The active faults of a host. Any thread may change them while the host runs.

    Args:
        seed: Seed of the random numbers, default 0. Each fault has its own, which depend on the seed and the number of
            the fault only.
        now: Returns seconds, for a `rate`. Default: `time.monotonic`.

    Example:
        >>> faults = Faults()
        >>> faults.add(Fault(kind="throttle", operation="InvokeEndpoint", times=2))
        'fault-1'
    """

    def __init__(self, seed: int = 0, *, now: Callable[[], float] = time.monotonic) -> None:
        self._seed = seed
        self._now = now
        self._lock = threading.Lock()
        self._rules: dict[str, _Rule] = {}
        self._count = 0

    def add(self, fault: Fault) -> str:
        """Activate a fault.

        Args:
            fault: The fault.

        Returns:
            Its id, such as `fault-1`, for `remove`.
        """
        with self._lock:
            self._count += 1
            fault_id = f"fault-{self._count}"
            self._rules[fault_id] = _Rule(fault, random.Random(f"{self._seed}/{self._count}"), self._now)
            return fault_id

    def remove(self, fault_id: str) -> None:
        """Deactivate a fault. Does nothing if no fault has this id.

        Args:
            fault_id: The id that `add` returned.
        """
        with self._lock:
            self._rules.pop(fault_id, None)

    def clear(self) -> None:
        """Deactivate all faults. The next fault has the id `fault-1` and its random numbers again."""
        with self._lock:
            self._rules.clear()
            self._count = 0

    def list(self) -> dict[str, Mapping[str, Any]]:
        """Return the active faults.

        Returns:
            For each id the attributes of the fault, and the counters `matched` (requests or loads that it applied to)
            and `triggered` (those that it affected).
        """
        with self._lock:
            return {
                fault_id: attrs.asdict(rule.fault) | {"matched": rule.matched, "triggered": rule.triggered}
                for fault_id, rule in self._rules.items()
            }

    def trigger(
        self, *kinds: FaultKind, operation: str | None = None, endpoint: str | None = None, model: str | None = None
    ) -> Fault | None:
        """Return the first active fault that applies and is triggered. The host calls this where a fault can occur.

        Args:
            kinds: The kinds that can occur at this point.
            operation: Operation of the request. Default None: none.
            endpoint: EndpointName of the request. Default None: none.
            model: TargetModel of the request. Default None: none.

        Returns:
            The fault, or None.
        """
        if not self._rules:  # avoid the lock in the usual case
            return None
        with self._lock:
            for rule in self._rules.values():
                fault = rule.fault
                if (
                    fault.kind in kinds
                    and fault.operation in (None, operation)
                    and fault.endpoint in (None, endpoint)
                    and fault.model in (None, model)
                    and rule.count_match()
                ):
                    return fault
        return None
