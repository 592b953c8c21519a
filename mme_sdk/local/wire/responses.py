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
    """Return the JSON body of a response.

    Args:
        operation: botocore's operation model.
        result: The members of the response. Those that are None are omitted.

    Returns:
        The JSON bytes.

    Raises:
        TypeError: A member is not in the model or has the wrong type, which is an error in the host.
    """
    plain = check_response(operation, result)
    try:
        return json.dumps(plain, default=_encode, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_replace_non_finite(plain), default=_encode).encode()


def _replace_non_finite(value: Any) -> Any:
    """Replace infinite numbers and NaN by the strings that the JSON protocol of AWS uses."""
    if isinstance(value, dict):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_non_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def check_response(operation: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response without the members that are None, after checking it against the operation's model.

    Timestamps stay datetimes and blobs stay bytes.

    Raises:
        TypeError: A member is not in the model or has the wrong type, which is an error in the host.
    """
    shape = operation.output_shape
    plain: dict[str, Any] = _check_value(shape, result, operation.name) if shape is not None else {}
    return plain


def _encode(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else base64.b64encode(value).decode()


def _check_value(shape: Any, value: Any, path: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        unknown = set(value) - set(shape.members)
        if unknown:
            raise TypeError(f"{path} has no member {sorted(unknown)}")
        return {
            name: _check_value(shape.members[name], item, f"{path}.{name}")
            for name, item in value.items()
            if item is not None
        }
    if kind == "list":
        return [_check_value(shape.member, item, path) for item in value]
    if kind == "map":
        return {key: _check_value(shape.value, item, f"{path}.{key}") for key, item in value.items()}
    wanted: dict[str, tuple[type, ...]] = {
        "string": (str,), "boolean": (bool,), "integer": (int,), "long": (int,), "float": (float, int),
        "double": (float, int), "timestamp": (datetime,), "blob": (bytes,),
    }  # fmt: skip
    if not isinstance(value, wanted[kind]):
        raise TypeError(f"{path} must be a {kind}, not {value!r}")
    return float(value) if isinstance(value, int) and kind in ("float", "double") else value
