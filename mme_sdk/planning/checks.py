"""What a number must be, said in words where it is not."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["check_number", "number", "share", "whole"]


def check_number(
    name: str, value: Any, *, least: float = 0.0, over: bool = True, most: float = math.inf, integer: bool = False
) -> None:
    """Refuse what is no number, not finite, or out of bounds.

    Args:
        name: What it is called in the message.
        value: What was given.
        least: Lower bound.
        over: Whether it must be over the bound, not at it.
        most: Upper bound, itself allowed.
        integer: Whether it must be whole.

    Raises:
        InvalidInputError: It is not so.
    """
    kind: Any = numbers.Integral if integer else numbers.Real
    good = isinstance(value, kind) and not isinstance(value, bool)
    if good and math.isfinite(value) and value <= most and (value > least if over else value >= least):
        return
    what = "whole number" if integer else "finite number"
    bounds = f"over {least:g}" if over else f"of at least {least:g}"
    bounds += f" and up to {most:g}" if most < math.inf else ""
    shown = repr(value) if isinstance(value, str) else str(value)  # numpy's repr names its type
    raise InvalidInputError(f"{name} must be a {what} {bounds}, not {shown}")


def number(
    *, least: float = 0.0, over: bool = False, optional: bool = False, endless: bool = False
) -> Callable[..., None]:
    """A validator of attrs; `endless` allows infinity, `optional` None."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if (optional and value is None) or (endless and isinstance(value, float) and value == math.inf):
            return
        check_number(f"{type(instance).__name__}.{attribute.name}", value, least=least, over=over)

    return validate


def share(*, optional: bool = False) -> Callable[..., None]:
    """A validator of attrs: over 0 and up to 1."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (optional and value is None):
            check_number(f"{type(instance).__name__}.{attribute.name}", value, most=1.0)

    return validate


def whole(*, least: int = 1) -> Callable[..., None]:
    """A validator of attrs: a whole number of at least so many."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_number(f"{type(instance).__name__}.{attribute.name}", value, least=least, over=False, integer=True)

    return validate
