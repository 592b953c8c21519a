"""The compiled engine: the same results as `python_engine`, request for request, some twenty times faster.

The compiled functions are all in `numba_kernel`: numba's cache notices a change in a function's own file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mme_sdk.planning.simulation.inputs import Floats, Ints, Site, Traffic
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


def run_numba(traffic: Traffic, site: Site, draws: Floats) -> tuple[Floats, Ints, tuple[int, int, int]]:
    """Simulate compiled; see `python_engine.run_python`.

    Args:
        traffic: The requests.
        site: The instances.
        draws: Uniform draws that break ties, one for each request at least.

    Returns:
        Latency of each request in seconds, what each met, and (evictions, discards, duplicate loads).
    """
    requests, models, instances = len(traffic.times), len(traffic.disk), int(site.instances)
    copies = models * instances
    events = copies + 4 * requests + 1024
    rules = Rules(
        requests=requests,
        instances=instances,
        workers=int(site.workers),
        spill=int(site.spill_outstanding),
        memory_bytes=int(site.memory_bytes),
        volume_bytes=int(site.volume_bytes),
        cached=site.cache_enabled,
        routing=ROUTINGS.index(site.routing),
        varied=traffic.factors is not None,
        heads=copies,
    )

    def longs(count: int) -> Any:
        return np.zeros(count, dtype=np.int64)

    def ints(count: int, value: int = 0) -> Any:
        return np.full(count, value, dtype=np.int32)

    model_of, home = np.divmod(np.arange(copies, dtype=np.int32), np.int32(instances))
    lists = np.arange(copies + LISTS * instances, dtype=np.int32)  # each alone in a circle
    at = np.empty(events)
    at[0] = NEVER
    arrays = State(
        times=traffic.times, service=traffic.service, draws=draws, download=traffic.download, load=traffic.load,
        factors=np.empty(0) if traffic.factors is None else traffic.factors, busy=np.empty(copies),
        wake=np.full(instances, NEVER), free=np.zeros(instances * site.workers), at=at, ends=np.empty(requests),
        starts=np.empty(requests),
        models=traffic.models, disk=traffic.disk, memory=traffic.memory, memory_used=longs(instances),
        volume_used=longs(instances), sequence=np.empty(events, dtype=np.int64), event=np.empty(events, dtype=np.int64),
        tally=longs(TALLIES), kinds=longs(requests),
        copies=ints(models), only=ints(models, -1), state=ints(copies), home=home, model_of=model_of,
        reserved=ints(copies), born=ints(copies), leader=ints(copies), before=lists.copy(), after=lists,
        waiting=ints(copies), wait_first=ints(copies), wait_last=ints(copies), running=ints(copies, -1),
        slots=ints(instances, site.loader_slots), loaded=ints(instances), waiting_at=ints(instances),
        late=ints(instances), late_first=ints(instances), late_last=ints(instances), load_of=ints(instances),
        following=np.empty(requests, dtype=np.int32), late_next=np.empty(requests, dtype=np.int32),
    )  # fmt: skip
    simulate(rules, arrays)
    tally = arrays.tally
    counts = int(tally[EVICTIONS]), int(tally[DISCARDS]), int(tally[DUPLICATES])
    return arrays.ends - traffic.times, arrays.kinds, counts
