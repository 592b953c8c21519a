"""Benchmark of `list` and `sync` with many models, against other programs, as ratios within one run.

The directory has N archives of a few hundred bytes, and S3 has all of them: nothing changes. A small server answers
ListObjectsV2 with prepared pages, so that its own work hardly counts. Each program runs in a process of its own, in
turn. What they do differs, and this is in favour of the others: `sync` reads each file and compares its digest,
`aws s3 sync` compares sizes and times.

    python benchmarks/registry_listing.py                 # 100,000 models
    python benchmarks/registry_listing.py --quick         # 5,000 models
    python benchmarks/registry_listing.py --memory        # also the peak that tracemalloc sees, for N / 10 and N
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from registry import KEYS, client, peak_memory, resident_memory

PAGE = 1000
REPEATED = 100  # archives whose content differs; the names of the others differ only


def name(number: int) -> str:
    return f"model-{number:06}"


def make(folder: Path, count: int) -> dict[str, list[bytes]]:
    """Write archives, and return the pages of ListObjectsV2 for the keys of each program."""
    from mme_sdk.artifacts import inspect, pack

    models, made = folder / "models", []
    models.mkdir()
    for number in range(min(REPEATED, count)):
        (folder / "one").mkdir(exist_ok=True)
        (folder / "one/model.ubj").write_bytes(hashlib.sha256(b"%d" % number).digest() * 4)
        with (folder / "one.tar.gz").open("wb") as file:
            pack(folder / "one", file)
        made.append(((folder / "one.tar.gz").read_bytes(), inspect(folder / "one.tar.gz").content[:16]))
    pages: dict[str, list[bytes]] = {"ours": [], "flat": []}
    for start in range(0, count, PAGE):
        numbers = range(start, min(start + PAGE, count))
        for number in numbers:
            (models / f"{name(number)}.tar.gz").write_bytes(made[number % len(made)][0])
        for kind, found in pages.items():
            entries = [
                (f"{name(one)}/{made[one % len(made)][1]}.tar.gz" if kind == "ours" else f"{name(one)}.tar.gz", one)
                for one in numbers
            ]
            found.append(page(entries, [len(data) for data, _ in made], start + PAGE if start + PAGE < count else None))
    return pages


def page(entries: list[tuple[str, int]], sizes: list[int], following: int | None) -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2099-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{hashlib.md5(key.encode()).hexdigest()}&quot;</ETag>"
        f"<Size>{sizes[number % len(sizes)]}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, number in entries
    )
    more = "" if following is None else f"<NextContinuationToken>{following}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix></Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
        f"<IsTruncated>{'false' if following is None else 'true'}</IsTruncated>{more}{contents}</ListBucketResult>"
    ).encode()


def serve(pages: dict[str, list[bytes]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query, found = parse_qs(parts.query), pages.get(parts.path.strip("/"))
            body = b"" if found is None else found[int(query.get("continuation-token", ["0"])[0]) // PAGE]
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def our_list(url: str, _: Path) -> int:
    return sum(1 for one in registry(url).list() if one.size)


def our_sync(url: str, models: Path) -> int:
    return len(registry(url).sync(models).unchanged)


def registry(url: str) -> Any:
    import boto3

    from mme_sdk.aws import Aws
    from mme_sdk.registry import ModelRegistry

    aws = Aws(session=boto3.Session(*KEYS, region_name="us-east-1"), endpoint_url={"s3": url})
    return ModelRegistry(aws, "s3://ours/")


def boto3_list(url: str, _: Path) -> int:
    pages = client(url).get_paginator("list_objects_v2").paginate(Bucket="flat")
    return sum(1 for one in pages for found in one["Contents"] if (found["Size"]))


def boto3_pool(url: str, models: Path) -> int:
    """List the bucket, and compare each file by SHA-256 in 64 threads with a digest that is known before."""
    s3 = client(url, max_pool_connections=64)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="flat")
    sizes = {one["Key"]: one["Size"] for found in pages for one in found["Contents"]}

    def same(file: os.DirEntry[str]) -> bool:
        data = Path(file.path).read_bytes()
        return len(hashlib.sha256(data).hexdigest()) == 64 and sizes.get(file.name) == len(data)

    with ThreadPoolExecutor(64) as pool:
        return sum(pool.map(same, os.scandir(models)))


def aws_list(url: str, _: Path) -> int:
    return aws(url, "s3", "ls", "s3://flat/").count(b"\n")


def aws_sync(url: str, models: Path) -> int:
    assert not aws(url, "s3", "sync", str(models), "s3://flat/", "--no-progress")
    return sum(1 for _ in models.iterdir())


def aws(url: str, *arguments: str) -> bytes:
    keys = {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1], "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-m", "awscli", "--endpoint-url", url, *arguments]
    return subprocess.run(command, env={**os.environ, **keys}, check=True, capture_output=True).stdout


JOBS: dict[str, dict[str, Callable[[str, Path], int]]] = {
    "list": {"models.list()": our_list, "boto3 paginator": boto3_list, "aws s3 ls": aws_list},
    "sync": {"models.sync(), nothing changed": our_sync, "boto3, 64 threads": boto3_pool, "aws s3 sync": aws_sync},
}


def child(arguments: argparse.Namespace) -> None:
    work = JOBS[arguments.job][arguments.rival]
    if not arguments.rival.startswith("aws"):  # imports are not measured, except those of another process
        import boto3  # noqa: F401
        import botocore.config  # noqa: F401

        import mme_sdk.registry  # noqa: F401

        client(arguments.url)
    before = resident_memory()
    if arguments.trace:
        tracemalloc.start()
    began, cpu = time.perf_counter(), os.times()
    count = work(arguments.url, Path(arguments.models))
    wall, after = time.perf_counter() - began, os.times()
    used = sum(after[:4]) - sum(cpu[:4])
    traced = tracemalloc.get_traced_memory()[1] / 1e6 if arguments.trace else 0.0
    if arguments.rival.startswith("aws"):
        import resource

        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    else:
        peak = peak_memory()
    print(
        json.dumps({"count": count, "wall": wall, "cpu": used, "peak": peak, "more": peak - before, "traced": traced})
    )


def run(job: str, rival: str, url: str, models: Path, *more: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", "--job", job, "--rival", rival, "--url", url]
    done = subprocess.run([*command, "--models", str(models), *more], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{rival} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(count: int, rounds: int, jobs: list[str], *, memory: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    server = serve(make(folder, count))
    process = os.fork()  # a process of its own: its work is not that of the program, nor of this one
    if not process:
        server.serve_forever()
    try:
        url, models = f"http://127.0.0.1:{server.server_address[1]}", folder / "models"
        for job in jobs:
            taken: dict[str, list[dict[str, float]]] = {rival: [] for rival in JOBS[job]}
            for _ in range(rounds):
                for rival, results in taken.items():
                    results.append(run(job, rival, url, models))
                    assert results[-1]["count"] == count, f"{rival}: {results[-1]['count']}"
            print(f"\n### {job} of {count:,}, median of {rounds}\n")
            print("| | wall s | CPU s | MB peak | wall × | CPU × |\n|---|--:|--:|--:|--:|--:|")
            middle = {
                rival: {what: statistics.median(one[what] for one in results) for what in results[0]}
                for rival, results in taken.items()
            }
            mine = next(iter(middle.values()))
            for rival, one in middle.items():
                print(
                    f"| {rival} | {one['wall']:.1f} | {one['cpu']:.1f} | {one['peak']:.0f} |"
                    f" {one['wall'] / mine['wall']:.2f} | {one['cpu'] / mine['cpu']:.2f} |",
                    flush=True,
                )
            if memory:
                first = next(iter(JOBS[job]))
                traced = run(job, first, url, models, "--trace")["traced"]
                print(f"\ntracemalloc, {first}: peak {traced:.1f} MB", flush=True)
    finally:
        os.kill(process, 15)
        os.waitpid(process, 0)
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000 models")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=list(JOBS))
    parser.add_argument("--memory", action="store_true", help="also what tracemalloc sees")
    for hidden in ("job", "rival", "url", "models"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    for hidden in ("child", "trace"):
        parser.add_argument(f"--{hidden}", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    count = 5_000 if arguments.quick else arguments.count
    jobs = list(JOBS) if arguments.only is None else [arguments.only]
    for number in (count // 10, count) if arguments.memory else (count,):
        compare(number, arguments.rounds, jobs, memory=arguments.memory)


if __name__ == "__main__":
    main()
