"""Measure the embedded SageMaker: its start, its overhead, many models, and cache hits compared with the fleet model.

    python benchmarks/local_host.py --quick              # start and overhead, under a minute
    python benchmarks/local_host.py                      # start, overhead and caches (some minutes)
    python benchmarks/local_host.py --part models        # 1,000 models of 1 MB on one host
    python benchmarks/local_host.py --requests 2000 --models 60

Start: a fresh process runs `local_host_start.py`, in turn with the import of boto3, which is a fixed amount of work.
Overhead: the same warm request is sent to the host (a separate process that verifies signatures) and directly to a
container, in turn, over the same kind of connections. Models: one host loads models of 1 MB one after another. Caches:
models of 5 MB on two instances that hold 30 each, eight callers that select models by a Zipf distribution with exponent
0.9, real containers. The prediction runs `Fleet` in simulated time with the same requests and the measured mean
durations.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import io
import itertools
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from mme_sdk.artifacts import pack
from mme_sdk.fleet import Command, Discard, Download, Fleet, FleetPolicy, Footprint, Load, Run, Unload
from mme_sdk.local import S3Server
from mme_sdk.local.containers import PYTHON
from mme_sdk.local.containers import Command as Program
from mme_sdk.local.hosting import HostingSettings, LocalHosting
from mme_sdk.local.hosting_interface import ContainerPlan, Deployment, HostContext, Invocation, VariantPlan

MB = 1_000_000
CALLERS = 8
BODY = b"[[1.0, 2.0, 3.0, 4.0]]"
SCRIPT = """
def model_fn(model_dir):
    with open(model_dir + "/weights", "rb") as file:
        return file.read()
def input_fn(data, content_type):
    return data
def predict_fn(data, model):
    return str(len(model))
def output_fn(prediction, accept):
    return prediction, "text/plain"
"""


def archive(folder: Path, weight: int) -> bytes:
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "inference.py").write_text(SCRIPT)
    (folder / "weights").write_bytes(bytes(weight))  # zeros, which compress well
    out = io.BytesIO()
    pack(folder, out)
    return out.getvalue()


def deploy(sagemaker: Any) -> None:
    """Create the multi-model endpoint `e` of the models below s3://bench/models/, and wait until it is in service."""
    container = {"Image": "python", "Mode": "MultiModel", "ModelDataUrl": "s3://bench/models/"}
    role = "arn:aws:iam::123456789012:role/bench"
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer=container)
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    while (status := sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"]) == "Creating":
        time.sleep(0.02)
    assert status == "InService", status


# -- start ---------------------------------------------------------------------------------------------------------


def start(rounds: int) -> None:
    """Measure the start of a host in fresh processes, in turn with the import of boto3."""
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", "import boto3"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures.setdefault("boto3", []).append(time.perf_counter() - began)
        figures.setdefault("boto3 cpu", []).append(sum(after[:2]) - sum(before[:2]))
        script = Path(__file__).with_name("local_host_start.py")
        done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
        for name, value in json.loads(done.stdout).items():
            figures.setdefault(name, []).append(value)
    ready, first, used, boto, boto_cpu = (
        statistics.median(figures[name]) for name in ("ready", "first", "cpu", "boto3", "boto3 cpu")
    )
    print(f"start, medians of {rounds} fresh processes:")
    print(f"  host ready {ready:5.2f} s ({ready / boto:.1f} x `python -c 'import boto3'`, {boto:.2f} s)")
    print(f"  from there to the first answer of a new endpoint's model {first:5.2f} s ({first / boto:.1f} x)")
    print(f"  CPU of all processes {used:5.2f} s ({used / boto_cpu:.1f} x, {boto_cpu:.2f} s)")


# -- many models ---------------------------------------------------------------------------------------------------


def many_models(count: int) -> None:
    """Load `count` models of 1 MB on one host, one after another."""
    from mme_sdk.local import ControlSettings, LocalSageMaker

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        archive(model, 0)
        (model / "weights").write_bytes(random.Random(1).randbytes(MB))  # does not compress
        out = io.BytesIO()
        pack(model, out)
        settings = HostingSettings(memory_bytes=count * 8 * MB)
        with LocalSageMaker(control=ControlSettings(provisioning=0), settings=settings) as host:
            s3 = host.boto("s3")
            s3.create_bucket(Bucket="bench")
            for number in range(count):
                s3.put_object(Bucket="bench", Key=f"models/m{number}.tar.gz", Body=out.getvalue())
            deploy(host.boto("sagemaker"))
            runtime = host.boto("sagemaker-runtime")
            times: dict[str, list[float]] = {"load": [], "warm": []}
            before = resident()
            for took in times.values():
                for number in range(count):
                    began = time.perf_counter()
                    target = f"m{number}.tar.gz"
                    answer = runtime.invoke_endpoint(EndpointName="e", TargetModel=target, Body=BODY)
                    assert answer["Body"].read() == str(MB).encode()
                    took.append(time.perf_counter() - began)
            after = resident()
            (view,) = host.hosting.inspect() if host.hosting is not None else ()
            assert view.fleet is not None
            used = sum(one.memory_used for one in view.fleet.instances.values())
    print(f"models: {count} models of 1 MB on one host")
    part = max(1, count // 10)
    for kind, took in times.items():
        begin, end = (1e3 * statistics.median(some) for some in (took[:part], took[-part:]))
        print(f"  {kind}: median of the first {part} {begin:.1f} ms, of the last {part} {end:.1f} ms")
    print(f"  memory: host {before:.0f} MB before, {after:.0f} MB after; models {used / count / MB:.2f} MB each")


# -- overhead ------------------------------------------------------------------------------------------------------


def cpu(pids: set[int]) -> float:
    """Return the CPU seconds of processes and of the processes in their sessions."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(stat.parent.name) in pids or int(fields[3]) in pids:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure_latencies(ask: Callable[[], Awaitable[int]], callers: int, seconds: float) -> list[float]:
    """Send requests from `callers` concurrent callers for `seconds`, and return the latencies in seconds."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < end:
            assert await ask() == 200
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return took


def signed(url: str, target: str, environment: dict[str, str]) -> dict[str, str]:
    """Return signed headers. They are valid for five minutes, so that signing is not part of the measurement."""
    headers = {"Content-Type": "application/json", "X-Amzn-SageMaker-Target-Model": target}
    request = AWSRequest(method="POST", url=url, data=BODY, headers=headers)
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(keys, "sagemaker", environment["AWS_DEFAULT_REGION"]).add_auth(request)
    return dict(request.headers)


def overhead(rounds: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = subprocess.Popen(
            [sys.executable, "-m", "mme_sdk.local", "--port", "0", "--set", "provisioning=0"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        stack.callback(host.wait)
        stack.callback(host.send_signal, signal.SIGTERM)
        environment: dict[str, str] = {}
        assert host.stdout is not None
        for line in host.stdout:
            if line.startswith("# ready"):
                break
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                environment[name] = value.strip("'\"")
        session = boto3.Session(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_DEFAULT_REGION"],
        )
        url = environment["AWS_ENDPOINT_URL"]
        s3 = session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL_S3"])
        s3.create_bucket(Bucket="bench")
        s3.put_object(Bucket="bench", Key="models/one.tar.gz", Body=archive(folder / "one", 1000))
        deploy(session.client("sagemaker", endpoint_url=url))
        runtime = session.client("sagemaker-runtime", endpoint_url=url)
        runtime.invoke_endpoint(EndpointName="e", TargetModel="one.tar.gz", Body=BODY)["Body"].read()

        direct = subprocess.Popen(
            [sys.executable, "-m", "mme_sdk.local.containers.python", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        stack.callback(direct.wait)
        stack.callback(direct.send_signal, signal.SIGTERM)
        assert direct.stdout is not None
        port = int(direct.stdout.readline().rpartition(":")[2])
        asyncio.run(_compare(url, environment, port, folder / "one", rounds, seconds, {host.pid}, {direct.pid}))


async def _compare(
    url: str,
    environment: dict[str, str],
    port: int,
    model: Path,
    rounds: int,
    seconds: float,
    host: set[int],
    direct: set[int],
) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        load = {"model_name": "one", "url": str(model)}
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/ping") as answer:
                    if answer.status == 200:
                        break
        async with session.post(f"http://127.0.0.1:{port}/models", json=load) as answer:
            assert answer.status == 200, await answer.text()
        through = f"{url}/endpoints/e/invocations"
        headers = signed(through, "one.tar.gz", environment)

        def asking(address: str, sent: dict[str, str]) -> Callable[[], Awaitable[int]]:
            async def ask() -> int:
                async with session.post(address, data=BODY, headers=sent) as answer:
                    assert await answer.read() == b"1000", await answer.text()
                    return answer.status

            return ask

        rivals = {
            "container": (asking(f"http://127.0.0.1:{port}/models/one/invoke", {"Accept": "*/*"}), direct),
            "host": (asking(through, headers), host),
        }
        for callers in (1, 8):
            figures: dict[str, dict[str, list[float]]] = {name: {} for name in rivals}
            for number in range(rounds + 1):
                for name, (ask, pids) in rivals.items():
                    before = cpu(pids)
                    took = await measure_latencies(ask, callers, seconds)
                    used = cpu(pids) - before
                    if number:  # the first round warms up
                        cuts = statistics.quantiles(took, n=100)
                        for key, value in (
                            ("rps", len(took) / seconds),
                            ("p50 ms", 1e3 * cuts[49]),
                            ("p99 ms", 1e3 * cuts[98]),
                            ("cpu ms/request", 1e3 * used / len(took)),
                        ):
                            figures[name].setdefault(key, []).append(value)
            print(f"warm, {callers} caller(s), medians of {rounds} rounds of {seconds:g} s:")
            for key in figures["host"]:
                ours, theirs = (statistics.median(figures[name][key]) for name in ("host", "container"))
                print(f"  {key:15} host {ours:9.2f}   container {theirs:9.2f}   ratio {ours / theirs:.2f}")


# -- caches --------------------------------------------------------------------------------------------------------


def sequence(models: int, requests: int, skew: float) -> list[str]:
    weights = [1 / rank**skew for rank in range(1, models + 1)]
    return [f"m{number}.tar.gz" for number in random.Random(1).choices(range(models), weights, k=requests)]


def predicted(
    asked: list[str], policy: FleetPolicy, instances: int, footprint: Footprint, callers: int, times: dict[str, float]
) -> float:
    """Return the hit ratio of the fleet model in simulated time, with the same callers and the measured durations."""
    fleet = Fleet(policy, random.Random(0))
    for number in range(instances):
        fleet.add_instance(f"i-{number}", 0.0)
    todo = iter(enumerate(asked))
    order = itertools.count()
    events: list[tuple[float, int, Callable[[float], list[Command]]]] = []

    def at(when: float, event: Callable[[float], list[Command]]) -> None:
        heapq.heappush(events, (when, next(order), event))

    def arrive(now: float) -> list[Command]:
        number, model = next(todo, (-1, ""))
        return [] if number < 0 else fleet.arrive(str(number), model, footprint, now)

    def finish(request: str, now: float) -> list[Command]:
        at(now, arrive)
        return fleet.finished(request, now)

    for _ in range(callers):
        at(0.0, arrive)
    while events:
        now, _, event = heapq.heappop(events)
        for command in event(now):
            match command:
                case Download(instance, name):
                    at(now + times["ModelDownloadingTime"], partial(fleet.downloaded, instance, name, None))
                case Load(instance, name):
                    at(now + times["ModelLoadingTime"], partial(fleet.loaded, instance, name))
                case Unload(instance, name):
                    at(now + times["ModelUnloadingTime"], lambda _, i=instance, n=name: fleet.unloaded(i, n))
                case Discard(instance, name):
                    at(now, lambda _, i=instance, n=name: fleet.discarded(i, n))
                case Run(_, _, request):
                    at(now + times["ModelLatency"], partial(finish, request))
    counters = fleet.snapshot().counters
    assert counters.arrivals == len(asked)
    return counters.hits / counters.arrivals


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MB


def caches(models: int, requests: int, held: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        with S3Server(folder / "s3", access_key="local", secret_key="local-secret") as s3:
            asyncio.run(_caches(s3, folder, models, requests, held))
    finally:
        shutil.rmtree(folder)


async def _caches(s3: S3Server, folder: Path, models: int, requests: int, held: int) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local-secret",
    )
    client.create_bucket(Bucket="bench")
    content = archive(folder / "five", 5 * MB)
    for number in range(models):
        client.put_object(Bucket="bench", Key=f"models/m{number}.tar.gz", Body=content)
    client.close()
    size = 5 * MB + len(SCRIPT)
    memory = held * (size + MB)  # 1 MB more for each model, as the settings say
    bare = [word for word in PYTHON.argv if word not in ("--memory-budget", "{memory}")]
    measured: dict[str, list[float]] = {}
    settings = HostingSettings(memory_bytes=memory, memory_per_model=MB, volume_bytes=10_000 * MB)
    context = HostContext(
        data_dir=folder / "hosting",
        s3_endpoint_url=s3.endpoint_url,
        access_key="local",
        secret_key="local-secret",
        region="us-east-1",
        account_id="123456789012",
        images={"python": Program([*bare, "--preload", ""])},
        settings=settings,
        measure=lambda metric, _endpoint, _variant, value: measured.setdefault(metric, []).append(value / 1e6),
    )
    hosting = LocalHosting(context)
    plan = ContainerPlan(image="python", mode="MultiModel", model_data_url="s3://bench/models/")
    variant = VariantPlan(name="v", model_name="m", containers=(plan,), instance_type="ml.m5.large", instance_count=2)
    await hosting.deploy(Deployment(endpoint="e", config_name="c", variants=(variant,)))
    asked = sequence(models, requests, 0.9)
    todo = iter(enumerate(asked))
    answers: Counter[int] = Counter()
    used: list[float] = []

    async def caller() -> None:
        for number, model in todo:
            headers = {"x-amzn-sagemaker-target-model": model, "content-type": "application/json"}
            answer = await hosting.invoke(Invocation(endpoint="e", body=BODY, headers=headers, request_id=str(number)))
            answers[answer.status] += 1
            if number % max(1, requests // 20) == 0:
                used.append(resident())

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    took = time.perf_counter() - began
    (view,) = hosting.inspect()
    assert view.fleet is not None
    counters = view.fleet.counters
    most = max(one.memory_used for one in view.fleet.instances.values())
    await hosting.close()
    ratio = counters.hits / counters.arrivals
    policy = FleetPolicy(
        memory_bytes=memory,
        volume_bytes=settings.volume_bytes or 1,
        loader_slots=settings.loader_slots,
        spill_outstanding=settings.spill_outstanding,
    )
    means = {metric: statistics.fmean(values) for metric, values in measured.items()}
    expected = predicted(asked, policy, 2, Footprint(disk_bytes=size, memory_bytes=size + MB), CALLERS, means)
    print(f"caches: {models} models of 5 MB, two instances that hold {held} each, {requests} requests in {took:.0f} s")
    print(f"  answers {dict(answers)}, lost {requests - sum(answers.values())}")
    print(f"  hit ratio {ratio:.4f}, fleet model {expected:.4f}, difference {abs(ratio - expected):.4f}")
    print(f"  {counters.s3_loads} downloads, {counters.disk_loads} reloads, {counters.evictions} evictions")
    print(f"  memory of models at the end {most / MB:.0f} of {memory / MB:.0f} MB")
    print(f"  the host itself: {used[1]:.0f} MB after a twentieth of the requests, {used[-1]:.0f} MB at the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["start", "overhead", "models", "caches", "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="start and overhead with few rounds, under a minute")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--models", type=int, default=None, help="default 300 for caches, 1000 for the part models")
    parser.add_argument("--held", type=int, default=30, help="models that an instance's memory holds")
    parser.add_argument("--requests", type=int, default=20_000)
    given = parser.parse_args()
    if given.quick:
        given.rounds = 3
    if given.part in ("start", "all"):
        start(given.rounds)
    if given.part in ("overhead", "all"):
        overhead(given.rounds, given.seconds)
    if given.part == "caches" or (given.part == "all" and not given.quick):
        caches(given.models or 300, given.requests, given.held)
    if given.part == "models":
        many_models(given.models or 1000)


if __name__ == "__main__":
    main()
