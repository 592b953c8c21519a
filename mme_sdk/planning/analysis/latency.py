"""Quantiles of the latency, by drawing from the mix of what requests meet."""

from __future__ import annotations

import attrs
import numpy as np

from mme_sdk.planning.analysis.loaders import LoaderQueue
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["LatencyMix", "routing_bounds"]


@attrs.frozen(kw_only=True, eq=False)
class LatencyMix:
    """What a request may meet, for each model.

    Attributes:
        rates: Requests per second.
        service: Mean seconds on a vCPU.
        service_cv: Its coefficient of variation; the work is lognormal.
        lead_disk: Share of the requests that start a load from the volume.
        lead_s3: Share of the requests that start a load from S3.
        join: Share of the requests that join a load.
        join_left: Share of the load that these have yet to wait, on average; a half where they come evenly.
        disk_seconds: Load from the volume.
        s3_seconds: Download and load.
        disk_queue: Where loads from the volume wait for a loader; None where they never do.
        s3_queue: Where loads from S3 do.
        wait_share: Probability that a request of each model waits for a vCPU.
        wait_seconds: Mean of that wait, for those that wait; exponential.
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
        """Latencies of so many requests.

        Args:
            count: How many.
            rng: Randomness.

        Returns:
            Seconds.
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
        # Who joins a load comes at any moment of it, and sooner meets a long one.
        joins = cold_met >= (disk + s3)[cold]
        left = rng.random(len(load)) ** (1.0 / self.join_left[cold_model] - 1.0)
        latency[cold] += np.where(joins, load * left, load)
        return np.asarray(latency)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


def routing_bounds(rates: Floats, sizes: Floats, capacity: float, instances: int) -> tuple[float, float]:
    """Cold shares at the two ends of what routing may be: random (each cache sees everything) and affinity.

    Args:
        rates: Requests per second of each model.
        sizes: Size of each.
        capacity: Size of one instance's cache.
        instances: How many.

    Returns:
        Misses under random routing, misses under perfect affinity, which makes the caches one.
    """
    from mme_sdk.planning.analysis.residency import che

    rates = np.asarray(rates, dtype=float)
    weights = rates / rates.sum()
    worst = 1.0 - float(weights @ che(rates / instances, sizes, capacity))
    best = 1.0 - float(weights @ che(rates, sizes, capacity * instances))
    return worst, best
