"""The days of `benchmarks/autopilot.py`: calls of 500 models over 24 hours, and the day a week earlier.

The days are a family with one parameter: the share of the models that sleep outside the hours of their region. A model
that sleeps is not called; the others keep a tenth of their busiest rate. All models of a region have about the same
rate. So the traffic has a night in every day of the family, and the parameter says how much of the working set has one.

What the days were fitted to, and what not, is in docs/benchmarks/autopilot.md.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from mme_sdk.planning import ModelProfile, Traffic, Workload

Floats = NDArray[np.float64]

__all__ = ["DAYS", "WARM_UP", "Day", "Kind", "draw", "from_trace", "movement", "with_warming", "working_set"]

WARM_UP = 120
"""Minutes before the day that fill the caches; they are simulated and not counted."""
_MINUTES = WARM_UP + 1440
_MIB = 2**20


@attrs.frozen(kw_only=True, eq=False)
class Day:
    """A day of calls.

    Attributes:
        name: Name of the day.
        rates: Calls per second that are expected of each model (column) in each minute (row); of a trace, the means of
            15 minutes.
        counts: Calls of each model (column) in each minute (row).
        traffic: The calls; the day begins at second `60 * first`.
        profiles: Size and times of each model.
        first: Minute at which the day begins; those before it fill the caches.
        warming: Which of the calls users did not make: they load a model early. None: none of them.
    """

    name: str
    rates: Floats
    counts: NDArray[np.int64]
    traffic: Traffic
    profiles: tuple[ModelProfile, ...]
    first: int = 0
    warming: NDArray[np.bool_] | None = None


@attrs.frozen(kw_only=True)
class Kind:
    """What a day is like.

    Attributes:
        peaks: Hour at which each region has its peak; a model belongs to one region, and each has as many.
        sleep: Share of the models that are not called outside the hours of their region.
        hours: Hours of the day in which a region is awake.
        launches: Models that get 2 % of the mean traffic in addition, for 1.5 to 4 hours.
        service: Mean service time, seconds.
        decades: Spread of the rates of the models: the standard deviation of their decimal logarithm.
        total_mib: Size of all models together, MiB.
    """

    peaks: tuple[float, ...] = (14.0,)
    sleep: float = 0.9
    hours: float = 17.0
    launches: int = 0
    service: float = 0.02
    decades: float = 0.3
    total_mib: float = 260.0 * 1024.0


DAYS = {
    "three regions": Kind(peaks=(6.0, 14.0, 22.0), launches=8),
    "heavy service times": Kind(peaks=(6.0, 14.0, 22.0), service=0.15),
    "one region": Kind(),
}
"""The three days of the design."""


def _wave(hour: Floats, *, peak: float, hours: float) -> Floats:
    """Return the traffic of a region by hour: 1 at its peak, and 0 while it sleeps."""
    distance = np.abs((hour - peak + 12.0) % 24.0 - 12.0)
    return np.asarray(np.where(distance < hours / 2.0, np.cos(distance / hours * np.pi), 0.0) ** 2)


def draw(kind: Kind, *, seed: int, calls: float = 6.7e6, models: int = 500, week: int = 0, name: str = "") -> Day:
    """Draw a day.

    Args:
        kind: What it is like.
        seed: Seed of the models and the calls.
        calls: Calls to expect.
        models: Number of models.
        week: 0 for the day, 1 for the day a week earlier: the same models, other launches and arrivals.
        name: Name of the day.
    """
    rng = np.random.default_rng((seed, 7))
    popularity = 10.0 ** rng.normal(0.0, kind.decades, models)
    sizes = np.clip(rng.lognormal(np.log(460.0), 0.5, models), 60.0, 4000.0)
    sizes *= kind.total_mib * models / 500.0 / sizes.sum()
    region = rng.permutation(models) % len(kind.peaks)
    sleeps = rng.permutation(models) < kind.sleep * models
    hour = (np.arange(_MINUTES) - WARM_UP) / 60.0
    wave = np.stack([_wave(hour, peak=peak, hours=kind.hours) for peak in kind.peaks], axis=1)[:, region]
    rates = popularity * np.where(sleeps, wave, np.maximum(wave, 0.1))
    rates *= calls / (rates[WARM_UP:].sum() * 60.0)
    rng = np.random.default_rng((seed, 11, week))
    for _ in range(kind.launches):
        model = int(rng.integers(models))
        begin, length = int(rng.integers(WARM_UP, _MINUTES - 180)), int(rng.integers(90, 240))
        rates[begin : begin + length, model] += 0.02 * rates.sum(axis=1).mean()
    counts = rng.poisson(rates * 60.0)
    # Each model is called once before the day, as on the day before: a fixed fleet that keeps all has them in memory.
    counts[rng.integers(0, 10, models), np.arange(models)] += 1
    return attrs.evolve(_day(name, rates, counts, kind.service, sizes, rng), first=WARM_UP)


def working_set(day: Day, minutes: int = 60) -> Floats:
    """Return the size of the models that were called in each hour of the day, bytes."""
    size = np.asarray([float(one.memory_bytes) for one in day.profiles])
    starts = range(day.first, len(day.counts) - minutes + 1, minutes)
    return np.asarray([size[day.counts[one : one + minutes].any(axis=0)].sum() for one in starts])


def movement(day: Day) -> float:
    """Return how much the working set moves: 1 less its mean over the hours, divided by its largest."""
    sizes = working_set(day)
    return float(1.0 - sizes.mean() / sizes.max())


def with_warming(day: Day, calls: list[tuple[float, int]]) -> Day:
    """Return a day with calls that load models early: a time (seconds) and the number of a model each."""
    old = day.traffic
    times, models = np.asarray([at for at, _ in calls]), np.asarray([model for _, model in calls], dtype=np.int64)
    service = np.asarray([day.profiles[model].service_seconds for model in models])
    together = np.concatenate([old.times, times])
    order = np.argsort(together, kind="stable")
    return attrs.evolve(
        day, warming=(np.arange(len(together)) >= len(old.times))[order],
        traffic=attrs.evolve(old, times=together[order], models=np.concatenate([old.models, models])[order],
                             service=np.concatenate([old.service, service])[order]),
    )  # fmt: skip


def _day(
    name: str, rates: Floats, counts: NDArray[np.int64], service: float, sizes: Floats, rng: np.random.Generator
) -> Day:
    minute, model = np.nonzero(counts)
    often = counts[minute, model]
    index = np.repeat(model, often)
    times = np.repeat(minute * 60.0, often) + rng.random(len(index)) * 60.0
    order = np.argsort(times, kind="stable")
    profiles = tuple(
        ModelProfile(
            memory_bytes=int(size * _MIB), disk_bytes=int(size * _MIB), archive_bytes=int(size * _MIB / 2.5),
            service_seconds=service, service_cv=0.9, load_seconds=0.5 + 4.0 * size / 1024.0,
        )
        for size in sizes
    )  # fmt: skip
    sigma = float(np.sqrt(np.log(1.0 + 0.9**2)))
    return Day(
        name=name,
        rates=rates,
        counts=counts,
        traffic=_traffic(times[order], index[order], service * rng.lognormal(-(sigma**2) / 2, sigma, len(index)),
                         profiles),
        profiles=profiles,
    )  # fmt: skip


def _traffic(times: Floats, index: NDArray[np.int64], service: Floats, profiles: tuple[ModelProfile, ...]) -> Traffic:
    def column(field: str) -> Floats:
        return np.asarray([getattr(one, field) for one in profiles], dtype=float)

    return Traffic(
        times=times, models=index, service=service, disk=column("disk_bytes"), memory=column("memory_bytes"),
        download=0.2 + column("archive_bytes") * 8.0 / 1e9, load=column("load_seconds"),
    )  # fmt: skip


def from_trace(path: str, *, size_mb: float, service: float, stretch: float = 1.0) -> Day:
    """Read a day from a trace with the columns time (seconds) and model; models have equal sizes.

    Args:
        path: The file.
        size_mb: Size of each model, MiB.
        service: Mean service time, seconds.
        stretch: Factor on the times.
    """
    load = Workload.from_trace(path)
    if load.times is None or load.index is None:
        raise SystemExit(f"{path} has no requests")
    times = load.times * stretch
    minutes = int(times[-1] // 60) + 1
    counts = np.zeros((minutes, len(load.models)), dtype=np.int64)
    np.add.at(counts, ((times // 60).astype(np.int64), load.index), 1)
    window = np.minimum(np.arange(minutes) + 15, minutes)
    sums = np.vstack([np.zeros(counts.shape[1]), np.cumsum(counts, axis=0)])
    rates = (sums[window] - sums[np.maximum(window - 15, 0)]) / 900.0
    rng = np.random.default_rng(0)
    day = _day(path, rates, counts, service, np.full(len(load.models), size_mb), rng)
    served = np.asarray(load.service if load.service is not None else day.traffic.service, dtype=float)
    return attrs.evolve(day, traffic=_traffic(times, load.index, served, day.profiles))
