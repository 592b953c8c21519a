"""What SageMaker's service model, as botocore ships it, says of a request: checked in full before anything is sent.

botocore itself checks types, required and unknown members, and minima. It does not check enumerations, patterns and
maxima: SageMaker refuses those after the first resources exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

__all__ = ["members_of", "problems"]

_JAVA = ((r"\p{L}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{N}", r"\d"), (r"\p{Print}", r"[ -~]"))
# The pattern of S3 destinations allows one character as the bucket's name, which no bucket has.
_WRONG_PATTERN = "[^/])/?"


@cache
def _shape(name: str) -> Any:
    import botocore.session

    return botocore.session.Session().get_service_model("sagemaker").shape_for(name)


def members_of(shape: str) -> frozenset[str]:
    """The members of a structure of SageMaker's service model.

    Args:
        shape: The structure's name, such as `ProductionVariant`.
    """
    return frozenset(_shape(shape).members)


def problems(
    shape: str, members: Mapping[str, Any], where: str, *, partial: bool = True, newer: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Everything in some members of a structure that SageMaker would refuse.

    Args:
        shape: The structure's name in SageMaker's service model.
        members: Its members, as the API names them.
        where: What the messages call the structure.
        partial: Whether required members of the structure itself may be absent, since they come from elsewhere.
        newer: Members of the structure that may have values which this botocore does not list yet.

    Yields:
        One sentence for each problem. Values of maps are not shown, since environments may hold secrets.
    """
    return _structure(_shape(shape), members, where, partial=partial, newer=newer)


def _structure(
    shape: Any, value: Any, where: str, *, partial: bool = False, newer: frozenset[str] = frozenset()
) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{where}: wants a mapping, not {type(value).__name__}"
        return
    if not partial:
        for name in shape.required_members:
            if value.get(name) is None:
                yield f"{where}: {name} is missing"
    for name, item in value.items():
        member = shape.members.get(name)
        if member is None:
            yield f"{where}: {shape.name} of SageMaker has no member {name!r}, as far as the installed botocore knows"
        elif not (name in newer and isinstance(item, str)):
            yield from _value(member, item, f"{where}.{name}")


def _value(shape: Any, value: Any, where: str) -> Iterator[str]:
    kind, rules = shape.type_name, shape.metadata
    match kind:
        case "structure":
            yield from _structure(shape, value, where)
        case "list":
            if not isinstance(value, (list, tuple)):
                yield f"{where}: wants a list, not {type(value).__name__}"
                return
            yield from _size(len(value), rules, where, "items")
            for position, item in enumerate(value):
                yield from _value(shape.member, item, f"{where}[{position}]")
        case "map":
            if not isinstance(value, Mapping):
                yield f"{where}: wants a mapping, not {type(value).__name__}"
                return
            yield from _size(len(value), rules, where, "entries")
            for key, item in value.items():
                yield from _value(shape.key, key, f"{where}: key")
                if any(True for _ in _value(shape.value, item, "")):
                    yield f"{where}.{key}: this value is not allowed (its type, length or form)"
        case "string":
            yield from _string(value, rules, where)
        case "boolean":
            if not isinstance(value, bool):
                yield f"{where}: True or False, not {value!r}"
        case "integer" | "long":
            if not isinstance(value, int) or isinstance(value, bool):
                yield f"{where}: a whole number, not {value!r}"
                return
            yield from _size(value, rules, where)
        case "float" | "double":
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                yield f"{where}: a number, not {value!r}"
                return
            yield from _size(value, rules, where)


def _string(value: Any, rules: Mapping[str, Any], where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where}: wants text, not {value!r}"
        return
    if "enum" in rules:
        if value not in rules["enum"]:
            few = rules["enum"] if len(rules["enum"]) < 10 else "the values that the installed botocore knows"
            yield f"{where}: {value!r} is not one of {few if isinstance(few, str) else ', '.join(few)}"
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
        yield f"{where}: {bounds} {unit}".rstrip() + f", not {size:g}"


@cache
def _python(pattern: str | None) -> re.Pattern[str] | None:
    """A pattern of the service model for Python; None where it cannot be used."""
    if pattern is None or _WRONG_PATTERN in pattern or r"\uD800" in pattern:
        return None
    for java, python in _JAVA:
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern)
    except re.error:
        return None
