"""Measure what `endpoint.invoke` costs beyond its transport: CPU of a warm call whose transport answers at once.

The cases take turns within a round. A figure is the median over the rounds.

    python benchmarks/policy_overhead.py
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import numpy as np

from mme_sdk import Endpoint, Recorder
from mme_sdk.aws import Aws
from mme_sdk.endpoints import AsyncEndpoints, Endpoints
from mme_sdk.runtime import AsyncRuntimeInvoker
from mme_sdk.runtime.cold_start.load_times import LoadTimes
from mme_sdk.runtime.cold_start.probe_schedule import probe_delay
from mme_sdk.runtime.invoker import RuntimeInvoker
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.runtime.telemetry.hooks import Hook
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

CALLS, ROUNDS = 3000, 15
MODEL = "fraud/v1.tar.gz"


class Instant:
    """A transport that answers at once."""

    name = "instant"
    answer = InvokeResponse(
        status=200,
        headers={"content-type": "application/json", "x-amzn-requestid": "r", "x-amzn-invoked-production-variant": "v"},
        body=b"{}",
    )

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:  # noqa: ARG002
        return self.answer

    def close(self) -> None:
        pass


class AsyncInstant(Instant):
    """The same on the event loop."""

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:  # type: ignore[override]  # noqa: ARG002
        return self.answer

    async def close(self) -> None:  # type: ignore[override]
        pass


class Registry:
    """A registry whose deletions are cached."""

    def is_stored(self, target: str) -> bool:  # noqa: ARG002
        return True

    def resolve(self, reference: str, *, key: str | None = None) -> str:  # noqa: ARG002
        return reference


def microseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - began) / CALLS * 1e6


def async_microseconds(work: Callable[[], Awaitable[object]]) -> float:
    async def run() -> float:
        began = time.process_time()
        for _ in range(CALLS):
            await work()
        return (time.process_time() - began) / CALLS * 1e6

    return asyncio.run(run())


def handle(*hooks: Hook) -> Endpoint:
    aws = Aws(region="us-east-1")
    invoker = RuntimeInvoker(aws, Instant(), hooks=hooks)
    return Endpoints(aws, lambda: invoker).handle("scoring")


def main() -> None:
    transport, async_transport, aws = Instant(), AsyncInstant(), Aws(region="us-east-1")
    plain, hooked, recorded = handle(), handle(lambda _: None), handle(Recorder())
    prefix = "s3://models/prod/"
    invoker = RuntimeInvoker(aws, transport, stores={prefix: Registry()})
    options = InvokeOptions(prefix=prefix)
    async_invoker = AsyncRuntimeInvoker(aws, async_transport)
    waiting = AsyncEndpoints(aws, lambda: async_invoker).handle("scoring")
    request = InvokeRequest(endpoint="scoring", body=b"")
    load_times = LoadTimes()
    load_times.observe("scoring", MODEL, 20.0)

    def probe() -> float:
        expected = load_times.expected("scoring", MODEL)
        return probe_delay(12.0, median=expected.median, sigma=expected.sigma, cost=2.0)

    body, array, times = b"x" * 200, np.zeros((2, 10)), {"connect_timeout": 1.0, "read_timeout": 1.0}
    works: dict[str, Callable[[], object]] = {
        "the transport alone": lambda: transport.send(request, **times),
        "200 bytes": lambda: plain.invoke(body, model=MODEL),
        "a dict": lambda: plain.invoke({"amount": 12.5}, model=MODEL),
        "an array of 2 × 10": lambda: plain.invoke(array, model=MODEL, response_type=bytes),
        "200 bytes, one hook": lambda: hooked.invoke(body, model=MODEL),
        "200 bytes, a recorder": lambda: recorded.invoke(body, model=MODEL),
        "200 bytes, a registry in use": lambda: invoker.invoke("scoring", body, MODEL, options),
        "load time and next probe": probe,
    }
    async_works: dict[str, Callable[[], Awaitable[object]]] = {
        "asyncio: the transport alone": lambda: async_transport.send(request, **times),
        "asyncio: 200 bytes": lambda: waiting.invoke(body, model=MODEL),
    }
    seen: dict[str, list[float]] = {name: [] for name in (*works, *async_works)}
    for _ in range(ROUNDS):
        for name, work in works.items():
            seen[name].append(microseconds(work))
        for name, async_work in async_works.items():
            seen[name].append(async_microseconds(async_work))
    print("### CPU of a warm call over a transport that answers at once\n\n| | CPU µs | spread |\n|---|--:|--:|")
    for name, values in seen.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f}–{max(values):.2f} |")


if __name__ == "__main__":
    main()
