"""The compiled engine: it gives the same results as `python_engine`, about 20 times faster."""

from __future__ import annotations

from typing import Any

import numpy as np

from mme_sdk.planning.simulation.inputs import FleetConfig, Floats, Ints, Traffic
from mme_sdk.planning.simulation.numba_kernel import (
    DISCARDS,
    DUPLICATES,
    EVICTIONS,
    LISTS,
    NEVER,
    ROUTINGS,
    TALLIES,
    Rules,
    State,
    simulate,
)

__all__ = ["run_numba"]


def run_numba(traffic: Traffic, config: FleetConfig, draws: Floats) -> tuple[Floats, Ints, tuple[int, int, int]]:
    """Simulate with compiled code; see `python_engine.run_python`.

    Args:
        traffic: The requests.
        config: The fleet.
        draws: Uniform draws that choose between equally good instances, at least one for each request.

    Returns:
        The latency of each request (seconds), the outcome of each, and (evictions, discards, duplicate loads).
    """
    requests, models, instances = len(traffic.times), len(traffic.disk), int(config.instances)
    copies = models * instances
    events = copies + 4 * requests + 1024
    rules = Rules(
        requests=requests,
        instances=instances,
        workers=int(config.workers),
        spill=int(config.spill_outstanding),
        memory_bytes=int(config.memory_bytes),
        volume_bytes=int(config.volume_bytes),
        cached=config.cache_enabled,
        routing=ROUTINGS.index(config.routing),
        varied=traffic.factors is not None,
        heads=copies,
    )

    def int64s(count: int) -> Any:
        return np.zeros(count, dtype=np.int64)

    def int32s(count: int, value: int = 0) -> Any:
        return np.full(count, value, dtype=np.int32)

    model_of, home = np.divmod(np.arange(copies, dtype=np.int32), np.int32(instances))
    lists = np.arange(copies + LISTS * instances, dtype=np.int32)  # each the only member of its list
    at = np.empty(events)
    at[0] = NEVER
    arrays = State(
        times=traffic.times, service=traffic.service, draws=draws, download=traffic.download, load=traffic.load,
        factors=np.empty(0) if traffic.factors is None else traffic.factors, busy=np.empty(copies),
        wake=np.full(instances, NEVER), free=np.zeros(instances * config.workers), at=at, ends=np.empty(requests),
        starts=np.empty(requests),
        models=traffic.models, disk=traffic.disk, memory=traffic.memory, memory_used=int64s(instances),
        volume_used=int64s(instances), sequence=np.empty(events, dtype=np.int64),
        event=np.empty(events, dtype=np.int64),
        tally=int64s(TALLIES), kinds=int64s(requests),
        copies=int32s(models), only=int32s(models, -1), state=int32s(copies), home=home, model_of=model_of,
        reserved=int32s(copies), born=int32s(copies), leader=int32s(copies), before=lists.copy(), after=lists,
        waiting=int32s(copies), wait_first=int32s(copies), wait_last=int32s(copies), running=int32s(copies, -1),
        slots=int32s(instances, config.loader_slots), loaded=int32s(instances), waiting_at=int32s(instances),
        late=int32s(instances), late_first=int32s(instances), late_last=int32s(instances), load_of=int32s(instances),
        following=np.empty(requests, dtype=np.int32), late_next=np.empty(requests, dtype=np.int32),
    )  # fmt: skip
    simulate(rules, arrays)
    tally = arrays.tally
    counts = int(tally[EVICTIONS]), int(tally[DISCARDS]), int(tally[DUPLICATES])
    return arrays.ends - traffic.times, arrays.kinds, counts
