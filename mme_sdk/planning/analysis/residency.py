"""How often a model is in memory when it is asked for.

An LRU cache forgets whatever has not been asked for during its *characteristic time* T, which is the same for every
model (Che, Tung, Wang 2002; why it works: Fricker, Robert, Roberts 2012; renewal traffic: Martina, Garetto, Leonardi
2014). T is found from what the cache holds: the sizes of the models asked for during the last T fill it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = [
    "Empirical",
    "Gamma",
    "Poisson",
    "Residency",
    "Tabulated",
    "characteristic_time",
    "che",
    "renewal_che",
    "two_levels",
]


_TIMES = np.geomspace(1e-2, 1e3, 28)


class Residency(Protocol):
    """One kind of traffic, as a cache sees it."""

    def followers(self, seconds: float, /) -> Floats:
        """For each model, how many requests come within so many seconds after a request, on average."""
        ...

    def hits(self, age: float, /) -> Floats:
        """For each model, the share of its requests that come within this time of the one before."""
        ...

    def present(self, age: float, /) -> Floats:
        """For each model, the share of the time during which it was asked for within the last so many seconds."""
        ...

    @property
    def horizon(self) -> float:
        """A time after which nothing more happens, seconds."""
        ...


@attrs.frozen(eq=False)
class Poisson:
    """Memoryless traffic: F(t) = 1 - exp(-λt). Only right where the traffic is so; bursts make it far too pessimistic.

    Attributes:
        rates: Requests per second of each model.
    """

    rates: Floats

    def followers(self, seconds: float, /) -> Floats:
        """Requests within so many seconds after a request: λt."""
        return self.rates * seconds

    def hits(self, age: float, /) -> Floats:
        """Share of each model's requests within this time of the one before."""
        return np.asarray(-np.expm1(-self.rates * age))

    def present(self, age: float, /) -> Floats:
        """Share of the time in which each model was asked for within this time; the same, since PASTA."""
        return self.hits(age)

    @property
    def horizon(self) -> float:
        """A time after which nothing more happens."""
        positive = self.rates[self.rates > 0]
        return float(50.0 / positive.min()) if len(positive) else 1.0


@attrs.frozen(eq=False)
class Gamma:
    """Renewal traffic with Gamma gaps, whose coefficient of variation says how bursty it is.

    The stationary share is λ∫₀ᵀ(1-F) = λ·[T(1-P(a, T/θ)) + aθ·P(a+1, T/θ)], with P the regularised lower incomplete
    gamma function, a = 1/cv² and θ = 1/(λa).

    Attributes:
        rates: Requests per second of each model.
        cv: Coefficient of variation of the gaps.
    """

    rates: Floats
    cv: float

    def followers(self, seconds: float, /) -> Floats:
        """Requests within so many seconds after a request: the renewal function Σₖ P(ka, λat).

        It is a function of λt alone, and λt + (cv² - 1)/2 once that is large.
        """
        from scipy.special import gammainc

        shape = 1.0 / self.cv**2
        ladder = np.geomspace(1e-6, 60.0, 160)
        terms = np.arange(1, int((60.0 + 8.0 * self.cv**2) * 4) + 8)
        counted = np.concatenate([[0.0], gammainc(terms[:, None] * shape, ladder * shape).sum(axis=0)])
        x = self.rates * seconds
        near = np.interp(np.minimum(x, 60.0), np.concatenate([[0.0], ladder]), counted)
        return np.where(x < 60.0, near, x + (self.cv**2 - 1.0) / 2.0)

    def hits(self, age: float, /) -> Floats:
        """Share of each model's requests within this time of the one before."""
        from scipy.special import gammainc

        shape = 1.0 / self.cv**2
        return np.asarray(gammainc(shape, self.rates * shape * age))

    def present(self, age: float, /) -> Floats:
        """Share of the time in which each model was asked for within this time."""
        from scipy.special import gammainc

        shape = 1.0 / self.cv**2
        x = self.rates * shape * age
        return np.asarray(self.rates * age * (1.0 - gammainc(shape, x)) + gammainc(shape + 1.0, x))

    @property
    def horizon(self) -> float:
        """A time after which nothing more happens."""
        positive = self.rates[self.rates > 0]
        return float(50.0 * max(1.0, self.cv**2) / positive.min()) if len(positive) else 1.0


@attrs.frozen(eq=False)
class Empirical:
    """The gaps that a trace shows: renewal-Che without assuming a distribution, close to AET (Hu et al., ATC 2016).

    The share of the time in which a model was asked for within T is Σ min(gap, T) / duration over its gaps, which
    counts the trace as if it went round and round; first requests are misses.

    Attributes:
        gaps: Gaps between a model's requests, ascending within each model.
        owner: Model of each gap.
        counts: Requests of each model.
        tails: For each model, the time from its last request to its first in the next round.
        duration: Seconds of the trace.
        moments: Arrival times, model after model.
        asker: Model of each of these.
    """

    gaps: Floats
    owner: Ints
    counts: Ints
    tails: Floats
    duration: float
    moments: Floats
    asker: Ints

    @classmethod
    def of(cls, times: Floats, index: Ints, models: int, duration: float) -> Empirical:
        """The gaps of a trace.

        Args:
            times: Arrival times in order, from 0.
            index: Model of each request.
            models: How many models there are.
            duration: Seconds of the trace.
        """
        order = np.argsort(index, kind="stable")
        sorted_times, sorted_index = times[order], index[order]
        same = np.diff(sorted_index) == 0
        gaps, owner = np.diff(sorted_times)[same], sorted_index[1:][same]
        counts = np.bincount(index, minlength=models)
        first, last = np.full(models, np.inf), np.full(models, -np.inf)
        np.minimum.at(first, index, times)
        np.maximum.at(last, index, times)
        tails = np.where(counts > 0, duration - np.where(counts > 0, last - first, 0.0), 0.0)
        return cls(gaps, owner, counts, tails, duration, sorted_times, sorted_index)

    def followers(self, seconds: float, /) -> Floats:
        """Requests within so many seconds after a request, counted."""
        apart = self.asker * (2.0 * self.duration + seconds) + self.moments  # so that models do not mingle
        until = np.searchsorted(apart, apart + seconds, side="right")
        after = until - np.arange(len(apart)) - 1
        return np.asarray(
            np.bincount(self.asker, weights=after, minlength=len(self.counts)) / np.maximum(self.counts, 1)
        )

    def hits(self, age: float, /) -> Floats:
        """Share of each model's requests within this time of the one before."""
        within = np.bincount(self.owner[self.gaps <= age], minlength=len(self.counts))
        return np.asarray(within / np.maximum(self.counts, 1))

    def present(self, age: float, /) -> Floats:
        """Share of the time in which each model was asked for within this time."""
        held = np.bincount(self.owner, weights=np.minimum(self.gaps, age), minlength=len(self.counts))
        return np.asarray((held + np.minimum(self.tails, age)) / self.duration)

    @property
    def horizon(self) -> float:
        """A time after which nothing more happens."""
        return self.duration


@attrs.frozen(eq=False)
class Tabulated:
    """Any residency at a ladder of ages, so that many caches can be tried on the same traffic at little cost.

    Attributes:
        ages: The ladder, seconds, ascending.
        hit_table: Rows of `hits`, one for each age.
        present_table: Rows of `present`, one for each age.
        times: A coarser ladder of times, seconds.
        follow_table: Rows of `followers`, one for each time.
    """

    ages: Floats
    hit_table: Floats
    present_table: Floats
    times: Floats
    follow_table: Floats

    @classmethod
    def of(cls, residency: Residency, *, steps: int = 320) -> Tabulated:
        """The ladder of a residency; its steps are even in the logarithm."""
        # From what the busiest model does to what the rarest does, which may be fifteen decades apart.
        ages = np.geomspace(min(1e-3, residency.horizon * 1e-6), residency.horizon, steps)
        return cls(
            ages,
            np.stack([residency.hits(float(age)) for age in ages]),
            np.stack([residency.present(float(age)) for age in ages]),
            _TIMES,
            np.stack([residency.followers(float(time)) for time in _TIMES]),
        )

    def faster(self, factor: float) -> Tabulated:
        """The same traffic running so many times faster."""
        return Tabulated(self.ages / factor, self.hit_table, self.present_table, self.times / factor, self.follow_table)

    def only(self, which: Ints) -> Tabulated:
        """Some of the models alone, each at most once and in order."""
        if len(which) == self.hit_table.shape[1]:
            return self
        return Tabulated(
            self.ages, self.hit_table[:, which], self.present_table[:, which], self.times, self.follow_table[:, which]
        )

    def followers(self, seconds: Floats, /) -> tuple[Floats, Floats]:
        """What comes while a model loads.

        Args:
            seconds: How long each model's load takes.

        Returns:
            Requests within that time after the one that starts it, and the share of the load that they have yet to
            wait, on average: a half where they come evenly, more where they come in bursts.
        """
        seconds = np.clip(seconds, self.times[0], self.times[-1])
        high = np.clip(np.searchsorted(self.times, seconds), 1, len(self.times) - 1)
        low, column = high - 1, np.arange(len(seconds))
        part = (seconds - self.times[low]) / (self.times[high] - self.times[low])
        counts = self.follow_table[low, column] * (1.0 - part) + self.follow_table[high, column] * part
        steps = np.diff(self.times, prepend=0.0)[:, None]
        before = np.vstack([np.zeros(len(seconds)), self.follow_table[:-1]])
        areas = np.cumsum(steps * (self.follow_table + before) / 2.0, axis=0)
        area = areas[low, column] + (seconds - self.times[low]) * (self.follow_table[low, column] + counts) / 2.0
        left = np.divide(area, seconds * counts, out=np.full(len(seconds), 0.5), where=counts > 1e-12)
        return np.asarray(counts), np.clip(left, 0.05, 0.999)

    def age(self, sizes: Floats, capacity: float, extra: Floats | None = None) -> float:
        """The characteristic time; the last of the ladder where everything fits.

        Args:
            sizes: Size of each model.
            capacity: Size of the cache.
            extra: Bytes that are taken besides, for each age.
        """
        filled = self.present_table @ sizes
        if extra is not None:
            filled = filled + extra
        if filled[-1] <= capacity:
            return float(self.ages[-1])
        filled = np.maximum.accumulate(filled)
        return float(np.exp(np.interp(capacity, filled, np.log(self.ages))))

    def hits(self, age: float, /) -> Floats:
        """Share of each model's requests within this time of the one before."""
        return self._at(self.hit_table, age)

    def present(self, age: float, /) -> Floats:
        """Share of the time in which each model was asked for within this time."""
        return self._at(self.present_table, age)

    @property
    def horizon(self) -> float:
        """A time after which nothing more happens."""
        return float(self.ages[-1])

    def _at(self, table: Floats, age: float) -> Floats:
        place = float(np.interp(np.log(max(age, 1e-300)), np.log(self.ages), np.arange(len(self.ages))))
        low = min(int(place), len(self.ages) - 2)
        part = place - low
        return np.asarray(table[low] * (1.0 - part) + table[low + 1] * part)


def characteristic_time(
    residency: Residency,
    sizes: Floats,
    capacity: float,
    *,
    extra: Callable[[float], Floats] | None = None,
) -> float:
    """The time after which a cache has forgotten what nobody asked for; infinite where everything fits.

    Args:
        residency: The traffic.
        sizes: Size of each model, in the unit of the capacity.
        capacity: Size of the cache.
        extra: Share of the time, by age, that each model takes room without having been asked for within that time.

    Returns:
        Seconds.

    Raises:
        InvalidInputError: The capacity is not over 0.

    Example:
        >>> rates = np.full(100, 0.1)
        >>> round(characteristic_time(Poisson(rates), np.ones(100), 50.0), 3)  # -ln(1 - 0.5) / 0.1
        6.931
    """
    from scipy.optimize import brentq

    if not capacity > 0:
        raise InvalidInputError(f"the cache has a capacity of {capacity!r}; it must be over 0")

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
    """Hit ratio of each model under LRU and Poisson traffic (Che, Tung, Wang, IEEE JSAC 20(7), 2002).

    Args:
        rates: Requests per second of each model.
        sizes: Size of each.
        capacity: Size of the cache, in the same unit.

    Returns:
        A share for each model.

    Example:
        >>> float(che(np.full(10, 1.0), np.ones(10), 5.0).round(3)[0])
        0.5
    """
    return _hits(Poisson(np.asarray(rates, dtype=float)), sizes, capacity)


def renewal_che(rates: Floats, sizes: Floats, capacity: float, *, cv: float) -> Floats:
    """Hit ratio of each model under LRU and bursty traffic, gaps Gamma distributed (Martina et al., INFOCOM 2014).

    Args:
        rates: Requests per second of each model.
        sizes: Size of each.
        capacity: Size of the cache, in the same unit.
        cv: Coefficient of variation of the gaps.

    Returns:
        A share for each model.
    """
    return _hits(Gamma(np.asarray(rates, dtype=float), cv), sizes, capacity)


def _hits(residency: Residency, sizes: Floats, capacity: float) -> Floats:
    age = characteristic_time(residency, np.asarray(sizes, dtype=float), capacity)
    return residency.hits(min(age, 2.0 * residency.horizon))


def two_levels(
    residency: Residency, memory: Floats, disk: Floats, memory_bytes: float, volume_bytes: float
) -> tuple[Floats, Floats, Floats]:
    """Where each model is when asked for: memory, the volume alone, or S3 alone.

    Both levels are LRU in the same order of use, and what is in memory is on the volume too; so the larger level hits
    whenever the smaller does.

    Args:
        residency: The traffic.
        memory: Size of each model in memory.
        disk: Size of each on the volume.
        memory_bytes: Memory for models.
        volume_bytes: Room on the volume.

    Returns:
        Three shares for each model, which add up to 1.
    """
    in_memory = _hits(residency, memory, memory_bytes)
    on_volume = np.maximum(in_memory, _hits(residency, disk, volume_bytes))
    return in_memory, on_volume - in_memory, 1.0 - on_volume
