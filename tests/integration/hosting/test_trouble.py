"""Killed containers, lost instances, full volumes: every request is answered, and the state is sound afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.local.hosting.connections import ContainerConnections
from tests.support.gates import Gate
from tests.support.hosting.harness import ECHO, Bench, error
from tests.support.hosting.waiting import Progress, until
from tests.support.processes import in_sessions, wait_for_exit

Hosted = Callable[..., None]
TYPED = {(424, "ModelError"), (429, "ModelNotReadyException"), (500, "InternalFailure"), (503, "ServiceUnavailable")}


def test_a_killed_container_costs_its_own_requests_and_comes_back(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in "abc":
            await bench.upload(f"models/{name}.tar.gz")
        gate = Gate(bench.folder / "gate")
        await bench.upload("models/slow.tar.gz", wait=str(gate))
        await bench.deploy()
        variant = bench.hosting.variant("e", "AllTraffic")
        instance = variant.instances["i-0001"]
        assert (await bench.invoke("a.tar.gz")).status == 200
        (before,) = instance.pids
        running = asyncio.create_task(bench.invoke("a.tar.gz", f"wait:{gate}"))
        loading = [asyncio.create_task(bench.invoke("slow.tar.gz")) for _ in range(3)]
        await gate.until_arrived(2)  # one in an invocation, one in a load
        await until(variant, lambda: variant.fleet.snapshot().instances["i-0001"].outstanding == 4)
        os.kill(before, signal.SIGKILL)
        during = [asyncio.create_task(bench.invoke(f"{name}.tar.gz")) for name in "abc"]
        for answer in await asyncio.gather(running, *loading):
            assert error(answer)[:2] == (424, "ModelError")
        gate.open()
        assert {answer.status for answer in await asyncio.gather(*during)} <= {200, 424}
        assert instance.pids not in ([], [before])
        for name in (*"abc", "slow"):
            assert (await bench.invoke(f"{name}.tar.gz")).body == f"{name}:hi".encode()
        picture = variant.fleet.snapshot().instances["i-0001"]
        assert picture.outstanding == picture.loads_running == picture.loads_queued == 0

    hosted(scenario, isolate=False)


def test_a_request_that_reached_no_container_is_served_once_there_is_one(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        variant = bench.hosting.variant("e", "AllTraffic")
        assert (await bench.invoke("a.tar.gz")).status == 200
        container = variant.instances["i-0001"].multi_model()
        listening, container._connections = container._connections, ContainerConnections(1)  # nothing listens there
        fleet = variant.fleet
        before = fleet.snapshot().counters.arrivals
        asked = asyncio.create_task(bench.invoke("a.tar.gz"))
        await until(variant, lambda: fleet.snapshot().counters.arrivals >= before + 3)  # it is tried again and again
        assert not asked.done()
        container._connections = listening
        assert (await asked).status == 200
        assert variant.fleet.snapshot().instances["i-0001"].outstanding == 0

    hosted(scenario)


@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_containers_killed_again_and_again_under_load(hosted: Hosted, kills: int) -> None:
    async def scenario(bench: Bench) -> None:
        names = "abcdefgh"
        for name in names:
            await bench.upload(f"models/{name}.tar.gz", pad=200_000)
        await bench.deploy(instances=2)
        variant = bench.hosting.variant("e", "AllTraffic")
        answers: list[Any] = []
        progress = Progress()

        async def caller(start: int) -> None:
            for turn in range(5 + 5 * kills):
                answers.append(await bench.invoke(f"{names[(start * 3 + turn) % len(names)]}.tar.gz"))
                progress.happened()

        callers = [asyncio.create_task(caller(start)) for start in range(6)]
        for kill in range(1, kills + 1):
            await progress.until(lambda kill=kill: len(answers) >= 25 * kill)  # type: ignore[misc]
            instance = variant.shared.rng.choice(list(variant.instances.values()))
            for pid in instance.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*callers)
        assert len(answers) == 30 + 30 * kills
        assert {error(one)[:2] for one in answers if one.status != 200} <= TYPED
        assert sum(one.status == 200 for one in answers) > len(answers) / 2
        for name in names:
            assert (await bench.invoke(f"{name}.tar.gz")).status == 200
        for picture in variant.fleet.snapshot().instances.values():
            assert picture.outstanding == picture.loads_running == picture.loads_queued == 0
            assert picture.memory_used <= 700_000
            assert picture.volume_used <= 1_000_000

    hosted(scenario, memory_bytes=700_000, volume_bytes=1_000_000, memory_per_model=0, images=_unlimited())


def _unlimited() -> dict[str, object]:
    from tests.support.hosting.harness import UNLIMITED

    return {"python": UNLIMITED}


def test_a_lost_instance_passes_waiting_requests_to_another(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("models/slow.tar.gz", wait=str(gate))
        await bench.deploy(instances=2)
        variant = bench.hosting.variant("e", "AllTraffic")
        waiting = asyncio.create_task(bench.invoke("slow.tar.gz"))
        await gate.until_arrived()
        (holder,) = (name for name, one in variant.fleet.snapshot().instances.items() if one.models)
        await variant.remove_instance(variant.instances[holder])
        gate.open()
        assert (await waiting).status == 200
        (other,) = variant.instances
        assert other != holder
        await variant.remove_instance(variant.instances[other])
        assert error(await bench.invoke("slow.tar.gz"))[:2] == (503, "ServiceUnavailable")

    hosted(scenario, isolate=False)


@contextlib.contextmanager
def _no_file_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_in_the_middle_of_a_load_is_an_answer(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/big.tar.gz", pad=3_000_000)
        await bench.upload("models/small.tar.gz")
        await bench.deploy()
        with _no_file_larger_than(1_000_000):  # the same path as a disk that is full
            answers = await asyncio.gather(*(bench.invoke(f"{name}.tar.gz") for name in ("big", "small", "big")))
        assert [answer.status for answer in answers] == [400, 200, 400]
        assert "Failed to download model data" in error(answers[0])[2]
        picture = bench.hosting.variant("e", "AllTraffic").fleet.snapshot().instances["i-0001"]
        assert list(picture.models) == ["small.tar.gz"]
        assert (await bench.invoke("big.tar.gz")).status == 200

    hosted(scenario)


def test_models_larger_than_the_instance_are_refused_without_harm(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/disk.tar.gz", pad=3_000_000)
        await bench.upload("models/memory.tar.gz", pad=1_500_000)
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        for name in ("disk", "memory"):
            status, code, message = error(await bench.invoke(f"{name}.tar.gz"))
            assert (status, code) == (424, "ModelError")
            assert "(507)" in message
        assert (await bench.invoke("a.tar.gz")).status == 200

    hosted(scenario, volume_bytes=2_000_000, memory_bytes=1_000_000, memory_per_model=0, images=_unlimited())


def test_a_container_that_has_less_memory_than_expected_gets_others_unloaded(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        # Each takes 60 MB, which the archive does not show: the container's own 507 is what makes room.
        script = ECHO.replace("return open(", "globals()['weights'] = bytearray(b'x') * (60 << 20)\n    return open(")
        for name in "abcd":
            await bench.upload(f"models/{name}.tar.gz", script=script)
        await bench.deploy()
        for name in "abcdab":
            assert (await bench.invoke(f"{name}.tar.gz")).body == f"{name}:hi".encode()
        counters = bench.hosting.variant("e", "AllTraffic").fleet.snapshot().counters
        assert counters.evictions >= 3
        assert counters.failures == 0

    hosted(scenario, memory_bytes=160 << 20)


def test_an_invocation_that_takes_too_long_is_a_model_error_without_status(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        gate = Gate(bench.folder / "gate")
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        await bench.invoke("a.tar.gz")  # it is loaded then, though a busy machine may not answer within the limit
        status, code, message = error(await bench.invoke("a.tar.gz", f"wait:{gate}"))
        assert (status, code) == (424, "ModelError")
        assert message.startswith(
            'Received server error (0) from model with message "Your invocation timed out while waiting for a response '
            "from container model."
        )
        gate.open()

    hosted(scenario, invocation_limit=0.3, isolate=False)


HOST = """
import asyncio, sys
from pathlib import Path
from typing import Any
from mme_sdk.local.containers import PYTHON, Command
from mme_sdk.local.hosting_interface import ContainerPlan, Deployment, HostContext, VariantPlan
from mme_sdk.local.hosting import LocalHosting
async def main():
    context = HostContext(data_dir=Path(sys.argv[1]), s3_endpoint_url="http://127.0.0.1:1", access_key="a",
                          secret_key="s", region="us-east-1", account_id="123456789012",
                          images={"python": Command([*PYTHON.argv, "--preload", ""])})
    hosting = LocalHosting(context)
    plan = ContainerPlan(image="python", mode="MultiModel", model_data_url="s3://b/m/")
    variant = VariantPlan(name="v", model_name="m", containers=(plan,), instance_type="ml.m5.large", instance_count=2)
    await hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))
    print(*(pid for view in hosting.inspect() for pids in view.instances.values() for pid in pids), flush=True)
    await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def test_a_killed_host_leaves_no_process_and_the_next_one_no_volume(tmp_path: Path) -> None:
    for _ in range(2):
        host = subprocess.Popen(
            [sys.executable, "-c", HOST, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert host.stdout is not None
        pids = {int(pid) for pid in host.stdout.readline().split()}
        assert len(pids) == 2
        # What a killed predecessor left on the volumes is gone.
        assert len(list((tmp_path / "volumes").iterdir())) == 1
        processes = in_sessions(pids)
        assert pids <= set(processes)
        host.kill()
        host.communicate()
        wait_for_exit(processes)
        assert not in_sessions(pids)
