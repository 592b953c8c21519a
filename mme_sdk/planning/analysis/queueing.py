"""Waiting: for a vCPU, for a loader, for a load that somebody else started."""

from __future__ import annotations

import math

import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation.inputs import Floats

__all__ = ["cold_share", "delayed_share", "erlang_c", "load_rates", "loader_saturation", "mean_wait", "steadiness"]


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


def steadiness(servers: int, load: float, cv2: float) -> float:
    """How much shorter the queue is than with exponential work, for work that varies less (Cosmetatos, 1976).

    Constant work makes the wait ½·(1 + (1-u)(c-1)(√(4+5c) - 2) / (16uc)) of what it is with exponential work, with
    u = load/c; what lies between is interpolated by the squared coefficient of variation, and beyond it is (1 + cv²)/2.

    Args:
        servers: How many.
        load: Arrival rate times mean work.
        cv2: Squared coefficient of variation of the work.
    """
    if cv2 >= 1.0:
        return (1.0 + cv2) / 2.0
    busy = min(max(load / servers, 1e-3), 1.0)
    constant = (1.0 - busy) * (servers - 1) * (math.sqrt(4.0 + 5.0 * servers) - 2.0) / (16.0 * busy * servers)
    return cv2 + (1.0 - cv2) * min(1.0, 0.5 * (1.0 + constant))


def mean_wait(servers: int, rate: float, service: float, *, cv: float = 1.0, arrival_cv: float = 1.0) -> float:
    """Mean time in the queue of G/G/c (Allen-Cunneen, with Cosmetatos's correction for steady work).

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
    exponential = erlang_c(servers, load) * service / (servers - load)
    return exponential * (steadiness(servers, load, cv**2) + (arrival_cv**2 - 1.0) / 2.0)


def load_rates(rates: Floats, hits: Floats, joining: Floats) -> Floats:
    """Loads per second of each model, requests that join a load starting none.

    Between two loads of a model lie the one request that starts the first, those that join it (λL under Poisson
    traffic), and those that hit until a gap exceeds the characteristic time, h/(1-h) on average; so with j joining,
    loads are λ(1-h) / (1 + (1-h)j).

    Args:
        rates: Requests per second of each model.
        hits: Share of its gaps shorter than the characteristic time.
        joining: Requests that come during a load, its wait for a loader included.
    """
    misses = 1.0 - hits
    return np.asarray(rates * misses / (1.0 + misses * joining))


def cold_share(hits: Floats, joining: Floats) -> Floats:
    """Share of each model's requests that start a load or join one.

    The refinement of `delayed_share` for loads long enough that several requests join; see `load_rates`.

    Args:
        hits: Share of each model's gaps shorter than the characteristic time.
        joining: Requests that come during a load, its wait for a loader included.
    """
    misses = 1.0 - hits
    return np.asarray(misses * (1.0 + joining) / (1.0 + misses * joining))


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
