"""Memory of the registry's operations on many models: N / 10 and N, each in a process of its own.

S3 is in this process and keeps nothing, so that the memory is that of the SDK. What grows is the result: a
`ModelVersion` for each model. `MB a 100,000` is the growth between both numbers, for 100,000 models.

    python benchmarks/registry_memory.py                  # 100,000 models; register_many a tenth of it
    python benchmarks/registry_memory.py --models 10000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from registry import peak_memory, resident_memory

from mme_sdk import ModelRegistry
from mme_sdk.artifacts import pack
from mme_sdk.aws import Aws, Call
from mme_sdk.errors import ModelNotFoundError
from mme_sdk.registry import Registration

PAGE = 1000


class EmptyS3(Aws):
    """S3 that lists models of a prefix, and has written what it is asked about only while it is asked."""

    def __init__(self, models: int) -> None:
        super().__init__(region="us-east-1")
        self.models = models

    def send(self, call: Call) -> Any:
        key, now = str(call.params.get("Key")), datetime(2026, 1, 1, tzinfo=UTC)
        if call.operation == "list_objects_v2":
            if "/.mme/" in f"/{call.params['Prefix']}":
                return {}
            start = int(call.params.get("ContinuationToken", 0))
            end = min(start + call.params.get("MaxKeys", PAGE), self.models)
            found = [
                {"Key": f"prod/m{at:06}/v1.tar.gz", "Size": 100, "ETag": '"e"', "LastModified": now}
                for at in range(start, end)
            ]
            return {"Contents": found, **({"NextContinuationToken": str(end)} if end < self.models else {})}
        if call.operation == "head_object" and key.startswith("prod/m"):
            return {"ContentLength": 100, "ETag": '"e"', "Metadata": {"mme-content": "c" * 64}, "LastModified": now}
        if call.operation in ("head_object", "get_object"):
            raise ModelNotFoundError(key, code="404", status=404)
        return {"ETag": '"e"', "ResponseMetadata": {"HTTPHeaders": {}}}


def register_many(models: ModelRegistry, count: int, folder: Path) -> int:
    (folder / "model").mkdir()
    (folder / "model/model.ubj").write_bytes(b"weights")
    archive = folder / "model.tar.gz"
    with archive.open("wb") as file:
        pack(folder / "model", file)

    def wanted() -> Iterator[Registration]:
        for number in range(count):
            yield Registration(f"new-{number:06}", archive)

    return len(models.register_many(wanted()))


def read(models: ModelRegistry, _: int, __: Path) -> int:
    return sum(1 for _ in models.list())


def copy(models: ModelRegistry, _: int, __: Path) -> int:
    return len(models.copy("s3://bucket/copy/").copied)


OPERATIONS: dict[str, Callable[[ModelRegistry, int, Path], int]] = {
    "list": read,
    "copy": copy,
    "register_many": register_many,
}


def one(operation: str, count: int) -> None:
    """Run an operation in this process, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        models = ModelRegistry(EmptyS3(count), "s3://bucket/prod/")
        before, cpu = resident_memory(), time.process_time()
        done = OPERATIONS[operation](models, count, Path(folder))
        assert done == count, (done, count)
        print(json.dumps({"before": before, "peak": peak_memory(), "cpu": time.process_time() - cpu}))


def main() -> None:
    """Run each operation with both numbers of models, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100_000)
    parser.add_argument("--one", choices=OPERATIONS)
    given = parser.parse_args()
    if given.one is not None:
        one(given.one, given.models)
        return
    print("| operation | models | CPU s | MB before | MB peak | MB a 100,000 |\n|---|--:|--:|--:|--:|--:|")
    for operation in OPERATIONS:
        most = given.models // (10 if operation == "register_many" else 1)
        peaks: list[float] = []
        for count in (most // 10, most):
            words = [sys.executable, __file__, "--one", operation, "--models", str(count)]
            found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            peaks.append(found["peak"])
            grown = "" if len(peaks) == 1 else f"{(peaks[1] - peaks[0]) / (count - most // 10) * 1e5:.0f}"
            cpu, before, peak = found["cpu"], found["before"], found["peak"]
            print(f"| {operation} | {count:,} | {cpu:.1f} | {before:.0f} | {peak:.0f} | {grown} |")


if __name__ == "__main__":
    main()
