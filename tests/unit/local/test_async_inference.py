"""Test the queues of asynchronous endpoints, with an endpoint and an S3 that the test controls."""

from __future__ import annotations

import asyncio
import io
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest

from mme_sdk.local.async_inference import AsyncInference
from mme_sdk.local.hosting_interface import AsyncEndpoint, Invocation, InvocationResponse

OUTPUT = {"S3OutputPath": "s3://bucket/out", "S3FailurePath": "s3://bucket/failed"}


class World:
    """Hosting, S3 and CloudWatch of one asynchronous endpoint."""

    max_payload = 1 << 20

    def __init__(self) -> None:
        self.instances: int | None = 1
        self.running: list[bytes] = []
        self.released = asyncio.Event()
        self.objects: dict[str, bytes] = {}
        self.measured: dict[str, list[float]] = defaultdict(list)
        self.queue = AsyncInference(self, self.endpoint, lambda: ["e"], lambda: self, self.measure)  # type: ignore[arg-type]

    def endpoint(self, name: str) -> AsyncEndpoint | None:
        config = {"OutputConfig": OUTPUT, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2}}
        return None if self.instances is None else AsyncEndpoint(config=config, variant="A", instances=self.instances)

    def measure(self, metric: str, endpoint: str, variant: str | None, value: float) -> None:
        self.measured[metric].append(value)

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        assert invocation.asynchronous
        self.running.append(invocation.body)
        await self.released.wait()
        if self.instances == 0:
            return InvocationResponse(status=503, headers={}, body=b"no instance")
        if self.instances is None:
            return InvocationResponse(status=400, headers={}, body=b"not found")
        return InvocationResponse(status=200, headers={}, body=invocation.body.upper())

    def put_object(self, *, Key: str, Body: bytes, **_: object) -> None:
        if Body == b"FULL":
            raise OSError("disk full")
        self.objects[Key] = Body

    def get_object(self, *, Key: str, **_: object) -> dict:
        return {"Body": io.BytesIO(self.objects[Key]), "ContentLength": len(self.objects[Key])}

    def close(self) -> None: ...

    def ask(self, body: bytes, **headers: str) -> dict[str, str]:
        named = {f"x-amzn-sagemaker-{name}": value for name, value in headers.items()}
        return self.queue.accept("e", {"x-amzn-sagemaker-filename": body.decode(), **named}, body)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        try:
            await scenario(world)
        finally:
            await world.queue.close()

    asyncio.run(main())


def test_each_instance_processes_as_many_requests_as_the_configuration_allows():
    async def scenario(world: World) -> None:
        for body in (b"a", b"b", b"c", b"d", b"e"):
            world.ask(body)
        await world.until(lambda: len(world.running) == 2)
        await world.settle()
        assert world.running == [b"a", b"b"]
        world.instances = 2
        world.queue.dispatch("e")
        await world.until(lambda: len(world.running) == 4)
        world.queue.measure_queues()
        assert world.measured["ApproximateBacklogSize"] == [5]
        assert world.measured["ApproximateBacklogSizePerInstance"] == [2.5]
        assert world.measured["ApproximateAgeOfOldestRequest"][0] > 0
        world.released.set()
        await world.until(lambda: len(world.objects) == 5)
        assert world.running == [b"a", b"b", b"c", b"d", b"e"]
        assert world.objects["out/e"] == b"E"
        await world.until(lambda: len(world.measured["TotalProcessingTime"]) == 5)
        world.queue.measure_queues()
        assert world.measured["ApproximateBacklogSize"][-1] == 0
        assert world.measured["ApproximateAgeOfOldestRequest"][-1] == 0

    run(scenario)


def test_requests_wait_for_the_first_instance():
    async def scenario(world: World) -> None:
        world.instances = 0
        world.released.set()
        world.ask(b"a")
        await world.settle()
        world.queue.measure_queues()
        assert world.running == []
        assert world.measured["HasBacklogWithoutCapacity"] == [1]
        assert world.measured["ApproximateBacklogSizePerInstance"] == [1]
        world.instances = 1
        world.queue.dispatch("e")
        await world.until(lambda: world.objects)
        world.queue.measure_queues()
        assert world.measured["HasBacklogWithoutCapacity"] == [1, 0]

    run(scenario)


def test_a_request_that_loses_its_instance_waits_again_before_the_others():
    async def scenario(world: World) -> None:
        for body in (b"a", b"b", b"c"):
            world.ask(body)
        await world.until(lambda: len(world.running) == 2)
        world.instances = 0
        world.released.set()
        await world.settle()
        assert world.objects == {}
        world.queue.measure_queues()
        assert world.measured["ApproximateBacklogSize"] == [3]
        world.instances = 1
        world.queue.dispatch("e")
        await world.until(lambda: len(world.objects) == 3)
        assert set(world.running[2:4]) == {b"a", b"b"}
        assert world.measured["InvocationsProcessed"] == [1, 1, 1]

    run(scenario)


def test_a_request_that_waits_longer_than_its_ttl_expires():
    async def scenario(world: World) -> None:
        world.instances = 0
        world.ask(b"a", requestttlseconds="0")
        await world.until(lambda: world.objects)
        ((key, body),) = world.objects.items()
        assert key.startswith("failed/")
        assert b"longer than RequestTTLSeconds (0)" in body
        assert world.measured["ExpiredRequests"] == [1]
        assert world.measured["InvocationFailures"] == [1]
        assert "InvocationsProcessed" not in world.measured
        await world.until(lambda: len(world.measured["TotalProcessingTime"]) == 1)
        world.queue.measure_queues()
        assert world.measured["HasBacklogWithoutCapacity"] == [0]

    run(scenario)


def test_requests_of_a_deleted_endpoint_fail():
    async def scenario(world: World) -> None:
        world.instances = 0
        world.released.set()
        world.ask(b"a")
        world.instances = None
        world.queue.dispatch("e")
        await world.until(lambda: world.objects)
        assert list(world.objects.values()) == [b"not found"]
        assert not world.measured

    run(scenario)


def test_an_answer_that_cannot_be_written_is_counted(caplog: pytest.LogCaptureFixture):
    async def scenario(world: World) -> None:
        world.released.set()
        world.ask(b"full")
        await world.until(lambda: world.measured["TotalProcessingTime"])
        assert world.measured["ResponseUploadFailures"] == [1]

    run(scenario)
    assert "cannot write the response" in caplog.text
