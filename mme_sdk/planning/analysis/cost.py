"""What it costs."""

from __future__ import annotations

import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["HOURS_PER_MONTH", "dedicated_instances", "monthly"]

HOURS_PER_MONTH = 730.0


def monthly(price: float, instances: float) -> float:
    """Cost per month of so many instances at this price per hour."""
    return HOURS_PER_MONTH * price * instances


def dedicated_instances(
    rates: Floats, service: Floats, *, workers: int, peak: float = 1.0, utilisation: float = 0.6, minimum: int = 1
) -> Ints:
    """Instances that each model needs on an endpoint of its own: ⌈λ·peak·E[S] / (utilisation·c)⌉, at least a minimum.

    Args:
        rates: Requests per second of each model.
        service: Mean seconds of each request.
        workers: vCPUs of an instance.
        peak: Busiest traffic over the mean.
        utilisation: How busy the vCPUs may be at the peak.
        minimum: Least instances of an endpoint; 2 for two availability zones.

    Returns:
        A count for each model.
    """
    needed = np.ceil(np.asarray(rates) * peak * np.asarray(service) / (utilisation * workers) - 1e-9)
    return np.maximum(minimum, needed).astype(np.int64)
