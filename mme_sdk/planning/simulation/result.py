"""The function `simulate`, which selects one of the three engines, and its result."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Literal

import attrs
import numpy as np

from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.planning.simulation.clients import ClientPolicy
from mme_sdk.planning.simulation.events import Event
from mme_sdk.planning.simulation.fleet_engine import run_fleet
from mme_sdk.planning.simulation.inputs import DISK, FAILED, HIT, JOINED, S3, FleetConfig, Floats, Ints, Traffic
from mme_sdk.planning.simulation.python_engine import run_python

__all__ = ["Engine", "SimulationResult", "simulate"]

Engine = Literal["auto", "python", "numba", "fleet"]


@attrs.frozen(kw_only=True, eq=False)
class SimulationResult:
    """The outcome of each call of a simulation; arrays have one element for each call.

    Attributes:
        times: Start of each call, seconds.
        latency: Time from the start of each call to its answer or failure, seconds.
        kinds: Outcome of each call: `HIT` (model in memory), `JOINED` (model was loading), `DISK` (model on the
            volume), `S3` (model only in S3) or `FAILED`.
        attempts: Number of attempts of each call.
        evictions: Number of models that were unloaded to free memory.
        discards: Number of models whose files were deleted.
        duplicate_loads: Number of loads that started while another instance had the model or was loading it.
        skip: Number of calls at the start that the shares and quantiles leave out, because the caches were filling.
        capacity: Pairs of a time (seconds) and the number of instances in service from then on.
        engine: Name of the engine that ran.
        runs: Independent run of each call, ascending from 0; None (the default) if all calls are of one run.
        loaders: Utilisation of the loader slots at the peak, 0 to 1; only the simulations of a plan have it. Default
            None.
        loaders_of_runs: The same of each run; empty (the default) if all calls are of one run.
    """

    times: Floats
    latency: Floats
    kinds: Ints
    attempts: Ints
    evictions: int
    discards: int
    duplicate_loads: int
    skip: int
    capacity: tuple[tuple[float, int], ...]
    engine: str
    runs: Ints | None = None
    loaders: float | None = None
    loaders_of_runs: tuple[float, ...] = ()

    def share(self, *kinds: int) -> float:
        """Return the share of calls with one of these outcomes.

        Args:
            kinds: Outcomes: `HIT`, `JOINED`, `DISK`, `S3`, `FAILED`.

        Returns:
            A share, 0 to 1.
        """
        return float(np.isin(self.kinds[self.skip :], kinds).mean())

    @property
    def hit_ratio(self) -> float:
        """Share of calls whose model was in memory, 0 to 1: CloudWatch's `ModelCacheHit`."""
        return self.share(HIT)

    @property
    def cold_rate(self) -> float:
        """Share of calls that waited while their model loaded, 0 to 1."""
        return self.share(JOINED, DISK, S3)

    @property
    def success(self) -> float:
        """Share of calls that were answered, 0 to 1."""
        return 1.0 - self.share(FAILED)

    def quantile(self, *q: float) -> tuple[float, ...]:
        """Return quantiles of the latency of the answered calls.

        Args:
            q: Quantiles, 0 to 1, such as 0.5 and 0.99.

        Returns:
            One latency in seconds for each quantile; NaN if no call was answered.
        """
        answered = self.latency[self.skip :][self.kinds[self.skip :] != FAILED]
        if not len(answered):
            return tuple(float("nan") for _ in q)
        return tuple(float(each) for each in np.quantile(answered, q))

    def after(self, time: float) -> SimulationResult:
        """Return the result with the shares and quantiles of the calls from a time on.

        Args:
            time: Start, seconds.

        Returns:
            The same outcomes with another `skip`.
        """
        return attrs.evolve(self, skip=int(np.searchsorted(self.times, time)))

    def __repr__(self) -> str:
        p50, p99 = self.quantile(0.5, 0.99)
        return (
            f"<SimulationResult of {len(self.times):,} calls: {self.cold_rate:.2%} cold, {self.success:.2%} answered, "
            f"p50 {p50:.3g} s, p99 {p99:.3g} s>"
        )


def simulate(
    traffic: Traffic,
    config: FleetConfig,
    *,
    engine: Engine = "auto",
    clients: ClientPolicy | None = None,
    timeline: Iterable[Event] = (),
    skip: float = 0.2,
    seed: int = 0,
) -> SimulationResult:
    """Simulate a fleet that serves the given calls.

    The `python` and `numba` engines process the calls in arrival order. The `fleet` engine drives `mme_sdk.fleet` event
    by event; only this engine supports `clients` and `timeline`. All three give the same result for each call. Loading
    takes the time in `traffic`; unloading and deleting take no time.

    Args:
        traffic: The calls, in order of arrival.
        config: The fleet.
        engine: `auto` (the default) selects `fleet` if `clients` or `timeline` is given; else `numba` if it is
            installed and there are 200,000 calls or more; else `python`.
        clients: How callers react while their model loads; None (the default) if they wait for the answer.
        timeline: Deployments, failures and scaling; empty by default.
        skip: Share of the calls at the start that the shares and quantiles leave out, 0 to below 1. Default 0.2.
        seed: Seed of the choice between equally good instances and of the callers' jitter, 0 or more. Default 0.

    Returns:
        The outcome of each call.

    Raises:
        InvalidInputError: A requested model is larger than an instance, an argument is out of range, or the engine does
            not support `clients` or `timeline`.
        MissingExtraError: The engine is `numba`, which is not installed.

    Example:
        >>> calls = Traffic(times=[0.0, 10.0], models=[0, 0], service=[0.5, 0.25], disk=[1], memory=[1],
        ...                 download=[2.0], load=[1.0])
        >>> config = FleetConfig(instances=1, workers=1, memory_bytes=1, volume_bytes=1)
        >>> simulate(calls, config, skip=0.0).latency.tolist()
        [3.5, 0.25]
    """
    timeline = tuple(timeline)
    special = clients is not None or bool(timeline)
    if special and engine not in ("auto", "fleet"):
        raise InvalidInputError(f"the {engine} engine does not support clients or timeline", hint='use engine="fleet"')
    check_number("skip", skip, at_least=0, below=1)
    if engine not in ("auto", "python", "numba", "fleet"):
        raise InvalidInputError(f"there is no engine {engine!r}", hint="use auto, python, numba or fleet")
    check_number("seed", seed, at_least=0, integer=True)
    traffic.check_fits(config)
    count = len(traffic.times)
    if engine == "auto":
        installed = importlib.util.find_spec("numba") is not None
        engine = "fleet" if special else "numba" if installed and count >= 200_000 else "python"
    attempts: Ints = np.ones(count, dtype=np.int64)
    capacity: tuple[tuple[float, int], ...] = ((0.0, int(config.instances)),)
    if engine == "fleet":
        draws = np.random.default_rng(seed).random(8 * count + 1024)
        ran = run_fleet(traffic, config, draws, clients=clients, timeline=timeline, seed=seed)
        latency, kinds, tallies = ran.latency, ran.kinds, ran.tallies
        attempts, capacity = ran.attempts, ran.capacity
    else:
        draws = np.random.default_rng(seed).random(count + 1)
        latency, kinds, tallies = (run_python if engine == "python" else _numba())(traffic, config, draws)
    return SimulationResult(
        times=traffic.times,
        latency=latency,
        kinds=kinds,
        attempts=attempts,
        evictions=tallies[0],
        discards=tallies[1],
        duplicate_loads=tallies[2],
        skip=int(skip * count),
        capacity=capacity,
        engine=engine,
    )


def _numba() -> Callable[[Traffic, FleetConfig, Floats], tuple[Floats, Ints, tuple[int, int, int]]]:
    try:
        from mme_sdk.planning.simulation.numba_engine import run_numba
    except ImportError as error:
        raise MissingExtraError(
            "the numba engine needs numba", hint="pip install 'mme-sdk[planning-fast]', or use engine=\"python\""
        ) from error
    return run_numba
