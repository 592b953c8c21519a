"""The memory of invokers: it is bounded, it adapts, and threads and tasks share it."""

from __future__ import annotations

import asyncio
import threading

from mme_sdk.config import ColdStart, RetryPolicy
from mme_sdk.runtime import AsyncRuntimeInvoker, InvokeOptions, RuntimeInvoker
from mme_sdk.runtime.cold_start.load_times import LoadTimes
from mme_sdk.runtime.cold_start.memory import Memory
from tests.support.runtime.world import World

OPTIONS = InvokeOptions(deadline=300)


def test_models_that_were_not_called_for_long_are_forgotten() -> None:
    memory = Memory(max_models=100)
    endpoint = memory.endpoint("scoring")
    for number in range(5000):
        endpoint.model(f"m{number}").last_answer = number
        endpoint.model("often").last_answer = number
    assert len(endpoint._models) == 100
    assert endpoint.model("often").last_answer == 4999
    assert endpoint.model("m4990").last_answer == 4990
    assert endpoint.model("m10").last_answer == float("-inf")


def test_load_times_are_shared_even_while_they_are_empty() -> None:
    load_times = LoadTimes()
    assert Memory(load_times=load_times).load_times is load_times


def test_how_long_a_model_stays_loaded_is_learned() -> None:
    endpoint = Memory(ColdStart(warm_for=300)).endpoint("scoring")
    endpoint.was_evicted(100.0)  # half of that is safe
    assert endpoint.warm_for == 50
    endpoint.was_evicted(200.0)  # adds no information
    assert endpoint.warm_for == 50
    for _ in range(100):
        endpoint.stayed_loaded(endpoint.warm_for + 1)
    assert endpoint.warm_for == 3600
    for _ in range(100):
        endpoint.was_evicted(0.1)
    assert endpoint.warm_for == 20


def test_the_usual_latency_follows_fast_answers() -> None:
    endpoint = Memory(retry=RetryPolicy()).endpoint("scoring")
    for took in [0.05, 20.0] * 50:
        endpoint.succeeded(took)
    assert endpoint.latency is not None
    assert endpoint.latency < 1.0


def test_threads_and_tasks_share_a_load(world: World) -> None:
    model, memory = world.make("shared", 0.8), Memory()
    sync = RuntimeInvoker(world.client._aws, world.client.transport, memory=memory)
    values: list[int] = []

    def in_thread(number: int) -> None:
        values.append(sync.invoke("scoring", [number], model=model, options=OPTIONS).json()["data"][0])

    async def in_tasks() -> None:
        async with world.host.async_client() as client:
            twin = AsyncRuntimeInvoker(client._aws, client.transport, memory=memory)
            calls = [twin.invoke("scoring", [number], model=model, options=OPTIONS) for number in range(4, 8)]
            values.extend(reply.json()["data"][0] for reply in await asyncio.gather(*calls))

    threads = [threading.Thread(target=in_thread, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(in_tasks())
    for thread in threads:
        thread.join()
    assert sorted(values) == list(range(8))
    assert world.loads("shared") == 1
    assert len(memory.single_flight) == 0
