"""In which order unused models leave. AWS does not document it; least recently used is the default."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

__all__ = ["EvictionOrder", "Fifo", "Lru"]


class EvictionOrder(Protocol):
    """The models of one instance at one level (memory or volume), in the order in which they would leave."""

    def add(self, model: str, /) -> None:
        """The model came to this level."""
        ...

    def touch(self, model: str, /) -> None:
        """The model, which is at this level, was asked for."""
        ...

    def drop(self, model: str, /) -> None:
        """The model left this level."""
        ...

    def __iter__(self) -> Iterator[str]:
        """The models, first to leave first."""
        ...


class Lru:
    """Least recently used first; every operation takes constant time."""

    def __init__(self) -> None:
        self._order: OrderedDict[str, None] = OrderedDict()
        self.touch = self._order.move_to_end

    def add(self, model: str, /) -> None:
        """The model came to this level."""
        self._order[model] = None

    def drop(self, model: str, /) -> None:
        """The model left this level."""
        del self._order[model]

    def __iter__(self) -> Iterator[str]:
        """The models, least recently used first."""
        return iter(self._order)


class Fifo:
    """First loaded, first to leave, however much it is used."""

    def __init__(self) -> None:
        self._order: dict[str, None] = {}

    def add(self, model: str, /) -> None:
        """The model came to this level."""
        self._order[model] = None

    def touch(self, model: str, /) -> None:
        """Being asked for changes nothing."""

    def drop(self, model: str, /) -> None:
        """The model left this level."""
        del self._order[model]

    def __iter__(self) -> Iterator[str]:
        """The models, first loaded first."""
        return iter(self._order)
