"""Check responses against botocore's service models and serialize them as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["check_response", "serialize_json"]


def serialize_json(operation: Any, result: Mapping[str, Any]) -> bytes:
    """The body of a JSON answer.

    Args:
        operation: botocore's operation model.
        result: The answer; None members are left out.

    Returns:
        JSON.

    Raises:
        TypeError: The result has a member that the model does not know, or of another type: a bug of the host.
    """
    plain = check_response(operation, result)
    try:
        return json.dumps(plain, default=_encode, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_spelled(plain), default=_encode).encode()


def _spelled(value: Any) -> Any:
    """The same with the numbers that JSON does not have as AWS writes them."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def check_response(operation: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    """An answer that was held against its operation's model; timestamps stay datetimes, blobs bytes.

    Raises:
        TypeError: As `serialize_json`.
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
