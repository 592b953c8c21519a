"""Trouble on demand: what should go wrong, how often, and for whom; seeded, so that it happens again the same way."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["Fault", "FaultKind", "Faults"]

FaultKind = Literal[
    "throttle",
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
"""What can go wrong.

- `throttle`: the operation answers ThrottlingException (400).
- `error`: the operation answers `code`, `status` and `message`; InternalFailure 500 where not given.
- `drop_before`: the connection is dropped before anything was done.
- `drop_after`: the connection is dropped when everything was done (the model ran).
- `capacity`: an endpoint's instances are not available, at creation, update or scaling; `message` is the reason.
- `rollback_failed`: an update that fails cannot be undone: the endpoint ends as UpdateRollbackFailed, and serves.
- `slow_load`: loading a model takes `seconds` longer.
- `failed_load`: the container fails to load the model, with `message`.
- `container_crash`: the container is killed while it works on an invocation.
- `instance_lost`: the instance that would answer is lost, and replaced.
- `s3_denied`: downloading the archive is denied.
"""


def _one_of_kinds(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or value not in get_args(FaultKind):
        raise InvalidInputError(
            f"Fault.{attribute.name} {_shown(value)} is unknown", hint=f"one of {', '.join(get_args(FaultKind))}"
        )


def _in_range(low: float, high: float, *, whole: bool = False, optional: bool = False) -> Any:
    wanted = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}{' or None' if optional else ''}"

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or (whole and not isinstance(value, int))
            or not low <= value <= high
        ):
            raise InvalidInputError(f"Fault.{attribute.name} must be {wanted}, not {_shown(value)}")

    return check


def _text(*, optional: bool = True, pattern: str = "", longest: int = 1024) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if not isinstance(value, str):
            raise InvalidInputError(f"Fault.{attribute.name} must be a string, not {_shown(value)}")
        if not value.isprintable() or len(value) > longest:
            text = f"must be one line of at most {longest} printable characters"
            raise InvalidInputError(f"Fault.{attribute.name} {text}, not {_shown(value)}")
        if pattern and re.fullmatch(pattern, value) is None:
            raise InvalidInputError(f"Fault.{attribute.name} {_shown(value)} does not match {pattern}")

    return check


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong for what it matches; a None matches everything.

    Attributes:
        kind: What goes wrong.
        operation: API operation, such as `CreateEndpoint` or `InvokeEndpoint`.
        endpoint: EndpointName.
        model: TargetModel.
        skip: How many matching occasions pass unharmed first.
        times: How often it strikes at most; without end where None.
        probability: Chance of striking at each occasion.
        seconds: How long, where the kind has a duration.
        code: Error code of `error`.
        status: HTTP status of `error`.
        message: What the error, or the failure reason, says: one line.

    Example:
        >>> Fault(kind="throttle", operation="InvokeEndpoint", times=2).probability
        1.0
    """

    kind: FaultKind = attrs.field(validator=_one_of_kinds)
    operation: str | None = attrs.field(default=None, validator=_text())
    endpoint: str | None = attrs.field(default=None, validator=_text())
    model: str | None = attrs.field(default=None, validator=_text())
    skip: int = attrs.field(default=0, validator=_in_range(0, 1e9, whole=True))
    times: int | None = attrs.field(default=None, validator=_in_range(1, 1e9, whole=True, optional=True))
    probability: float = attrs.field(default=1.0, validator=_in_range(0, 1))
    seconds: float = attrs.field(default=0.0, validator=_in_range(0, 3600))
    code: str = attrs.field(
        default="InternalFailure", validator=_text(optional=False, pattern=r"[A-Za-z][A-Za-z0-9_.]*")
    )
    status: int = attrs.field(default=500, validator=_in_range(400, 599, whole=True))
    message: str | None = attrs.field(default=None, validator=_text())


@attrs.define
class _Rule:
    fault: Fault
    dice: random.Random
    met: int = 0
    struck: int = 0

    def strikes(self) -> bool:
        self.met += 1
        if self.met <= self.fault.skip or (self.fault.times is not None and self.struck >= self.fault.times):
            return False
        if self.dice.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The faults in force; safe to change while the host works.

    Args:
        seed: Every fault's dice depend on it and on the fault's number alone, not on the others.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._rules: dict[str, _Rule] = {}
        self._count = 0

    def add(self, fault: Fault) -> str:
        """Put a fault in force.

        Returns:
            Its id, for `remove`.
        """
        with self._lock:
            self._count += 1
            fault_id = f"fault-{self._count}"
            self._rules[fault_id] = _Rule(fault, random.Random(f"{self._seed}/{self._count}"))
            return fault_id

    def remove(self, fault_id: str) -> None:
        """Lift a fault; absent is fine."""
        with self._lock:
            self._rules.pop(fault_id, None)

    def clear(self) -> None:
        """Lift all faults, and start numbers and dice anew."""
        with self._lock:
            self._rules.clear()
            self._count = 0

    def list(self) -> dict[str, Mapping[str, Any]]:
        """Faults by id: their attributes, how many occasions they met and how often they struck."""
        with self._lock:
            return {
                fault_id: attrs.asdict(rule.fault) | {"met": rule.met, "struck": rule.struck}
                for fault_id, rule in self._rules.items()
            }

    def trigger(
        self, *kinds: FaultKind, operation: str | None = None, endpoint: str | None = None, model: str | None = None
    ) -> Fault | None:
        """The fault that strikes here and now, if any.

        Args:
            kinds: The kinds that can happen at this point.
            operation: The operation at hand.
            endpoint: The endpoint at hand.
            model: The target model at hand.

        Returns:
            The first fault in force that matches and strikes.
        """
        if not self._rules:  # the usual case costs nothing
            return None
        with self._lock:
            for rule in self._rules.values():
                fault = rule.fault
                if (
                    fault.kind in kinds
                    and fault.operation in (None, operation)
                    and fault.endpoint in (None, endpoint)
                    and fault.model in (None, model)
                    and rule.strikes()
                ):
                    return fault
        return None
