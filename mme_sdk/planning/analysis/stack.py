"""Miss ratios at every capacity at once, from a trace: exact, and by average eviction time."""

from __future__ import annotations

import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["aet_miss_ratio", "miss_ratio_at", "stack_distances"]


def stack_distances(index: Ints, sizes: Floats | None = None) -> Floats:
    """Bytes of the distinct models asked for since each request's model was last asked for, itself included.

    An LRU cache of capacity C hits exactly those requests whose distance is at most C (Mattson et al., IBM Systems
    Journal 9(2), 1970). A Fenwick tree over the time of last use holds the sizes: n log n.

    Args:
        index: Model of each request, in order.
        sizes: Size of each model; 1 where None.

    Returns:
        A distance for each request; infinite for first requests.

    Example:
        >>> stack_distances(np.array([0, 1, 0, 0, 1])).tolist()
        [inf, inf, 2.0, 1.0, 2.0]
    """
    index = np.asarray(index, dtype=np.int64)
    if not len(index):
        return np.empty(0)
    weights = np.ones(int(index.max()) + 1) if sizes is None else np.asarray(sizes, dtype=float)
    try:
        from mme_sdk.planning.analysis.stack_numba import distances
    except ImportError:
        return _distances(index.tolist(), weights.tolist())
    return np.asarray(distances(index, weights))


def _distances(index: list[int], sizes: list[float]) -> Floats:
    count = len(index)
    tree = [0.0] * (count + 1)
    last = [-1] * len(sizes)
    found = [float("inf")] * count
    total = 0.0
    for now, model in enumerate(index):
        size, before = sizes[model], last[model]
        if before >= 0:
            older = 0.0  # used before this model's last use, it included
            at = before + 1
            while at:
                older += tree[at]
                at &= at - 1
            found[now] = total - older + size
            at = before + 1
            while at <= count:
                tree[at] -= size
                at += at & -at
        else:
            total += size
        at = now + 1
        while at <= count:
            tree[at] += size
            at += at & -at
        last[model] = now
    return np.asarray(found)


def miss_ratio_at(distances: Floats, capacities: Floats) -> Floats:
    """Share of the requests that miss, for each capacity.

    Args:
        distances: As `stack_distances` returns them.
        capacities: In the unit of the sizes.
    """
    if not len(distances):
        raise InvalidInputError("there are no requests")
    reached = np.searchsorted(np.sort(distances), np.asarray(capacities, dtype=float), side="right")
    return np.asarray(1.0 - reached / len(distances))


def aet_miss_ratio(index: Ints, capacities: Floats) -> Floats:
    """Miss ratio of equal-sized models at each capacity, from the reuse times alone (AET; Hu et al., USENIX ATC 2016).

    With P(t) the share of requests whose model was last asked for more than t requests ago, the average eviction time A
    of a cache of c models solves ∫₀ᴬ P = c, and the miss ratio is P(A).

    Args:
        index: Model of each request, in order.
        capacities: Models that fit.

    Returns:
        A share for each capacity.
    """
    index = np.asarray(index, dtype=np.int64)
    count = len(index)
    if not count:
        raise InvalidInputError("there are no requests")
    order = np.argsort(index, kind="stable")
    same = np.diff(index[order]) == 0
    reuse = np.diff(order)[same]
    histogram = np.bincount(reuse, minlength=count + 1)[: count + 1]
    longer = (count - np.cumsum(histogram)) / count  # P(t), first requests count as never reused
    filled = np.concatenate([[0.0], np.cumsum(longer)])
    age = np.interp(np.asarray(capacities, dtype=float), filled[:-1], np.arange(count + 1), right=count)
    return np.asarray(np.interp(age, np.arange(count + 1), longer))
