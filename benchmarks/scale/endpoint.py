"""The endpoint that the jobs call: an embedded SageMaker with models that multiply, and what it counted."""

from __future__ import annotations

import contextlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from mme_sdk import EndpointSpec
from mme_sdk.local import Command, Fault, HostingSettings, LocalSageMaker

NAME, PREFIX = "scoring", "s3://scale/models/"
_MEMORY = 4 << 20  # bytes of a model
_FACTORS = 7


def target(number: int) -> str:
    """Return the target model of a number."""
    return f"m{number:04}.tar.gz"


def factor(number: int) -> int:
    """Return what the model of a number multiplies by."""
    return number % _FACTORS + 1


@attrs.frozen(kw_only=True)
class Setup:
    """An endpoint.

    Attributes:
        models: Number of models.
        load: Seconds that a load takes.
        capacity: Models that fit into the memory of all instances.
        instances: Number of instances.
        loaders: Loads at the same time on an instance.
        call: Seconds that a call of a loaded model takes.
        rate: Calls a second that the host bears. None: any number.
    """

    models: int = 200
    load: float = 0.5
    capacity: int = 40
    instances: int = 2
    loaders: int = 2
    call: float = 0.0
    rate: float | None = None

    @property
    def floor(self) -> float:
        """Seconds that the loads take if each model is loaded once and no loader ever waits."""
        return self.models * self.load / (self.instances * self.loaders)


class Measured:
    """A running endpoint.

    Args:
        host: The host.
        log: The log of the container.
    """

    def __init__(self, host: LocalSageMaker, log: Path) -> None:
        self.host, self._log = host, log

    @property
    def port(self) -> int:
        """The port that the calls go to."""
        return int(self.host.endpoint_url.rsplit(":", 1)[1].strip("/"))

    def loads(self) -> int:
        """Return the number of loads that were started."""
        (endpoint,) = self.host.status()["endpoints"]
        return sum(one["counters"]["s3_loads"] + one["counters"]["disk_loads"] for one in endpoint["variants"])

    def calls(self) -> list[tuple[int, float]]:
        """Return for each answered call its number of rows, and when it was answered, in seconds since the epoch."""
        lines = self._log.read_text().split("\n")[:-1] if self._log.exists() else []
        return [(int(rows), float(at)) for rows, at in map(str.split, lines)]

    def throttled(self) -> tuple[int, int]:
        """Return the number of calls that the rate throttled, and of all calls."""
        (fault,) = self.host.faults.list().values()
        return int(fault["triggered"]), int(fault["matched"])


def _archive(number: int) -> bytes:
    text, out = str(factor(number)).encode(), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo("factor")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return out.getvalue()


@contextlib.contextmanager
def running(setup: Setup) -> Iterator[Measured]:
    """Start a host with the endpoint, and stop it at the end.

    Args:
        setup: The endpoint.

    Yields:
        The running endpoint.
    """
    settings = HostingSettings(
        memory_bytes=setup.capacity // setup.instances * _MEMORY,
        memory_per_byte=0,
        memory_per_model=_MEMORY,
        loader_slots=setup.loaders,
        load_seconds=setup.load,
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "calls")
        program = [sys.executable, str(Path(__file__).with_name("container.py")), "--socket", "{socket}"]
        command = Command([*program, "--log", str(log), "--seconds", str(setup.call)])
        with LocalSageMaker(images={"*/scale:*": command}, settings=settings) as host:
            _deploy(host, setup)
            if setup.rate is not None:
                host.faults.add(Fault(kind="rate", operation="InvokeEndpoint", rate=setup.rate))
            yield Measured(host, log)


def _deploy(host: LocalSageMaker, setup: Setup) -> None:
    s3: Any = host.boto("s3")
    s3.create_bucket(Bucket="scale")
    with ThreadPoolExecutor(8) as threads:
        puts = [
            threads.submit(s3.put_object, Bucket="scale", Key=f"models/{target(number)}", Body=_archive(number))
            for number in range(setup.models)
        ]
        for put in puts:
            put.result()
    spec = EndpointSpec.multi_model(
        name=NAME,
        models=PREFIX,
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/scale:1",
        role="arn:aws:iam::123456789012:role/scale",
        instance_type="ml.m5.large",
        instance_count=setup.instances,
    )
    with host.client() as client:
        client.endpoints.create(spec, timeout=120)
