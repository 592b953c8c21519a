"""The order in which unused models are evicted. AWS does not document it; the default is least recently used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

__all__ = ["EvictionOrder", "Fifo", "Lru"]


class EvictionOrder(Protocol):
    """The eviction order of the models in one instance's memory, or on its volume."""

    def add(self, model: str, /) -> None:
        """Add a model that is new in this memory or on this volume.

        Args:
            model: Name of the model.
        """
        ...

    def touch(self, model: str, /) -> None:
        """Record that a model was requested.

        Args:
            model: Name of the model.
        """
        ...

    def drop(self, model: str, /) -> None:
        """Remove a model.

        Args:
            model: Name of the model.
        """
        ...

    def __iter__(self) -> Iterator[str]:
        """Yield the models; the next one to evict comes first."""
        ...


class Lru:
    """Evict the least recently used model first; every operation takes constant time."""

    def __init__(self) -> None:
        self._order: OrderedDict[str, None] = OrderedDict()
        self.touch = self._order.move_to_end

    def add(self, model: str, /) -> None:
        """Add a model; see `EvictionOrder.add`.

        Args:
            model: Name of the model.
        """
        self._order[model] = None

    def drop(self, model: str, /) -> None:
        """Remove a model; see `EvictionOrder.drop`.

        Args:
            model: Name of the model.
        """
        del self._order[model]

    def __iter__(self) -> Iterator[str]:
        """Yield the models, least recently used first."""
        return iter(self._order)


class Fifo:
    """Evict the model first that was loaded first, regardless of its use."""

    def __init__(self) -> None:
        self._order: dict[str, None] = {}

    def add(self, model: str, /) -> None:
        """Add a model; see `EvictionOrder.add`.

        Args:
            model: Name of the model.
        """
        self._order[model] = None

    def touch(self, model: str, /) -> None:
        """Do nothing: a request does not change the order.

        Args:
            model: Name of the model.
        """

    def drop(self, model: str, /) -> None:
        """Remove a model; see `EvictionOrder.drop`.

        Args:
            model: Name of the model.
        """
        del self._order[model]

    def __iter__(self) -> Iterator[str]:
        """Yield the models, first loaded first."""
        return iter(self._order)
