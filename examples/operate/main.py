"""An operator's drill: six faults, one after the other. `mme diagnose` names each and prints its mending command.

The program starts an embedded SageMaker. Faults and traffic are in `faults.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faults import AGAIN, FAULTS, SETTINGS, SPEC, World

from mme_sdk import Recorder
from mme_sdk.cli.exit_codes import FOUND
from mme_sdk.cli.main import run
from mme_sdk.local import ControlSettings, HostingSettings, LocalSageMaker
from mme_sdk.runtime import Event

USED = ("fraud", "risk")
"""The models of ordinary traffic. They fit into the memory of one instance."""


class Calls:
    """A hook that records the calls of one phase: those of a fault, or the ordinary traffic after it.

    An application has one `Recorder` for all its calls. The drill has one for each phase, because a recorder counts in
    minutes, and several phases are in one minute here.
    """

    events = Recorder.events

    def __init__(self, folder: Path) -> None:
        self._folder, self._phases = folder, 0
        self.begin()

    def begin(self) -> None:
        """Begin a phase."""
        self._phases += 1
        self.files = self._folder / f"phase-{self._phases}"
        self.files.mkdir(parents=True)
        self._recorder = Recorder(files=self.files)
        self.began = time.time()

    def __call__(self, event: Event) -> None:
        """Record an event."""
        self._recorder(event)

    def write(self) -> None:
        """Write what is recorded."""
        self._recorder.flush(everything=True)

    def end(self) -> None:
        """Write the rest, and end the recorder's thread."""
        self._recorder.close()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the environment variables by which `mme` finds the host."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def mme(*words: str) -> tuple[int, str]:
    """Run a command line of `mme` in this process. Return its exit code and what it writes."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        code = run(words)
    return code, written.getvalue()


def diagnose(calls: Calls) -> list[dict[str, Any]]:
    """Run `mme diagnose` with the data of this phase, and return the findings."""
    calls.write()
    hours = (time.time() - calls.began) / 3600
    code, written = mme("diagnose", SPEC.name, "--hours", f"{hours:.6f}", "--recordings", str(calls.files), "--json")
    assert code in (0, FOUND), written
    found: list[dict[str, Any]] = json.loads(written)["findings"]
    return found


def drill(world: World, calls: Calls, kinds: Iterable[str] = FAULTS) -> None:
    """Make faults one after the other; find each with `mme diagnose`, and run the command that it prints."""
    for kind in kinds:
        print(f"\n=== {kind}: {(FAULTS[kind].__doc__ or '').splitlines()[0]}")
        calls.end()
        calls.begin()
        FAULTS[kind](world)
        found = diagnose(calls)
        assert [one["kind"] for one in found] == [kind], found
        (finding,) = found
        print(f"    {finding['severity']}: {finding['summary']}\n    $ {finding['command']['shell']}")
        code, written = mme(*shlex.split(finding["command"]["shell"])[1:])
        assert code == 0, written
        print(textwrap.indent(written.rstrip(), "    "))
        world.host.faults.clear()
        if kind in AGAIN:
            AGAIN[kind](world)  # the first call of each model loads it
            calls.end()
            calls.begin()
            AGAIN[kind](world)
            found = diagnose(calls)
            assert not [one for one in found if one["kind"] == kind], found
        recover(world)
        healthy(world, calls)
        print("    mme diagnose finds nothing any more")
    print(f"\nHealthy: {world.endpoint}")


def recover(world: World) -> None:
    """Load the models of ordinary traffic."""
    world.endpoint.warm([f"{name}/v1.tar.gz" for name in USED])


def healthy(world: World, calls: Calls) -> None:
    """Run ordinary traffic, in which a diagnosis finds nothing."""
    calls.end()
    calls.begin()
    while True:  # until CloudWatch has the first utilization of this time
        world.call([f"{name}@live" for name in USED] * 5)
        if world.endpoint.metrics(hours=(time.time() - calls.began) / 3600).cpu:
            break
    found = diagnose(calls)
    assert not found, found


def prepare(world: World) -> None:
    """Register the models, and create the endpoint."""
    world.aws("s3", "create_bucket", Bucket="ml-models")
    for name in USED:
        world.publish(name, "v1")
    world.client.endpoints.create(SPEC, timeout=120)


def main(kinds: Iterable[str] = FAULTS, settings: HostingSettings = SETTINGS) -> None:
    """Run the drill in an embedded SageMaker whose minutes last a second."""
    with (
        tempfile.TemporaryDirectory(prefix="mme-example-") as folder,
        LocalSageMaker(settings=settings, control=ControlSettings(minute=1.0, wait_scale=0.01)) as host,
    ):
        calls = Calls(Path(folder) / "recordings")
        with host.client(hooks=[calls]) as client, environment(host.environ()):
            world = World(host, client, Path(folder))
            prepare(world)
            drill(world, calls, kinds)
            world.endpoint.delete()
        calls.end()


if __name__ == "__main__":
    main()
