"""An alias and its history: which version a call gets, and where a rollback goes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import datetime

import attrs

from mme_sdk.display.shown import Shown
from mme_sdk.errors import ConflictError

__all__ = ["Alias", "AliasChange", "choose_version", "describe_weights", "previous_weights", "rollback_target"]


@attrs.frozen(kw_only=True)
class AliasChange:
    """One change in the history of an alias.

    Attributes:
        weights: Weight of each version. Weights need not add up to 1.
        at: Time of the change.
        back: Number of changes that a rollback went back. Default: 0, the change was not a rollback.
    """

    weights: Mapping[str, float] = attrs.field(hash=False)
    at: datetime
    back: int = 0


@attrs.frozen(kw_only=True, repr=False)
class Alias(Shown):
    """An alias of a model.

    Attributes:
        name: Name of the model.
        alias: The alias, such as `live`.
        history: The changes, oldest first. The last one is in effect.
    """

    name: str
    alias: str
    history: tuple[AliasChange, ...]

    @property
    def weights(self) -> Mapping[str, float]:
        """Current weight of each version."""
        return self.history[-1].weights

    def _facts(self) -> dict[str, object]:
        return {"name": self.name, "alias": self.alias, "weights": self.weights, "since": self.history[-1].at}

    @property
    def reference(self) -> str:
        """`name@alias`."""
        return f"{self.name}@{self.alias}"


def choose_version(alias: Alias, key: str | None, random: Callable[[], float]) -> str:
    """Choose the version for one invocation.

    A key is assigned by weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): it keeps its version until
    the weights change, and a change of the weights moves as few keys as possible.

    Args:
        alias: The alias.
        key: Key for a sticky choice; None for a random one.
        random: Returns a uniform random number from [0, 1).

    Returns:
        The version.
    """
    weights = alias.weights
    if len(weights) == 1:
        return next(iter(weights))
    if key is not None:
        return min(weights, key=lambda version: -math.log(_uniform(alias, version, key)) / weights[version])
    left = random() * sum(weights.values())
    for version, weight in weights.items():
        left -= weight
        if left < 0:
            return version
    return next(reversed(list(weights)))


def _uniform(alias: Alias, version: str, key: str) -> float:
    digest = hashlib.blake2b(f"{alias.name}@{version}:{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 1)


def rollback_target(alias: Alias) -> tuple[int, Mapping[str, float]]:
    """Return how many changes a rollback goes back, counted from the next change, and the weights there.

    A second rollback goes back one more change. It does not undo the first one.
    """
    history = alias.history
    position = len(history) - 1 - history[-1].back
    while position > 0:
        position -= 1
        if history[position].weights != alias.weights:
            position -= history[position].back
            return len(history) - position, history[position].weights
    raise ConflictError(
        f"the alias {alias.reference} has no version before {describe_weights(alias.weights)}",
        model=alias.reference,
        hint="point it at a version with alias()",
    )


def previous_weights(alias: Alias) -> Mapping[str, float]:
    """Return the weights after a rollback; empty if a rollback is not possible."""
    try:
        return rollback_target(alias)[1]
    except ConflictError:
        return {}


def describe_weights(weights: Mapping[str, float] | None) -> str:
    """Return weights as words of a message."""
    return "nothing" if weights is None else next(iter(weights)) if len(weights) == 1 else str(dict(weights))
