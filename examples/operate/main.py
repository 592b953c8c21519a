"""An operator's drill: six faults, one after the other. A diagnosis names each, and its command mends it.

The program starts an embedded SageMaker. Faults and traffic are in `faults.py`, the recorder of the calls is below.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faults import FAULTS, SETTINGS, SPEC, World

import mme_sdk
from mme_sdk import MMEClient
from mme_sdk.diagnosis import Diagnosis, Finding
from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.recording import RecordedMinute
from mme_sdk.runtime import AttemptMade, CallCompleted, CallFailed, Event

USED = ("fraud", "risk")
"""The models of ordinary traffic. They fit into the memory of one instance."""


class Calls:
    """A hook that keeps one entry for each call, because the faults of the drill follow within a minute.

    An application uses `mme_sdk.Recorder`, which counts by minute.
    """

    def __init__(self) -> None:
        self.minutes: list[RecordedMinute] = []

    def __call__(self, event: Event) -> None:
        """Keep a throttled request, and a call that has ended."""
        at = datetime.now(UTC).replace(second=0, microsecond=0)
        match event:
            case AttemptMade(model=model, attempt=attempt) if attempt.code == "ThrottlingException":
                self._keep(at, model, calls=0, throttles=1)
            case CallFailed(model=model, error=error):
                self._keep(at, model, calls=1, errors={type(error).__name__: 1})
            case CallCompleted(model=model, cold=True, took=took, variant=variant):
                self._keep(at, model, calls=1, cold=1, cold_seconds=took, variant=variant)
            case CallCompleted(model=model, took=took, variant=variant):
                self._keep(at, model, calls=1, warm_seconds=took, variant=variant)

    def _keep(self, at: datetime, model: str | None, **measured: Any) -> None:
        tenant = None if model is None else model.partition("/")[0]
        self.minutes.append(RecordedMinute(endpoint=SPEC.name, at=at, model=model, tenant=tenant, **measured))


def diagnose(client: MMEClient, began: float, calls: Calls) -> Diagnosis:
    """Diagnose the endpoint with the data since a time."""
    hours = (time.time() - began) / 3600
    return client.endpoint(SPEC.name).diagnose(hours, recordings=calls.minutes, prices={"ml.m5.large": 0.115})


def run(finding: Finding, client: MMEClient) -> None:
    """Run the Python form of a finding's command, with the names that it uses."""
    assert finding.command is not None
    names = {name: getattr(mme_sdk, name) for name in mme_sdk.__all__}
    exec(finding.command.python, {**names, "client": client})  # the SDK has written it


def drill(world: World, calls: Calls, kinds: Iterable[str] = FAULTS) -> None:
    """Make faults one after the other; find and mend each."""
    for kind in kinds:
        print(f"\n=== {kind}: {(FAULTS[kind].__doc__ or '').splitlines()[0]}")
        began = time.time()
        calls.minutes.clear()
        FAULTS[kind](world)
        found = diagnose(world.client, began, calls)
        print(found)
        assert [one.kind for one in found] == [kind], found
        print("\n    … the command runs")
        run(found.findings[0], world.client)
        world.host.faults.clear()
        recover(world)
        after = healthy(world, calls)
        print(f"    {after}".splitlines()[0])
    print(f"\nHealthy: {world.endpoint}")


def recover(world: World) -> None:
    """Load the models of ordinary traffic."""
    world.endpoint.warm([f"{name}/v1.tar.gz" for name in USED])


def healthy(world: World, calls: Calls) -> Diagnosis:
    """Run ordinary traffic and return a diagnosis of it, which finds nothing."""
    began = time.time()
    calls.minutes.clear()
    while True:  # until CloudWatch has the first utilization of this time
        world.call([f"{name}@live" for name in USED] * 5)
        if world.endpoint.metrics(hours=(time.time() - began) / 3600).cpu:
            break
    found = diagnose(world.client, began, calls)
    assert not found.findings, found
    return found


def prepare(world: World) -> None:
    """Register the models, and create the endpoint."""
    world.aws("s3", "create_bucket", Bucket="ml-models")
    for name in USED:
        world.publish(name, "v1")
    world.client.endpoints.create(SPEC, timeout=120)


def main(kinds: Iterable[str] = FAULTS) -> None:
    """Run the drill in an embedded SageMaker whose minutes last a second."""
    calls = Calls()
    with (
        tempfile.TemporaryDirectory(prefix="mme-example-") as folder,
        LocalSageMaker(settings=SETTINGS, control=ControlSettings(minute=1.0, wait_scale=0.01)) as host,
        host.client(hooks=[calls]) as client,
    ):
        world = World(host, client, Path(folder))
        prepare(world)
        drill(world, calls, kinds)
        world.endpoint.delete()


if __name__ == "__main__":
    main()
