"""Measure what a recorder costs: for each warm call, in memory with 100,000 models, to merge and to write.

A warm call is `endpoint.invoke` over a transport that answers at once. The clients with and without a recorder take
turns within a round; a figure is the median over the rounds.

    python benchmarks/recorder.py
    python benchmarks/recorder.py --quick
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from policy_overhead import Instant

from mme_sdk import Recorder
from mme_sdk.aws import Aws
from mme_sdk.endpoints import Endpoints
from mme_sdk.recording import read_recordings
from mme_sdk.runtime import CallCompleted, Event, RuntimeInvoker
from mme_sdk.runtime.telemetry.hooks import Hook

CALLS, BODY = 5000, b"x" * 200


def caller(*hooks: Hook) -> Callable[[], float]:
    """Return a function that makes calls of 50 models, and returns the CPU microseconds of one."""
    aws = Aws(region="eu-west-1")
    invoker = RuntimeInvoker(aws, Instant(), hooks=hooks)
    handle = Endpoints(aws, lambda: invoker).handle("scoring")
    models = [f"tenant-{number}/v1.tar.gz" for number in range(50)]
    for model in models:
        handle.invoke(BODY, model=model)

    def run() -> float:
        began = time.process_time()
        for number in range(CALLS):
            handle.invoke(BODY, model=models[number % 50])
        return 1e6 * (time.process_time() - began) / CALLS

    return run


class Nothing:
    """A hook that receives what a recorder receives: its time is that of the event."""

    events = Recorder.events

    def __call__(self, event: Event) -> None:
        pass


def overhead(rounds: int) -> None:
    works = {
        "no hook": caller(),
        "a hook of all events that does nothing": caller(lambda _: None),
        "a hook of a recorder's events that does nothing": caller(Nothing()),
        "a recorder": caller(Recorder()),
    }
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seen[name].append(work())
    plain = seen["no hook"]
    print("### CPU of a warm call\n\n| | µs | more than without, µs | ratio | least, µs |\n|---|--:|--:|--:|--:|")
    for name, values in seen.items():
        more = statistics.median(a - b for a, b in zip(values, plain, strict=True))
        ratio = statistics.median(a / b for a, b in zip(values, plain, strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {more:.2f} | {ratio:.2f} | {min(values):.2f} |")


def event(model: int) -> CallCompleted:
    return CallCompleted(
        endpoint="scoring", model=f"tenant-{model}/v1.tar.gz", attempts=1, cold=False, took=0.01 + model % 17 / 1000,
        variant="v", received_bytes=100, sent_bytes=100,
    )  # fmt: skip


def memory(models: int, top: int) -> None:
    events = [event(number) for number in range(models)]
    gc.collect()
    tracemalloc.start()
    recorder = Recorder(top=top)
    for one in events:
        recorder(one)
    kept = recorder.minutes()
    used = tracemalloc.get_traced_memory()
    assert sum(one.calls for one in kept) == models
    del kept
    now = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"| {models:,} models, top={top:,} | {now / 1e6:.1f} | {used[1] / 1e6:.1f} |")


def files(models: int) -> None:
    clock = [1_795_000_000.0]
    with tempfile.TemporaryDirectory() as folder:
        recorders = [Recorder(folder, every=1e6, top=models, now=lambda: clock[0]) for _ in range(4)]
        for minute in range(10):
            for number in range(models):
                recorders[(number + minute) % 4](event(number))
            clock[0] += 60
        began = time.process_time()
        for recorder in recorders:
            recorder.close()
        wrote = time.process_time() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        began = time.process_time()
        found = read_recordings(folder)
        read = time.process_time() - began
        assert sum(one.calls for one in found) == 10 * models
    rows = 10 * models
    print("\n### Files: four processes, ten minutes\n\n| | µs of CPU for a row | bytes for a row |\n|---|--:|--:|")
    print(f"| write {rows:,} rows | {1e6 * wrote / rows:.1f} | {size / rows:.1f} |")
    print(f"| read and merge | {1e6 * read / rows:.1f} | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and models")
    quick = parser.parse_args().quick
    overhead(5 if quick else 15)
    print("\n### Memory of one minute\n\n| | MB kept | MB at most |\n|---|--:|--:|")
    for models in (1_000, 100_000):
        memory(models, 2000)
    files(500 if quick else 2000)


if __name__ == "__main__":
    main()
