"""Traffic, kills, lost instances, scaling, updates and faults at random: nothing is lost, all answers are typed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.hosting.instances.instance import Instance
from mme_sdk.local.hosting.instances.multi_model import MultiModelVariant
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import UNLIMITED, Bench, error
from tests.support.hosting.waiting import Progress

Hosted = Callable[..., None]
TYPED = {
    (400, "ValidationError"),  # s3_denied
    (424, "ModelError"),
    (429, "ModelNotReadyException"),
    (500, "InternalFailure"),
    (503, "ServiceUnavailable"),
}


@pytest.mark.parametrize("answered", [200, pytest.param(8000, marks=pytest.mark.slow)])
def test_chaos(hosted: Hosted, answered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(seed=5)
    rng = random.Random(5)

    async def scenario(bench: Bench) -> None:
        names = [f"m{number}" for number in range(12)]
        for name in names:
            await bench.upload(f"models/{name}.tar.gz", pad=300_000)
        await bench.deploy(instances=2)
        answers: Counter[object] = Counter()
        progress, added = Progress(), Progress()

        def instance_added(variant: MultiModelVariant, instance: Instance) -> None:
            add(variant, instance)
            added.happened()

        add = MultiModelVariant.instance_added
        monkeypatch.setattr(MultiModelVariant, "instance_added", instance_added)

        def serving() -> set[str]:
            variant = bench.hosting.variant("e", "AllTraffic")
            return set(variant.instances) - variant.draining

        async def caller(seed: int) -> None:
            dice = random.Random(seed)
            while answers[200] < answered:
                name = dice.choice(names)
                answer = await asyncio.wait_for(bench.invoke(f"{name}.tar.gz"), 50)
                if answer.status == 200:
                    assert answer.body == f"{name}:hi".encode()
                    answers[200] += 1
                else:
                    answers[error(answer)[:2]] += 1
                    if answer.status == 503:
                        await added.until(serving)
                progress.happened()

        async def trouble() -> None:
            while answers[200] < answered:
                goal = answers[200] + rng.randint(5, 40)
                await progress.until(lambda goal=goal: answers[200] >= min(goal, answered))  # type: ignore[misc]
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
        assert answers[200] > 0.5 * answers.total(), answers
        faults.clear()
        await added.until(serving)  # what was lost is replaced
        for name in names:
            assert (await asyncio.wait_for(bench.invoke(f"{name}.tar.gz"), 50)).status == 200
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
