"""A day of a router on the embedded SageMaker: a ramp, a launch, a lost cell and an evacuation; cold as simulated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import attrs
import numpy as np
import pytest

from mme_sdk.errors import MMEError
from mme_sdk.local import ControlSettings, HostingSettings, LocalSageMaker
from mme_sdk.metrics import read_metrics
from mme_sdk.planning.simulation import DISK, S3, FleetConfig, SingleFlight, Traffic, simulate
from mme_sdk.router.placement import Placement
from tests.integration.router.test_cells import World
from tests.support.router.host_times import load_seconds

SIZE = 10 * 2**20  # bytes of each model
CELLS, FIT, MODELS = 4, 5, 18  # models that fit into the memory of a cell; models
RAMP, LAUNCH, LOST, EVACUATED = 0.15, 0.3, 0.5, 0.75  # of the day
DRAIN = 0.6  # seconds
THREADS = 32


@attrs.define
class Day:
    """What happened. Times are seconds; those of calls are when they were sent."""

    calls: list[tuple[float, int]] = attrs.field(factory=list)
    warmed: list[tuple[float, int]] = attrs.field(factory=list)
    lost: tuple[float, str] = (0.0, "")
    evacuated: tuple[float, str] = (0.0, "")
    failed: list[MMEError] = attrs.field(factory=list)
    cold: float = 0.0
    requests: int = 0
    loads: int = 0
    loading: float = 0.0  # seconds that a load into memory took, with the unloads before it
    downloading: float = 0.0  # seconds that a download took


def trace(calls: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Models by Zipf's law, more and more of them from `RAMP` to `LOST`; at `LAUNCH`, one of the tail becomes hot."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.random(calls))
    active = np.interp(at, [RAMP, LOST], [6, MODELS - 1]).astype(int)
    weights = np.arange(1, MODELS) ** -0.6
    models = np.array([rng.choice(count, p=weights[:count] / weights[:count].sum()) for count in active])
    models[(at > LAUNCH) & (rng.random(calls) < 0.25)] = MODELS - 1
    return at, models


def spend(world: World, calls: int, *, seconds: float | None) -> Day:
    """Send the calls within so many seconds; without, each waits for the one before, and they are a second apart."""
    at, models = trace(calls)
    router = world.router("day")
    day, lock, begun = Day(), threading.Lock(), time.monotonic()
    named = {target: number for number, target in enumerate(world.targets)}

    def now(number: int) -> float:
        return float(number) if seconds is None else time.monotonic() - begun

    def call(number: int) -> None:
        with lock:
            day.calls.append((now(number), int(models[number])))
        try:
            router.invoke({"x": 1}, model=world.targets[models[number]], deadline=120, idempotent=True)
        except MMEError as error:
            day.failed.append(error)

    def lose(number: int) -> None:
        day.lost = now(number), router.placement(world.targets[MODELS - 1])[0]  # that of the launched model
        world.client.endpoints.delete(day.lost[1])

    def evacuate(number: int) -> None:
        cell = router.placement(world.targets[0])[0]
        start = now(number)
        done = router.evacuate(cell, models=world.targets, drain=DRAIN)
        assert not done.warmed.failed
        end = start if seconds is None else now(number) - DRAIN
        day.evacuated = end, cell
        loaded = done.warmed.outcomes
        day.warmed = [
            (start + (end - start) * place / len(loaded), named[one.model]) for place, one in enumerate(loaded)
        ]

    events: list[tuple[float, Callable[[int], None]]] = [(LOST, lose), (EVACUATED, evacuate)]
    with ThreadPoolExecutor(THREADS) as pool:
        running: list[Future[None]] = []
        for number in range(calls):
            if seconds is not None:
                threading.Event().wait(max(0.0, at[number] * seconds - (time.monotonic() - begun)))
            if events and at[number] >= events[0][0]:
                running.append(pool.submit(events.pop(0)[1], number))
            running.append(pool.submit(call, number))
            if seconds is None:
                for one in running:
                    one.result(120)
                running.clear()
        for one in running:
            one.result(120)
    cloudwatch = world.host.boto("cloudwatch")
    for name in world.names:
        seen = world.client._aws.run(read_metrics(name, hours=1, now=datetime.now(UTC)))
        hits = dict(seen.cache_hit)
        day.requests += int(seen.invocations.total)
        day.cold += sum(count * (1.0 - hits[moment]) for moment, count in seen.invocations)
        day.loads += int(seen.loads.total)
        day.loading += load_seconds(cloudwatch, seen)
        day.downloading += (seen.downloading.mean or 0.0) / CELLS
    cloudwatch.close()
    day.loading /= day.loads
    return day


def simulated(world: World, day: Day, *, download: float, load: float) -> float:
    """The share of cold requests in a simulation of each cell, with loads as long as on the host."""

    def home(cells: list[str], model: int) -> str:
        return Placement(dict.fromkeys(cells, 1.0)).of(world.targets[model].partition("/")[0]).homes[0]

    left = [name for name in world.names if name != day.lost[1]]
    rest = [name for name in left if name != day.evacuated[1]]
    requests: dict[str, list[tuple[float, int]]] = {name: [] for name in world.names}
    for moment, model in day.calls:
        cells = world.names if moment < day.lost[0] else left if moment < day.evacuated[0] else rest
        requests[home(cells, model)].append((moment, model))
    for moment, model in day.warmed:
        requests[home(rest, model)].append((moment, model))
    cold, loads = 0.0, 0
    for found in requests.values():
        found.sort()
        traffic = Traffic(
            times=[moment for moment, _ in found], models=[model for _, model in found],
            service=np.full(len(found), 1e-3), disk=np.ones(MODELS), memory=np.ones(MODELS),
            download=np.full(MODELS, download), load=np.full(MODELS, load),
        )  # fmt: skip
        config = FleetConfig(instances=1, workers=64, memory_bytes=FIT, volume_bytes=10**6)
        # A client sends one call of a model that is not known to be loaded; the others wait for its answer.
        result = simulate(traffic, config, engine="fleet", clients=SingleFlight(), skip=0.0)
        cold += result.cold_rate * len(found)
        loads += int(np.isin(result.kinds, (DISK, S3)).sum())
    print(f"{loads} loads simulated, {day.loads} seen")
    return cold / sum(map(len, requests.values()))


def play(tmp_path: Path, calls: int, *, seconds: float | None) -> None:
    settings = HostingSettings(
        memory_bytes=FIT * SIZE, memory_per_model=SIZE, memory_per_byte=0.0, isolate=False, metrics_seconds=0.2,
        load_seconds=0.0 if seconds is None else 0.02,
    )  # fmt: skip
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, wait_scale=0.001)
    with LocalSageMaker(settings=settings, control=control) as host:
        world = World(host, tmp_path, CELLS, MODELS)
        day = spend(world, calls, seconds=seconds)
        times = (1e-4, 1e-3) if seconds is None else (day.downloading, day.loading)
        predicted = simulated(world, day, download=times[0], load=times[1])
    print(f"{predicted:.2%} cold simulated, {day.cold / day.requests:.2%} seen of {day.requests} requests")
    print(f"downloads {day.downloading:.3f} s, loads {day.loading:.3f} s, lost {day.lost}, evacuated {day.evacuated}")
    assert day.failed == []
    # A call that the lost cell had begun counts there too, and the router sent it to another cell.
    assert calls + len(day.warmed) <= day.requests <= calls + len(day.warmed) + (0 if seconds is None else THREADS)
    assert day.warmed
    assert predicted == pytest.approx(day.cold / day.requests, rel=0.2)


def test_a_launch_a_lost_cell_and_an_evacuation_one_call_after_the_other(tmp_path: Path) -> None:
    play(tmp_path, 90, seconds=None)


@pytest.mark.slow
def test_a_launch_a_lost_cell_and_an_evacuation_under_fifty_calls_a_second(tmp_path: Path) -> None:
    play(tmp_path, 3000, seconds=60.0)
