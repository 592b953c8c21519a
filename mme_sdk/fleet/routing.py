"""The rules that select the instance for a request.

AWS documents that requests go to an instance that has the model, and that a model with many requests gets copies on
more instances. The exact rules are undocumented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet.instance import Copy, Instance, State
from mme_sdk.protocols import Rng

__all__ = ["RandomRouting", "Routing", "RoutingName", "Scatter", "Sticky", "routing_named"]

RoutingName = Literal["sticky", "sticky_to_memory", "scatter", "random"]
"""Names of the rules in settings."""


class Routing(Protocol):
    """A rule that selects the instance for a request."""

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        """Return the instance for a request.

        Args:
            copies: The copies of the request's model, by name of the instance, oldest first.
            instances: The instances that accept requests; at least one.
            spill: Number of outstanding requests for a model on one instance from which another instance is selected.
            rng: Source of randomness, to choose between equally good instances.

        Returns:
            One of `instances`.
        """
        ...


def _draw(tied: Sequence[Instance], rng: Rng) -> Instance:
    return tied[0] if len(tied) == 1 else tied[int(rng.random() * len(tied))]


class Sticky:
    """Select an instance that has the model in memory, else one that is loading it, else one that has its files.

    A copy with `spill` or more outstanding requests is skipped while there is an instance without a copy. Among copies
    in the same state, the one with the fewest outstanding requests is selected; of equal ones, the oldest. Without a
    usable copy, the instance with the fewest outstanding requests is selected, then the one with the least memory in
    use, then a random one.

    Args:
        files: Whether a model that is in no memory returns to an instance that has its files. AWS does not document it.
            False places it as if no instance had them, so that it can move to an instance with free memory. Default
            True.
    """

    def __init__(self, *, files: bool = True) -> None:
        self._highest_rank = 2 if files else 1

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        """Return the instance for a request; see `Routing.choose`.

        Args:
            copies: The copies of the request's model, by name of the instance.
            instances: The instances that accept requests.
            spill: Number of outstanding requests from which another instance is selected.
            rng: Source of randomness.

        Returns:
            One of `instances`.
        """
        best: Copy | None = None
        best_key = (9, 0)
        held = 0
        for copy in copies.values():
            instance = copy.instance
            rank = copy.rank
            if instance.draining or rank > self._highest_rank:
                continue
            held += 1
            key = (rank, copy.outstanding)
            if copy.outstanding < spill and key < best_key:
                best, best_key = copy, key
        if best is not None:
            return best.instance
        usable = {
            name: copy
            for name, copy in copies.items()
            if not copy.instance.draining and copy.rank <= self._highest_rank
        }
        if held < len(instances):
            return self._place([each for each in instances if each.id not in usable], rng)
        # Every instance has a copy, and every copy has `spill` or more outstanding requests.
        return min(usable.values(), key=lambda copy: (copy.state is not State.LOADED, copy.outstanding)).instance

    @staticmethod
    def _place(free: Sequence[Instance], rng: Rng) -> Instance:
        least = min((each.outstanding, each.memory_used) for each in free)
        return _draw([each for each in free if (each.outstanding, each.memory_used) == least], rng)


class Scatter:
    """Select a copy in memory with fewer than `spill` outstanding requests, else a random instance.

    This is the pessimistic assumption about the undocumented rules: while a model loads, its requests and their retries
    go to random instances, and each may start another load.
    """

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        """Return the instance for a request; see `Routing.choose`.

        Args:
            copies: The copies of the request's model, by name of the instance.
            instances: The instances that accept requests.
            spill: Number of outstanding requests from which another instance is selected.
            rng: Source of randomness.

        Returns:
            One of `instances`.
        """
        best: Copy | None = None
        for copy in copies.values():
            if copy.state is State.LOADED and not copy.instance.draining:
                outstanding = copy.outstanding
                if outstanding < spill and (best is None or outstanding < best.outstanding):
                    best = copy
        return _draw(instances, rng) if best is None else best.instance


class RandomRouting:
    """Select a random instance: the worst case, in which every instance gets requests for all models."""

    def choose(self, _copies: Mapping[str, Copy], instances: Sequence[Instance], _spill: int, rng: Rng, /) -> Instance:
        """Return the instance for a request; see `Routing.choose`.

        Args:
            _copies: Not used.
            instances: The instances that accept requests.
            _spill: Not used.
            rng: Source of randomness.

        Returns:
            One of `instances`.
        """
        return _draw(instances, rng)


def routing_named(name: RoutingName) -> Routing:
    """Return a rule by its name in settings.

    Args:
        name: `sticky`: `Sticky()`. `sticky_to_memory`: `Sticky(files=False)`. `scatter`: `Scatter()`. `random`:
            `RandomRouting()`.

    Raises:
        InvalidInputError: No rule has this name.
    """
    if name not in get_args(RoutingName):
        raise InvalidInputError(
            f"routing must be one of {', '.join(map(repr, get_args(RoutingName)))}, not {name!r:.40}"
        )
    if name.startswith("sticky"):
        return Sticky(files=name == "sticky")
    return Scatter() if name == "scatter" else RandomRouting()
