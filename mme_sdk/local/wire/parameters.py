"""Decode request parameters and check them against botocore's service models."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any

from mme_sdk.local.wire.errors import ApiError

__all__ = ["check_constraints", "decode_json", "parse_parameters", "parse_scalar"]

# An upper bound is counted before parsing, because the parser blocks all threads until it ends.
_MAX_CONTAINERS = 100_000
_MAX_ITEMS = 1_000_000
_SHOWN_VIOLATIONS = 10
_SHOWN_CHARACTERS = 256
_MAX_MATCHED = 8192  # characters; some patterns of AWS take a time that is quadratic in the length
_WHOLE = {"integer": 1 << 31, "long": 1 << 63}

_JAVA_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\s",
    r"\p{Print}": " -~",
    r"\p{ASCII}": r"\x00-\x7f",
}


def decode_json(body: bytes) -> Any:
    """Decode the JSON body of a request.

    Args:
        body: The body. An empty body is an empty structure.

    Returns:
        Dicts, lists, str, numbers, booleans and None.

    Raises:
        ApiError: SerializationException. The body is not valid JSON, has a key twice, or is too large.
    """
    if body.count(b"[") + body.count(b"{") > _MAX_CONTAINERS or body.count(b",") > _MAX_ITEMS:
        raise ApiError(
            "SerializationException",
            f"The request body has more than {_MAX_CONTAINERS} structures and lists or {_MAX_ITEMS} items.",
        )
    try:
        return json.loads(
            body.decode() or "{}", object_pairs_hook=_object_without_duplicates, parse_constant=_refuse_constant
        )
    except ValueError as error:  # also a UnicodeDecodeError
        raise ApiError("SerializationException", f"The request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ApiError("SerializationException", "The request body is nested too deeply.") from error


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a structure has a key twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def parse_parameters(operation: Any, raw: Any) -> dict[str, Any]:
    """Return the parameters of a request after checking them against the operation's model.

    Args:
        operation: botocore's operation model.
        raw: The value decoded from JSON or CBOR.

    Returns:
        The parameters. Timestamps are datetimes and blobs are bytes.

    Raises:
        ApiError: A parameter is unknown, has the wrong type, or violates a constraint of the model.
    """
    shape = operation.input_shape
    params: dict[str, Any] = _parse_value(shape, raw, "") if shape is not None else {}
    check_constraints(shape, params)
    return params


def _parse_value(shape: Any, raw: Any, path: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        _expect(isinstance(raw, dict), path, "a structure", raw)
        unknown = [name for name in raw if name not in shape.members and raw[name] is not None]
        if unknown:
            where = ", ".join(f"{path}.{name}" if path else str(name) for name in unknown[:5])
            raise ApiError("ValidationException", f"The embedded SageMaker does not know {where} of {shape.name}.")
        return {
            name: _parse_value(member, raw[name], f"{path}.{name}" if path else name)
            for name, member in shape.members.items()
            if raw.get(name) is not None
        }
    if kind == "list":
        _expect(isinstance(raw, list), path, "a list", raw)
        return [_parse_value(shape.member, item, f"{path}.{i}.member") for i, item in enumerate(raw, 1)]
    if kind == "map":
        _expect(isinstance(raw, dict), path, "a map", raw)
        return {
            _text(key, path): _parse_value(shape.value, value, f"{path}.{key[:_SHOWN_CHARACTERS]}")
            for key, value in raw.items()
        }
    return parse_scalar(kind, raw, path)


def parse_scalar(kind: str, raw: Any, path: str) -> Any:
    """Convert a decoded value to a type that is not a structure, a list or a map.

    Args:
        kind: Name of the type in the service model, such as `integer`.
        raw: The decoded value.
        path: Path of the member, for the message.

    Returns:
        str, bool, int, a finite float, a datetime in UTC, or bytes.

    Raises:
        ApiError: SerializationException. The value has another type or is out of range.
    """
    if kind in _WHOLE:
        _expect(isinstance(raw, int) and not isinstance(raw, bool), path, "an integer", raw)
        if not -_WHOLE[kind] <= raw < _WHOLE[kind]:
            raise ApiError("SerializationException", f"{path} is out of the range of type {kind}")
        return raw
    if kind in ("float", "double"):
        _expect(
            raw in _NON_FINITE or (isinstance(raw, (int, float)) and not isinstance(raw, bool)), path, "a number", raw
        )
        return _finite(raw, path)
    if kind == "boolean":
        _expect(isinstance(raw, bool), path, "a boolean", raw)
        return raw
    if kind == "timestamp":
        return _timestamp(raw, path)
    if kind == "blob" and isinstance(raw, bytes):
        return raw
    text = _text(raw, path)
    if kind == "blob":
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ApiError("SerializationException", f"{path} is not valid base64") from error
    return text


_NON_FINITE = ("NaN", "Infinity", "-Infinity")  # as the JSON protocol of AWS writes them


def _finite(raw: Any, path: str) -> float:
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ApiError("ValidationException", f"The value of {path} must be a finite number of type double.")
    return value


def _text(raw: Any, path: str) -> str:
    _expect(isinstance(raw, str), path, "a string", raw)
    text: str = raw
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ApiError("SerializationException", f"{path} has an incomplete surrogate pair") from error
    return text


def _timestamp(raw: Any, path: str) -> datetime:
    try:
        if isinstance(raw, (int, float)) and not isinstance(raw, bool):
            return datetime.fromtimestamp(raw, UTC)
        moment = datetime.fromisoformat(_text(raw, path))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)  # raises OverflowError near the first and the last date
    except (ValueError, OverflowError, OSError) as error:
        raise ApiError("SerializationException", f"{path} is not a timestamp: {_shown(raw)}") from error


def _expect(fits: bool, path: str, wanted: str, raw: Any) -> None:
    if not fits:
        raise ApiError("SerializationException", f"{path or 'the request'} must be {wanted}, not {type(raw).__name__}")


def check_constraints(shape: Any, params: Mapping[str, Any]) -> None:
    """Raise ApiError if parameters violate constraints of the model. botocore does not check patterns and lengths.

    Raises:
        ApiError: ValidationException with the wording of AWS.
    """
    violations = _violations(shape, params, "") if shape is not None else iter(())
    shown = list(islice(violations, _SHOWN_VIOLATIONS))
    if shown:
        count = len(shown) + sum(1 for _ in violations)
        more = f"; and {count - len(shown)} more" if count > len(shown) else ""
        text = f"{count} validation error{'s' if count > 1 else ''} detected: {'; '.join(shown)}{more}"
        raise ApiError("ValidationException", text)


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    limits: Mapping[str, Any] = shape.metadata
    kind = shape.type_name
    if kind == "structure":
        for name in shape.required_members:
            if name not in value:
                yield _violation(None, _join(path, name), "Member must not be null")
        for name, item in value.items():
            yield from _violations(shape.members[name], item, _join(path, name))
    elif kind == "list":
        yield from _length(value, limits, path)
        for i, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{path}.{i}.member")
    elif kind == "map":
        yield from _length(value, limits, path)
        for key, item in value.items():
            yield from _violations(shape.key, key, path)
            yield from _violations(shape.value, item, f"{path}.{key}.member")
    elif kind == "string":
        yield from _length(value, limits, path)
        pattern = limits.get("pattern")
        compiled = _pattern(pattern) if pattern else None
        if compiled is not None and len(value) > max(limits.get("max", 0), _MAX_MATCHED):
            if "max" not in limits:
                yield _violation(value, path, f"Member must have length less than or equal to {_MAX_MATCHED}")
        elif compiled is not None and not compiled.fullmatch(value):
            yield _violation(value, path, f"Member must satisfy regular expression pattern: {pattern}")
        if shape.enum and value not in shape.enum:
            yield _violation(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    elif kind in ("integer", "long", "float", "double"):
        if "min" in limits and value < limits["min"]:
            yield _violation(value, path, f"Member must have value greater than or equal to {limits['min']}")
        if "max" in limits and value > limits["max"]:
            yield _violation(value, path, f"Member must have value less than or equal to {limits['max']}")


def _length(value: Any, limits: Mapping[str, Any], path: str) -> Iterator[str]:
    if "min" in limits and len(value) < limits["min"]:
        yield _violation(value, path, f"Member must have length greater than or equal to {limits['min']}")
    if "max" in limits and len(value) > limits["max"]:
        yield _violation(value, path, f"Member must have length less than or equal to {limits['max']}")


def _violation(value: Any, path: str, rule: str) -> str:
    shown = "null" if value is None else _shown(value)
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _shown(value: Any) -> str:
    """Format a value for a message. Truncate it, because it may be as large as the request."""
    if isinstance(value, (list, dict)) and len(value) > _SHOWN_CHARACTERS:
        return f"of {len(value)} members"
    text = str(value)
    return f"'{text}'" if len(text) <= _SHOWN_CHARACTERS else f"'{text[:_SHOWN_CHARACTERS]}…'"


def _join(path: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


@cache
def _pattern(pattern: str) -> re.Pattern[str] | None:
    """Convert a pattern from Java's syntax to Python's. Return None, which skips the check, if it does not compile."""
    inside = False

    def convert(found: re.Match[str]) -> str:
        nonlocal inside
        part = found[0]
        if part in _JAVA_CLASSES:
            return _JAVA_CLASSES[part] if inside else f"[{_JAVA_CLASSES[part]}]"
        inside = part == "[" or (inside and part != "]")
        return r"\Z" if part == r"\z" else part

    try:
        return re.compile(re.sub(r"\\p\{\w+\}|\\.|[\[\]]", convert, pattern))
    except re.error:
        return None
