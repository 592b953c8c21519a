"""Miss ratios of a trace for all cache sizes: exact, and by the average eviction time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["aet_miss_ratio", "miss_ratio_at", "stack_distances"]


def stack_distances(index: Ints, sizes: Floats | None = None) -> Floats:
    """Return the total size of the distinct models requested since the previous request of the same model.

    The model itself is included. An LRU cache of capacity C hits exactly the requests whose distance is at most C
    (Mattson et al., IBM Systems Journal 9(2), 1970). A Fenwick tree over the time of last use holds the sizes; the
    cost is n log n.

    Args:
        index: Model of each request, in order.
        sizes: Size of each model; None (the default) for 1 each.

    Returns:
        A distance for each request; infinite for the first request of a model.

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
            older = 0.0  # size of the models last used up to this model's last use
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


def miss_ratio_at(distances: Floats, capacities: npt.ArrayLike) -> Floats:
    """Return the share of requests that miss, for each capacity.

    Args:
        distances: Distances from `stack_distances`.
        capacities: Cache sizes, in the unit of the models' sizes.

    Returns:
        A share for each capacity, 0 to 1.

    Raises:
        InvalidInputError: There are no requests.
    """
    if not len(distances):
        raise InvalidInputError("there are no requests")
    reached = np.searchsorted(np.sort(distances), np.asarray(capacities, dtype=float), side="right")
    return np.asarray(1.0 - reached / len(distances))


def aet_miss_ratio(index: Ints, capacities: npt.ArrayLike) -> Floats:
    """Return the miss ratio of equal-sized models for each capacity, from reuse times (AET; Hu et al., ATC 2016).

    P(t) is the share of requests whose model was last requested more than t requests ago. The average eviction time A
    of a cache for c models solves ∫₀ᴬ P = c, and the miss ratio is P(A).

    Args:
        index: Model of each request, in order.
        capacities: Cache sizes, number of models.

    Returns:
        A share for each capacity, 0 to 1.

    Raises:
        InvalidInputError: There are no requests.
    """
    index = np.asarray(index, dtype=np.int64)
    count = len(index)
    if not count:
        raise InvalidInputError("there are no requests")
    order = np.argsort(index, kind="stable")
    same = np.diff(index[order]) == 0
    reuse = np.diff(order)[same]
    histogram = np.bincount(reuse, minlength=count + 1)[: count + 1]
    longer = (count - np.cumsum(histogram)) / count  # P(t); a model's first request counts for every t
    filled = np.concatenate([[0.0], np.cumsum(longer)])
    age = np.interp(np.asarray(capacities, dtype=float), filled[:-1], np.arange(count + 1), right=count)
    return np.asarray(np.interp(age, np.arange(count + 1), longer))
