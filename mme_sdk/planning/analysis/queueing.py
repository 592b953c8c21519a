"""Waiting times: for a vCPU, for a loader slot, and for a load that another request started."""

from __future__ import annotations

import math

import numpy as np

from mme_sdk._validation import check_number
from mme_sdk.planning.simulation.inputs import Floats

__all__ = [
    "cold_share",
    "delayed_share",
    "erlang_c",
    "load_rates",
    "loader_saturation",
    "mean_wait",
    "spilled_bursts",
    "steadiness",
]


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that an arrival waits, for exponential service times (Erlang 1917).

    Args:
        servers: Number of servers.
        load: Arrival rate times mean service time.

    Returns:
        A probability; 1 if the load is at least the number of servers.

    Raises:
        InvalidInputError: `servers` is below 1, or `load` is negative.

    Example:
        >>> round(erlang_c(4, 3.0), 4)
        0.5094
    """
    if servers < 1 or not load >= 0:
        check_number("servers", servers, at_least=1)
        check_number("load", load, at_least=0)
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):  # Erlang-B; the recursion does not overflow
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def steadiness(servers: int, load: float, cv2: float) -> float:
    """Return the mean wait relative to that with exponential service times (Cosmetatos, 1976).

    With constant service times the factor is ½·(1 + (1-u)(c-1)(√(4+5c) - 2) / (16uc)), with u = load/c and c servers.
    Between constant and exponential it is interpolated by the squared coefficient of variation; above it is
    (1 + cv²)/2.

    Args:
        servers: Number of servers (c).
        load: Arrival rate times mean service time.
        cv2: Squared coefficient of variation of the service time.

    Returns:
        The factor.
    """
    if cv2 >= 1.0:
        return (1.0 + cv2) / 2.0
    busy = min(max(load / servers, 1e-3), 1.0)
    constant = (1.0 - busy) * (servers - 1) * (math.sqrt(4.0 + 5.0 * servers) - 2.0) / (16.0 * busy * servers)
    return cv2 + (1.0 - cv2) * min(1.0, 0.5 * (1.0 + constant))


def mean_wait(servers: int, rate: float, service: float, *, cv: float = 1.0, arrival_cv: float = 1.0) -> float:
    """Return the mean wait in a G/G/c queue (Allen-Cunneen, with the correction of Cosmetatos).

    Args:
        servers: Number of servers.
        rate: Arrivals per second.
        service: Mean service time, seconds.
        cv: Coefficient of variation of the service time. Default 1.
        arrival_cv: Coefficient of variation of the time between arrivals. Default 1.

    Returns:
        The wait, seconds; infinite if the servers are overloaded.
    """
    load = rate * service
    if load >= servers:
        return math.inf
    exponential = erlang_c(servers, load) * service / (servers - load)
    return exponential * (steadiness(servers, load, cv**2) + (arrival_cv**2 - 1.0) / 2.0)


def load_rates(rates: Floats, hits: Floats, joining: Floats) -> Floats:
    """Return the loads per second of each model; a request that joins a load does not start one.

    Between two loads of a model there are: the request that starts the first load, the j requests that join it (λL for
    Poisson traffic), and on average h/(1-h) hits until a gap exceeds the characteristic time. The loads per second are
    therefore λ(1-h) / (1 + (1-h)j).

    Args:
        rates: Requests per second of each model (λ).
        hits: Share of each model's gaps that are shorter than the characteristic time (h).
        joining: Number of requests during a load, its wait for a loader slot included (j).

    Returns:
        Loads per second of each model.
    """
    misses = 1.0 - hits
    return np.asarray(rates * misses / (1.0 + misses * joining))


def cold_share(hits: Floats, joining: Floats) -> Floats:
    """Return the share of each model's requests that start a load or join one: (1-h)(1+j) / (1 + (1-h)j).

    It is more accurate than `delayed_share` if several requests join a load; see `load_rates` for the derivation.

    Args:
        hits: Share of each model's gaps that are shorter than the characteristic time (h).
        joining: Number of requests during a load, its wait for a loader slot included (j).

    Returns:
        A share for each model, 0 to 1.
    """
    misses = 1.0 - hits
    return np.asarray(misses * (1.0 + joining) / (1.0 + misses * joining))


def delayed_share(rates: Floats, hits: Floats, loading: Floats) -> float:
    """Return the share of all requests that wait for a load: Σλ(1-h)(1+λL)/Λ (after Atre et al., SIGCOMM 2020).

    Args:
        rates: Requests per second of each model (λ; the sum is Λ).
        hits: Hit ratio of each model (h).
        loading: Load time of each model, seconds (L).

    Returns:
        The share, correct to first order in the misses.
    """
    total = float(np.sum(rates))
    return float(np.sum(rates * (1.0 - hits) * (1.0 + rates * loading)) / total) if total else 0.0


def loader_saturation(loads: Floats, loading: Floats, *, instances: int, slots: int) -> float:
    """Return the utilisation of the loader slots; above 0.7 a fleet may not recover from a burst.

    Args:
        loads: Loads per second of each model.
        loading: Time that a load of each model occupies a loader slot, seconds.
        instances: Number of instances.
        slots: Loader slots of each instance.

    Returns:
        The utilisation; 1 is fully busy.
    """
    return float(np.sum(loads * loading) / (instances * slots))


def spilled_bursts(rates: Floats, following: Floats, *, service: Floats, spill: int) -> tuple[Floats, Floats]:
    """Return the bursts per second of each model that reach another instance, and the requests of a burst.

    The requests of a burst that are outstanding at a time are taken as geometric, with the mean number that follow a
    request while it runs beyond those of the mean rate. A burst of `spill` or more sends its further requests, which
    are again a geometric number, to another instance.

    Args:
        rates: Requests per second of each model.
        following: Mean number of requests for the model while a request runs.
        service: Mean time that a request runs, seconds.
        spill: Number of outstanding requests from which SageMaker uses another instance.

    Returns:
        Bursts per second, and requests of a burst, for each model.

    Example:
        >>> bursts, size = spilled_bursts(np.array([0.1]), np.array([3.0]), service=np.array([0.0]), spill=8)
        >>> float(bursts[0].round(4)), float(size[0])  # 0.1 / 4 bursts a second, of which 0.75⁸ spill
        (0.0025, 4.0)
    """
    beyond = np.maximum(following - rates * service, 0.0)
    size = 1.0 + beyond
    return np.asarray(rates / size * (beyond / size) ** spill), np.asarray(size)
