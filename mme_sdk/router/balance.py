"""Which models are not where their scores put them: few large or busy ones, so that no cell has too much. No I/O.

Scores divide many small models evenly. A few large or busy ones can meet in one cell. This module moves them, largest
first, to the next cell by score that has space for them (Mirrokni, Thorup, Zadimoghaddam, 2018: bounded loads). A
model with more calls than one cell bears gets a second copy, if each copy is called often enough to stay in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mme_sdk._validation import as_float, check_number
from mme_sdk.errors import InvalidInputError
from mme_sdk.router.placement import Placement
from mme_sdk.runtime.batch.warm import characteristic_time

__all__ = ["balanced"]

_STAYS = 5.0  # calls of a copy in the time that an idle model stays in memory; at 5, one call in 150 is cold
_UNKNOWN_STAY = 300.0  # seconds that an idle model stays in memory, if the memory is not known
_MOST = 5_000  # exceptions; the route table stays small


def balanced(
    placement: Placement,
    rates: Mapping[str, float],
    sizes: Mapping[str, int],
    *,
    capacity: int | None = None,
    bound: float = 1.25,
) -> dict[str, tuple[str, ...]]:
    """Return the exceptions of a placement: the cells of models that are not where their scores put them.

    Args:
        placement: The placement without exceptions.
        rates: Calls per second by name of the model.
        sizes: Bytes in memory by name of the model.
        capacity: Bytes of models that a cell of weight 1 holds. None: not known.
        bound: Largest load of a cell, in relation to the even load. If no cell has space for both the calls and the
            bytes of a model, the one that exceeds it least gets the model. Default 1.25.

    Raises:
        InvalidInputError: A value is invalid, or a model has a rate and no size.
    """
    check_number("bound", bound, over=1)
    if capacity is not None:
        check_number("capacity", capacity, at_least=1, integer=True)
    for model in rates:
        if model not in sizes:
            raise InvalidInputError(f"sizes: the model {model!r} has a rate and no size", model=model)
        check_number(f"rates[{model!r}]", rates[model], at_least=0)
        check_number(f"sizes[{model!r}]", sizes[model], over=0)
    called = {model: as_float(rate) for model, rate in rates.items() if rate > 0 and model not in placement.dedicated}
    weights, whole = placement.weights, sum(placement.weights.values())
    if not called or len(weights) < 2:
        return {}
    stay = _UNKNOWN_STAY
    if capacity is not None:
        stay = characteristic_time(called, sizes, list(called), capacity * whole)
    bytes_of = {model: sizes[model] * -math.expm1(-rate * stay) for model, rate in called.items()}
    all_calls, all_bytes = sum(called.values()), sum(bytes_of.values())
    used = {cell: [0.0, 0.0] for cell in weights}
    limit = {cell: bound * weight / whole for cell, weight in weights.items()}

    def share(model: str) -> tuple[float, float]:
        return called[model] / all_calls, bytes_of[model] / all_bytes

    found: dict[str, tuple[str, ...]] = {}
    for model in sorted(called, key=lambda one: (-max(share(one)), one)):
        calls, size = share(model)
        ranked = placement.ranked(model)
        copies = _copies(calls, [limit[cell] for cell in ranked], called[model] * stay)
        full = {
            cell: max((used[cell][0] + calls / copies) / limit[cell], (used[cell][1] + size) / limit[cell])
            for cell in ranked
        }
        fits = [cell for cell in ranked if full[cell] <= 1]
        left = sorted((cell for cell in ranked if full[cell] > 1), key=lambda cell: full[cell])
        cells = tuple((fits + left)[:copies])
        if len(found) >= _MOST:
            cells = (ranked[0],)
        for cell in cells:
            used[cell][0] += calls / len(cells)
            used[cell][1] += size
        if cells != (ranked[0],):
            found[model] = cells
    return found


def _copies(calls: float, limits: list[float], calls_in_stay: float) -> int:
    """Return how many cells a model needs for its calls: as few as bear them, while each copy stays in memory."""
    count, borne = 0, 0.0
    for limit in limits:
        count, borne = count + 1, borne + limit
        if borne >= calls:
            break
    return max(1, min(count, int(calls_in_stay / _STAYS)) if math.isfinite(calls_in_stay) else count)
