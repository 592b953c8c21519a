"""The requests of a simulation: one set for all options of a plan, so that options differ by their hosting only."""

from __future__ import annotations

import attrs
import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints
from mme_sdk.planning.workload import Workload

__all__ = ["Replay", "replays"]

_WHOLE = 1_000_000  # a trace of at most so many requests is replayed whole
_PARTS = 20  # parts of a longer trace


@attrs.frozen(kw_only=True, eq=False)
class Replay:
    """Requests in order of arrival, and what the caches hold before the first of them.

    Attributes:
        times: Arrival times, seconds.
        index: Model of each request.
        service: Measured time of each request on a vCPU, seconds; None if there is none.
        noise: A standard normal number for each request, which gives its service time if none was measured.
        past: The models that were requested before, the latest last.
        filling: Share of the requests at the start that do not count.
    """

    times: Floats
    index: Ints
    service: Floats | None
    noise: Floats
    past: Ints
    filling: float

    def faster(self, factor: float) -> Replay:
        """Return the same requests with the times between them divided by `factor`."""
        return attrs.evolve(self, times=self.times / factor)


def replays(load: Workload, *, requests: int, seed: int) -> tuple[Replay, ...]:
    """Return the requests of a simulation.

    An LRU cache holds the models that were requested last. Each replay therefore begins with the models in the order
    of their last requests: of a trace, those before the replay, as if the trace repeated itself; of rates, a random
    order that fits them. Without these, a model that is requested once a day would seem cold for a day.

    A trace of up to a million requests is replayed whole. Of a longer one, twenty parts of 50,000 requests at equal
    distances are replayed.

    Args:
        load: The traffic.
        requests: Approximate number of requests that are drawn from rates; a trace is used as it is.
        seed: Seed of the draw.

    Returns:
        One replay; several for a long trace.
    """
    rng = np.random.default_rng(seed + 1)
    if load.times is None or load.index is None:
        drawn = load.sample(requests / load.rate, seed=seed)
        assert drawn.times is not None and drawn.index is not None  # noqa: PT018 - a sample has them
        shape = 1.0 / load.cv**2
        asked = np.flatnonzero(load.rates > 0)
        ages = rng.gamma(shape + 1.0, 1.0 / shape, len(asked)) * rng.random(len(asked)) / load.rates[asked]
        return (
            Replay(
                times=drawn.times,
                index=drawn.index,
                service=None,
                noise=rng.standard_normal(len(drawn.times)),
                past=asked[np.argsort(-ages, kind="stable")],
                filling=0.05,
            ),
        )
    times, index, count = load.times, load.index, len(load.times)
    size = _WHOLE // _PARTS
    starts = [0] if count <= _WHOLE else np.linspace(0, count - size, _PARTS).astype(np.int64).tolist()
    stop = count if count <= _WHOLE else size
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(len(load.models) + 1))
    return tuple(
        Replay(
            times=times[start : start + stop] - times[start],
            index=index[start : start + stop],
            service=None if load.service is None else load.service[start : start + stop],
            noise=rng.standard_normal(min(stop, count)),
            past=_past(order, bounds, start),
            filling=0.0,
        )
        for start in starts
    )


def _past(order: Ints, bounds: Ints, start: int) -> Ints:
    """Return the models in the order of their last requests before position `start` of a trace that repeats itself."""
    count, last = len(order), []
    for model in range(len(bounds) - 1):
        mine = order[bounds[model] : bounds[model + 1]]
        if len(mine):
            before = int(np.searchsorted(mine, start))
            last.append((int(mine[before - 1]) - (0 if before else count), model))
    return np.asarray([model for _, model in sorted(last)], dtype=np.int64)
