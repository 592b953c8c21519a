"""Waiting: for a vCPU, for a loader, for a load that somebody else started."""

from __future__ import annotations

import math

import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["cold_share", "delayed_share", "erlang_c", "load_rates", "loader_saturation", "mean_wait"]


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival must wait for one of so many servers (Erlang 1917).

    Args:
        servers: How many.
        load: Arrival rate times mean service time.

    Returns:
        A probability; 1 where the load is the servers' number or more.

    Example:
        >>> round(erlang_c(4, 3.0), 4)
        0.5094
    """
    if servers < 1 or load < 0:
        raise InvalidInputError(f"erlang_c needs at least one server and no negative load: {servers!r}, {load!r}")
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):  # Erlang-B by its recursion, which does not overflow
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def mean_wait(servers: int, rate: float, service: float, *, cv: float = 1.0, arrival_cv: float = 1.0) -> float:
    """Mean time in the queue of G/G/c (Allen-Cunneen: Erlang-C times (cₐ² + cₛ²)/2).

    Args:
        servers: How many.
        rate: Arrivals per second.
        service: Mean seconds of work.
        cv: Coefficient of variation of the work.
        arrival_cv: Coefficient of variation of the gaps between arrivals.

    Returns:
        Seconds; infinite where the servers cannot keep up.
    """
    load = rate * service
    if load >= servers:
        return math.inf
    return erlang_c(servers, load) * service / (servers - load) * (arrival_cv**2 + cv**2) / 2.0


def load_rates(rates: Floats, hits: Floats, loading: Floats) -> Floats:
    """Loads per second of each model, requests that join a load starting none.

    Between two loads of a model lie the one request that starts the first, λL that join it, and those that hit until a
    gap exceeds the characteristic time, h/(1-h) on average; so loads are λ(1-h) / (1 + (1-h)λL).

    Args:
        rates: Requests per second of each model.
        hits: Share of its gaps shorter than the characteristic time.
        loading: Seconds that each takes to load, waiting for a loader included.
    """
    misses = 1.0 - hits
    return np.asarray(rates * misses / (1.0 + misses * rates * loading))


def cold_share(rates: Floats, hits: Floats, loading: Floats) -> Floats:
    """Share of each model's requests that start a load or join one.

    The refinement of `delayed_share` for loads long enough that several requests join; see `load_rates`.

    Args:
        rates: Requests per second of each model.
        hits: Share of its gaps shorter than the characteristic time.
        loading: Seconds that each takes to load, waiting for a loader included.
    """
    misses = 1.0 - hits
    return np.asarray(misses * (1.0 + rates * loading) / (1.0 + misses * rates * loading))


def delayed_share(rates: Floats, hits: Floats, loading: Floats) -> float:
    """Share of all requests that meet a load: π = Σλ(1-h)(1+λL)/Λ (after Atre et al., SIGCOMM 2020).

    Args:
        rates: Requests per second of each model.
        hits: Hit ratio of each.
        loading: Seconds that each takes to load.

    Returns:
        A share, to first order in the misses.
    """
    total = float(np.sum(rates))
    return float(np.sum(rates * (1.0 - hits) * (1.0 + rates * loading)) / total) if total else 0.0


def loader_saturation(loads: Floats, loading: Floats, *, instances: int, slots: int) -> float:
    """How busy the loaders are; beyond 0.7 a fleet may collapse and stay so.

    Args:
        loads: Loads per second of each model.
        loading: Seconds that each keeps a loader.
        instances: How many.
        slots: Loaders on each.
    """
    return float(np.sum(loads * loading) / (instances * slots))
