"""The hit ratio that an amount of memory can give for the models in use."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["best_hit_ratio", "instances_for"]


def best_hit_ratio(calls: Sequence[int], seconds: float, capacity: float) -> float:
    """Return the share of calls that an LRU cache answers from memory, for independent calls of equal models.

    It solves the equation of Che, Tung and Wang (IEEE JSAC 20(7), 2002), as `mme_sdk.planning.analysis.che` does with
    scipy, which this package does not need. The first call of each model counts as a miss.

    Args:
        calls: Number of calls of each model.
        seconds: Length of the time in which they came.
        capacity: Number of models that fit into the memory.

    Returns:
        The ratio, 0 to 1; 1 without calls.

    Example:
        >>> round(best_hit_ratio([1000] * 10, 1000.0, 5.0), 2)
        0.5
    """
    used = [count for count in calls if count > 0]
    if not used:
        return 1.0
    hits = [1.0] * len(used)
    if len(used) > capacity:
        low, high = 0.0, seconds
        while _filled(used, seconds, high) < capacity:
            high *= 2.0
        for _ in range(60):
            age = (low + high) / 2.0
            low, high = (age, high) if _filled(used, seconds, age) < capacity else (low, age)
        hits = [-math.expm1(-count / seconds * high) for count in used]
    return sum(count * min(hit, 1.0 - 1.0 / count) for count, hit in zip(used, hits, strict=True)) / sum(used)


def _filled(calls: Sequence[int], seconds: float, age: float) -> float:
    return sum(-math.expm1(-count / seconds * age) for count in calls)


def instances_for(calls: Sequence[int], seconds: float, per_instance: float, count: int) -> tuple[int, float]:
    """Return the smallest number of instances over `count` whose memory gives nearly the best hit ratio, and the ratio.

    Args:
        calls: Number of calls of each model.
        seconds: Length of the time in which they came.
        per_instance: Number of models that fit into the memory of an instance.
        count: Number of instances now.
    """
    best = best_hit_ratio(calls, seconds, math.inf)
    wanted = count + 1
    while wanted * per_instance < len(calls) and best_hit_ratio(calls, seconds, wanted * per_instance) < 0.98 * best:
        wanted += 1
    return wanted, best_hit_ratio(calls, seconds, wanted * per_instance)
