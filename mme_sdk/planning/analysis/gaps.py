"""Kinds of traffic, described by the gaps between the requests for the same model: Poisson, Gamma, or those of a trace.

Each kind is a `Residency`: it tells how often a model is in a cache that evicts models after a given age.
"""

from __future__ import annotations

import functools
from typing import Protocol

import attrs
import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints, Singles

__all__ = ["Empirical", "Gamma", "Poisson", "Residency"]


_BLOCK = 512  # models of a table that are counted at a time
_STARTS = 400_000  # about so many requests of a trace are starts of a count of followers


class Residency(Protocol):
    """A kind of traffic; each method returns one element for each model."""

    def followers(self, seconds: float, /) -> Floats:
        """Return the mean number of requests within a time (seconds) after a request.

        Args:
            seconds: Time, seconds.

        Returns:
            One number for each model.
        """
        ...

    def hits(self, age: float, /) -> Floats:
        """Return the share of requests that follow the previous one within a time (seconds).

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        ...

    def present(self, age: float, /) -> Floats:
        """Return the share of the time in which the last request is at most `age` seconds ago.

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        ...

    @property
    def horizon(self) -> float:
        """An age above which no value changes, seconds."""
        ...


@attrs.frozen(eq=False)
class Poisson:
    """Poisson traffic: gaps have the distribution F(t) = 1 - exp(-λt). For bursty traffic it gives far too many misses.

    Attributes:
        rates: Requests per second of each model.
    """

    rates: Floats

    def followers(self, seconds: float, /) -> Floats:
        """Return the mean number of requests within a time (seconds) after a request: λt.

        Args:
            seconds: Time, seconds.

        Returns:
            One number for each model.
        """
        return self.rates * seconds

    def hits(self, age: float, /) -> Floats:
        """Return the share of requests that follow the previous one within a time (seconds).

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        return np.asarray(-np.expm1(-self.rates * age))

    def present(self, age: float, /) -> Floats:
        """Return the share of the time with a request in the last `age` seconds; it equals `hits` (PASTA).

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        return self.hits(age)

    @property
    def horizon(self) -> float:
        """An age above which no value changes, seconds."""
        positive = self.rates[self.rates > 0]
        return float(50.0 / positive.min()) if len(positive) else 1.0


@functools.lru_cache(maxsize=16)
def _renewals(cv: float) -> tuple[Floats, Floats]:
    """Return numbers of mean gaps, and the mean number of requests in so many gaps after a request."""
    from scipy.special import gammainc

    shape = 1.0 / cv**2
    ladder = np.geomspace(1e-6, 60.0, 160)
    terms = np.arange(1, int((60.0 + 8.0 * cv**2) * 4) + 8)
    counted = gammainc(terms[:, None] * shape, ladder * shape).sum(axis=0)
    return np.concatenate([[0.0], ladder]), np.concatenate([[0.0], counted])


@attrs.frozen(eq=False)
class Gamma:
    """Renewal traffic with Gamma-distributed gaps; their coefficient of variation is a measure of bursts.

    The share of the time with a request in the last T is λ∫₀ᵀ(1-F) = λ·[T(1-P(a, T/θ)) + aθ·P(a+1, T/θ)], with P the
    regularised lower incomplete gamma function, a = 1/cv² and θ = 1/(λa).

    Attributes:
        rates: Requests per second of each model.
        cv: Coefficient of variation of the gaps; 1 is Poisson traffic.
    """

    rates: Floats
    cv: float

    def followers(self, seconds: float, /) -> Floats:
        """Return the mean number of requests within a time (seconds): the renewal function Σₖ P(ka, λat).

        It depends on λt only, and approaches λt + (cv² - 1)/2 for large λt.

        Args:
            seconds: Time, seconds.

        Returns:
            One number for each model.
        """
        ladder, counted = _renewals(self.cv)
        x = self.rates * seconds
        near = np.interp(np.minimum(x, 60.0), ladder, counted)
        return np.where(x < 60.0, near, x + (self.cv**2 - 1.0) / 2.0)

    def hits(self, age: float, /) -> Floats:
        """Return the share of requests that follow the previous one within a time (seconds).

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        from scipy.special import gammainc

        shape = 1.0 / self.cv**2
        return np.asarray(gammainc(shape, self.rates * shape * age))

    def present(self, age: float, /) -> Floats:
        """Return the share of the time with a request in the last `age` seconds.

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        from scipy.special import gammainc

        shape = 1.0 / self.cv**2
        x = self.rates * shape * age
        return np.asarray(self.rates * age * (1.0 - gammainc(shape, x)) + gammainc(shape + 1.0, x))

    @property
    def horizon(self) -> float:
        """An age above which no value changes, seconds."""
        positive = self.rates[self.rates > 0]
        return float(50.0 * max(1.0, self.cv**2) / positive.min()) if len(positive) else 1.0


@attrs.frozen(eq=False)
class Empirical:
    """The gaps of a trace, without an assumed distribution; similar to AET (Hu et al., USENIX ATC 2016).

    `hits` and `present` count time in requests: a cache evicts by the order of the requests, so that a busy hour is as
    long as many idle ones. A second is the time of a request at the mean rate. `followers` counts seconds.

    The trace counts as if it repeated itself: before a model's first request is the last one of the repetition before.
    The share of the time with a request in the last T is Σ min(gap, T) / duration over a model's gaps.

    Attributes:
        gaps: Gaps between requests of the same model, seconds at the mean rate, model after model.
        owner: Model of each gap.
        counts: Number of requests of each model.
        tails: Time from each model's last request to its first one in the next repetition, seconds at the mean rate.
        duration: Length of the trace, seconds.
        moments: Arrival times, seconds, model after model.
        requested: Model of each arrival time.
        starts: Positions of the requests after which `followers` counts; every one of a short trace, evenly spaced ones
            of a long trace.
    """

    gaps: Floats
    owner: Ints
    counts: Ints
    tails: Floats
    duration: float
    moments: Floats
    requested: Ints
    starts: Ints

    @classmethod
    def of(cls, times: Floats, index: Ints, models: int, duration: float) -> Empirical:
        """Compute the gaps of a trace.

        Args:
            times: Arrival times in ascending order from 0, seconds.
            index: Model of each request.
            models: Number of models.
            duration: Length of the trace, seconds.

        Returns:
            The gaps.
        """
        order = np.argsort(index, kind="stable")
        sorted_times, sorted_index = times[order], index[order]
        same = np.diff(sorted_index) == 0
        clock = np.arange(len(times)) * (duration / max(len(times), 1))
        gaps, owner = np.asarray(np.diff(clock[order])[same], dtype=np.float64), sorted_index[1:][same]
        counts = np.bincount(index, minlength=models)
        first, last = np.full(models, np.inf), np.full(models, -np.inf)
        np.minimum.at(first, index, clock)
        np.maximum.at(last, index, clock)
        tails = np.where(counts > 0, duration - np.where(counts > 0, last - first, 0.0), 0.0)
        step = -(-len(times) // _STARTS)
        firsts = np.flatnonzero(np.concatenate([[True], ~same]))  # so that a rare model has one too
        starts = np.union1d(firsts, np.arange(0, len(times), step)) if step > 1 else np.arange(len(times))
        return cls(gaps, owner, counts, tails, duration, sorted_times, sorted_index, starts)

    def tables(self, ages: Floats) -> tuple[Singles, Singles]:
        """Return `hits` and `present` for each age (row) and model (column), in one pass over the gaps.

        Args:
            ages: Ages in ascending order, seconds.

        Returns:
            The two tables, in single precision.
        """
        models, rows = len(self.counts), len(ages) + 1
        hits = np.empty((len(ages), models), dtype=np.float32)
        present = np.empty((len(ages), models), dtype=np.float32)
        for start in range(0, models, _BLOCK):
            stop = min(start + _BLOCK, models)
            low, high = np.searchsorted(self.owner, (start, stop))
            counts = self.counts[start:stop]
            asked = np.flatnonzero(counts)
            gaps = np.concatenate([self.gaps[low:high], self.tails[start + asked]])
            owner = np.concatenate([self.owner[low:high] - start, asked])
            cell = np.searchsorted(ages, gaps, side="left") * len(counts) + owner
            shape = (rows, len(counts))
            number, length = (
                np.bincount(cell, minlength=rows * len(counts)),
                np.bincount(cell, weights=gaps, minlength=rows * len(counts)),
            )
            within = np.cumsum(number.reshape(shape), axis=0)[:-1]
            held = np.cumsum(length.reshape(shape), axis=0)[:-1] + ages[:, None] * (counts - within)
            hits[:, start:stop] = within / np.maximum(counts, 1)
            present[:, start:stop] = held / self.duration
        return hits, present

    def followers(self, seconds: float, /) -> Floats:
        """Return the mean number of requests within a time (seconds) after a request, counted in the trace.

        Args:
            seconds: Time, seconds.

        Returns:
            One number for each model.
        """
        apart = (
            self.requested * (2.0 * self.duration + seconds) + self.moments
        )  # so that the search finds only requests of the same model
        until = np.searchsorted(apart, apart[self.starts] + seconds, side="right")
        owner, models = self.requested[self.starts], len(self.counts)
        after = np.bincount(owner, weights=until - self.starts - 1, minlength=models)
        return np.asarray(after / np.maximum(np.bincount(owner, minlength=models), 1))

    def hits(self, age: float, /) -> Floats:
        """Return the share of requests that follow the previous one within a time (seconds).

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        within = np.bincount(self.owner[self.gaps <= age], minlength=len(self.counts))
        within += (self.counts > 0) & (self.tails <= age)
        return np.asarray(within / np.maximum(self.counts, 1))

    def present(self, age: float, /) -> Floats:
        """Return the share of the time with a request in the last `age` seconds.

        Args:
            age: Time, seconds.

        Returns:
            One share for each model, 0 to 1.
        """
        held = np.bincount(self.owner, weights=np.minimum(self.gaps, age), minlength=len(self.counts))
        return np.asarray((held + np.minimum(self.tails, age)) / self.duration)

    @property
    def horizon(self) -> float:
        """An age above which no value changes, seconds."""
        return self.duration
