"""Synthetic popularities and arrival times, drawn with a seed."""

from __future__ import annotations

import numpy as np

from mme_sdk._validation import check_number
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["arrivals", "azure_rates", "power_law_rates", "zipf_rates"]


def zipf_rates(models: int, *, exponent: float = 0.9, rate: float = 10.0) -> Floats:
    """Return rates proportional to `rank ** -exponent`; exponents of 0.6, 0.9 and 1.2 are usual for web objects.

    Args:
        models: Number of models.
        exponent: Exponent of Zipf's law. Default 0.9.
        rate: Total requests per second. Default 10.

    Returns:
        Requests per second, most popular first.

    Raises:
        InvalidInputError: An argument is out of range.
    """
    check_number("the number of models", models, at_least=1, integer=True)
    check_number("rate", rate, over=0)
    check_number("exponent", exponent)
    weights = np.arange(1, models + 1, dtype=float) ** -exponent
    return np.asarray(weights / weights.sum() * rate)


def power_law_rates(models: int, *, exponent: float = 0.5, rate: float = 10.0) -> Floats:
    """Return the rates of `zipf_rates` with AlpaServe's exponent of 0.5 (Li et al., OSDI 2023, section 6).

    Args:
        models: Number of models.
        exponent: Exponent of the power law. Default 0.5.
        rate: Total requests per second. Default 10.

    Returns:
        Requests per second, most popular first.
    """
    return zipf_rates(models, exponent=exponent, rate=rate)


def azure_rates(models: int, *, rate: float | None = None, seed: int = 0) -> Floats:
    """Draw rates like those of applications on Azure Functions.

    A lognormal distribution (median 40 calls a day, sigma 1.77 decades, at most 10⁸ calls a day) fits two points of
    Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020): 45 % of the applications are called once an hour or
    less, and the top 18.6 % make 99.6 % of the calls.

    Args:
        models: Number of models.
        rate: Total requests per second; None (the default) keeps the drawn rates.
        seed: Seed of the draw. Default 0.

    Returns:
        Requests per second, most popular first.

    Raises:
        InvalidInputError: An argument is out of range.
    """
    check_number("the number of models", models, at_least=1, integer=True)
    if rate is not None:
        check_number("rate", rate, over=0)
    rng = np.random.default_rng(seed)
    drawn = np.empty(0)
    while len(drawn) < models:
        decades = rng.normal(np.log10(40.0), 1.77, 2 * models)
        drawn = np.concatenate([drawn, decades[decades <= 8.0]])
    rates = np.sort(10.0 ** drawn[:models])[::-1] / 86400.0
    return np.asarray(rates if rate is None else rates / rates.sum() * rate)


def arrivals(
    rates: Floats,
    duration: float,
    *,
    cv: float = 1.0,
    diurnal: float = 0.0,
    start: float = 0.0,
    rng: np.random.Generator,
) -> tuple[Floats, Ints]:
    """Draw arrival times and their models.

    Args:
        rates: Requests per second of each model.
        duration: Length, seconds.
        cv: Coefficient of variation of the Gamma-distributed time between a model's requests. Default 1 (Poisson).
        diurnal: Amplitude of the daily sine wave, relative to the mean, 0 (the default) to 1; the day starts at the
            mean and rises.
        start: Time of the day at which the arrivals begin, seconds. Default 0.
        rng: Source of randomness.

    Returns:
        Times in ascending order, seconds, and the position of each request's model.

    Raises:
        InvalidInputError: `cv` or `diurnal` is out of range.
    """
    check_number("diurnal", diurnal, at_least=0, at_most=1)
    check_number("cv", cv, over=0)
    # The requests of a wave are those of a constant rate, at other times: as many as the wave has within the duration.
    span = float(_expected(start + duration, diurnal) - _expected(start, diurnal)) if diurnal else duration
    if cv == 1.0:
        count = int(rng.poisson(rates.sum() * span))
        times = np.sort(rng.random(count) * span)
        models = rng.choice(len(rates), count, p=rates / rates.sum())
    else:
        times, models = _renewal(rates, span, cv, rng)
    if diurnal:
        grid = np.linspace(start, start + duration, 20_000)
        times = np.interp(times + _expected(start, diurnal), _expected(grid, diurnal), grid) - start
    return times, models.astype(np.int64)


def _expected(times: Floats | float, amplitude: float) -> Floats:
    """Return how long a constant rate would take for the requests of a wave from the start of the day to each time."""
    day = 86400.0
    return np.asarray(times + amplitude * day / (2 * np.pi) * (1.0 - np.cos(2 * np.pi * np.asarray(times) / day)))


def _renewal(rates: Floats, duration: float, cv: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    shape = 1.0 / cv**2
    all_times, all_models = [], []
    for model, rate in enumerate(rates):
        if rate <= 0:
            continue
        scale = 1.0 / (rate * shape)
        # The process started before time 0. The gap around time 0 has the length-biased distribution
        # Gamma(shape + 1), and time 0 is uniform in it.
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
