"""The function `stack._distances`, compiled by numba."""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["distances"]


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def distances(index, sizes):  # type: ignore[no-untyped-def]
    """Return the stack distance of each request; see `stack.stack_distances`."""
    count = index.size
    tree = np.zeros(count + 1)
    last = np.full(sizes.size, -1, np.int64)
    found = np.full(count, np.inf)
    total = 0.0
    for now in range(count):
        model = index[now]
        size, before = sizes[model], last[model]
        if before >= 0:
            older = 0.0
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
    return found
