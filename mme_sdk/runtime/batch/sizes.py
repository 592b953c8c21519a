"""How many bytes the items of a batch take in memory: an estimate that costs little for each item."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

__all__ = ["ItemSizes", "size_of"]

_MEASURED = 16  # members of a container that are measured; the others are taken to be like them
_DEPTH = 4
_FIRST, _EVERY = 32, 64  # items that are measured: the first ones, then one of so many


class ItemSizes:
    """Estimates the sizes of items: measures some, and takes the others to be like the mean of the latest."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = 0.0

    def of(self, item: Any) -> int:
        """Return the estimated bytes of the next item.

        Args:
            item: The item.
        """
        self._count += 1
        size = getattr(item, "nbytes", None) if not isinstance(item, (bytes, bytearray, str)) else len(item)
        if isinstance(size, int):
            return size + 100
        if self._count <= _FIRST or self._count % _EVERY == 0:
            size = size_of(item)
            self._mean += (size - self._mean) / min(self._count, _FIRST)
            return size
        return int(self._mean)


def size_of(value: Any, depth: int = _DEPTH) -> int:
    """Return the estimated bytes of a value with what it contains.

    Args:
        value: The value.
        depth: How deep nested containers are measured.
    """
    try:
        own = sys.getsizeof(value)  # of numpy and pandas, it includes the data
    except Exception:  # noqa: BLE001 - a class of the caller
        own = 100
    if depth == 0 or isinstance(value, (str, bytes, bytearray, int, float)):
        return own
    if isinstance(value, dict):
        members: Any = (part for pair in islice(value.items(), _MEASURED) for part in pair)
    elif isinstance(value, (list, tuple, set, frozenset)):
        members = islice(value, _MEASURED)
    elif hasattr(value, "__dict__"):
        return own + size_of(vars(value), depth - 1)
    else:
        return own
    count = len(value)
    inner = sum(size_of(member, depth - 1) for member in members)
    return own + (inner if count <= _MEASURED else inner * count // _MEASURED)
