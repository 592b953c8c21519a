"""The probability that a model is in a cache when it is requested.

An LRU cache evicts every model that was not requested during its *characteristic time* T, which is the same for all
models (Che, Tung, Wang 2002; explained by Fricker, Robert, Roberts 2012; for renewal traffic Martina, Garetto, Leonardi
2014). T follows from the capacity: the models requested during the last T fill the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from hashlib import blake2b
from typing import Any

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.analysis.gaps import Empirical, Gamma, Poisson, Residency
from mme_sdk.planning.simulation.inputs import Floats, Ints, Singles

__all__ = [
    "Tabulated",
    "characteristic_time",
    "che",
    "renewal_che",
    "two_levels",
]


_TIMES = np.geomspace(1e-2, 1e3, 28)
_CELLS = 1 << 17  # of a table that are converted to double precision at a time
_KEPT = 64  # sets of sizes whose `filled` a table keeps


@attrs.frozen(eq=False, slots=False)
class Tabulated:
    """A residency as tables, which makes it fast to evaluate many caches for the same traffic.

    Attributes:
        ages: Ages of the rows of the first two tables, seconds, ascending.
        hit_table: `hits` for each age (row) and model (column), in single precision.
        present_table: `present` for each age (row) and model (column), in single precision; the same array as
            `hit_table` for Poisson traffic.
        times: Times of the rows of the third table, seconds, ascending.
        follow_table: `followers` for each time (row) and model (column).
        even: Requests per second of each model if they are Poisson traffic, for which `followers` needs no table; None
            (the default) for other traffic.
    """

    ages: Floats
    hit_table: Singles
    present_table: Singles
    times: Floats
    follow_table: Floats
    even: Floats | None = None
    _fills: dict[bytes, Floats] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, residency: Residency, *, steps: int = 320) -> Tabulated:
        """Compute the tables of a residency.

        Args:
            residency: The residency.
            steps: Number of ages, at equal ratios. Default 320.

        Returns:
            The tables.
        """
        # The range covers the busiest and the rarest model, which may differ by a factor of 10¹⁵.
        ages = np.geomspace(min(1e-3, residency.horizon * 1e-6), residency.horizon, steps)
        if isinstance(residency, Empirical):
            hits, present = residency.tables(ages)
        else:
            hits = _table(residency.hits, ages)
            present = hits if isinstance(residency, Poisson) else _table(residency.present, ages)
        follow = np.stack([residency.followers(float(time)) for time in _TIMES])
        return cls(ages, hits, present, _TIMES, follow, residency.rates if isinstance(residency, Poisson) else None)

    def faster(self, factor: float) -> Tabulated:
        """Return the tables for traffic with higher rates.

        Args:
            factor: Factor on the rates of all models.

        Returns:
            The tables.
        """
        even = None if self.even is None else self.even * factor
        found = Tabulated(
            self.ages / factor, self.hit_table, self.present_table, self.times / factor, self.follow_table, even
        )
        found._fills.update(self._fills)  # they do not depend on the rates
        return found

    def filled(self, sizes: Floats) -> Floats:
        """Return the size of the models that are in a cache, for each age at which it evicts; it never falls.

        Args:
            sizes: Size of each model; 0 for a model that does not use the cache.

        Returns:
            One size for each age.
        """
        return np.asarray(np.maximum.accumulate(_weighted(self.present_table, sizes)))

    def hit_ratio(self, rates: Floats) -> Floats:
        """Return the share of the requests that follow the previous one within each age.

        Args:
            rates: Requests per second of each model; 0 for a model that does not use the cache.

        Returns:
            One share for each age, 0 to 1.
        """
        return _weighted(self.hit_table, rates / rates.sum())

    def followers(self, seconds: Floats, which: Ints | None = None, /) -> tuple[Floats, Floats]:
        """Return the requests that arrive while a model loads.

        Args:
            seconds: Load time of each model, seconds.
            which: Positions of the models that `seconds` is for; None (the default) for all models.

        Returns:
            For each model, the mean number of requests during the load, and the mean share of the load time that they
            still wait: 0.5 for evenly spaced requests, more for bursts.
        """
        if self.even is not None:
            half = np.broadcast_to(np.float64(0.5), len(seconds))
            return (self.even if which is None else self.even[which]) * seconds, half
        column = np.arange(self.follow_table.shape[1]) if which is None else which
        given, seconds = seconds, np.clip(seconds, self.times[0], self.times[-1])
        high = np.clip(np.searchsorted(self.times, seconds), 1, len(self.times) - 1)
        low = high - 1
        part = (seconds - self.times[low]) / (self.times[high] - self.times[low])
        before = self.follow_table[low, column]
        counts = before * (1.0 - part) + self.follow_table[high, column] * part
        area = self._areas[low, column] + (seconds - self.times[low]) * (before + counts) / 2.0
        left = np.divide(area, seconds * counts, out=np.full(len(seconds), 0.5), where=counts > 1e-12)
        # Before the table the number is in proportion to the time; after it, it grows by the mean rate.
        short = np.minimum(given / seconds, 1.0)
        longer = np.maximum(given - seconds, 0.0) * self._rates[column]
        return np.asarray(counts * short + longer), np.clip(left, 0.05, 0.999)

    @cached_property
    def _rates(self) -> Floats:
        """Requests per second of each model: a time too short for two requests holds one with this density."""
        return np.asarray(self.present_table[0].astype(np.float64) / self.ages[0])

    @cached_property
    def _areas(self) -> Floats:
        """The integral of `follow_table` up to each time."""
        steps = np.diff(self.times, prepend=0.0)[:, None]
        before = np.vstack([np.zeros(self.follow_table.shape[1]), self.follow_table[:-1]])
        return np.asarray(np.cumsum(steps * (self.follow_table + before) / 2.0, axis=0))

    def age(self, sizes: Floats, capacity: float, extra: Floats | None = None) -> float:
        """Return the characteristic time of a cache, seconds; the largest age if all models fit.

        Args:
            sizes: Size of each model; 0 for a model that does not use the cache.
            capacity: Size of the cache, in the same unit.
            extra: Further used size for each age, ascending; None (the default) for none.

        Returns:
            The time, seconds.
        """
        return self.age_of(self.curve(sizes, extra), capacity)

    def curve(self, sizes: Floats, extra: Floats | None = None) -> Floats:
        """Return `filled` plus a further used size for each age; `filled` is kept for the next layouts.

        Args:
            sizes: Size of each model; 0 for a model that does not use the cache.
            extra: Further used size for each age, ascending; None (the default) for none.

        Returns:
            One size for each age, ascending.
        """
        key = blake2b(sizes.tobytes(), digest_size=16).digest()
        filled = self._fills.get(key)
        if filled is None:  # the layouts of a search differ in the capacity more often than in the models
            filled = self.filled(sizes)
            if len(self._fills) >= _KEPT:
                self._fills.clear()
            self._fills[key] = filled
        return filled if extra is None else filled + extra

    def age_of(self, curve: Floats, capacity: float) -> float:
        """Return the characteristic time of a cache, seconds; see `age`.

        Args:
            curve: The used size for each age, from `curve`.
            capacity: Size of the cache, in the same unit.

        Returns:
            The time, seconds.
        """
        if curve[-1] <= capacity:
            return float(self.ages[-1])
        return float(np.exp(np.interp(capacity, curve, self._logs)))

    @cached_property
    def _logs(self) -> Floats:
        return np.asarray(np.log(self.ages))

    def hits(self, age: float, /) -> Floats:
        """Return the share of requests that follow the previous one within a time (seconds).

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        return self._at(self.hit_table, age)

    def present(self, age: float, /) -> Floats:
        """Return the share of the time with a request in the last `age` seconds.

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        return self._at(self.present_table, age)

    @property
    def horizon(self) -> float:
        """An age above which no value changes, seconds."""
        return float(self.ages[-1])

    def _at(self, table: Singles, age: float) -> Floats:
        place = float(np.interp(np.log(max(age, 1e-300)), self._logs, self._rows))
        low = min(int(place), len(self.ages) - 2)
        part = place - low
        found = table[low].astype(np.float64)
        found *= 1.0 - part
        after = table[low + 1].astype(np.float64)
        after *= part
        found += after
        return np.asarray(np.minimum(found, 1.0, out=found))

    @cached_property
    def _rows(self) -> Floats:
        return np.arange(len(self.ages), dtype=np.float64)


def _table(values: Callable[[float], Floats], ages: Floats) -> Singles:
    """Return the values for each age (row), in single precision; row by row, which needs no second copy."""
    table = np.empty((len(ages), len(values(float(ages[0])))), dtype=np.float32)
    for row, age in enumerate(ages):
        table[row] = values(float(age))
    return table


def _weighted(table: Singles, weights: Floats) -> Floats:
    """Return `table @ weights` in double precision, a few rows at a time, so that no copy of the table is made."""
    step = max(1, _CELLS // max(len(weights), 1))
    return np.concatenate([table[row : row + step].astype(np.float64) @ weights for row in range(0, len(table), step)])


def characteristic_time(
    residency: Residency,
    sizes: Floats,
    capacity: float,
    *,
    extra: Callable[[float], Floats] | None = None,
) -> float:
    """Return the characteristic time: the age at which the cache evicts a model; infinite if all models fit.

    Args:
        residency: The traffic.
        sizes: Size of each model, in the unit of the capacity.
        capacity: Size of the cache.
        extra: Function of the characteristic time. It returns, for each model, the share of the time in which the
            model is in the cache for another reason than a request; None (the default) for none.

    Returns:
        The characteristic time, seconds.

    Raises:
        InvalidInputError: The capacity is not over 0.

    Example:
        >>> rates = np.full(100, 0.1)
        >>> round(characteristic_time(Poisson(rates), np.ones(100), 50.0), 3)  # -ln(1 - 0.5) / 0.1
        6.931
    """
    from scipy.optimize import brentq

    if not capacity > 0:
        raise InvalidInputError(f"capacity must be over 0, not {capacity!r}")

    def excess(age: float) -> float:
        share = residency.present(age) if extra is None else np.minimum(1.0, residency.present(age) + extra(age))
        return float(share @ sizes) - capacity

    high = residency.horizon
    if excess(high) <= 0:
        return float("inf")
    low = high
    while excess(low) > 0 and low > 1e-12:
        low /= 16.0
    root: Any = brentq(excess, low, min(high, 16.0 * low), xtol=1e-12)
    return float(root)


def che(rates: Floats, sizes: Floats, capacity: float) -> Floats:
    """Return each model's hit ratio in an LRU cache for Poisson traffic (Che, Tung, Wang, IEEE JSAC 20(7), 2002).

    Args:
        rates: Requests per second of each model.
        sizes: Size of each model.
        capacity: Size of the cache, in the same unit.

    Returns:
        A hit ratio for each model, 0 to 1.

    Example:
        >>> float(che(np.full(10, 1.0), np.ones(10), 5.0).round(3)[0])
        0.5
    """
    return _hits(Poisson(np.asarray(rates, dtype=float)), sizes, capacity)


def renewal_che(rates: Floats, sizes: Floats, capacity: float, *, cv: float) -> Floats:
    """Return each model's hit ratio in an LRU cache for traffic with Gamma gaps (Martina et al., INFOCOM 2014).

    Args:
        rates: Requests per second of each model.
        sizes: Size of each model.
        capacity: Size of the cache, in the same unit.
        cv: Coefficient of variation of the gaps.

    Returns:
        A hit ratio for each model, 0 to 1.
    """
    return _hits(Gamma(np.asarray(rates, dtype=float), cv), sizes, capacity)


def _hits(residency: Residency, sizes: Floats, capacity: float) -> Floats:
    age = characteristic_time(residency, np.asarray(sizes, dtype=float), capacity)
    return residency.hits(min(age, 2.0 * residency.horizon))


def two_levels(
    residency: Residency, memory: Floats, disk: Floats, memory_bytes: float, volume_bytes: float
) -> tuple[Floats, Floats, Floats]:
    """Return where each model is when it is requested: in memory, on the volume only, or in S3 only.

    Both levels evict in the same LRU order, and a model in memory is also on the volume. A hit in memory is therefore
    also a hit on the volume.

    Args:
        residency: The traffic.
        memory: Size of each model in memory, bytes.
        disk: Size of each model on the volume, bytes.
        memory_bytes: Memory for models, bytes.
        volume_bytes: Space for models on the volume, bytes.

    Returns:
        Three shares for each model; their sum is 1.
    """
    in_memory = _hits(residency, memory, memory_bytes)
    on_volume = np.maximum(in_memory, _hits(residency, disk, volume_bytes))
    return in_memory, on_volume - in_memory, 1.0 - on_volume
