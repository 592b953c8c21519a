"""Traffic, kills, lost instances, scaling, updates and faults at random: nothing is lost, all answers are typed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import UNLIMITED, Bench, error

Hosted = Callable[..., None]
TYPED = {
    (400, "ValidationError"),  # s3_denied
    (424, "ModelError"),
    (429, "ModelNotReadyException"),
    (500, "InternalFailure"),
    (503, "ServiceUnavailable"),
}


@pytest.mark.parametrize("seconds", [3.0, pytest.param(40.0, marks=pytest.mark.slow)])
def test_chaos(hosted: Hosted, seconds: float) -> None:
    faults = Faults(seed=5)
    rng = random.Random(5)

    async def scenario(bench: Bench) -> None:
        names = [f"m{number}" for number in range(12)]
        for name in names:
            await bench.upload(f"models/{name}.tar.gz", pad=300_000)
        await bench.deploy(instances=2)
        end = time.monotonic() + seconds
        answers: Counter[object] = Counter()

        async def caller(seed: int) -> None:
            dice = random.Random(seed)
            while time.monotonic() < end:
                name = dice.choice(names)
                answer = await asyncio.wait_for(bench.invoke(f"{name}.tar.gz"), 20)
                if answer.status == 200:
                    assert answer.body == f"{name}:hi".encode()
                    answers[200] += 1
                else:
                    answers[error(answer)[:2]] += 1

        async def trouble() -> None:
            while time.monotonic() < end:
                await asyncio.sleep(rng.uniform(0.05, 0.4))
                variant = bench.hosting.variant("e", "AllTraffic")
                what = rng.randrange(5)
                instance = rng.choice([*variant.instances.values()]) if variant.instances else None
                if what == 0 and instance is not None:
                    for pid in instance.pids:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                elif what == 1:
                    kind = rng.choice(["failed_load", "container_crash", "s3_denied", "instance_lost", "slow_load"])
                    faults.add(Fault(kind=kind, times=1, seconds=0.2))
                elif what == 2:
                    with contextlib.suppress(HostingError):
                        await bench.hosting.scale("e", "AllTraffic", rng.randint(1, 3))
                elif what == 3 and rng.random() < 0.3:
                    await bench.deploy(instances=2)

        callers = [asyncio.create_task(caller(number)) for number in range(6)]
        await asyncio.gather(*callers, trouble())
        assert set(answers) <= TYPED | {200}, answers
        # While all instances are gone, callers that ask in a tight loop hear 503 very often.
        assert answers[200] > 0.5 * (answers.total() - answers[503, "ServiceUnavailable"]), answers
        faults.clear()
        while not bench.hosting.variant("e", "AllTraffic").instances:  # what was lost is replaced
            await asyncio.sleep(0.05)
        for name in names:
            assert (await asyncio.wait_for(bench.invoke(f"{name}.tar.gz"), 20)).status == 200
        for picture in bench.hosting.variant("e", "AllTraffic").fleet.snapshot().instances.values():
            assert picture.outstanding == picture.loads_running == picture.loads_queued == 0
            assert picture.memory_used <= 1_300_000
            assert picture.volume_used <= 2_500_000

    hosted(
        scenario,
        faults=faults,
        memory_bytes=1_300_000,
        volume_bytes=2_500_000,
        memory_per_model=0,
        images={"python": UNLIMITED},
    )
