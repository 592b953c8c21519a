"""Validate requests against SageMaker's service model in botocore before anything is sent.

botocore checks types, required and unknown members, and minima. It does not check enumerations, patterns and maxima:
SageMaker would refuse these after the first resources were created.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

__all__ = ["members_of", "problems"]

_JAVA = ((r"\p{L}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{N}", r"\d"), (r"\p{Print}", r"[ -~]"))
# SageMaker's pattern of S3 destinations wrongly allows only bucket names of one character.
_WRONG_PATTERN = "[^/])/?"


@cache
def _shape(name: str) -> Any:
    import botocore.session

    return botocore.session.Session().get_service_model("sagemaker").shape_for(name)


def members_of(shape: str) -> frozenset[str]:
    """Return the names of the members of a structure in SageMaker's service model.

    Args:
        shape: Name of the structure, such as `ProductionVariant`.
    """
    return frozenset(_shape(shape).members)


def problems(
    shape: str, members: Mapping[str, Any], where: str, *, partial: bool = True, newer: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Find everything in a structure that SageMaker would refuse.

    Args:
        shape: Name of the structure in SageMaker's service model.
        members: Members of the structure, with the names of the API.
        where: Name of the structure in the messages.
        partial: Whether required members of the structure itself may be missing.
        newer: Members of the structure that accept values which the installed botocore does not know.

    Yields:
        One sentence for each problem. Values of maps are not shown, because environments may contain secrets.
    """
    return _structure(_shape(shape), members, where, partial=partial, newer=newer)


def _structure(
    shape: Any, value: Any, where: str, *, partial: bool = False, newer: frozenset[str] = frozenset()
) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{where} must be a mapping, not {type(value).__name__}"
        return
    if not partial:
        for name in shape.required_members:
            if value.get(name) is None:
                yield f"{where}: {name} is missing"
    for name, item in value.items():
        member = shape.members.get(name)
        if member is None:
            yield f"{where}: {shape.name} of SageMaker has no member {name!r} in the installed botocore"
        elif not (name in newer and isinstance(item, str)):
            yield from _value(member, item, f"{where}.{name}")


def _value(shape: Any, value: Any, where: str) -> Iterator[str]:
    kind, rules = shape.type_name, shape.metadata
    match kind:
        case "structure":
            yield from _structure(shape, value, where)
        case "list":
            if not isinstance(value, (list, tuple)):
                yield f"{where} must be a list, not {type(value).__name__}"
                return
            yield from _size(len(value), rules, where, "items")
            for position, item in enumerate(value):
                yield from _value(shape.member, item, f"{where}[{position}]")
        case "map":
            if not isinstance(value, Mapping):
                yield f"{where} must be a mapping, not {type(value).__name__}"
                return
            yield from _size(len(value), rules, where, "entries")
            for key, item in value.items():
                yield from _value(shape.key, key, f"{where}: key")
                if any(True for _ in _value(shape.value, item, "")):
                    yield f"{where}.{key}: the value is not valid (its type, length or format)"
        case "string":
            yield from _string(value, rules, where)
        case "boolean":
            if not isinstance(value, bool):
                yield f"{where} must be True or False, not {value!r}"
        case "integer" | "long":
            if not isinstance(value, int) or isinstance(value, bool):
                yield f"{where} must be a whole number, not {value!r}"
                return
            yield from _size(value, rules, where)
        case "float" | "double":
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                yield f"{where} must be a number, not {value!r}"
                return
            yield from _size(value, rules, where)


def _string(value: Any, rules: Mapping[str, Any], where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where} must be text, not {value!r}"
        return
    if "enum" in rules:
        if value not in rules["enum"]:
            known = rules["enum"]
            accepted = ", ".join(known) if len(known) < 10 else "the values that the installed botocore knows"
            yield f"{where}: {value!r} is not one of {accepted}"
        return
    yield from _size(len(value), rules, where, "characters")
    pattern = _python(rules.get("pattern"))
    if pattern is not None and not pattern.fullmatch(value):
        yield f"{where}: {value!r} does not match {rules['pattern']}"


def _size(size: float, rules: Mapping[str, Any], where: str, unit: str = "") -> Iterator[str]:
    low, high = rules.get("min"), rules.get("max")
    if not (low is None or size >= low) or not (high is None or size <= high):
        if low is not None and high is not None:
            bounds = f"from {low} to {high}"
        else:
            bounds = f"{low} or more" if high is None else f"{high} or less"
        what = f"have {bounds} {unit}" if unit else f"be {bounds}"
        yield f"{where} must {what}, not {size:g}"


@cache
def _python(pattern: str | None) -> re.Pattern[str] | None:
    """Return a pattern of the service model for Python; None if it cannot be used."""
    if pattern is None or _WRONG_PATTERN in pattern or r"\uD800" in pattern:
        return None
    for java, python in _JAVA:
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern)
    except re.error:
        return None
