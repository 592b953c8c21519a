"""Benchmark of `register_many` against other ways to pack and upload many models, as ratios within one run.

Each program does the same job in its own process, in turn: from model directories to objects in S3 (SeaweedFS on the
loopback interface). The others pack each model into a temporary file, either with `tarfile` and gzip's default level,
or with `pack` of this package, so that only the upload differs.

    python benchmarks/registry.py                 # 200 models of 1 MB, 2 of 512 MB, 10,000 of 10 kB, packing
    python benchmarks/registry.py --quick         # smaller or fewer models
    python benchmarks/registry.py --only many     # small archives in S3, and memory for a tenth of them
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

KEYS = ("local", "local-secret")
Upload = Callable[[Iterator[tuple[str, Path]]], None]


def make_models(folder: Path, count: int, size: int) -> None:
    """Write models of random float32 weights, which compress like trained weights."""
    import numpy as np

    random = np.random.default_rng(0)
    block = random.standard_normal((16 << 20) // 4).astype("f4").tobytes()
    for number in range(count):
        model = folder / f"model-{number:05}"
        model.mkdir(parents=True)
        with (model / "model.ubj").open("wb") as file:
            file.write(number.to_bytes(8, "big"))
            for start in range(0, size, len(block)):
                file.write(block[: min(len(block), size - start)])


def pack_default(source: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(source, arcname=".")


def pack_ours(source: Path, target: Path) -> None:
    from mme_sdk.artifacts import pack

    with target.open("wb") as file:
        pack(source, file)


def pack_none(source: Path, target: Path) -> None:
    """Link the existing archive."""
    os.link(source.with_suffix(".tar.gz"), target)


PACKERS = {"default": pack_default, "ours": pack_ours, "packed": pack_none}


def packed(scratch: Path, packer: Callable[[Path, Path], None], one: Path) -> tuple[str, Path]:
    target = scratch / f"{one.name}.tar.gz"
    packer(one, target)
    return f"{one.name}/v1.tar.gz", target


def resident_memory(what: str = "VmRSS") -> float:
    """Return the memory of this process in MB.

    Not `ru_maxrss`: Linux hands it on to a new program, so that it may be the memory of the process that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def peak_memory() -> float:
    """Return the most memory that this process has had, in MB."""
    return resident_memory("VmHWM")


def client(url: str, **config: Any) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.Session(*KEYS, region_name="us-east-1")
    return session.client("s3", endpoint_url=url, config=Config(**config))


def boto3_loop(url: str, bucket: str, work: list[Callable[[], tuple[str, Path]]]) -> None:
    """Upload one file after the other, as in the documentation of boto3."""
    s3 = client(url)
    for make in work:
        key, path = make()
        s3.upload_file(str(path), bucket, key)
        path.unlink()


def s3transfer_pool(url: str, bucket: str, work: list[Callable[[], tuple[str, Path]]]) -> None:
    """Upload with one client, many threads and large parts."""
    from boto3.s3.transfer import TransferConfig

    s3 = client(url, max_pool_connections=64)
    large = len(work) < 16
    config = TransferConfig(
        multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=8, use_threads=large
    )

    def one(make: Callable[[], tuple[str, Path]]) -> None:
        key, path = make()
        s3.upload_file(str(path), bucket, key, Config=config)
        path.unlink()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, work))


def crt(url: str, bucket: str, work: list[Callable[[], tuple[str, Path]]]) -> None:
    """Upload with the AWS Common Runtime as boto3 uses it, configured for HTTP and an IP address."""
    import botocore.session
    from botocore.config import Config
    from s3transfer import crt as transfer

    session = botocore.session.Session()
    session.set_credentials(*KEYS)
    path_style = Config(s3={"addressing_style": "path"})
    serializer = transfer.BotocoreCRTRequestSerializer(
        session, {"region_name": "us-east-1", "endpoint_url": url, "config": path_style}
    )
    credentials = transfer.BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
    native = transfer.create_s3_crt_client("us-east-1", crt_credentials_provider=credentials, use_ssl=False)

    with transfer.CRTTransferManager(native, serializer) as manager, ThreadPoolExecutor(32) as pool:

        def one(make: Callable[[], tuple[str, Path]]) -> None:
            key, path = make()
            manager.upload(str(path), bucket, key).result()
            path.unlink()

        list(pool.map(one, work))


def obstore(url: str, bucket: str, work: list[Callable[[], tuple[str, Path]]]) -> None:
    """Upload with the Rust library object_store."""
    from obstore.store import S3Store

    store = S3Store(
        bucket,
        endpoint=url,
        access_key_id=KEYS[0],
        secret_access_key=KEYS[1],
        region="us-east-1",
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )

    def one(make: Callable[[], tuple[str, Path]]) -> None:
        key, path = make()
        store.put(key, path, chunk_size=16 << 20, max_concurrency=8)
        path.unlink()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, work))


def ours(url: str, bucket: str, sources: dict[str, Path]) -> None:
    import boto3

    from mme_sdk.aws import Aws
    from mme_sdk.registry import ModelRegistry, Registration

    aws = Aws(session=boto3.Session(*KEYS, region_name="us-east-1"), endpoint_url={"s3": url})
    try:
        models = ModelRegistry(aws, f"s3://{bucket}/")
        models.register_many([Registration(name, source, "v1") for name, source in sources.items()])
    finally:
        aws.close()


def put_pool(url: str, bucket: str, work: list[Callable[[], tuple[str, Path]]]) -> None:
    """Upload each file with one request of boto3, in 64 threads, without a check or a condition."""
    s3 = client(url, max_pool_connections=64)

    def one(make: Callable[[], tuple[str, Path]]) -> None:
        key, path = make()
        s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        path.unlink()

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(one, work))


RIVALS: dict[str, Callable[..., None]] = {
    "boto3 loop": boto3_loop,
    "s3transfer pool": s3transfer_pool,
    "boto3 + CRT": crt,
    "obstore": obstore,
    "put_object pool": put_pool,
}
MANY = ("obstore", "put_object pool")
NEEDS = {"boto3 + CRT": "awscrt", "obstore": "obstore"}


def present() -> list[str]:
    """Return the programs that are installed."""
    missing = {rival: name for rival, name in NEEDS.items() if importlib.util.find_spec(name) is None}
    for rival, name in missing.items():
        print(f"{rival} is left out: pip install {name}", file=sys.stderr)
    return [rival for rival in RIVALS if rival not in missing]


def child(arguments: argparse.Namespace) -> None:
    """Run one program once and print time and memory."""
    models = sorted(path for path in Path(arguments.models).iterdir() if path.is_dir())
    import boto3  # noqa: F401 - imports are not measured
    import botocore.config  # noqa: F401

    if arguments.rival == "ours":
        import mme_sdk.registry  # noqa: F401
    client(arguments.url).list_buckets()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        began, cpu = time.perf_counter(), time.process_time()
        if arguments.rival == "ours":
            suffix = ".tar.gz" if arguments.packer == "packed" else ""
            ours(arguments.url, arguments.bucket, {one.name: one.with_suffix(suffix) for one in models})
        else:
            packer = PACKERS[arguments.packer]
            work = [
                lambda one=one: packed(Path(scratch), packer, one)  # type: ignore[misc]
                for one in models
            ]
            RIVALS[arguments.rival](arguments.url, arguments.bucket, work)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": peak_memory()}))


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of another process; nan if the system does not report them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(rival: str, packer: str, models: Path, server: Any) -> dict[str, float]:
    url = server.endpoint_url
    s3 = client(url)
    bucket = f"bench-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    command = [sys.executable, __file__, "--child", "--rival", rival, "--packer", packer]
    before = cpu_of(server.pid)
    done = subprocess.run(
        [*command, "--models", str(models), "--url", url, "--bucket", bucket],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{rival} failed:\n{done.stderr}")
    used = cpu_of(server.pid) - before
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    found = [one for page in pages for one in page.get("Contents", [])]
    assert len(found) == sum(1 for path in models.iterdir() if path.is_dir()), f"{rival} left {len(found)} objects"
    for start in range(0, len(found), 1000):
        s3.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": one["Key"]} for one in found[start : start + 1000]]}
        )
    s3.delete_bucket(Bucket=bucket)
    return dict(json.loads(done.stdout.splitlines()[-1])) | {"server": used}


def compare(title: str, contestants: list[tuple[str, str]], models: Path, server: Any, rounds: int) -> None:
    """Run the programs in turn, and print medians and their ratios to `register_many`."""
    taken: dict[tuple[str, str], list[dict[str, float]]] = {one: [] for one in contestants}
    run(*contestants[1], models, server)  # warm-up: file cache and server
    for turn in range(rounds):
        for rival, packer in contestants[turn:] + contestants[:turn]:
            os.sync()  # pending writes must not slow down the next run
            taken[rival, packer].append(run(rival, packer, models, server))
    middle = {
        one: {what: statistics.median(each[what] for each in results) for what in results[0]}
        for one, results in taken.items()
    }
    print(f"\n### {title}, median of {rounds}; ± half the range of the wall times\n")
    print(
        "| | wall s | ± | CPU s | S3 CPU s | MB peak | wall × | CPU × | all × |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for (rival, packer), numbers in middle.items():
        mine = middle["ours", "packed" if packer == "packed" else "ours"]
        both = (numbers["cpu"] + numbers["server"]) / (mine["cpu"] + mine["server"])
        print(
            f"| {rival + ', packed by ' + packer if rival != 'ours' else 'register_many'} | {numbers['wall']:.2f}"
            f" | {spread(taken[rival, packer]):.2f} | {numbers['cpu']:.2f} | {numbers['server']:.2f}"
            f" | {numbers['memory']:.0f} | {numbers['wall'] / mine['wall']:.2f} | {numbers['cpu'] / mine['cpu']:.2f}"
            f" | {both:.2f} |",
            flush=True,
        )


def spread(results: list[dict[str, float]]) -> float:
    walls = [one["wall"] for one in results]
    return (max(walls) - min(walls)) / 2


def many(folder: Path, count: int, server: Any, rounds: int) -> None:
    """Compare uploads of many small archives, for a tenth of them and for all, which shows whether memory grows."""
    for number in (count // 10, count):
        models = folder / str(number)
        make_models(models, number, 10_000)
        for one in list(models.iterdir()):
            pack_ours(one, one.with_suffix(".tar.gz"))
        contestants = [(rival, "packed") for rival in ("ours", *MANY) if rival == "ours" or rival in present()]
        compare(f"{number} archives of 10 kB", contestants, models, server, rounds)


def packing(models: Path) -> None:
    """Print the speed of packing in MB/s."""
    source = next(path for path in sorted(models.iterdir()) if path.is_dir())
    size = sum(path.stat().st_size for path in source.iterdir()) / 1e6
    speeds = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name, packer in (("tarfile, gzip's default", pack_default), ("pack", pack_ours)):
            began = time.process_time()
            packer(source, Path(scratch, "a.tar.gz"))
            speeds[name] = (size / (time.process_time() - began), Path(scratch, "a.tar.gz").stat().st_size / 1e6 / size)
    print("\n### Packing float32 weights\n\n| | MB/s of CPU | packed / size |\n|---|--:|--:|")
    for name, (speed, ratio) in speeds.items():
        print(f"| {name} | {speed:.0f} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["small", "large", "many", "packing"])
    for name in ("rival", "packer", "models", "url", "bucket"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    from mme_sdk.local.storage.s3 import S3Server

    rivals = [rival for rival in present() if rival != "put_object pool"]
    small, large = ((50, 1 << 20), (2, 64 << 20)) if arguments.quick else ((200, 1 << 20), (2, 512 << 20))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        jobs = {"small": (Path(folder, "small"), *small), "large": (Path(folder, "large"), *large)}
        with S3Server(Path(folder, "s3"), access_key=KEYS[0], secret_key=KEYS[1]) as server:
            for name, (models, count, size) in jobs.items():
                if arguments.only not in (None, name, "packing"):
                    continue
                make_models(models, count, size)
                if arguments.only != "packing":
                    for one in list(models.iterdir()):
                        pack_ours(one, one.with_suffix(".tar.gz"))
                    title = f"{count} models of {size / 1e6:.0f} MB"
                    both = [("ours", "ours"), *((rival, packer) for packer in ("ours", "default") for rival in rivals)]
                    compare(f"{title}: pack and upload", both, models, server, arguments.rounds)
                    ready = [(rival, "packed") for rival in ("ours", *rivals)]
                    compare(f"{title}: upload of packed archives", ready, models, server, arguments.rounds)
            if arguments.only in (None, "many"):
                many(Path(folder, "many"), 500 if arguments.quick else 10_000, server, arguments.rounds)
                if arguments.only == "many":
                    return
        packing(next(iter(jobs.values()))[0] if arguments.only != "large" else jobs["large"][0])


if __name__ == "__main__":
    main()
