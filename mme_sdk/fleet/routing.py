"""Which instance a request goes to.

AWS documents that requests stick to an instance that holds the model and that a hot model gets further copies; how is
undocumented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mme_sdk.fleet.instance import Copy, Instance, State
from mme_sdk.protocols import Rng

__all__ = ["RandomRouting", "Routing", "Scatter", "Sticky"]


class Routing(Protocol):
    """Chooses an instance for a request."""

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        """The instance for a request of one model.

        Args:
            copies: What there is of the model, by instance id, oldest first; never empty entries.
            instances: The instances that take requests; at least one.
            spill: Outstanding requests of a model on an instance from which on another is tried.
            rng: Breaks ties.
        """
        ...


def _draw(tied: Sequence[Instance], rng: Rng) -> Instance:
    return tied[0] if len(tied) == 1 else tied[int(rng.random() * len(tied))]


class Sticky:
    """To a copy in memory, else to one that is coming, else to files on a volume, else to the least busy instance.

    Copies with `spill` or more outstanding requests are passed over as long as there is an instance without a copy.
    Among copies of a kind the one with the fewest outstanding requests of the model is taken, the oldest in a tie;
    among instances without a copy the one with the fewest outstanding requests, then the least memory in use, then
    by lot.
    """

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        """The instance for a request of one model."""
        best: Copy | None = None
        best_key = (9, 0)
        held = 0
        for copy in copies.values():
            instance = copy.instance
            if instance.draining:
                continue
            held += 1
            key = (copy.rank, copy.outstanding)
            if copy.outstanding < spill and key < best_key:
                best, best_key = copy, key
        if best is not None:
            return best.instance
        if held < len(instances):
            return self._place([each for each in instances if each.id not in copies], rng)
        # Everyone has it and everyone is busy with it.
        usable = [copy for copy in copies.values() if not copy.instance.draining]
        return min(usable, key=lambda copy: (copy.state is not State.LOADED, copy.outstanding)).instance

    @staticmethod
    def _place(free: Sequence[Instance], rng: Rng) -> Instance:
        least = min((each.outstanding, each.memory_used) for each in free)
        return _draw([each for each in free if (each.outstanding, each.memory_used) == least], rng)


class Scatter:
    """To a copy in memory that has fewer than `spill` outstanding requests, else to any instance.

    The pessimistic reading of what is undocumented: while a model is being loaded, its requests and their retries go
    anywhere, and each may start another load.
    """

    def choose(self, copies: Mapping[str, Copy], instances: Sequence[Instance], spill: int, rng: Rng, /) -> Instance:
        """The instance for a request of one model."""
        best: Copy | None = None
        for copy in copies.values():
            if copy.state is State.LOADED and not copy.instance.draining:
                outstanding = copy.outstanding
                if outstanding < spill and (best is None or outstanding < best.outstanding):
                    best = copy
        return _draw(instances, rng) if best is None else best.instance


class RandomRouting:
    """Any instance, whatever it holds: the worst case, in which every instance's cache sees all models."""

    def choose(self, _copies: Mapping[str, Copy], instances: Sequence[Instance], _spill: int, rng: Rng, /) -> Instance:
        """The instance for a request of one model."""
        return _draw(instances, rng)
