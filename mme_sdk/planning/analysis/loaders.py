"""The wait of loads for a loader slot, which determines the p99 latency of a fleet with many cold requests."""

from __future__ import annotations

import attrs
import numpy as np

from mme_sdk.planning.analysis.queueing import erlang_c
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["LoaderQueue", "placement_imbalance"]

_WARM_UP, _TAKEN = 64, 32  # arrivals at each queue that are discarded, and that are counted
_LIKELY = 1 << 16  # times of a load: a model with 1/65,536 of the loads counts, whose one load may be a long one
_NEGLIGIBLE = 1e-4  # a share of the loads that does not change a quantile


@attrs.frozen(kw_only=True, eq=False)
class LoaderQueue:
    """A queue of loads for loader slots, first come, first served.

    Attributes:
        servers: Number of loader slots.
        loads: Mean loads per second of each model.
        holding: Time that a load of each model occupies a loader slot, seconds.
        imbalance: Coefficient of variation of the load rate among the instances; see `placement_imbalance`. Default 0.
    """

    servers: int
    loads: Floats
    holding: Floats
    imbalance: float = 0.0

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw waits, by the recursion of Kiefer and Wolfowitz (1955) on many independent queues.

        The recursion is exact for Poisson arrivals. Each queue starts empty; the first arrivals are discarded, which
        removes the effect of the start unless the loader slots are nearly saturated. There is no short formula for the
        tail of such a queue, and an exponential or Gamma distribution with the same mean is wrong by about 10 %.

        Args:
            count: Number of loads.
            rng: Source of randomness.

        Returns:
            The wait of each load, seconds.

        Example:
            >>> queue = LoaderQueue(servers=1, loads=np.array([0.5]), holding=np.array([1.0]))
            >>> float(queue.draw(200_000, np.random.default_rng(0)).mean().round(1))  # M/D/1: u / (2 (1 - u))
            0.5
        """
        rate, work = float(self.loads.sum()), float(self.loads @ self.holding)
        if not count or erlang_c(self.servers, work * (1.0 + 3.0 * self.imbalance)) < _NEGLIGIBLE:
            return np.zeros(count)
        queues = -(-count // _TAKEN)
        factor = np.ones(queues)
        if self.imbalance > 0:
            # Loads arrive more often at busy queues, which makes the shape of the Gamma distribution larger by one.
            spread = self.imbalance**2
            factor = rng.gamma(1.0 / spread + 1.0, spread, queues)
        steps = _WARM_UP + _TAKEN
        gaps = rng.standard_exponential((steps, queues)) / (rate * factor)
        # Equally likely times of a load: to draw one of them is quicker than to look for a model.
        order = np.argsort(self.holding)
        ends = np.rint(np.cumsum(self.loads[order]) * (_LIKELY / rate)).astype(np.int64)
        likely = np.repeat(self.holding[order], np.diff(ends, prepend=0))
        holding = likely[(rng.random((steps, queues)) * len(likely)).astype(np.int64)]
        times = np.cumsum(gaps, axis=0)
        free = np.zeros((queues, self.servers))  # the moment at which each loader slot is free
        flat, rows = free.ravel(), np.arange(0, queues * self.servers, self.servers)
        waits = np.empty((_TAKEN, queues))
        for step in range(steps):
            slot = rows + free.argmin(axis=1)
            starts = np.maximum(flat[slot], times[step])
            if step >= _WARM_UP:
                waits[step - _WARM_UP] = starts - times[step]
            flat[slot] = starts + holding[step]
        return np.asarray(rng.permutation(waits.ravel())[:count])


def placement_imbalance(
    rates: Floats, loads: Floats, present: Floats, memory: Floats, *, instances: int, fitting: float
) -> float:
    """Return the coefficient of variation, among instances, of the loads per second from the volume.

    A model stays on the instance where it was placed first: evenly until memory is full, then at random. An instance
    with more popular models loads them more often and evicts its other models earlier. To first order, for Poisson
    requests, the contribution of a model to the loads of its instance is u = l + s·p·Σλl/Σsl, with its loads per
    second l, its size s and its share p of the time in memory (the quotient of d loads/dT and d bytes/dT is -Σλl/Σsl).
    The variance is that of Σu over the random placement.

    Args:
        rates: Requests per second of each model (λ).
        loads: Loads per second of each model (l).
        present: Share of the time in which each model is in memory (p).
        memory: Size of each model, bytes (s).
        instances: Number of instances.
        fitting: Share of the models that fit into memory at a time, which are placed evenly.

    Returns:
        The coefficient of variation; 0 for one instance.
    """
    total = float(loads.sum())
    evicted = float(memory @ loads)
    if total <= 0 or evicted <= 0 or instances < 2:
        return 0.0
    part = loads + memory * present * float(rates @ loads) / evicted
    square = float(part @ part) - min(fitting, 1.0) * float(part.sum()) ** 2 / len(part)
    return float(np.sqrt(max(square, 0.0) * (instances - 1)) / total)
