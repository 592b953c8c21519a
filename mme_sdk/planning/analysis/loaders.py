"""How long loads wait for a loader: the tail that p99 of a fleet with many cold requests is made of."""

from __future__ import annotations

import attrs
import numpy as np

from mme_sdk.planning.analysis.queueing import erlang_c
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["LoaderQueue", "placement_imbalance"]

_WARM_UP, _TAKEN = 64, 32  # arrivals at each queue before any counts, and those that do
_HARDLY_EVER = 1e-4  # a share of the loads that no quantile shows


@attrs.frozen(kw_only=True, eq=False)
class LoaderQueue:
    """Loads that share loaders, first come, first served.

    Attributes:
        servers: Loaders.
        loads: Loads of each model per second that come to them on average.
        holding: Seconds that a load of each model keeps a loader.
        imbalance: Coefficient of variation of the rate among queues of the kind; see `placement_imbalance`.
    """

    servers: int
    loads: Floats
    holding: Floats
    imbalance: float = 0.0

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Waits of so many loads: the workload vectors of many queues at a time (Kiefer, Wolfowitz, 1955).

        Exact for Poisson arrivals but for the start with idle loaders, which some dozens of arrivals make forget unless
        the loaders are nearly saturated. A queue of steady loads has no short formula for its tail, and an exponential
        or a Gamma fitted to its mean is off by a tenth.

        Args:
            count: How many.
            rng: Randomness.

        Returns:
            Seconds.

        Example:
            >>> queue = LoaderQueue(servers=1, loads=np.array([0.5]), holding=np.array([1.0]))
            >>> float(queue.draw(200_000, np.random.default_rng(0)).mean().round(1))  # M/D/1: u / (2 (1 - u))
            0.5
        """
        rate, work = float(self.loads.sum()), float(self.loads @ self.holding)
        if not count or erlang_c(self.servers, work * (1.0 + 3.0 * self.imbalance)) < _HARDLY_EVER:
            return np.zeros(count)
        queues = -(-count // _TAKEN)
        factor = np.ones(queues)
        if self.imbalance > 0:
            # Loads see the busier queues more often: the shape of a Gamma seen so is larger by one.
            spread = self.imbalance**2
            factor = rng.gamma(1.0 / spread + 1.0, spread, queues)
        steps = _WARM_UP + _TAKEN
        gaps = rng.standard_exponential((steps, queues)) / (rate * factor)
        kinds, which = np.unique(self.holding, return_inverse=True)  # often few
        shares = np.cumsum(np.bincount(which, weights=self.loads)) / rate
        drawn = np.searchsorted(shares, rng.random((steps, queues)))
        holding = kinds[np.minimum(drawn, len(kinds) - 1)]
        left = np.zeros((queues, self.servers))  # work before each loader, least first
        waits = np.empty((_TAKEN, queues))
        for step in range(steps):
            np.maximum(left - gaps[step][:, None], 0.0, out=left)
            if step >= _WARM_UP:
                waits[step - _WARM_UP] = left[:, 0]
            left[:, 0] += holding[step]
            left.sort(axis=1)
        return np.asarray(rng.permutation(waits.ravel())[:count])


def placement_imbalance(
    rates: Floats, loads: Floats, present: Floats, memory: Floats, *, instances: int, fitting: float
) -> float:
    """Coefficient of variation, among instances, of the loads per second that stay with the files on their volumes.

    Models stay where they were placed first: evenly as long as memory fills, then by lot. An instance that got more
    popular models has to load them, and forgets its others sooner: to first order, with Poisson requests, a model's
    part in an instance's loads is u = l + s·p·Σλl/Σsl, for its loads l, its size s and the share p of the time in
    memory (d loads/dT over d bytes/dT is -Σλl/Σsl). The variance is that of Σu over the draw of the models.

    Args:
        rates: Requests per second of each model.
        loads: Loads per second of each.
        present: Share of the time in which each is in memory.
        memory: Bytes of each.
        instances: How many.
        fitting: Share of the models that fit in memory at a time, which are placed evenly.
    """
    total = float(loads.sum())
    if total <= 0 or instances < 2:
        return 0.0
    part = loads + memory * present * float(rates @ loads) / float(memory @ loads)
    square = float(part @ part) - min(fitting, 1.0) * float(part.sum()) ** 2 / len(part)
    return float(np.sqrt(max(square, 0.0) * (instances - 1)) / total)
