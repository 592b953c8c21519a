"""Checks requests against botocore's service models, more strictly than botocore does; runs on botocore alone.

    python wire_check.py FILE      # a JSON list of [service, operation, parameters]

botocore checks types, required and unknown members, and minima. The bounds and patterns that its models carry are
checked here too: SageMaker enforces them.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import botocore.validate
from botocore import xform_name


@cache
def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


@cache
def shape(service: str, operation: str) -> Any:
    name = next(one for one in model(service).operation_names if xform_name(one) == operation)
    return model(service).operation_model(name).input_shape


def problems(service: str, operation: str, params: dict[str, Any]) -> list[str]:
    """Everything that the service would refuse."""
    report = botocore.validate.ParamValidator().validate(params, shape(service, operation))
    found = [report.generate_report()] if report.has_errors() else []
    _bounds(params, shape(service, operation), operation, found)
    return found


def _bounds(value: Any, shape: Any, where: str, found: list[str]) -> None:
    kind, rules = shape.type_name, shape.metadata
    if kind == "structure":
        for key, item in value.items():
            if key in shape.members:
                _bounds(item, shape.members[key], f"{where}.{key}", found)
    elif kind == "list":
        _size(len(value), rules, where, found)
        for item in value:
            _bounds(item, shape.member, f"{where}[]", found)
    elif kind == "map":
        _size(len(value), rules, where, found)
        for key, item in value.items():
            _bounds(key, shape.key, f"{where}.key", found)
            _bounds(item, shape.value, f"{where}.{key}", found)
    elif kind == "string":
        _size(len(value), rules, where, found)
        pattern = _python(rules.get("pattern"))
        if pattern and not pattern.fullmatch(value):
            found.append(f"{where}: {value!r} does not match {rules['pattern']}")
        if "enum" in rules and value not in rules["enum"]:
            found.append(f"{where}: {value!r} is not in the enumeration")
    elif kind in ("integer", "float", "long", "double"):
        _size(value, rules, where, found)


def _size(size: float, rules: dict[str, Any], where: str, found: list[str]) -> None:
    if size < rules.get("min", size) or size > rules.get("max", size):
        found.append(f"{where}: {size} is not from {rules.get('min')} to {rules.get('max')}")


@cache
def _python(pattern: str | None) -> re.Pattern[str] | None:
    """A pattern of the service model for Python; None where it has one of Java's classes that Python lacks."""
    if pattern is None or "[^/])/?" in pattern or r"\uD800" in pattern:
        return None  # S3 destinations: the model's pattern allows one character as bucket, which no bucket has
    for java, python in ((r"\p{L}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{N}", r"\d"), (r"\p{Print}", r"[ -~]")):
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def main() -> None:
    requests = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = [
        f"{operation}: {one}" for service, operation, params in requests for one in problems(service, operation, params)
    ]
    print(json.dumps({"botocore": botocore.__version__, "requests": len(requests), "problems": found[:20]}))


if __name__ == "__main__":
    main()
