"""Fault injection, simulated delays, disabled caches, and the metrics for CloudWatch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable

import pytest

from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import Bench, error
from tests.support.hosting.waiting import Progress, WatchedClock, until

Hosted = Callable[..., None]


def test_each_fault_strikes_what_it_names_and_the_host_goes_on(hosted: Hosted) -> None:
    faults = Faults()

    async def scenario(bench: Bench) -> None:
        for name in ("a", "b"):
            await bench.upload(f"models/{name}.tar.gz")
        await bench.deploy(instances=2)
        variant = bench.hosting.variant("e", "AllTraffic")

        faults.add(Fault(kind="s3_denied", model="a.tar.gz", times=1))
        assert "403 Forbidden" in error(await bench.invoke("a.tar.gz"))[2]
        assert (await bench.invoke("b.tar.gz")).status == 200

        faults.add(Fault(kind="failed_load", times=1, message="no weights today"))
        answer = await bench.invoke("a.tar.gz")
        assert error(answer)[:2] == (424, "ModelError")
        assert json.loads(answer.body)["OriginalMessage"] == "Failed to load the model: no weights today"
        assert (await bench.invoke("a.tar.gz")).status == 200

        faults.add(Fault(kind="container_crash", endpoint="e", times=1))
        assert error(await bench.invoke("a.tar.gz"))[:2] == (424, "ModelError")
        assert (await bench.invoke("a.tar.gz")).status == 200

        before = set(variant.instances)
        faults.add(Fault(kind="instance_lost", times=1))
        assert error(await bench.invoke("a.tar.gz"))[:2] == (500, "InternalFailure")
        assert (await bench.invoke("a.tar.gz")).status == 200
        await until(variant, lambda: len(variant.instances) == 2)
        assert len(before - set(variant.instances)) == 1
        assert all(rule["triggered"] == 1 for rule in faults.list().values())

        faults.add(Fault(kind="s3_denied", endpoint="single"))
        await bench.upload("single.tar.gz")
        with pytest.raises(HostingError, match="Failed to download model data for container"):
            await bench.deploy("single", mode="SingleModel", model_data_url=f"s3://{bench.bucket}/single.tar.gz")

    hosted(scenario, faults=faults)


def test_slowness_is_simulated_by_size_and_by_fault(hosted: Hosted) -> None:
    faults = Faults()
    clock = WatchedClock(long=5.0)

    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz", pad=100_000)
        await bench.upload("models/b.tar.gz", pad=100_000)
        await bench.deploy()
        assert (await bench.invoke("a.tar.gz")).status == 200
        assert clock.count(90.0, 110.0) == 1  # 100 kB at 1 kB/s
        assert clock.count(70.0, 72.0) == 1  # 20 s, and 500 s/MB for 100 kB
        faults.add(Fault(kind="slow_load", model="b.tar.gz", seconds=1000))
        assert (await bench.invoke("b.tar.gz")).status == 200
        assert clock.count(1070.0, 1072.0) == 1

    hosted(
        scenario,
        faults=faults,
        clock=clock,
        download_bandwidth=1000.0,
        load_seconds=20.0,
        load_seconds_per_gb=500_000.0,
    )


def test_a_disabled_cache_keeps_nothing(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy(model_cache=False)
        variant = bench.hosting.variant("e", "AllTraffic")
        fleet = variant.fleet
        for count in (1, 2):
            assert (await bench.invoke("a.tar.gz")).status == 200
            await until(variant, lambda: not fleet.snapshot().instances["i-0001"].models)
            assert not list((bench.folder / "hosting" / "volumes").rglob("inference.py"))
            assert fleet.snapshot().counters.s3_loads == count

    hosted(scenario)


@pytest.mark.parametrize("served", [True, False])
def test_a_deleted_model_that_is_cached_is_served_or_not_as_you_say(hosted: Hosted, served: bool) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        assert (await bench.invoke("a.tar.gz")).status == 200
        await bench.delete("models/a.tar.gz")
        answer = await bench.invoke("a.tar.gz")
        if served:
            assert answer.status == 200
        else:
            assert "Failed to download model data" in error(answer)[2]
        await bench.deploy()  # a new fleet has no copy either way
        assert "Failed to download model data" in error(await bench.invoke("a.tar.gz"))[2]

    hosted(scenario, serve_deleted=served)


def test_traffic_shifts_step_by_step_and_back_when_the_gate_raises(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("models/a.tar.gz")
        await bench.deploy()
        old = bench.hosting.variant("e", "AllTraffic").fleet
        seen = []

        async def gate(share: Callable[[float], None]) -> None:
            for part in (0.0, 0.5, 1.0):
                share(part)
                before = old.snapshot().counters.arrivals
                for _ in range(40):
                    assert (await bench.invoke("a.tar.gz")).status == 200
                seen.append(old.snapshot().counters.arrivals - before)
            assert len(bench.hosting.inspect()) == 2
            if fail:
                raise HostingError("alarm")

        plan = {"endpoint": "e", "config_name": "c", "variants": (bench.variant(),)}
        fail = True
        with pytest.raises(HostingError, match="alarm"):
            await bench.hosting.deploy(bench.deployment(**plan), shift_traffic=gate)
        assert seen[0] == 40
        assert 5 < seen[1] < 35
        assert seen[2] == 0
        assert bench.hosting.variant("e", "AllTraffic").fleet is old
        assert len(bench.hosting.inspect()) == 1
        fail = False
        await bench.hosting.deploy(bench.deployment(**plan), shift_traffic=gate)
        assert bench.hosting.variant("e", "AllTraffic").fleet is not old

    hosted(scenario)


def test_what_cloudwatch_is_told(hosted: Hosted) -> None:
    reported: dict[str, list[float]] = defaultdict(list)
    progress = Progress()

    def measure(metric: str, endpoint: str, variant: str, value: float) -> None:
        assert (endpoint, variant) == ("e", "AllTraffic")
        reported[metric].append(value)
        progress.happened()

    async def scenario(bench: Bench) -> None:
        for name in "ab":
            await bench.upload(f"models/{name}.tar.gz", pad=600_000)
        await bench.deploy()
        for body in ("x", "fault"):
            await bench.invoke("a.tar.gz", body)
        await bench.invoke("b.tar.gz")
        await bench.invoke("absent.tar.gz")
        await bench.invoke("../refused")
        assert reported["Invocations"] == [1] * 4
        assert reported["InvocationsPerInstance"] == [1.0] * 4
        assert reported["ModelCacheHit"] == [0, 1, 0]
        assert reported["Invocation5XXErrors"] == [0, 1, 0, 0]
        assert reported["Invocation4XXErrors"] == [0, 0, 0, 0]
        assert reported["InvocationModelErrors"] == [0, 1, 0, 0]
        for metric, count in (
            ("ModelDownloadingTime", 2),
            ("ModelLoadingTime", 2),
            ("ModelLoadingWaitTime", 2),
            ("ModelUnloadingTime", 1),
            ("ModelLatency", 3),
            ("OverheadLatency", 3),
        ):
            assert len(reported[metric]) == count, metric
            assert all(0 < value < 30e6 for value in reported[metric]), metric
        assert reported["OverheadLatency"][0] > reported["ModelLoadingWaitTime"][0]
        await progress.until(lambda: reported["LoadedModelCount"])
        await bench.hosting.close()
        assert set(reported["LoadedModelCount"]) <= {0.0, 1.0}
        assert reported["MemoryUtilization"][-1] == 100  # of a memory smaller than the container itself
        assert 0 < reported["DiskUtilization"][-1] < 100
        assert all(0 <= value <= 1000 for value in reported["CPUUtilization"])

    from tests.support.hosting.harness import UNLIMITED

    hosted(
        scenario,
        measure=measure,
        images={"python": UNLIMITED},
        memory_bytes=1_000_000,
        memory_per_model=0,
        volume_bytes=5_000_000,
        metrics_seconds=0.3,
    )
