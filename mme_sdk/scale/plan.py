"""Which worker scores the rows of which model, so that each model is loaded about once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError

__all__ = ["ScoringPlan", "make_plan"]

_HOT = 1.05  # times an even bucket; a model with more rows is split


@short_tracebacks
@attrs.frozen
class ScoringPlan:
    """The buckets of a job: each has the rows of some models, and about as many rows as the others.

    Attributes:
        shares: For each model its shares: pairs of a bucket and a number of rows. A model with more rows than a bucket
            has several.
        buckets: Number of buckets.

    Example:
        >>> plan = make_plan({"a": 60, "b": 30, "c": 30}, 2)
        >>> plan.rows
        (60, 60)
        >>> plan.assign(["a", "b", "c", "a"])
        [0, 1, 1, 0]
    """

    shares: Mapping[str, tuple[tuple[int, int], ...]]
    buckets: int

    @property
    def rows(self) -> tuple[int, ...]:
        """Number of rows of each bucket."""
        totals = [0] * self.buckets
        for shares in self.shares.values():
            for bucket, rows in shares:
                totals[bucket] += rows
        return tuple(totals)

    def models(self, bucket: int) -> list[str]:
        """Return the models of a bucket.

        Args:
            bucket: Number of the bucket, from 0.

        Returns:
            The models.
        """
        return [model for model, shares in self.shares.items() if any(one == bucket for one, _ in shares)]

    def assign(self, models: Iterable[str]) -> list[int]:
        """Return the bucket of each row.

        The rows of a model with several shares are dealt out in the proportion of the shares. So each part of a table
        can be assigned on its own.

        Args:
            models: The model of each row.

        Returns:
            The bucket of each row, from 0. A model that the plan does not have is in the bucket with the fewest rows.
        """
        rows = self.rows
        emptiest = rows.index(min(rows))
        seen: dict[str, list[int]] = {}
        assigned = []
        for model in models:
            shares = self.shares.get(model, ((emptiest, 1),))
            if len(shares) == 1:
                assigned.append(shares[0][0])
                continue
            taken = seen.setdefault(model, [0] * len(shares))
            place = min(range(len(shares)), key=lambda one: (taken[one] + 1) / shares[one][1])
            taken[place] += 1
            assigned.append(shares[place][0])
        return assigned


def make_plan(counts: Mapping[str, int], buckets: int) -> ScoringPlan:
    """Return a plan: models in the order of their rows, largest first, each into the bucket with the fewest rows.

    Args:
        counts: Number of rows of each model.
        buckets: Number of buckets.

    Raises:
        InvalidInputError: An argument is not valid.
    """
    check_number("buckets", buckets, at_least=1, integer=True)
    if not isinstance(counts, Mapping):
        raise InvalidInputError(f"counts must be a mapping of models to numbers of rows, not {counts!r:.80}")
    for model, rows in counts.items():
        check_number(f"counts[{model!r}]", rows, at_least=0, integer=True)
    even = sum(counts.values()) / buckets
    pieces: list[tuple[int, str]] = []
    for model, rows in counts.items():
        parts = 1 if rows <= even * _HOT else min(buckets, rows, -int(-rows // even))
        pieces += [(rows * (part + 1) // parts - rows * part // parts, model) for part in range(parts)]
    pieces.sort(key=lambda piece: -piece[0])
    heap = [(0, bucket) for bucket in range(buckets)]
    shares: dict[str, dict[int, int]] = {model: {} for model in counts}
    for rows, model in pieces:
        total, bucket = heapq.heappop(heap)
        shares[model][bucket] = shares[model].get(bucket, 0) + rows
        heapq.heappush(heap, (total + rows, bucket))
    return ScoringPlan({model: tuple(sorted(given.items())) for model, given in shares.items()}, buckets)
