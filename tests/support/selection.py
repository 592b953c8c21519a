"""Which combinations of parameters the ordinary run tries; the slow suite tries all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["pairs"]


def pairs(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    """All pairs of values; every value is in an ordinary one, and the other pairs are marked slow."""
    one, two = list(first), list(second)
    ordinary = {(number % len(one), number % len(two)) for number in range(max(len(one), len(two)))}
    return [
        pytest.param(a, b, marks=() if (i, j) in ordinary else pytest.mark.slow, id=f"{a}-{b}")
        for i, a in enumerate(one)
        for j, b in enumerate(two)
    ]
