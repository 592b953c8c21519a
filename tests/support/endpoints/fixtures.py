"""The embedded control plane with nothing running below it, and both shells over it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.config import RetryPolicy
from mme_sdk.endpoints import AsyncEndpoints, Endpoints
from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.control import ControlPlane
from mme_sdk.local.control.store import Store
from tests.support.endpoints.helpers import Awaited, NoInvoker
from tests.support.endpoints.hosting import QuietHosting


class PlaneTime:
    """The time that the plane's transitions take: one that runs is over when a client sleeps.

    So a client sees each status, however slow the machine. Nobody sleeps: it is over after a second.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._running: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        """What the plane waits with."""
        over = asyncio.Event()
        with self._changing:
            self._running.append((asyncio.get_running_loop(), over))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 1.0 if seconds else 0.0)

    def advance(self) -> None:
        """End the transitions that run."""
        with self._changing:
            running, self._running = self._running, []
        for loop, over in running:
            with contextlib.suppress(RuntimeError):  # the host was closed
                loop.call_soon_threadsafe(over.set)


PLANE_TIME = PlaneTime()


MADE_BY_TESTS = (
    "alarm",
    "endpoint",
    "endpoint-config",
    "model",
    "scalable-target",
    "scaling-policy",
    "scheduled-action",
    "tags",
)


class SteppedPlane(ControlPlane):
    """A control plane in `PLANE_TIME`, with its documents in reach."""

    latest: SteppedPlane

    def __init__(self, store: Store, *given: Any, **named: Any) -> None:
        super().__init__(store, *given, **named)
        self.endpoints._sleep = PLANE_TIME.sleep
        self._loop = asyncio.get_running_loop()
        self._store = store
        SteppedPlane.latest = self

    def clear(self) -> None:
        """Remove whatever a test made. Requests would take longer than most of the tests."""
        asyncio.run_coroutine_threadsafe(self._clear(), self._loop).result(20)

    async def _clear(self) -> None:
        await self.endpoints.close()  # the transitions that run
        for kind in MADE_BY_TESTS:
            for name, _ in list(self._store.all(kind)):
                self._store.delete(kind, name)


class Hasty:
    """A clock whose sleeps are over at once, as are the plane's transitions then."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def sleep(self, seconds: float, /) -> None:
        PLANE_TIME.advance()


class AsyncHasty(Hasty):
    async def sleep(self, seconds: float, /) -> None:
        PLANE_TIME.advance()
        await asyncio.sleep(0)


QUICK = RetryPolicy(throttle_base=0.01, throttle_cap=0.02, fault_base=0.01, fault_cap=0.02)


@pytest.fixture(scope="session")
def plane() -> Iterator[LocalSageMaker]:
    control = ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
    host = LocalSageMaker(control=control, hosting=QuietHosting)
    with pytest.MonkeyPatch.context() as patch:  # for this host: the transitions of any other would take a second
        patch.setattr("mme_sdk.local.control.ControlPlane", SteppedPlane)
        host.start()
    with host:
        # What the specs of `helpers.py` refer to: `create` checks that it exists.
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="ml-models")
        s3.put_object(Bucket="ml-models", Key="prod/fraud/v3.tar.gz", Body=b"")
        yield host


@functools.cache
def session_of(plane: LocalSageMaker) -> Any:
    """One session, since each reads SageMaker's long service model anew."""
    return plane.session()


def bound(plane: LocalSageMaker, kind: type[Aws] = Aws, **options: Any) -> Aws:
    return kind(
        session=session_of(plane),
        region=plane.region,
        endpoint_url=plane.endpoint_urls,
        retry=QUICK,
        clock=Hasty(),
        async_clock=AsyncHasty(),
        **options,
    )


@pytest.fixture(scope="session")
def way(plane: LocalSageMaker) -> Iterator[Aws]:
    """The way to the plane; one for the session, since boto3's clients are slow to make."""
    made = bound(plane)
    yield made
    made.close()


@pytest.fixture
def aws(plane: LocalSageMaker, way: Aws) -> Iterator[Aws]:
    """The way to the plane; whatever a test left there is removed."""
    yield way
    plane.faults.clear()
    SteppedPlane.latest.clear()


@pytest.fixture(params=["sync", "async"])
def collection(request: pytest.FixtureRequest, aws: Aws) -> Iterator[Any]:
    """`Endpoints`, and `AsyncEndpoints` behind the same face."""
    if request.param == "sync":
        yield Endpoints(aws, NoInvoker)
        return
    with asyncio.Runner() as runner:
        yield Awaited(AsyncEndpoints(aws, NoInvoker), runner)


@pytest.fixture
def name(bucket_name: str) -> str:
    """An endpoint name that nobody has used."""
    return bucket_name
