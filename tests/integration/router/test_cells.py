"""A router over three endpoints of the embedded SageMaker: cells that fail, are lost and are evacuated under load."""

from __future__ import annotations

import json
import random
import runpy
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from mme_sdk import EndpointSpec
from mme_sdk.local import Fault, HostingSettings, LocalSageMaker
from mme_sdk.router import Router
from tests.support.paths import ROOT

SCRIPT = """
import json, os

def model_fn(directory):
    facts = json.load(open(os.path.join(directory, "facts.json")))
    with open(facts["log"], "a") as log:
        log.write(facts["name"] + "\\n")
    return facts

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(data, facts):
    return {"model": facts["name"], "data": data}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


class World:
    """A host with endpoints over one prefix, and a log of the loads of their models."""

    def __init__(self, host: LocalSageMaker, folder: Path, endpoints: int, models: int) -> None:
        self.host, self.log, self.client = host, folder / "loads.log", host.client()
        host.boto("s3").create_bucket(Bucket="cells")
        self.registry = self.client.models("s3://cells/prod/")
        self.targets = [self.make(folder, f"m{number}") for number in range(models)]
        self.names = [f"cell-{'abcdefgh'[number]}" for number in range(endpoints)]
        for name in self.names:
            self.create(name)
        for name in self.names:
            self.client.endpoint(name).wait(timeout=60)

    def create(self, name: str) -> None:
        spec = EndpointSpec.multi_model(
            name=name,
            models=self.registry.uri,
            image="any:1",
            role="arn:aws:iam::123456789012:role/r",
            instance_type="ml.m5.large",
        )
        self.client.endpoints.create(spec, wait=False)

    def make(self, folder: Path, name: str) -> str:
        source = folder / name
        (source / "code").mkdir(parents=True)
        (source / "code" / "inference.py").write_text(SCRIPT)
        (source / "facts.json").write_text(json.dumps({"name": name, "log": str(self.log)}))
        return self.registry.register(name, source, version="v1").target_model

    def loads(self) -> Counter[str]:
        """How often all instances together have loaded each model; each load is a cold call, or a warming one."""
        return Counter(self.log.read_text().split() if self.log.exists() else [])

    def router(self, name: str = "scoring") -> Router:
        return self.client.router(name, cells=self.names, table="s3://cells/prod/", staleness=0.5)


class Load:
    """Threads that call models without a pause, and keep what went wrong."""

    def __init__(self, router: Router, targets: list[str], threads: int = 3) -> None:
        self.router, self.targets = router, targets
        self.failed: list[Exception] = []
        self.cells: list[str] = []
        self._ended = threading.Event()
        self._turn = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._ended.is_set():
            model = rng.choice(self.targets)
            cell = ""
            try:
                reply = self.router.invoke({"x": 1}, model=model, deadline=60, idempotent=True)
                cell = reply.endpoint
                assert reply.value == {"model": model.partition("/")[0], "data": {"x": 1}}
            except Exception as error:  # noqa: BLE001 - the test shows it
                self.failed.append(error)
            with self._turn:
                self.cells.append(cell)
                self._turn.notify_all()

    def more(self, calls: int) -> list[str]:
        """Wait for so many more calls; return the cells that answered them."""
        with self._turn:
            start = len(self.cells)
            assert self._turn.wait_for(lambda: len(self.cells) >= start + calls, 120)
            return self.cells[start:]


def at(router: Router, targets: list[str], cell: str) -> set[str]:
    return {target.partition("/")[0] for target in targets if router.placement(target)[0] == cell}


def play(world: World, calls: int, kind: Literal["error", "drop_before"] = "error") -> dict[str, Any]:
    """A cell fails for a while, one is evacuated and deleted, one is deleted without notice; return the loads."""
    moved: dict[str, Any] = {}
    router = world.router()
    first, second, *_ = sorted(world.names, key=lambda name: -len(at(router, world.targets, name)))
    with Load(router, world.targets) as load:
        load.more(calls)
        assert world.loads() == Counter({target.partition("/")[0]: 1 for target in world.targets})
        fault = world.host.faults.add(Fault(kind=kind, operation="InvokeEndpoint", endpoint=second))
        load.more(calls)
        assert {one.name: one.state for one in router.cells}[second] == "lost"
        world.host.faults.remove(fault)
    assert load.failed == []

    router = world.router()
    with Load(router, world.targets) as load:
        before = world.loads()
        gone = at(router, world.targets, first)
        done = router.evacuate(first, models=world.targets, drain=0.6)
        assert set(done.moved) == gone
        assert not done.warmed.failed
        warmed = world.loads() - before
        moved["warmed"] = warmed.total()
        world.client.endpoints.delete(first)
        answered = load.more(calls)
        assert first not in answered
        moved["evacuated"] = (world.loads() - before - warmed).total()

        router.remove(first)
        before = world.loads()
        gone = at(router, world.targets, second)
        world.client.endpoints.delete(second)
        load.more(calls)
        moved["lost"] = (world.loads() - before).total()
        moved["models of the lost cell"] = len(gone)
    assert load.failed == []
    assert "" not in load.cells
    return moved


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with LocalSageMaker(settings=HostingSettings(isolate=False)) as host:
        yield World(host, tmp_path_factory.mktemp("cells"), 3, 8)


def test_no_call_fails_and_an_evacuation_makes_none_cold(world: World) -> None:
    moved = play(world, 80)
    assert moved["evacuated"] == 0, moved
    assert moved["lost"] <= moved["models of the lost cell"], moved


@pytest.mark.slow
def test_many_models(tmp_path: Path) -> None:
    with LocalSageMaker(settings=HostingSettings(isolate=False)) as host:
        moved = play(World(host, tmp_path, 5, 40), 1_500, "drop_before")
    assert moved["evacuated"] == 0, moved
    assert 0 < moved["lost"] <= moved["models of the lost cell"], moved


@pytest.mark.slow
def test_the_example_runs() -> None:
    main = runpy.run_path(str(ROOT / "examples" / "router" / "two_cells.py"))["main"]
    assert main() == ["scoring-a"] * 10
