"""Measures the CPU time of a warm `invoke` over a transport that answers at once: what the policy costs beyond sending.

python benchmarks/policy_overhead.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from mme_sdk.aws import Aws
from mme_sdk.runtime.cold_start.load_times import LoadTimes
from mme_sdk.runtime.cold_start.probe_schedule import probe_delay
from mme_sdk.runtime.invoker import RuntimeInvoker
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

CALLS, ROUNDS = 3000, 15


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


def microseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - began) / CALLS * 1e6


def main() -> None:
    transport = Instant()
    invoker = RuntimeInvoker(Aws(region="us-east-1"), transport)
    events: list[object] = []
    hooked = RuntimeInvoker(
        Aws(region="us-east-1"), transport, hooks=[lambda event: events.clear() or events.append(event)]
    )
    request = InvokeRequest(endpoint="scoring", body=b"")
    load_times = LoadTimes()
    load_times.observe("scoring", "fraud/v1.tar.gz", 20.0)

    def probe() -> float:
        expected = load_times.expected("scoring", "fraud/v1.tar.gz")
        return probe_delay(12.0, median=expected.median, sigma=expected.sigma, cost=2.0)

    works: dict[str, Callable[[], object]] = {
        "the transport alone": lambda: transport.send(request, connect_timeout=1, read_timeout=1),
        "invoke, 200 bytes": lambda: invoker.invoke("scoring", b"x" * 200, model="fraud/v1.tar.gz"),
        "invoke, a dict": lambda: invoker.invoke("scoring", {"amount": 12.5}, model="fraud/v1.tar.gz"),
        "invoke, 200 bytes, one hook": lambda: hooked.invoke("scoring", b"x" * 200, model="fraud/v1.tar.gz"),
        "load time and next probe": probe,
    }
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            seen[name].append(microseconds(work))
    print("| | CPU us per call, median |\n| --- | --- |")
    for name, values in seen.items():
        print(f"| {name} | {statistics.median(values):.2f} |")


if __name__ == "__main__":
    main()
