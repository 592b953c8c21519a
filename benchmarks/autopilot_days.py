"""The days of `benchmarks/autopilot.py`: calls of 500 models over 24 hours, and the day a week earlier.

A day is a Poisson process. The rate of each model is its share of the traffic, times the wave of its region, times the
launches. The week before has the same models and waves, and other launches and arrivals.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from mme_sdk.planning import ModelProfile, Traffic, Workload

Floats = NDArray[np.float64]

__all__ = ["DAYS", "WARM_UP", "Day", "draw", "from_trace"]

WARM_UP = 120
"""Minutes before the day that fill the caches; they are simulated and not counted."""
_MINUTES = WARM_UP + 1440
_MIB = 2**20
_DECADES = 0.8  # spread of the models' rates: two thirds lie within a factor of 40


@attrs.frozen(kw_only=True, eq=False)
class Day:
    """A day of calls.

    Attributes:
        name: Name of the day.
        rates: Calls per second that are expected of each model (column) in each minute (row); of a trace, the means of
            15 minutes.
        counts: Calls of each model (column) in each minute (row).
        traffic: The calls; the day begins at second `60 * WARM_UP`.
        profiles: Size and times of each model.
    """

    name: str
    rates: Floats
    counts: NDArray[np.int64]
    traffic: Traffic
    profiles: tuple[ModelProfile, ...]


def _wave(hour: Floats, *, peak: float, low: float) -> Floats:
    """Return the traffic of a region by hour, 1 at its peak: working hours, an evening, and a night with little."""
    phase = np.cos((hour - peak) / 24.0 * 2.0 * np.pi)
    return np.asarray(low + (1.0 - low) * np.clip(0.45 + 0.55 * phase, 0.0, 1.0) ** 2)


DAYS: dict[str, dict[str, Any]] = {
    "three regions": {"peaks": (8.0, 14.0, 21.0), "low": 0.002, "launches": 8, "service": 0.02},
    "heavy service times": {"peaks": (8.0, 14.0, 21.0), "low": 0.002, "launches": 0, "service": 0.15},
    "one region": {"peaks": (14.0,), "low": 0.002, "launches": 0, "service": 0.02},
}
"""Hour at which each region has its peak, the traffic at night relative to it, launches, and mean service time (s)."""


def draw(name: str, *, seed: int, calls: float = 6.7e6, models: int = 500, week: int = 0) -> Day:
    """Draw a day.

    Args:
        name: One of `DAYS`.
        seed: Seed of the models and the calls.
        calls: Calls to expect.
        models: Number of models.
        week: 0 for the day, 1 for the day a week earlier.
    """
    settings = DAYS[name]
    rng = np.random.default_rng((seed, 7))
    popularity = 10.0 ** rng.normal(0.0, _DECADES, models)
    sizes = np.clip(rng.lognormal(np.log(460.0), 0.5, models), 60.0, 4000.0)
    peaks = np.asarray(settings["peaks"])
    region = rng.integers(0, len(peaks), models)
    hour = (np.arange(_MINUTES) - WARM_UP) / 60.0
    wave = np.stack([_wave(hour, peak=peak, low=settings["low"]) for peak in peaks], axis=1)
    rates = popularity * wave[:, region]
    rates *= calls / (rates[WARM_UP:].sum() * 60.0)
    rng = np.random.default_rng((seed, 11, week))
    for _ in range(settings["launches"]):  # a model of the tail becomes one of the most used for some hours
        model = int(rng.choice(np.flatnonzero(popularity < np.quantile(popularity, 0.7))))
        begin, length = int(rng.integers(WARM_UP, _MINUTES - 180)), int(rng.integers(90, 240))
        rates[begin : begin + length, model] += 0.02 * rates.sum(axis=1).mean()
    counts = rng.poisson(rates * 60.0)
    return _day(name, rates, counts, settings["service"], sizes, rng)


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


def from_trace(path: str, *, size_mb: float, service: float) -> Day:
    """Read a day from a trace with the columns time (seconds) and model; models have equal sizes."""
    load = Workload.from_trace(path)
    if load.times is None or load.index is None:
        raise SystemExit(f"{path} has no requests")
    minutes = int(load.times[-1] // 60) + 1
    counts = np.zeros((minutes, len(load.models)), dtype=np.int64)
    np.add.at(counts, ((load.times // 60).astype(np.int64), load.index), 1)
    window = np.minimum(np.arange(minutes) + 15, minutes)
    sums = np.vstack([np.zeros(counts.shape[1]), np.cumsum(counts, axis=0)])
    rates = (sums[window] - sums[np.maximum(window - 15, 0)]) / 900.0
    rng = np.random.default_rng(0)
    day = _day(path, rates, counts, service, np.full(len(load.models), size_mb), rng)
    served = np.asarray(load.service if load.service is not None else day.traffic.service, dtype=float)
    return attrs.evolve(day, traffic=_traffic(load.times, load.index, served, day.profiles))
