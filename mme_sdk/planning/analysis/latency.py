"""The latency distribution, as random draws from the possible outcomes of requests."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from mme_sdk.planning.analysis.loaders import LoaderQueue
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["LatencyMix", "p95_of", "routing_bounds"]


@attrs.frozen(kw_only=True, eq=False)
class LatencyMix:
    """The probabilities and durations that make up the latency; arrays have one element for each model.

    Attributes:
        rates: Requests per second.
        service: Mean time on a vCPU, seconds; the time is lognormal.
        service_cv: Coefficient of variation of that time.
        lead_disk: Share of the requests that start a load from the volume.
        lead_s3: Share of the requests that start a load from S3.
        join: Share of the requests that join a load.
        join_left: Mean share of the load time that joining requests still wait; 0.5 for evenly spaced requests.
        disk_seconds: Time to load from the volume, seconds.
        s3_seconds: Time to download from S3 and load, seconds.
        disk_queue: The queue of loads from the volume for a loader slot; None if they never wait.
        s3_queue: The queue of loads from S3 for a loader slot; None if they never wait.
        wait_share: Probability that a request waits for a vCPU.
        wait_seconds: Mean wait of the requests that wait for a vCPU, seconds; the wait is exponential.
    """

    rates: Floats
    service: Floats
    service_cv: Floats
    lead_disk: Floats
    lead_s3: Floats
    join: Floats
    join_left: Floats
    disk_seconds: Floats
    s3_seconds: Floats
    disk_queue: LoaderQueue | None
    s3_queue: LoaderQueue | None
    wait_share: Floats
    wait_seconds: Floats

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw latencies.

        Args:
            count: Number of requests.
            rng: Source of randomness.

        Returns:
            The latency of each request, seconds.
        """
        return self.outcomes(count, rng)[0]

    def outcomes(self, count: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Draw latencies, and whether each request waits while its model loads.

        Args:
            count: Number of requests.
            rng: Source of randomness.

        Returns:
            The latency of each request, seconds, and whether it is cold.
        """
        model = np.searchsorted(np.cumsum(self.rates / self.rates.sum()), rng.random(count), side="right")
        model = np.minimum(model, len(self.rates) - 1)
        sigma = np.sqrt(np.log1p(self.service_cv[model] ** 2))
        latency = self.service[model] * np.exp(sigma * rng.standard_normal(count) - sigma**2 / 2.0)
        waits = rng.random(count) < self.wait_share[model]
        latency += waits * self.wait_seconds[model] * rng.standard_exponential(count)
        met = rng.random(count)
        disk, s3, join = self.lead_disk[model], self.lead_s3[model], self.join[model]
        cold = met < disk + s3 + join
        cold_model, cold_met = model[cold], met[cold]
        from_s3 = rng.random(len(cold_model)) < _share(s3[cold], disk[cold] + s3[cold])
        load = np.where(from_s3, self.s3_seconds[cold_model], self.disk_seconds[cold_model])
        for queue, which in ((self.disk_queue, ~from_s3), (self.s3_queue, from_s3)):
            if queue is not None:
                load[which] += queue.draw(int(which.sum()), rng)
        # A request joins a load at a random time of it, and more often a long load.
        joins = cold_met >= (disk + s3)[cold]
        left = rng.random(len(load)) ** (1.0 / self.join_left[cold_model] - 1.0)
        latency[cold] += np.where(joins, load * left, load)
        return np.asarray(latency), cold


def p95_of(latency: Floats, *, none: float) -> float:
    """Return the 95th percentile of latencies.

    Args:
        latency: Latencies, seconds.
        none: What to return if there are none.

    Returns:
        The percentile, seconds.

    Example:
        >>> p95_of(np.arange(101.0), none=0.0), p95_of(np.empty(0), none=0.0)
        (95.0, 0.0)
    """
    return float(np.quantile(latency, 0.95)) if len(latency) else none


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


def routing_bounds(rates: Floats, sizes: Floats, capacity: float, instances: int) -> tuple[float, float]:
    """Return the cold shares of the two extremes of routing: random (each cache sees all models) and affinity.

    Args:
        rates: Requests per second of each model.
        sizes: Size of each model.
        capacity: Size of one instance's cache, in the same unit.
        instances: Number of instances.

    Returns:
        The share of misses with random routing, and with perfect affinity, where the caches act as one.
    """
    from mme_sdk.planning.analysis.residency import che

    rates = np.asarray(rates, dtype=float)
    weights = rates / rates.sum()
    worst = 1.0 - float(weights @ che(rates / instances, sizes, capacity))
    best = 1.0 - float(weights @ che(rates, sizes, capacity * instances))
    return worst, best
