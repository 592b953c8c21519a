"""Ctrl-C and other early ends of the registry, of endpoints and of streams. Real processes, real signals.

A gateway holds a request before it reaches the service. A process that ends while the request is held did not wait.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import MMEClient
from mme_sdk.local import LocalSageMaker
from tests.integration.runtime.test_ending import HANGS, Process
from tests.support.local.waiting import wait_until
from tests.support.paths import SUPPORT
from tests.support.processes import signal_asleep
from tests.support.runtime.gateway import Gateway, Holds
from tests.support.runtime.world import IMAGE, ROLE
from tests.support.selection import pairs

SCRIPT = SUPPORT / "runtime" / "stopping.py"
NOTHING = {"threads": [], "sockets": 0, "files": 0}
LARGE = 2 * (5 << 20) + 1000  # bytes: three parts


class World:
    """A host, and a client of it without a gateway."""

    def __init__(self, host: LocalSageMaker, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.client: MMEClient = host.client()
        self.s3 = host.boto("s3")
        self.s3.create_bucket(Bucket="gated")

    def sources(self, name: str, sizes: list[int]) -> Path:
        folder = self.folder / name
        for number, size in enumerate(sizes):
            (folder / f"m{number}").mkdir(parents=True, exist_ok=True)
            (folder / f"m{number}" / "model.ubj").write_bytes(os.urandom(size))
        return folder

    def uploads(self, prefix: str) -> list[Any]:
        found = self.s3.list_multipart_uploads(Bucket="gated").get("Uploads", [])
        return [one for one in found if one["Key"].startswith(prefix)]

    def keys(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket="gated", Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with LocalSageMaker() as host:
        made = World(host, tmp_path_factory.mktemp("sources"))
        yield made
        made.s3.close()
        made.client.close()


class Stopped:
    """One process behind a gateway."""

    def __init__(self, world: World, config: dict[str, Any], holds: Holds, halves: Holds, *flags: str) -> None:
        keys = world.host.session().get_credentials()
        urls: dict[str, str] = dict(world.host.endpoint_urls)
        self.s3, self.rest = Gateway(urls["s3"]), Gateway(urls["*"])
        for one in (self.s3, self.rest):
            one.holds, one.halves = holds, halves
        urls = {name: self.s3.url if name == "s3" else self.rest.url for name in urls}
        base = {"key": keys.access_key, "secret": keys.secret_key, "urls": urls, "image": IMAGE, "role": ROLE}
        self.process = Process(base | config, *flags, program=SCRIPT)

    def until_held(self, count: int = 1) -> None:
        self.s3.until_held(HANGS, count)

    def line(self) -> None:
        assert self.process.process.stdin is not None
        self.process.process.stdin.write("\n")
        self.process.process.stdin.flush()

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        signal_asleep(self.process.process, number)

    def stop(self, how: str) -> None:
        if how in ("cancel", "close"):
            self.line()
        else:
            self.signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGINT)

    def ended(self) -> dict[str, Any]:
        """Its report: it came while the request was held, and nothing is left of the work."""
        report = self.process.result()
        assert self.s3.is_shut
        assert {name: report[name] for name in NOTHING} == NOTHING
        assert self.process.errors == ""
        assert self.process.process.returncode == 0
        return report

    def __enter__(self) -> Stopped:
        return self

    def __exit__(self, *_: object) -> None:
        self.s3.close()
        self.rest.close()
        self.process.close()


def never(_: str) -> bool:
    return False


BY = {"SIGINT": "KeyboardInterrupt", "SIGTERM": "SystemExit", "cancel": "CancelledError", "close": "ClosedError"}
HOWS = {how: {"async": how == "cancel", "close": how == "close"} for how in BY}
# SIGTERM takes the way of SIGINT from the moment that it is an exception: the slow suite tries both everywhere.
ENDS = [pytest.param(how, marks=pytest.mark.slow) if how == "SIGTERM" else how for how in BY]


@pytest.mark.parametrize(("verb", "how"), pairs(["register", "register_many", "sync"], BY))
def test_an_upload_in_parts_that_is_ended_is_aborted(world: World, verb: str, how: str) -> None:
    prefix = f"parts-{verb}-{how}/"
    source = world.sources(prefix, [LARGE, LARGE])
    config = {
        "verb": verb,
        "prefix": f"s3://gated/{prefix}",
        "source": str(source / "m0" if verb == "register" else source),
    }
    with Stopped(world, config | HOWS[how], lambda what: "partNumber=2" in what, never) as stopped:
        stopped.until_held(1 if verb == "register" else 2)
        stopped.stop(how)
        report = stopped.ended()
    assert (report["by"], report["notes"]) == (BY[how], [])
    assert world.uploads(prefix) == []
    assert world.keys(prefix) == []


@pytest.mark.parametrize("how", ["SIGINT", "cancel"])
@pytest.mark.parametrize("again", [True, False], ids=["ended again", "its time is over"])
def test_an_abort_that_is_held_is_ended_too_and_said(world: World, how: str, again: bool) -> None:
    prefix = f"abort-{how}-{again}/"
    source = world.sources(prefix, [LARGE])
    config = {"verb": "register_many", "prefix": f"s3://gated/{prefix}", "source": str(source)}
    config |= {"cleanup": 600.0 if again else 1.0, "cancels": 2 if again else 1}

    def holds(what: str) -> bool:
        return "partNumber=2" in what or (what.startswith("DELETE") and "uploadId=" in what)

    with Stopped(world, config | HOWS[how], holds, never) as stopped:
        stopped.until_held(1)
        stopped.stop(how)
        stopped.until_held(2)
        if again:
            stopped.stop(how)
        report = stopped.ended()
    assert report["by"] == BY[how]
    left = "left behind: multipart upload"
    assert any(left in note and "abort_uploads()" in note for note in report["notes"]), report
    assert len(world.uploads(prefix)) == 1
    models = world.client.models(f"s3://gated/{prefix}")
    assert len(models.abort_uploads(older_than=0).keys) == 1


@pytest.mark.parametrize("how", ["SIGINT", "cancel"])
def test_register_many_says_which_are_done(world: World, how: str) -> None:
    prefix = f"done-{how}/"
    source = world.sources(prefix, [1000] * 4)
    config = {"verb": "register_many", "prefix": f"s3://gated/{prefix}", "source": str(source)}
    with Stopped(world, config | HOWS[how], lambda what: what.startswith("PUT") and "/m2/" in what, never) as stopped:
        stopped.until_held()
        wait_until(lambda: len(world.keys(prefix)) >= 3, "the upload of three archives")
        stopped.stop(how)
        report = stopped.ended()
    assert report["by"] == BY[how]
    # An archive that has arrived counts once its answer came.
    assert set(report["partial"]) <= {"m0", "m1", "m3"}
    assert len(world.keys(prefix)) == 3
    done = world.client.models(f"s3://gated/{prefix}").register_many({one.name: one for one in source.iterdir()})
    assert len(done) == 4


def _filled(world: World, prefix: str, versions: int = 1, size: int = 1000) -> str:
    models = world.client.models(f"s3://gated/{prefix}")
    if not list(models.list()):
        for version in range(1, versions + 1):
            source = world.sources(f"{prefix}{version}", [size] * 3)
            for one in sorted(source.iterdir()):
                models.register(one.name, one, f"v{version}")
    return models.uri


VERBS: dict[str, tuple[Holds, Holds]] = {
    "copy": (lambda what: what.startswith("PUT") and "/copied" in what, never),
    "prune": (lambda what: what.startswith("HEAD"), never),
    "verify": (never, lambda what: what.startswith("GET") and "/m1/v1" in what),
    "list": (lambda what: "list-type=2" in what and "MaxKeys" not in what and "max-keys=1&" not in what, never),
}


@pytest.mark.parametrize(("verb", "how"), pairs(VERBS, BY))
def test_the_other_verbs_of_the_registry_end_at_once(world: World, verb: str, how: str) -> None:
    uri = _filled(world, "filled/", versions=2, size=300_000)
    config = {"verb": verb, "prefix": uri, "to": f"s3://gated/copied-{how}/", "model": "m1"}
    with Stopped(world, config | HOWS[how], *VERBS[verb]) as stopped:
        stopped.until_held(1)
        stopped.stop(how)
        report = stopped.ended()
    assert report["by"] == BY[how]
    models = world.client.models(uri)
    assert len(list(models.list())) == 6
    for name in ("m0", "m1", "m2"):
        models.alias(name, "live", "v1")  # no tombstone is in the way
        models.unalias(name, "live")


@pytest.mark.parametrize("how", ENDS)
def test_a_wait_between_two_looks_ends_at_once(world: World, how: str) -> None:
    with Stopped(world, {"verb": "sleep"} | HOWS[how], never, never) as stopped:
        stopped.process.until(lambda one: one["kind"] == "sleeps")
        stopped.stop(how)
        assert stopped.ended()["by"] == BY[how]


@pytest.mark.parametrize("how", ENDS)
def test_a_stream_that_is_read_ends_at_once(world: World, how: str) -> None:
    with Stopped(world, {"verb": "stream"} | HOWS[how], never, never) as stopped:
        stopped.process.until(lambda one: one["kind"] == "chunk")
        stopped.stop(how)
        assert stopped.ended()["by"] == BY[how]


@pytest.mark.parametrize(("verb", "how"), pairs(["create", "apply"], BY))
def test_a_creation_that_is_ended_leaves_nothing(world: World, verb: str, how: str) -> None:
    name = f"half-{verb}-{how}".lower()
    config = {"verb": verb, "name": name}
    with Stopped(world, config | HOWS[how], lambda what: what.endswith(".CreateEndpoint"), never) as stopped:
        stopped.rest.until_held(HANGS)
        stopped.stop(how)
        report = stopped.ended()
    assert (report["by"], report["notes"]) == (BY[how], [])
    sagemaker = world.host.boto("sagemaker")
    assert sagemaker.list_models(NameContains=name)["Models"] == []
    assert sagemaker.list_endpoint_configs(NameContains=name)["EndpointConfigs"] == []
    assert sagemaker.list_endpoints(NameContains=name)["Endpoints"] == []
    sagemaker.close()


@pytest.mark.parametrize(("verb", "how"), pairs(["wait", "delete", "apply"], BY))
def test_a_look_at_an_endpoint_ends_at_once(world: World, verb: str, how: str) -> None:
    config = {"verb": verb, "name": "looked-at"}
    with Stopped(world, config | HOWS[how], lambda what: what.endswith(".DescribeEndpoint"), never) as stopped:
        stopped.rest.until_held(HANGS)
        stopped.stop(how)
        assert stopped.ended()["by"] == BY[how]


@pytest.mark.parametrize("verb", ["register_many", "verify", "sleep"])
def test_an_interpreter_that_ends_meanwhile_prints_nothing(world: World, verb: str) -> None:
    uri = _filled(world, "filled/", versions=2, size=300_000)
    config = {"verb": verb, "prefix": uri, "model": "m1", "source": str(world.sources("exit", [LARGE])), "abandoned": 1}

    def holds(what: str) -> bool:
        return "partNumber=2" in what

    halves = VERBS["verify"][1]
    with Stopped(world, config, holds, halves, "-W", "error", "-X", "dev") as stopped:
        if verb == "sleep":
            stopped.process.until(lambda one: one["kind"] == "sleeps")
        else:
            stopped.until_held()
        stopped.line()
        stopped.process.process.wait(HANGS)
        assert stopped.s3.is_shut
        stopped.process.close()
        assert (stopped.process.process.returncode, stopped.process.errors) == (0, "")
