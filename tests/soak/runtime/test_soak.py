"""Many calls under faults of every kind: each is completed once, or says that it may have been."""

from __future__ import annotations

import gc
import os
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mme_sdk.errors import MMEError, OutcomeUnknownError
from mme_sdk.local import Fault
from tests.support.runtime.world import World

PLAGUES = [
    Fault(kind="throttle", operation="InvokeEndpoint", probability=0.01),
    Fault(kind="error", operation="InvokeEndpoint", probability=0.01),
    Fault(kind="error", operation="InvokeEndpoint", probability=0.01, status=503, code="ServiceUnavailable"),
    Fault(kind="drop_before", operation="InvokeEndpoint", probability=0.01),
    Fault(kind="drop_after", operation="InvokeEndpoint", probability=0.01),
]


def resident() -> int:
    """Kilobytes of memory that this process holds; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def soak(world: World, calls: int) -> Counter[str]:
    run = uuid.uuid4().hex[:6]
    models = [world.make(f"soak-{run}-{number}", 0.0) for number in range(8)]
    endpoint = world.client.endpoint("scoring")
    for model in models:
        endpoint.invoke({}, model=model)
    faults = [world.host.faults.add(plague) for plague in PLAGUES]
    began = 0

    def one(number: int) -> tuple[str, str]:
        nonlocal began
        if number == calls // 5:
            gc.collect()
            began = resident()
        name = f"{run}-{number}"
        try:
            reply = endpoint.invoke({"id": name}, model=models[number % 8], deadline=60)
        except OutcomeUnknownError:
            return name, "unknown"
        except MMEError as error:
            return name, type(error).__name__
        assert reply.json()["data"]["id"] == name, "somebody else's answer"
        return name, "ok"

    try:
        with ThreadPoolExecutor(8) as pool:
            outcomes = dict(pool.map(one, range(calls), chunksize=64))
    finally:
        for fault in faults:
            world.host.faults.remove(fault)
    ran = Counter(name for name in world.calls() if name.startswith(f"{run}-"))
    for name, outcome in outcomes.items():
        if outcome == "ok":
            assert ran[name] == 1, f"{name} was answered and ran {ran[name]} times"
        elif outcome == "unknown":
            assert ran[name] <= 1
        else:
            assert ran[name] == 0, f"{name} failed with {outcome} and ran"
    memory = world.client.memory
    assert len(memory.single_flight) == 0
    assert memory.endpoint("scoring").load_limiter.used == 0
    gc.collect()
    if began and calls > 50_000:
        assert resident() - began < 30_000, "memory grows"
    return Counter(outcomes.values())


def test_no_call_is_lost_or_doubled(world: World) -> None:
    outcomes = soak(world, 600)
    assert outcomes["ok"] > 540
    assert 1 <= outcomes["unknown"] <= 40


@pytest.mark.slow
def test_nor_of_two_hundred_thousand(world: World) -> None:
    outcomes = soak(world, int(os.environ.get("MME_SOAK_CALLS", "200000")))
    assert outcomes["ok"] > 0.96 * outcomes.total()
