"""Popularities and arrivals made up, with a seed."""

from __future__ import annotations

import math

import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.checks import check_number
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["arrivals", "azure_rates", "power_law_rates", "zipf_rates"]


def zipf_rates(models: int, *, exponent: float = 0.9, rate: float = 10.0) -> Floats:
    """Rates that fall with the rank as `rank ** -exponent`; 0.6, 0.9 and 1.2 are usual for models and web objects.

    Args:
        models: How many.
        exponent: The skew.
        rate: Requests per second of all together.

    Returns:
        Requests per second, most popular first.
    """
    check_number("the number of models", models, least=1, over=False, integer=True)
    check_number("rate", rate)
    check_number("exponent", exponent, least=-math.inf)
    weights = np.arange(1, models + 1, dtype=float) ** -exponent
    return np.asarray(weights / weights.sum() * rate)


def power_law_rates(models: int, *, exponent: float = 0.5, rate: float = 10.0) -> Floats:
    """Rates `rank ** -exponent` with AlpaServe's exponent of 0.5 (Li et al., OSDI 2023, section 6)."""
    return zipf_rates(models, exponent=exponent, rate=rate)


def azure_rates(models: int, *, rate: float | None = None, seed: int = 0) -> Floats:
    """Rates like those of applications on Azure Functions.

    A lognormal with a median of 40 calls a day and a sigma of 1.77 decades, cut at 10⁸ calls a day, fits two points of
    Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020): 45 % of the applications are called once an hour or
    less, and the top 18.6 % make 99.6 % of the calls.

    Args:
        models: How many.
        rate: Requests per second of all together; as drawn where None.
        seed: Of the draw.

    Returns:
        Requests per second, most popular first.
    """
    check_number("the number of models", models, least=1, over=False, integer=True)
    if rate is not None:
        check_number("rate", rate)
    rng = np.random.default_rng(seed)
    drawn = np.empty(0)
    while len(drawn) < models:
        decades = rng.normal(np.log10(40.0), 1.77, 2 * models)
        drawn = np.concatenate([drawn, decades[decades <= 8.0]])
    rates = np.sort(10.0 ** drawn[:models])[::-1] / 86400.0
    return np.asarray(rates if rate is None else rates / rates.sum() * rate)


def arrivals(
    rates: Floats, duration: float, *, cv: float = 1.0, diurnal: float = 0.0, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """Arrival times and models.

    Args:
        rates: Requests per second of each model.
        duration: Seconds.
        cv: Coefficient of variation of the time between a model's requests, which is Gamma distributed; 1 is Poisson.
        diurnal: Swing of the daily sine wave about the mean, 0 to 1; the day starts at its mean and rises.
        rng: Randomness.

    Returns:
        Times in order, and the index of each one's model.
    """
    if not 0.0 <= diurnal <= 1.0:
        raise InvalidInputError(f"diurnal is a share from 0 to 1, not {diurnal!r}")
    if not cv > 0:
        raise InvalidInputError(f"cv must be over 0, not {cv!r}")
    if cv == 1.0:
        count = int(rng.poisson(rates.sum() * duration))
        times = np.sort(rng.random(count) * duration)
        models = rng.choice(len(rates), count, p=rates / rates.sum())
    else:
        times, models = _renewal(rates, duration, cv, rng)
    if diurnal:
        times = _warp(times, diurnal)
        keep = times < duration
        times, models = times[keep], models[keep]
    return times, models.astype(np.int64)


def _renewal(rates: Floats, duration: float, cv: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    shape = 1.0 / cv**2
    all_times, all_models = [], []
    for model, rate in enumerate(rates):
        if rate <= 0:
            continue
        scale = 1.0 / (rate * shape)
        # The clock has been running: the gap that spans time 0 is long more often than not, Gamma(shape + 1), and
        # time 0 lies anywhere in it.
        time = rng.gamma(shape + 1.0, scale) * rng.random()
        while time < duration:
            gaps = rng.gamma(shape, scale, int((duration - time) * rate * 1.2) + 16)
            times = np.concatenate([[time], time + np.cumsum(gaps)])
            inside = times[:-1][times[:-1] < duration]
            all_times.append(inside)
            all_models.append(np.full(len(inside), model))
            time = float(times[-1])
    if not all_times:
        return np.empty(0), np.empty(0, dtype=np.int64)
    times, models = np.concatenate(all_times), np.concatenate(all_models)
    order = np.argsort(times, kind="stable")
    return times[order], models[order]


def _warp(times: Floats, swing: float) -> Floats:
    """Times of a process of constant rate, moved so that the rate is 1 + swing * sin."""
    day = 86400.0
    grid = np.linspace(0.0, max(float(times[-1]) if len(times) else 0.0, 1.0) * 1.1 + day, 20_000)
    expected = grid + swing * day / (2 * np.pi) * (1.0 - np.cos(2 * np.pi * grid / day))
    return np.asarray(np.interp(times, expected, grid))
