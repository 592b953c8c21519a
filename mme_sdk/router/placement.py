"""Which cell a model has: weighted rendezvous hashing, and the exceptions of the route table. No I/O.

Each cell has a score for each model, from a hash of both names and the weight of the cell; the model has the cell with
the highest score. So every client finds the same cell without asking anybody, and if a cell is removed, only its models
move, to all other cells by their weights (Thaler and Ravishankar, 1998).
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections.abc import Mapping

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["Placed", "Placement", "score"]

_BITS = 52  # with half a unit more, the share is exact in a float and lies between 0 and 1


def score(cell: str, key: str, weight: float) -> float:
    """Return the score of a cell for a model. It is the same in every process and version of Python.

    Args:
        cell: Name of the cell.
        key: Name of the model.
        weight: Weight of the cell, over 0.
    """
    digest = hashlib.sha256(f"{cell}\n{key}".encode(errors="surrogatepass")).digest()
    share = ((int.from_bytes(digest[:8], "big") >> (64 - _BITS)) + 0.5) / 2**_BITS
    return -weight / math.log(share)


@attrs.frozen
class Placed:
    """The cells of a model, by name.

    Attributes:
        homes: The cells that hold the model. Calls are divided among them.
        others: The cells that are called if these fail, best first.
    """

    homes: tuple[str, ...]
    others: tuple[str, ...]


@attrs.frozen
class Placement:
    """The cells that serve, and which models they have.

    Attributes:
        weights: Weight of each cell that serves and shares models, by name.
        dedicated: Cell of each model that has a serving cell to itself.
        exceptions: Cells of models that are not where their scores put them.
    """

    weights: Mapping[str, float]
    dedicated: Mapping[str, str] = attrs.field(factory=dict)
    exceptions: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def ranked(self, key: str) -> list[str]:
        """Return the cells that share models, by their score for a model, best first."""
        scores = {cell: score(cell, key, weight) for cell, weight in self.weights.items()}
        return sorted(scores, key=lambda cell: (-scores[cell], cell))

    def of(self, key: str) -> Placed:
        """Return the cells of a model.

        Args:
            key: Name of the model.

        Raises:
            InvalidInputError: No cell serves the model.
        """
        ranked = self.ranked(key)
        homes: tuple[str, ...] = tuple(one for one in self.exceptions.get(key, ()) if one in self.weights)
        if key in self.dedicated:
            homes = (self.dedicated[key],)
        elif not homes:
            homes = tuple(ranked[:1])
        if not homes:
            calls = repr(key) if key else "calls without a model"
            raise InvalidInputError(
                f"no cell serves {calls}: every cell has other models to itself, or was evacuated",
                hint="add a cell without `models`, or admit() a cell",
                model=key,
            )
        return Placed(homes, tuple(one for one in ranked if one not in homes))

    def drawn(self, draw: float) -> Placed:
        """Return the cells of a call without a model: one by the weights, then the others by their names.

        Args:
            draw: A random number from 0 to 1.

        Raises:
            InvalidInputError: No cell serves calls without a model.
        """
        if not self.weights:
            return self.of("")
        names, ends = [*self.weights], [*itertools.accumulate(self.weights.values())]
        found = names[min(bisect.bisect_right(ends, draw * ends[-1]), len(names) - 1)]
        return Placed((found,), tuple(sorted(one for one in self.weights if one != found)))
