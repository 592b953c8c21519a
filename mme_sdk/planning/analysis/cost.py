"""Cost of instances, and the number of instances of a dedicated endpoint."""

from __future__ import annotations

import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["HOURS_PER_MONTH", "dedicated_instances", "monthly"]

HOURS_PER_MONTH = 730.0


def monthly(price: float, instances: float) -> float:
    """Return the cost per month of 730 hours.

    Args:
        price: Price of one instance per hour.
        instances: Number of instances.

    Returns:
        The cost, in the currency of the price.
    """
    return HOURS_PER_MONTH * price * instances


def dedicated_instances(
    rates: Floats,
    service: Floats,
    *,
    workers: int,
    peak: float | Floats = 1.0,
    utilisation: float = 0.6,
    minimum: int = 1,
) -> Ints:
    """Return the instances of a dedicated endpoint for each model: ⌈λ·peak·E[S] / (utilisation·c)⌉, or the minimum.

    Args:
        rates: Requests per second of each model (λ).
        service: Mean time of a request of each model on a vCPU, seconds (E[S]).
        workers: Number of vCPUs of an instance (c).
        peak: Ratio of the busiest traffic to the mean, one or one for each model. Default 1.
        utilisation: Largest vCPU utilisation at the peak. Default 0.6.
        minimum: Smallest number of instances; 2 for two availability zones. Default 1.

    Returns:
        A number for each model.
    """
    needed = np.ceil(np.asarray(rates) * peak * np.asarray(service) / (utilisation * workers) - 1e-9)
    return np.maximum(minimum, needed).astype(np.int64)
