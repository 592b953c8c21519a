"""What a simulation found, and one door to the three engines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Literal

import attrs
import numpy as np

from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.planning.checks import check_number
from mme_sdk.planning.simulation.clients import ClientPolicy
from mme_sdk.planning.simulation.events import Event
from mme_sdk.planning.simulation.fleet_engine import run_fleet
from mme_sdk.planning.simulation.inputs import DISK, FAILED, HIT, JOINED, S3, Floats, Ints, Site, Traffic
from mme_sdk.planning.simulation.python_engine import run_python

__all__ = ["Engine", "SimulationResult", "simulate"]

Engine = Literal["auto", "python", "numba", "fleet"]


@attrs.frozen(kw_only=True, eq=False)
class SimulationResult:
    """What became of each call.

    Attributes:
        times: When each call began, seconds.
        latency: Seconds from a call's begin to its answer, or to the moment it failed.
        kinds: What each met: `HIT`, `JOINED`, `DISK`, `S3`; or `FAILED`.
        attempts: Attempts of each call.
        evictions: Models unloaded to make room.
        discards: Models whose files were deleted.
        duplicate_loads: Loads started while another instance held or was loading the model.
        skip: Calls at the start that the shares and quantiles leave out, because the caches were still filling.
        capacity: (time, instances in service) at each change.
        engine: Which engine ran.
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

    def share(self, *kinds: int) -> float:
        """Share of the calls that met one of these."""
        return float(np.isin(self.kinds[self.skip :], kinds).mean())

    @property
    def hit_ratio(self) -> float:
        """Share of the calls that met their model in memory: `ModelCacheHit`."""
        return self.share(HIT)

    @property
    def cold_rate(self) -> float:
        """Share of the calls that waited for a load."""
        return self.share(JOINED, DISK, S3)

    @property
    def success(self) -> float:
        """Share of the calls that were answered."""
        return 1.0 - self.share(FAILED)

    def quantile(self, *q: float) -> tuple[float, ...]:
        """Quantiles of the latency of the calls that were answered, seconds; NaN where none was."""
        answered = self.latency[self.skip :][self.kinds[self.skip :] != FAILED]
        if not len(answered):
            return tuple(float("nan") for _ in q)
        return tuple(float(each) for each in np.quantile(answered, q))

    def after(self, time: float) -> SimulationResult:
        """The same, with shares and quantiles of the calls from this time on."""
        return attrs.evolve(self, skip=int(np.searchsorted(self.times, time)))

    def __repr__(self) -> str:
        p50, p99 = self.quantile(0.5, 0.99)
        return (
            f"<SimulationResult of {len(self.times):,} calls: {self.cold_rate:.2%} cold, {self.success:.2%} answered, "
            f"p50 {p50:.3g} s, p99 {p99:.3g} s>"
        )


def simulate(
    traffic: Traffic,
    site: Site,
    *,
    engine: Engine = "auto",
    clients: ClientPolicy | None = None,
    timeline: Iterable[Event] = (),
    skip: float = 0.2,
    seed: int = 0,
) -> SimulationResult:
    """Run calls through a fleet in simulated time.

    The `python` and `numba` engines work in arrival order and agree, call for call, with the `fleet` engine, which
    drives `mme_sdk.fleet` event by event and is the only one that knows retries and a time line. Loading takes the
    time that `traffic` says; unloading and deleting take none.

    Args:
        traffic: The calls, in order.
        site: The instances.
        engine: `auto` takes `fleet` where `clients` or `timeline` ask for it, else `numba` where it is installed and
            there is enough to do, else `python`.
        clients: How callers behave when a model is not ready; they wait for ever where None.
        timeline: Crashes, lost instances, deploys, scaling.
        skip: Share of the calls at the start that shares and quantiles leave out.
        seed: Breaks ties, and drives the callers' jitter.

    Returns:
        What became of each call.

    Raises:
        InvalidInputError: A model that is asked for is larger than an instance; or the engine does not fit the rest.
        MissingExtraError: `numba` was asked for and is not installed.
    """
    timeline = tuple(timeline)
    special = clients is not None or bool(timeline)
    if special and engine not in ("auto", "fleet"):
        raise InvalidInputError(f"the {engine} engine knows neither clients nor a time line", hint='use engine="fleet"')
    if not 0.0 <= skip < 1.0:
        raise InvalidInputError(f"skip must be a share from 0 to below 1, not {skip!r}")
    if engine not in ("auto", "python", "numba", "fleet"):
        raise InvalidInputError(f"there is no engine {engine!r}", hint="auto, python, numba or fleet")
    check_number("seed", seed, over=False, integer=True)
    traffic.check_fits(site)
    count = len(traffic.times)
    if engine == "auto":
        installed = importlib.util.find_spec("numba") is not None
        engine = "fleet" if special else "numba" if installed and count >= 200_000 else "python"
    attempts: Ints = np.ones(count, dtype=np.int64)
    capacity: tuple[tuple[float, int], ...] = ((0.0, int(site.instances)),)
    if engine == "fleet":
        draws = np.random.default_rng(seed).random(8 * count + 1024)
        ran = run_fleet(traffic, site, draws, clients=clients, timeline=timeline, seed=seed)
        latency, kinds, tallies = ran.latency, ran.kinds, ran.tallies
        attempts, capacity = ran.attempts, ran.capacity
    else:
        draws = np.random.default_rng(seed).random(count + 1)
        latency, kinds, tallies = (run_python if engine == "python" else _numba())(traffic, site, draws)
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


def _numba() -> Callable[[Traffic, Site, Floats], tuple[Floats, Ints, tuple[int, int, int]]]:
    try:
        from mme_sdk.planning.simulation.numba_engine import run_numba
    except ImportError as error:
        raise MissingExtraError(
            "the numba engine needs numba", hint="pip install 'mme-sdk[planning-fast]', or use engine=\"python\""
        ) from error
    return run_numba
