"""Processes that share a rate and the loads of models, against the embedded SageMaker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.local import Fault
from tests.support.gates import Gate
from tests.support.paths import ROOT
from tests.support.runtime.valkey import valkey
from tests.support.runtime.world import World

RATE, EACH = 150.0, 1500  # of the slow tests: calls a second that the endpoint bears, and items of a worker


class Workers:
    """Worker processes that begin together."""

    def __init__(self, world: World, count: int, **config: Any) -> None:
        environ = world.host.environ()
        urls = dict(world.host.endpoint_urls)
        reported = {
            "key": environ["AWS_ACCESS_KEY_ID"],
            "secret": environ["AWS_SECRET_ACCESS_KEY"],
            "urls": urls,
            "threads": 16,
            "rate": None,
            "says_refused": False,
            "says_at": None,
            "warm": False,
            **config,
        }
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.runtime.shared_worker", json.dumps(reported)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
            )
            for _ in range(count)
        ]

    def begin(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def end(self) -> list[dict[str, Any]]:
        """Return what the workers say."""
        said = [process.stdout.readline() for process in self.processes if process.stdout is not None]
        return [json.loads(line) for line in said]


@contextmanager
def working(world: World, count: int, **config: Any) -> Iterator[Workers]:
    workers = Workers(world, count, **config)
    try:
        workers.begin()
        yield workers
    finally:
        for process in workers.processes:
            process.kill()
            process.communicate()


@contextmanager
def limited(world: World, rate: float) -> Iterator[None]:
    fault = world.host.faults.add(Fault(kind="rate", operation="InvokeEndpoint", rate=rate))
    try:
        yield
    finally:
        world.host.faults.remove(fault)


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[str]:
    if kind == "file":
        yield f"file:{folder / 'shared.db'}"
        return
    with valkey() as server:
        yield server.url


@pytest.mark.parametrize("kind", ["file", "valkey"])
def test_processes_share_a_rate(world: World, tmp_path: Path, kind: str) -> None:
    model = world.make(f"rate-{kind}", 0.0)
    with (
        store_of(kind, tmp_path) as url,
        limited(world, 30),
        working(world, 2, shared=url, rate=30.0, items=50, model=model) as workers,
    ):
        said = workers.end()
    assert [one["failed"] for one in said] == [[], []]
    assert sum(one["throttled"] for one in said) <= 1
    assert sum(one["answered"] for one in said) == 100


def test_processes_load_a_cold_model_once(world: World, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    model = world.make("cold-shared", 0.0, gate)
    url = f"file:{tmp_path / 'shared.db'}"
    config = {"shared": url, "items": 2, "threads": 2, "model": model}
    with working(world, 1, **config) as first:
        gate.arrived()
        with working(world, 1, says_refused=True, **config) as second:
            (process,) = second.processes
            assert process.stdout is not None
            assert process.stdout.readline() == "refused\n"
            gate.open()
            (other,) = second.end()
        (one,) = first.end()
    assert (one["failed"], other["failed"]) == ([], [])
    assert other["attempts"] == 2  # it sent nothing while the model was loading
    assert world.loads("cold-shared") == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "valkey"])
@pytest.mark.parametrize("given", [RATE, None])
def test_four_processes_use_the_rate_of_an_endpoint(
    world: World, tmp_path: Path, kind: str, given: float | None
) -> None:
    model = world.make(f"four-{kind}-{given}", 0.0)
    with (
        store_of(kind, tmp_path) as url,
        limited(world, RATE),
        working(world, 4, shared=url, rate=given, items=EACH, warm=True, model=model) as workers,
    ):
        said = workers.end()
    rate, throttled = figures(said)
    assert rate >= (0.95 if given else 0.9) * RATE
    assert throttled <= (0.01 if given else 0.1)
    assert all(one["trips"] / one["took"] <= 10.5 for one in said)


@pytest.mark.slow
@pytest.mark.parametrize("given", [RATE, None])
def test_a_store_that_is_killed_changes_no_rate(world: World, given: float | None) -> None:
    model = world.make(f"killed-{given}", 0.0)
    with (
        valkey() as server,
        limited(world, RATE),
        working(
            world, 4, shared=server.url, rate=given, items=EACH, says_at=EACH // 2, warm=True, model=model
        ) as workers,
    ):
        for process in workers.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "reached\n"
        server.close()
        said = workers.end()
    rate, _ = figures(said)
    assert 0.9 * RATE <= rate <= 1.1 * RATE


def figures(said: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the answers a second of all workers, and the share of requests that were throttled."""
    assert [one["failed"] for one in said] == [[]] * 4
    rate = sum(one["answered"] for one in said) / max(one["took"] for one in said)
    throttled = sum(one["throttled"] for one in said) / sum(one["attempts"] for one in said)
    trips = [round(one["trips"] / one["took"], 1) for one in said]
    print(f"{rate:.1f} answers/s at a limit of {RATE:g}, {throttled:.2%} throttled, trips/s {trips}")
    return rate, throttled
