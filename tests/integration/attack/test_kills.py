"""SIGKILL at seeded steps of clients, of the host and of SeaweedFS; who comes next finds everything in order.

`MME_KILLS` sets how many kills the slow test makes in total, `MME_KILLS_SEED` the first seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

from mme_sdk import MMEClient
from mme_sdk.errors import ConflictError, ModelNotFoundError
from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.registry import ModelRegistry
from mme_sdk.registry.operations import upload
from mme_sdk.runtime import FileLeases, LoadTimes
from tests.support.attack import kill_scenarios
from tests.support.attack.kill_help import Forks, leftovers, until
from tests.support.attack.kill_hosts import Hosts
from tests.support.attack.kill_s3 import Uploads
from tests.support.attack.kill_scenarios import BUCKET, ITEMS, LEASES, SCENARIOS, SHARED, spec
from tests.support.hosting.harness import BARE
from tests.support.local.helpers import MULTIPLY, archive, make_endpoint

KILLS = int(os.environ.get("MME_KILLS", "200"))
SEED = int(os.environ.get("MME_KILLS_SEED", "1"))


@attrs.define
class World:
    """A host that stays, a client that comes next, and the process that forks those that are killed."""

    local: LocalSageMaker
    client: MMEClient
    forks: Forks
    folder: Path
    steps: dict[str, int] = attrs.field(factory=dict)
    s3: Any = None
    sm: Any = None
    runtime: Any = None
    scaling: Any = None

    def ask(self, target: str, number: int = 2) -> list[int]:
        """What the endpoint of all archives answers."""
        answer = self.runtime.invoke_endpoint(
            EndpointName=SHARED, TargetModel=target, ContentType="application/json", Body=json.dumps([number]).encode()
        )
        said: list[int] = json.loads(answer["Body"].read())
        return said

    def served(self, target: str) -> bool:
        """Whether there is such a model."""
        try:
            self.ask(target)
        except self.runtime.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return False
        return True

    def keys(self, prefix: str) -> set[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return {one["Key"].removeprefix(prefix) for one in found.get("Contents", [])}


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A temporary folder with a short path: unix sockets go there."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def world(scratch: Path) -> Iterator[World]:
    control = ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
    bare = attrs.evolve(BARE, isolated=True)
    with (
        contextlib.closing(Forks(scratch)) as forks,
        pytest.MonkeyPatch.context() as patch,
        LocalSageMaker(control=control, images={"bare": bare}) as local,
        local.client() as client,
    ):
        patch.setattr(upload, "PART", kill_scenarios.PART)
        made = World(local, client, forks, scratch)
        made.s3, made.sm, made.runtime, made.scaling = map(
            local.boto, ("s3", "sagemaker", "sagemaker-runtime", "application-autoscaling")
        )
        made.s3.create_bucket(Bucket=BUCKET)
        for number in range(3):
            made.s3.put_object(Bucket=BUCKET, Key=f"shared/{number}.tar.gz", Body=archive(number + 1))
        make_endpoint(made.sm, SHARED, Image="bare", ModelDataUrl=f"s3://{BUCKET}/")
        yield made
        for one in (made.s3, made.sm, made.runtime, made.scaling):
            one.close()


class Case:
    """One piece of work of a client, killed at a step, and what must hold afterwards.

    Args:
        world: Where it happens.
        scenario: The work.
        dice: Choices.
    """

    def __init__(self, world: World, scenario: str, dice: Random) -> None:
        self.world, self.scenario, self.dice = world, scenario, dice
        self.name = f"case-{hashlib.sha256(dice.randbytes(8)).hexdigest()[:10]}"
        self.folder = world.folder / self.name
        self.folder.mkdir()
        self.models: ModelRegistry = world.client.models(f"s3://{BUCKET}/{self.name}/")
        self.runs = 0
        sizes = {"register in parts": [2], "register_many": [0, 2, 0, 0]}.get(scenario, [0, 0, 0])
        self.sources = [self.source(number, parts) for number, parts in enumerate(sizes)]
        self.order: dict[str, Any] = {
            "run": "client",
            "scenario": scenario,
            "case": self.name,
            "folder": str(self.folder),
            "sources": [str(one) for one in self.sources],
            "checkpoint": str(self.folder / "done.txt"),
            "ordered": dice.random() < 0.5,
            "urls": world.local.endpoint_urls,
            "key": world.local.credentials.access_key,
            "secret": world.local.credentials.secret_key,
        }

    def source(self, number: int, parts: int) -> Path:
        folder = self.folder / f"source-{number}"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "inference.py").write_text(MULTIPLY.format(factor=number + 5))
        (folder / "weights.bin").write_bytes(self.dice.randbytes(parts * kill_scenarios.PART + 1000))
        return folder

    def run(self, at: int | None) -> Any:
        self.runs += 1
        forked = self.world.forks.start(self.folder / f"report-{self.runs}", at=at, **self.order)
        forked.killed = forked.wait()  # type: ignore[attr-defined]
        return forked

    def check(self, *, kill: bool = True) -> None:
        """Prepare, run, kill, look."""
        kind = self.scenario.replace("register in parts", "register").replace(" ", "_")
        getattr(self, f"before_{kind}", lambda: None)()
        forked = self.run(self.dice.randint(1, self.world.steps[self.scenario]) if kill else None)
        if not forked.killed:
            self.world.steps[self.scenario] = forked.last("steps")
        getattr(self, f"after_{kind}")(forked)
        shutil.rmtree(self.folder)

    def listed_are_whole(self) -> set[str]:
        """Every version that is listed is whole and answers right; nothing else is served."""
        found = set()
        for one in self.models.list():
            self.models.verify(one.name, one.version)
            target = one.uri.removeprefix(f"s3://{BUCKET}/")
            number = int((one.version if one.name == "m" else f"m{int(one.name[1:]) + 1}")[1:]) - 1
            assert self.world.ask(target) == [2 * (number + 5)]
            found.add(f"{one.name}/{one.version}")
        return found

    def no_uploads(self) -> None:
        left = self.world.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{self.name}/").get("Uploads", [])
        assert len(left) <= 1
        assert len(self.models.abort_uploads(older_than=0).keys) == len(left)
        assert not self.world.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{self.name}/").get("Uploads")

    def after_register(self, forked: Any) -> None:
        seen = self.listed_are_whole()
        assert seen <= {"m/v1"}
        assert seen or not forked.last("uri")
        assert self.world.served(f"{self.name}/m/v1.tar.gz") is bool(seen)
        self.models.register("m", self.sources[0], "v1")
        assert self.listed_are_whole() == {"m/v1"}
        self.no_uploads()
        assert self.world.keys(f"{self.name}/") == {"m/v1.tar.gz"}

    def after_register_many(self, forked: Any) -> None:
        seen = self.listed_are_whole()
        assert forked.killed or len(seen) == 4
        sources = {f"m{number}": str(source) for number, source in enumerate(self.sources)}
        assert len(self.models.register_many(sources)) == 4
        after = self.listed_are_whole()
        assert seen <= after
        assert len(after) == 4
        self.no_uploads()
        assert len(self.world.keys(f"{self.name}/")) == 4

    def after_register_an_estimator(self, forked: Any) -> None:
        again = self.run(None)
        assert not again.killed
        assert [self.models.verify(one.name, one.version).version for one in self.models.list()] == ["v1"]
        assert [*self.world.folder.glob("mme*")] == []

    def before_aliases(self) -> None:
        for number, source in enumerate(self.sources[:2], 1):
            self.models.register("m", source, f"v{number}")

    def after_aliases(self, forked: Any) -> None:
        assert self.listed_are_whole() == {"m/v1", "m/v2"}
        for alias in self.models.aliases():
            assert set(alias.weights) <= {"v1", "v2"}
            assert alias.history is not None
        self.models.alias("m", "live", "v1")
        assert self.models.resolve("m@live").version == "v1"
        for alias in self.models.aliases():
            self.models.unalias("m", alias.alias)
        assert not self.models.aliases()

    def before_delete(self) -> None:
        for number, source in enumerate(self.sources, 1):
            self.models.register("m", source, f"v{number}")
        self.models.alias("m", "live", "v3")

    def after_delete(self, forked: Any) -> None:
        seen = self.listed_are_whole()
        assert forked.killed or not seen
        for alias in self.models.aliases():
            assert {f"m/{version}" for version in alias.weights} <= seen
            self.models.unalias("m", alias.alias)
        with contextlib.suppress(ModelNotFoundError):
            self.models.delete("m")
        assert self.listed_are_whole() == set()
        assert [key for key in self.world.keys(f"{self.name}/") if key.endswith(".tar.gz")] == []
        self.models.register("m", self.sources[0], "v1")
        assert self.listed_are_whole() == {"m/v1"}

    def before_apply(self) -> None:
        self.world.client.endpoints.create(spec(self.name), timeout=120)

    before_remove = before_apply

    def before_rollback(self) -> None:
        self.before_apply()
        self.world.client.endpoints.apply(spec(self.name, 1), timeout=120)

    def after_create(self, forked: Any) -> None:
        if forked.last("in_service"):
            self.answers()
        if self.dice.random() < 0.6:
            self.world.client.endpoints.create(spec(self.name), timeout=120)
            self.settled(0)
        self.nothing_left()

    def after_apply(self, forked: Any) -> None:
        self.answers()
        if self.dice.random() < 0.7:
            self.applied(1)
            if self.dice.random() < 0.5:
                self.world.client.endpoint(self.name).rollback()
                self.settled(0)
        self.nothing_left()

    def after_rollback(self, forked: Any) -> None:
        self.answers()
        if self.dice.random() < 0.7:
            self.applied(0)
        self.nothing_left()

    def after_remove(self, forked: Any) -> None:
        if self.dice.random() < 0.3:
            with contextlib.suppress(ConflictError):  # it is being deleted
                self.applied(0)
        self.nothing_left()

    def applied(self, change: int) -> None:
        endpoints = self.world.client.endpoints
        with contextlib.suppress(Exception):
            endpoints.wait(self.name, timeout=120)  # what the dead client had begun goes on
        endpoints.apply(spec(self.name, change), timeout=120)
        self.settled(change)

    def settled(self, change: int) -> None:
        plan = self.world.client.endpoints.plan(spec(self.name, change))
        assert not plan.changes, plan
        self.answers()

    def answers(self) -> None:
        answer = self.world.runtime.invoke_endpoint(
            EndpointName=self.name, TargetModel="shared/1.tar.gz", ContentType="application/json", Body=b"[4]"
        )
        assert json.loads(answer["Body"].read()) == [8]

    def nothing_left(self) -> None:
        """Delete by name leaves no endpoint, configuration, model or scaling target."""
        self.world.client.endpoints.delete(self.name, timeout=120)
        assert self.world.sm.list_endpoints(NameContains=self.name)["Endpoints"] == []
        assert self.world.sm.list_endpoint_configs(NameContains=self.name)["EndpointConfigs"] == []
        assert self.world.sm.list_models(NameContains=self.name)["Models"] == []
        targets = self.world.scaling.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{self.name}/variant/AllTraffic"]
        )
        assert targets["ScalableTargets"] == []
        assert [one for one in self.world.client.endpoints.orphans() if self.name in one.name] == []

    def after_invoke_many(self, forked: Any) -> None:
        path = Path(self.order["checkpoint"])
        dealt: Counter[int] = Counter()
        kills = 0
        while True:
            facts = [one for one in forked.said() if "dealt" in one]
            for fact in facts:
                assert fact["value"] == [fact["dealt"] * (fact["dealt"] % 3 + 1)], fact
            dealt.update(fact["dealt"] for fact in facts)
            kept = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
            done = {int(line) for line in kept}
            assert len(done) == len(kept)
            kills += forked.killed
            # What is in the file was dealt with; of what was dealt with, each kill loses the item at hand.
            assert done <= set(dealt)
            assert len(set(dealt) - done) <= 1
            if not forked.killed:
                break
            again = self.dice.random() < 0.6
            forked = self.run(self.dice.randint(1, self.world.steps[self.scenario]) if again else None)
        assert set(dealt) == set(range(ITEMS))
        assert dealt.total() <= ITEMS + kills
        assert done == set(range(ITEMS))

    def after_leases(self, forked: Any) -> None:
        path = self.folder / "leases.db"
        taken = {fact["taken"] for fact in forked.said() if "taken" in fact}
        given_back = {fact["dropping"] for fact in forked.said() if "dropping" in fact}
        other = FileLeases(path)
        for number in sorted(taken - given_back):
            assert not other.take("e", f"m{number}", seconds=1)
        later = FileLeases(path, now=lambda: time.time() + 601)
        assert all(later.take("e", f"m{number}", seconds=1) for number in range(LEASES))

    def after_estimates(self, forked: Any) -> None:
        path, saved = self.folder / "loads.json", forked.last("saved") or 0
        learned = LoadTimes()
        if path.exists() or saved:
            assert learned.load(path) in (saved, saved + 1)
        learned.save(path)
        assert LoadTimes().load(path) == len(learned)
        assert leftovers(self.folder) == []


def kill_clients(world: World, scenarios: list[str], count: int, seed: int) -> None:
    """Each scenario in turn; the first run of each is not killed, and says how many steps there are."""
    for number in range(count):
        scenario = scenarios[number % len(scenarios)]
        if scenario not in world.steps:
            Case(world, scenario, Random(f"{seed}/{scenario}/first")).check(kill=False)
        Case(world, scenario, Random(f"{seed}/{scenario}/{number}")).check()


def test_some_clients(world: World) -> None:
    kill_clients(world, ["register in parts", "apply", "invoke_many"], 3, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_clients(world: World, scenario: str) -> None:
    kill_clients(world, [scenario], -(-KILLS * 6 // 10 // len(SCENARIOS)), SEED)


def kill_hosts(scratch: Path, count: int, seed: int) -> None:
    with contextlib.ExitStack() as opened:
        folder, temporary = scratch / "hosts", scratch / "t"
        for one in (folder, temporary):
            one.mkdir()
            opened.callback(shutil.rmtree, one)
        forks = opened.enter_context(contextlib.closing(Forks(temporary)))
        hosts = opened.enter_context(contextlib.closing(Hosts(forks, folder, Random(f"{seed}/hosts"))))
        for number in range(count):
            print(f"host kill {number}: {hosts.kill()}", flush=True)
        hosts.stopped()
    print(f"hosts: {hosts.killed_starting} killed while they started, {hosts.killed_working} at work")


def test_a_temporary_data_directory_goes_with_the_next_host(tmp_path: Path) -> None:
    with contextlib.closing(Forks(tmp_path)) as forks:

        def folders(number: int, end: signal.Signals) -> list[str]:
            words = ["--port", "0"]
            host = forks.start(tmp_path / f"host-{number}", run="host", arguments=words, at=None, work_at=None)
            until(lambda: host.report.exists() and "# ready" in host.report.read_text(), host.report)
            found = [one.name for one in tmp_path.glob("mme*")]
            os.kill(host.pid, end)
            assert host.wait() is (end == signal.SIGKILL)
            return found

        killed = folders(1, signal.SIGKILL)
        assert [one.name for one in tmp_path.glob("mme*")] == killed
        found = folders(2, signal.SIGTERM)
        assert len(found) == len(killed) == 1
        assert found != killed
        assert [*tmp_path.glob("mme*")] == []


def test_a_host_once(scratch: Path) -> None:
    kill_hosts(scratch, 1, SEED)


@pytest.mark.slow
def test_hosts(scratch: Path) -> None:
    kill_hosts(scratch, -(-KILLS // 4), SEED)


def kill_s3(world: World, count: int, seed: int) -> None:
    stored: dict[str, int] = {}
    for number in range(count):
        said = Uploads(world.local, BUCKET, SHARED, Random(f"{seed}/s3/{number}"), stored).run()
        print(f"S3 kill {number}: {said}, {len(stored)} objects", flush=True)


def test_s3_once(world: World) -> None:
    kill_s3(world, 1, SEED)


@pytest.mark.slow
def test_s3(world: World) -> None:
    kill_s3(world, -(-KILLS * 15 // 100), SEED)
