"""The requests of a simulation: one set for all options of a plan, so that options differ by their hosting only."""

from __future__ import annotations

import attrs
import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints
from mme_sdk.planning.synthetic import arrivals
from mme_sdk.planning.workload import Workload

__all__ = ["Replay", "replays"]

_MANY, _FEW = 20, 5  # independent runs; each places the models on the instances anew
_OFTEN, _SELDOM = 100_000, 500_000  # requests that many and few replays of a trace may have together
_WHOLE = 1_000_000  # a trace of at most so many requests is replayed whole
_DAY = 86_400.0  # seconds


@attrs.frozen(kw_only=True, eq=False)
class Replay:
    """The requests of one run in order of arrival, and what the caches hold before the first of them.

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

    @property
    def uncounted(self) -> int:
        """Number of requests at the start that do not count."""
        return int(self.filling * len(self.times))

    def faster(self, factor: float) -> Replay:
        """Return the same requests with the times between them divided by `factor`."""
        return attrs.evolve(self, times=self.times / factor)


def replays(load: Workload, *, requests: int, seed: int, single: bool = False) -> tuple[Replay, ...]:
    """Return the requests of a simulation, as independent runs.

    A model stays on the instance where it was placed first. One run therefore shows one placement, however long it is.
    Several runs show how much the figures depend on it.

    An LRU cache holds the models that were requested last. Each run therefore begins with the models in the order of
    their last requests: of a trace, those before the run, as if the trace repeated itself; of rates, a random order
    that fits them. Without these, a model that is requested once a day would seem cold for a day.

    Rates give twenty runs if each has at least ten requests for each model, else five if each has at least two, else
    one. A daily wave gives twenty runs at equal distances in the day if each has at least two.

    A trace is replayed several times, each time from another moment on: up to twenty times with at most 100,000
    requests together, or up to five times with at most 500,000. If three replays have more, there are twenty parts of
    the trace: all of it up to a million requests, else 50,000 requests each, at equal distances.

    Args:
        load: The traffic.
        requests: Approximate number of requests that are drawn from rates; a trace is used as it is.
        seed: Seed of the draw.
        single: Whether to return one run: a trace from its start to its end, or one draw. Default False.

    Returns:
        The runs.
    """
    if load.times is None or load.index is None:
        return _drawn(load, requests, seed, single=single)
    rng = np.random.default_rng(seed + 1)
    count, size = len(load.times), len(load.times)
    repeated = max(min(_MANY, _OFTEN // count), min(_FEW, _SELDOM // count))
    if single and count <= _WHOLE:
        starts = [0]
    elif repeated >= 3:
        starts = [count * number // repeated for number in range(repeated)]
    else:
        size = min(count, _WHOLE) // _MANY
        starts = np.linspace(0, count - size, _MANY).astype(np.int64).tolist()
    order = np.argsort(load.index, kind="stable")
    bounds = np.searchsorted(load.index[order], np.arange(len(load.models) + 1))
    return tuple(_part(load, start, size, _past(order, bounds, start), rng) for start in starts)


def _drawn(load: Workload, requests: int, seed: int, *, single: bool) -> tuple[Replay, ...]:
    asked = np.flatnonzero(load.rates > 0)
    wanted = ((_MANY, 2 if load.diurnal else 10), (_FEW, 2))
    runs = next((each for each, least in wanted if not single and requests // each >= least * len(asked)), 1)
    rng = np.random.default_rng(seed + 1)
    shape, found = 1.0 / load.cv**2, []
    for number in range(runs):
        # A single run of a daily wave begins with the day, at the mean rate.
        start = (number + 0.5) * _DAY / runs if runs > 1 else 0.0
        own = np.random.default_rng(seed * _MANY + number)
        length = requests / runs / load.rate
        times, index = arrivals(load.rates, length, cv=load.cv, diurnal=load.diurnal, start=start, rng=own)
        if not len(times):  # at night
            continue
        ages = rng.gamma(shape + 1.0, 1.0 / shape, len(asked)) * rng.random(len(asked)) / load.rates[asked]
        found.append(
            Replay(
                times=times,
                index=index,
                service=None,
                noise=rng.standard_normal(len(times)),
                past=asked[np.argsort(-ages, kind="stable")],
                filling=0.05,
            )
        )
    return tuple(found)


def _part(load: Workload, start: int, size: int, past: Ints, rng: np.random.Generator) -> Replay:
    """Return so many requests of a trace from a position on; after its end, the trace repeats itself."""
    assert load.times is not None and load.index is not None  # noqa: PT018 - a trace has them
    at = np.arange(start, start + size)
    again = at >= len(load.times)
    at[again] -= len(load.times)
    times = load.times[at]
    times[again] += load.duration
    return Replay(
        times=times - times[0],
        index=load.index[at],
        service=None if load.service is None else load.service[at],
        noise=rng.standard_normal(size),
        past=past,
        filling=0.0,
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
