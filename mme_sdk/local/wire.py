"""AWS's wire protocols from the server's side, driven by botocore's own service models."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

__all__ = ["ApiError", "check_input", "checked", "json_answer", "plain_answer", "service_model"]

_JAVA_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\s",
    r"\p{Print}": " -~",
    r"\p{ASCII}": r"\x00-\x7f",
}


class ApiError(Exception):
    """What a client gets in AWS's shape.

    Args:
        code: The error code, such as `ValidationException`.
        message: The text.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@cache
def service_model(service: str) -> Any:
    """Botocore's model of a service, such as `sagemaker`."""
    from botocore.session import Session

    return Session().get_service_model(service)


def checked(operation: Any, raw: Any) -> dict[str, Any]:
    """The parameters of a request, as its operation's model wants them.

    Args:
        operation: botocore's operation model.
        raw: What was decoded from JSON or CBOR.

    Returns:
        The parameters; timestamps are datetimes, blobs bytes.

    Raises:
        ApiError: Of another type, unknown to the model, or against a constraint of the model.
    """
    shape = operation.input_shape
    params: dict[str, Any] = _from_json(shape, raw, "") if shape is not None else {}
    check_input(shape, params)
    return params


def _from_json(shape: Any, raw: Any, path: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        _expect(isinstance(raw, dict), path, "a structure", raw)
        unknown = [name for name in raw if name not in shape.members and raw[name] is not None]
        if unknown:
            where = ", ".join(f"{path}.{name}" if path else str(name) for name in unknown[:5])
            raise ApiError("ValidationException", f"The embedded SageMaker does not know {where} of {shape.name}.")
        return {
            name: _from_json(member, raw[name], f"{path}.{name}" if path else name)
            for name, member in shape.members.items()
            if raw.get(name) is not None
        }
    if kind == "list":
        _expect(isinstance(raw, list), path, "a list", raw)
        return [_from_json(shape.member, item, f"{path}.{i}.member") for i, item in enumerate(raw, 1)]
    if kind == "map":
        _expect(isinstance(raw, dict), path, "a map", raw)
        return {key: _from_json(shape.value, value, f"{path}.{key}") for key, value in raw.items()}
    if kind in ("integer", "long"):
        _expect(isinstance(raw, int) and not isinstance(raw, bool), path, "an integer", raw)
        return raw
    if kind in ("float", "double"):
        if raw in ("NaN", "Infinity", "-Infinity"):
            return float(raw)
        _expect(isinstance(raw, (int, float)) and not isinstance(raw, bool), path, "a number", raw)
        return float(raw)
    if kind == "boolean":
        _expect(isinstance(raw, bool), path, "a boolean", raw)
        return raw
    if kind == "timestamp":
        return _timestamp(raw, path)
    if kind == "blob" and isinstance(raw, bytes):
        return raw
    _expect(isinstance(raw, str), path, "a string", raw)
    if kind == "blob":
        try:
            return base64.b64decode(raw, validate=True)
        except ValueError as error:
            raise ApiError("SerializationException", f"{path} is no base64") from error
    return raw


def _timestamp(raw: Any, path: str) -> datetime:
    try:
        if isinstance(raw, (int, float)) and not isinstance(raw, bool):
            return datetime.fromtimestamp(raw, UTC)
        moment = datetime.fromisoformat(str(raw))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ApiError("SerializationException", f"{path} is no timestamp: {raw!r}") from error


def _expect(fits: bool, path: str, wanted: str, raw: Any) -> None:
    if not fits:
        raise ApiError("SerializationException", f"{path or 'the request'} must be {wanted}, not {type(raw).__name__}")


def check_input(shape: Any, params: Mapping[str, Any]) -> None:
    """Check parameters against every constraint of the model, as AWS does and botocore does not.

    Raises:
        ApiError: ValidationException in AWS's words.
    """
    found = list(_violations(shape, params, "")) if shape is not None else []
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
        raise ApiError("ValidationException", count + "; ".join(found))


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
        if compiled is not None and not compiled.fullmatch(value):
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
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _join(path: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


@cache
def _pattern(pattern: str) -> re.Pattern[str] | None:
    """AWS's patterns are Java's: classes that Python lacks are spelled out; what does not compile is not checked."""
    inside = False

    def spelled_out(found: re.Match[str]) -> str:
        nonlocal inside
        part = found[0]
        if part in _JAVA_CLASSES:
            return _JAVA_CLASSES[part] if inside else f"[{_JAVA_CLASSES[part]}]"
        inside = part == "[" or (inside and part != "]")
        return r"\Z" if part == r"\z" else part

    try:
        return re.compile(re.sub(r"\\p\{\w+\}|\\.|[\[\]]", spelled_out, pattern))
    except re.error:
        return None


def json_answer(operation: Any, result: Mapping[str, Any]) -> bytes:
    """The body of a JSON answer.

    Args:
        operation: botocore's operation model.
        result: The answer; None members are left out.

    Returns:
        JSON.

    Raises:
        TypeError: The result has a member that the model does not know, or of another type: a bug of the host.
    """
    return json.dumps(plain_answer(operation, result), default=_encode).encode()


def plain_answer(operation: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    """An answer that was held against its operation's model; timestamps stay datetimes, blobs bytes.

    Raises:
        TypeError: As `json_answer`.
    """
    shape = operation.output_shape
    plain: dict[str, Any] = _to_plain(shape, result, operation.name) if shape is not None else {}
    return plain


def _encode(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else base64.b64encode(value).decode()


def _to_plain(shape: Any, value: Any, path: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        unknown = set(value) - set(shape.members)
        if unknown:
            raise TypeError(f"{path} has no member {sorted(unknown)}")
        return {
            name: _to_plain(shape.members[name], item, f"{path}.{name}")
            for name, item in value.items()
            if item is not None
        }
    if kind == "list":
        return [_to_plain(shape.member, item, path) for item in value]
    if kind == "map":
        return {key: _to_plain(shape.value, item, f"{path}.{key}") for key, item in value.items()}
    wanted: dict[str, tuple[type, ...]] = {
        "string": (str,), "boolean": (bool,), "integer": (int,), "long": (int,), "float": (float, int),
        "double": (float, int), "timestamp": (datetime,), "blob": (bytes,),
    }  # fmt: skip
    if not isinstance(value, wanted[kind]):
        raise TypeError(f"{path} must be a {kind}, not {value!r}")
    return float(value) if isinstance(value, int) and kind in ("float", "double") else value
