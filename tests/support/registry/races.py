"""Races between processes over a real S3 server. Each must end like some serial order of its operations."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from mme_sdk.errors import MMEError
from tests.support.registry.race_operations import explainer
from tests.support.registry.race_process import serve
from tests.support.registry.s3_model import S3Model


class Racers:
    """Processes that start their operations at the same time.

    Args:
        url: Endpoint URL of S3.
        count: Number of processes.
    """

    def __init__(self, url: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.barrier = context.Barrier(count)
        self.pipes, self.processes = [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(url, theirs, self.barrier), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)
            theirs.close()

    def run(self, bucket: str, folder: str, operations: Sequence[str]) -> list[Any]:
        """Run one operation in each process and return the outcomes."""
        for pipe, operation in zip(self.pipes, operations, strict=True):
            pipe.send((bucket, folder, operation))
        return [pipe.recv() for pipe in self.pipes]

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self.processes:
            process.join(60)
            process.kill()
            process.join()
            process.close()


@contextmanager
def racers(url: str, count: int = 2) -> Iterator[Racers]:
    found = Racers(url, count)
    try:
        yield found
    finally:
        found.close()


def race(processes: Racers, s3: Any, bucket: str, start: S3Model, operations: Sequence[str], rounds: int) -> int:
    """Run operations at the same time, for a number of rounds.

    Returns:
        Number of rounds with an operation that raised an exception and is left out of the serial order.
    """
    known, left_out = explainer(start, operations), 0
    for _ in range(rounds):
        folder = uuid.uuid4().hex
        # The first version is written last: it is the newest for `prune`, as with equal times.
        for key, (data, metadata) in sorted(start.objects.items(), reverse=True):
            s3.put_object(Bucket=bucket, Key=f"{folder}/{key[2:]}", Body=data, Metadata=dict(metadata))
        outcomes = processes.run(bucket, folder, operations)
        for outcome in outcomes:
            assert not isinstance(outcome, BaseException) or isinstance(outcome, MMEError), outcome
        objects = {}
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/").get("Contents", []):
            answer = s3.get_object(Bucket=bucket, Key=item["Key"])
            key = "b/" + item["Key"].removeprefix(f"{folder}/")
            objects[key] = (answer["Body"].read(), tuple(sorted(answer["Metadata"].items())))
        left_out += known.explain(S3Model(objects), outcomes) > 0
    return left_out
