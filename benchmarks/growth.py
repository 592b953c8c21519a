"""Measure what a warm call costs when a client knows many models, many endpoints, or has many calls in flight.

The transport answers at once, so that the figures are the work of the SDK. The cases of a table take turns within a
round. A figure is the CPU time of one call, as the median over the rounds. A ratio is the median of the ratio to the
smallest case in the same round.

    python benchmarks/growth.py            # a minute
    python benchmarks/growth.py --quick    # a sixth of the models and tasks
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import random
import statistics
import time
from collections.abc import Callable

from mme_sdk.aws import Aws
from mme_sdk.endpoints import AsyncEndpoints, Endpoints
from mme_sdk.runtime import AsyncRuntimeInvoker, RuntimeInvoker
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

ANSWER = InvokeResponse(
    status=200,
    headers={"content-type": "application/json", "x-amzn-requestid": "r", "x-amzn-invoked-production-variant": "v"},
    body=b'{"predictions": [0.75, 0.25]}',
)
BODY = b"x" * 200
CALLS, ROUNDS = 2000, 15


class Instant:
    """A transport that answers at once."""

    name = "instant"

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:  # noqa: ARG002
        return ANSWER

    def close(self) -> None:
        pass


class Held:
    """A transport on the event loop that answers every request when it is released."""

    name = "held"

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:  # noqa: ARG002
        await self.released.wait()
        return ANSWER

    async def close(self) -> None:
        pass


def caller(models: int, endpoints: int) -> Callable[[], float]:
    """Return a function that draws `CALLS` models, calls them, and returns the CPU seconds of one call."""
    aws = Aws(region="eu-west-1")
    invoker = RuntimeInvoker(aws, Instant())
    collection = Endpoints(aws, lambda: invoker)
    handles = [collection.handle(f"scoring-{number}") for number in range(endpoints)]
    pairs = list(itertools.product(handles, [f"tenant-{number}/v3.tar.gz" for number in range(models)]))
    for handle, model in pairs:
        handle.invoke(BODY, model=model)  # the client knows the model from here on
    drawn = random.Random(1)

    def run() -> float:
        chosen = drawn.choices(pairs, k=CALLS)
        began = time.process_time()
        for handle, model in chosen:
            handle.invoke(BODY, model=model)
        return (time.process_time() - began) / CALLS

    return run


def in_flight(tasks: int, total: int) -> Callable[[], float]:
    """Return a function that makes `total` calls, `tasks` at a time, and returns the CPU seconds of one."""

    async def herd() -> float:
        aws = Aws(region="eu-west-1")
        spent = 0.0
        transport = Held()
        handle = AsyncEndpoints(aws, lambda: invoker).handle("scoring")
        invoker = AsyncRuntimeInvoker(aws, transport)
        transport.released.set()
        await handle.invoke(BODY, model="fraud/v3.tar.gz")
        for _ in range(total // tasks):
            transport.released.clear()
            began = time.process_time()
            calls = [asyncio.ensure_future(handle.invoke(BODY, model="fraud/v3.tar.gz")) for _ in range(tasks)]
            await asyncio.sleep(0)  # every call is sent
            transport.released.set()
            for call in calls:
                await call
            spent += time.process_time() - began
        return spent / (total // tasks * tasks)

    return lambda: asyncio.run(herd())


def measure(title: str, works: dict[str, Callable[[], float]], rounds: int) -> None:
    seen: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    gc.freeze()  # a collection of garbage walks the objects of every case; an application freezes them too
    for _ in range(rounds):
        for name, work in works.items():
            seen[name].append(work())
    gc.unfreeze()
    least = next(iter(seen.values()))
    print(f"### {title}\n\n| | CPU µs | spread | ratio |\n|---|--:|--:|--:|")
    for name, values in seen.items():
        ratio = statistics.median(one / base for one, base in zip(values, least, strict=True))
        micro = [1e6 * value for value in sorted(values)]
        print(f"| {name} | {statistics.median(micro):.1f} | {micro[0]:.1f}–{micro[-1]:.1f} | {ratio:.2f} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a sixth of the models and tasks, a third of the rounds")
    quick = parser.parse_args().quick
    many, rounds = (16_000, 5) if quick else (100_000, ROUNDS)
    measure("Models known", {f"{count:,} models": caller(count, 1) for count in (10, 1_000, many)}, rounds)
    measure("Endpoints", {f"{count:,} endpoints, 10 models each": caller(10, count) for count in (1, 1_000)}, rounds)
    most = 8_000 if quick else 50_000
    works = {f"{count:,} calls in flight": in_flight(count, max(count, 4_000)) for count in (1, 1_000, most)}
    measure("Calls in flight, asyncio", works, min(rounds, 7))


if __name__ == "__main__":
    main()
