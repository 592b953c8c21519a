"""Many calls among faults: every call has one outcome, and no connection or file stays open."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.errors import OutcomeUnknownError, TransportError
from mme_sdk.runtime.transport import make_async_transport, make_transport
from tests.integration.transport.test_behaviour import to
from tests.support.transport.fixtures import aws_at
from tests.support.transport.server import LoopbackServer

LOST = ["drop", "garbage", "half-body", "half-head", "silent"]
FAULTS = [*LOST, "asks-to-close", "closes-later", "status-503", "chunked"]
TIMES = {"connect_timeout": 5.0, "read_timeout": 5.0}
WORKERS = 8


def plan(number: int, calls: int) -> list[str]:
    rng = random.Random(number)
    return [rng.choice(FAULTS) if rng.random() < 0.1 else "echo" for _ in range(calls)]


def times(endpoint: str) -> dict[str, float]:
    return TIMES | {"read_timeout": 0.02} if endpoint == "silent" else TIMES


def judge(endpoint: str, body: bytes, outcome: Any) -> None:
    if endpoint in LOST:
        assert isinstance(outcome, OutcomeUnknownError)
    elif isinstance(outcome, TransportError):
        # The server closed the connection that the call before left behind, just as this one used it.
        assert isinstance(outcome, OutcomeUnknownError)
    else:
        assert outcome.status == (503 if endpoint == "status-503" else 200)
        assert endpoint != "echo" or outcome.body == body


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def soak(server: LoopbackServer, choice: str, calls: int) -> None:
    aws = aws_at(server.url)
    transport = make_transport(aws, choice)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn, endpoint in enumerate(plan(number, calls)):
                body = f"{number}/{turn}".encode()
                try:
                    outcome: Any = transport.send(to(endpoint, body=body), **times(endpoint))
                except TransportError as error:
                    outcome = error
                judge(endpoint, body, outcome)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    transport.close()
    aws.close()
    assert failures == []


async def soak_async(server: LoopbackServer, choice: str, calls: int) -> None:
    aws = aws_at(server.url)
    transport = make_async_transport(aws, choice)

    async def work(number: int) -> None:
        for turn, endpoint in enumerate(plan(number, calls)):
            body = f"{number}/{turn}".encode()
            try:
                outcome: Any = await transport.send(to(endpoint, body=body), **times(endpoint))
            except TransportError as error:
                outcome = error
            judge(endpoint, body, outcome)

    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    await transport.close()
    aws.close()


def check(server: LoopbackServer, choice: str, calls: int) -> None:
    before = open_files()
    for run in (soak, lambda *given: asyncio.run(soak_async(*given))):
        run(server, choice, calls)
        # Nothing was sent again in silence: no connection was idle for long enough.
        counted = collections.Counter((seen.endpoint, seen.body) for seen in server.seen)
        assert set(counted.values()) == {1}
        assert len(counted) > WORKERS * calls * 0.9
        assert all(seen.fault is None for seen in server.seen)
        server.seen.clear()
    # The server's side of a connection ends a moment later.
    server.until_open(0)
    assert open_files() <= before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")  # noqa: PTH112
@pytest.mark.parametrize("choice", ["fast"])
def test_a_short_soak(server: LoopbackServer, choice: str) -> None:
    check(server, choice, 40)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["fast"])
def test_a_long_soak(server: LoopbackServer, choice: str) -> None:
    check(server, choice, 2_000)
