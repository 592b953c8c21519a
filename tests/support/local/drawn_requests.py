"""Draw requests from the shapes of a service model: valid ones, ones at the limits, and ones beyond them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

__all__ = ["draw_request"]

_DEEPEST = 6
_PLAIN = "abcXYZ019"
_CHARACTERS = _PLAIN + "-_./:* \t\n\"'<&{[%$é本\U0001f600\x00\x7f"
_LIMITS = {"integer": 1 << 31, "long": 1 << 63}
_DOUBLES = (0.0, -1.0, 1.0, 5.5, 50.0, 1e-320, 2.0**360, 2.0**361, math.nan, math.inf, -math.inf)
_HOURS = (-500_000, -10_000, -24, -1, 0, 1, 24, 400, 500_000)


def draw_request(random: Random, shape: Any, known: dict[str, list[str]]) -> dict[str, Any]:
    """Return parameters of an operation.

    Args:
        random: Decides.
        shape: botocore's shape of the request, or None.
        known: Names of resources that exist, by a part of the members' names.
    """
    return {} if shape is None else _structure(random, shape, known, 0)


def _structure(random: Random, shape: Any, known: dict[str, list[str]], depth: int) -> dict[str, Any]:
    wanted = random.choice((0.1, 0.3, 0.6)) if depth < _DEEPEST else 0.0
    return {
        name: _value(random, member, name, known, depth + 1)
        for name, member in shape.members.items()
        if random.random() < (0.98 if name in shape.required_members else wanted)
    }


def _value(random: Random, shape: Any, name: str, known: dict[str, list[str]], depth: int) -> Any:
    limits = shape.metadata
    match shape.type_name:
        case "structure":
            return _structure(random, shape, known, depth)
        case "list":
            size = random.choice((min(limits.get("min", 1), 4), 0, 1, 2, 3))
            return [_value(random, shape.member, name, known, depth + 1) for _ in range(size)]
        case "map":
            keys = [_string(random, shape.key, "", known) for _ in range(random.randrange(3))]
            return {key: _value(random, shape.value, "", known, depth + 1) for key in keys}
        case "integer" | "long" as kind:
            low, high = limits.get("min", -2), limits.get("max", _LIMITS[kind] - 1)
            edges = (low - 1, low, low + 1, 60, 1024, high, min(high + 1, _LIMITS[kind] - 1))
            return random.choice((*edges, random.randint(low, min(high, low + 100))))
        case "float" | "double":
            return random.choice((*_DOUBLES, random.uniform(0, 100)))
        case "boolean":
            return random.random() < 0.5
        case "timestamp":
            hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            return hour + timedelta(hours=random.choice(_HOURS))
        case "blob":
            return random.randbytes(random.randrange(20))
    return _string(random, shape, name, known)


def _string(random: Random, shape: Any, name: str, known: dict[str, list[str]]) -> str:
    limits = shape.metadata
    if shape.enum and random.random() < 0.95:
        return random.choice(shape.enum)
    names = [value for part, values in known.items() if part.lower() in name.lower() for value in values]
    if names and random.random() < 0.8:
        return random.choice(names)
    low, high = limits.get("min", 0), limits.get("max", 30)
    if high < 3000 and random.random() < 0.05:
        return "x" * (high + 1)
    in_header = shape.serialization.get("location") in ("header", "uri")
    alphabet = _PLAIN if in_header or random.random() < 0.5 else _CHARACTERS
    return "".join(random.choices(alphabet, k=max(low, random.randrange(in_header, 12))))
