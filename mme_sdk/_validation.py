"""Checks of arguments and attrs fields; every refusal is an InvalidInputError that names the value and the rule."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = [
    "RESOURCE_NAME",
    "Validator",
    "as_float",
    "as_int",
    "check_instance",
    "check_number",
    "check_resource_name",
    "instance",
    "number",
    "one_of",
    "optional",
    "optional_float",
    "optional_int",
]

Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def check_number(
    name: str,
    value: Any,
    *,
    over: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    integer: bool = False,
    infinite: bool = False,
) -> None:
    """Raise InvalidInputError unless `value` is a number within bounds. True and False are not numbers.

    Args:
        name: Name of the argument or field, for the message.
        value: The value.
        over: Lower bound, itself refused.
        at_least: Lower bound, itself accepted.
        below: Upper bound, itself refused.
        at_most: Upper bound, itself accepted.
        integer: Whether only whole numbers are accepted.
        infinite: Whether infinity is accepted.

    Raises:
        InvalidInputError: The value is not a number, or outside the bounds.
    """
    kind: Any = numbers.Integral if integer else numbers.Real
    if (
        isinstance(value, kind)
        and not isinstance(value, bool)
        and (_is_finite(value) or (infinite and value == math.inf))
        and (over is None or value > over)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    ):
        return
    bounds = [
        f"{words} {bound:.12g}"
        for words, bound in (("over", over), ("at least", at_least), ("below", below), ("at most", at_most))
        if bound is not None
    ]
    what = "a whole number" if integer else "a number" if infinite else "a finite number"
    raise InvalidInputError(f"{name} must be {' '.join([what, ' and '.join(bounds)]).rstrip()}, not {_shown(value)}")


def _is_finite(value: Any) -> bool:
    """Return whether a number is finite as a float. An integer of 400 digits is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    if isinstance(value, numbers.Integral) and not _is_finite(value):
        return f"{'a negative' if value < 0 else 'an'} integer that exceeds every float"
    # numpy's repr names the type of a number, and a Decimal's str does not tell that it is a Decimal.
    return (str(value) if isinstance(value, numbers.Real) else repr(value))[:80]


def as_float(value: float) -> float:
    """Return a number of another library, such as numpy's, as a float; other values unchanged."""
    other: Any = value
    if type(other) in (float, int, bool) or not isinstance(other, numbers.Real):
        return value
    try:
        return float(other)
    except OverflowError:
        return value


def as_int(value: int) -> int:
    """Return a whole number of another library, such as numpy's, as an int; other values unchanged."""
    other: Any = value
    return int(other) if type(other) is not bool and isinstance(other, numbers.Integral) else value


def optional_float(value: float | None) -> float | None:
    """Return None, or what `as_float` returns."""
    return None if value is None else as_float(value)


def optional_int(value: int | None) -> int | None:
    """Return None, or what `as_int` returns."""
    return None if value is None else as_int(value)


def check_instance(name: str, value: Any, *kinds: type[Any]) -> None:
    """Raise InvalidInputError unless `value` is an instance of one of `kinds`.

    Args:
        name: Name of the argument or field, for the message.
        value: The value.
        kinds: The accepted classes.

    Raises:
        InvalidInputError: The value is an instance of another class.
    """
    if not isinstance(value, kinds):
        accepted = " or ".join(kind.__name__ for kind in kinds)
        raise InvalidInputError(f"{name} must be of type {accepted}, not {type(value).__name__}: {str(value)[:80]!r}")


# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpoint.html: EndpointName, and most other names
RESOURCE_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def check_resource_name(name: str, value: Any) -> None:
    """Raise InvalidInputError unless `value` is a valid name of a SageMaker resource, such as an endpoint.

    Args:
        name: Name of the argument or field, for the message.
        value: The name to check.

    Raises:
        InvalidInputError: SageMaker does not accept the name.
    """
    if not isinstance(value, str) or not value:
        hint = "pass text; in a YAML file, put it in quotes" if isinstance(value, (int, float)) else None
        raise InvalidInputError(f"{name} must be a name, not {value!r}", hint=hint)
    if len(value) > 63:
        raise InvalidInputError(f"{name} must have at most 63 characters, not {len(value)}: {value!r}")
    if not RESOURCE_NAME.fullmatch(value):
        raise InvalidInputError(
            f"{name} must consist of letters, digits and '-', and begin and end with a letter or digit, not {value!r}"
        )


def number(
    *,
    over: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    integer: bool = False,
    infinite: bool = False,
) -> Validator:
    """Return an attrs validator that calls `check_number`; its name in messages is `Class.field`."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_number(
            _name(instance, attribute),
            value,
            over=over,
            at_least=at_least,
            below=below,
            at_most=at_most,
            integer=integer,
            infinite=infinite,
        )

    return validate


def instance(*kinds: type[Any]) -> Validator:
    """Return an attrs validator that calls `check_instance`."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_instance(_name(instance, attribute), value, *kinds)

    return validate


def one_of(*choices: Any) -> Validator:
    """Return an attrs validator that accepts the given values; 1 is not True."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            accepted = ", ".join(map(repr, choices))
            shown = repr(value)[:80]
            raise InvalidInputError(f"{_name(instance, attribute)} must be one of {accepted}, not {shown}")

    return validate


def optional(inner: Validator) -> Validator:
    """Return an attrs validator that accepts None and what `inner` accepts."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None:
            inner(instance, attribute, value)

    return validate


def _name(instance: Any, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}.{attribute.name}"
