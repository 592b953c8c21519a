"""Measure the transports alone, without the policy of `endpoint.invoke`, beside raw sockets and boto3.

Each client runs in a process of its own, and the clients take turns within a round. A figure is the median over the
rounds; the ratio is boto3's CPU time divided by the client's, the median of the rounds. CPU, voluntary context switches
and the growth of the resident memory are those of the client's process (`getrusage`).

    python benchmarks/transport.py --quick                  # TLS, one caller and 64 threads; under a minute
    python benchmarks/transport.py                          # TLS and plain, 200 B, 1 MB and 25 MB
    python benchmarks/transport.py --ours old=/path/to/an/older/checkout
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDBENCHMARK",
    "AWS_SECRET_ACCESS_KEY": "s" * 40,
    "AWS_SESSION_TOKEN": "t" * 300,
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
CLIENTS = ("socket", "memory-bio", "sync", "async", "async-uvloop", "boto3")
Call = Callable[[bytes], object]


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def head_of(body: bytes) -> bytes:
    head = f"POST /endpoints/scoring/invocations HTTP/1.1\r\nHost: localhost\r\nX-Pad: {'p' * 900}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode()


def raw_socket(url: str) -> Call:
    """A blocking socket and a prebuilt request."""
    sock = connected(url)
    if url.startswith("https"):
        context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
        sock = context.wrap_socket(sock, server_hostname="localhost")

    def call(body: bytes) -> None:
        sock.sendall(head_of(body) + body)
        sock.recv(65_536)

    return call


def memory_bio(url: str) -> Call:
    """TLS between memory buffers, and a blocking socket."""
    sock = connected(url)
    if not url.startswith("https"):
        return raw_socket(url)
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65_536))
    sock.sendall(outgoing.read())

    def call(body: bytes) -> None:
        view, at = memoryview(head_of(body) + body), 0
        while at < len(view):
            at += tls.write(view[at:])
            if outgoing.pending > 262_144:
                sock.sendall(outgoing.read())
        sock.sendall(outgoing.read())
        while True:
            incoming.write(sock.recv(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.read(65_536)
                return

    return call


def boto3(url: str) -> Call:
    import boto3
    from botocore.config import Config

    client = boto3.client("sagemaker-runtime", endpoint_url=url, config=Config(max_pool_connections=64))
    return lambda body: client.invoke_endpoint(EndpointName="scoring", TargetModel="m", Body=body)["Body"].read()


def request(body: bytes) -> object:
    from mme_sdk.runtime.transport_interface import InvokeRequest

    return InvokeRequest(endpoint="scoring", body=body, target_model="m")


def sync(url: str) -> Call:
    from mme_sdk.aws import Aws
    from mme_sdk.runtime.transport import make_transport

    transport = make_transport(Aws(endpoint_url=url), "fast")
    return lambda body: transport.send(request(body), connect_timeout=5.0, read_timeout=70.0)


def in_threads(make: Callable[[], Call], width: int, one_for_all: bool) -> Callable[[bytes, int], None]:
    shared = make() if one_for_all else None
    calls = [shared or make() for _ in range(width)]

    def run(body: bytes, count: int) -> None:
        def work(call: Call) -> None:
            for _ in range(count // width):
                call(body)

        if width == 1:
            work(calls[0])
            return
        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def in_tasks(url: str, width: int, runner: asyncio.Runner) -> Callable[[bytes, int], None]:
    from mme_sdk.aws import Aws
    from mme_sdk.runtime.transport import make_async_transport

    transport = make_async_transport(Aws(endpoint_url=url), "fast")

    async def work(body: bytes, count: int) -> None:
        for _ in range(count):
            await transport.send(request(body), connect_timeout=5.0, read_timeout=70.0)

    async def run(body: bytes, count: int) -> None:
        await asyncio.gather(*(work(body, count // width) for _ in range(width)))

    return lambda body, count: runner.run(run(body, count))


def serve(name: str, url: str, width: int) -> None:
    """Run the jobs of one client: lines of JSON from stdin, results to stdout."""
    if name.startswith("async"):
        import uvloop

        run = in_tasks(url, width, asyncio.Runner(loop_factory=uvloop.new_event_loop if "uvloop" in name else None))
    else:
        make = {"socket": raw_socket, "memory-bio": memory_bio, "boto3": boto3, "sync": sync}[name]
        run = in_threads(lambda: make(url), width, one_for_all=name in ("boto3", "sync"))
    run(b"x" * 200, width * 3)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        body, count = b"x" * job["size"], max(job["calls"] // width, 1) * width
        run(body, width)
        before = resource.getrusage(resource.RUSAGE_SELF)
        run(body, count)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        result = {"cpu": cpu / count, "switches": (after.ru_nvcsw - before.ru_nvcsw) / count, "rss": after.ru_maxrss}
        print(json.dumps(result), flush=True)


class Client:
    """The process of one client."""

    def __init__(self, name: str, path: str, url: str, width: int, environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, "--serve", name, "--url", url, "--width", str(width)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment | {"PYTHONPATH": path},
        )  # fmt: skip
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{name} did not start")

    def run(self, **job: int) -> dict[str, float]:
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def sink(certificate: Path | None) -> Iterator[str]:
    command = [sys.executable, str(HERE / "invoke_sink.py")] + (["--cert", str(certificate)] if certificate else [])
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield f"{'https' if certificate else 'http'}://localhost:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        process.wait()


def measure(
    url: str, size: int, width: int, calls: int, rounds: int, ours: dict[str, str], environment: dict[str, str]
) -> None:
    here = str(HERE.parent)
    names = {name: (name, here) for name in CLIENTS if width == 1 or size < 1000}
    for label, path in ours.items():
        names |= {f"{name}@{label}": (name, path) for name in ("sync", "async", "async-uvloop")}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        clients = {}
        for label, (name, path) in names.items():
            clients[label] = Client(name, path, url, width, environment)
            stack.callback(clients[label].close)
        for _ in range(rounds):
            for label, client in clients.items():
                results[label].append(client.run(size=size, calls=calls))
    print(f"\n{urlsplit(url).scheme}, {size:,} B, {width} at a time, {calls} calls, {rounds} rounds")
    print("| client | CPU us | switches | peak MB | x boto3 |\n| --- | ---: | ---: | ---: | ---: |")
    for label, found in results.items():
        ratio = statistics.median(b["cpu"] / f["cpu"] for b, f in zip(results["boto3"], found, strict=True))
        cpu, switches = (statistics.median(f[key] for f in found) for key in ("cpu", "switches"))
        print(
            f"| {label} | {cpu * 1e6:,.0f} | {switches:.2f} | {found[-1]['rss'] / 1000:.0f} | {ratio:.2f} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="TLS only, few calls")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", action="append", default=[], metavar="LABEL=PATH", help="another checkout to measure")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.url, options.width)
        return
    import trustme

    ours = dict(pair.split("=", 1) for pair in options.ours)
    scale = 1 if options.quick else 4
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        bundle, certificate = Path(folder, "ca.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(str(bundle))
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= KEYS | {"AWS_CA_BUNDLE": str(bundle)}
        for wire in [certificate] if options.quick else [certificate, None]:
            with sink(wire) as url:
                for size, width, calls in [(200, 1, 300), (1_000_000, 1, 10), (25_000_000, 1, 1), (200, 64, 640)]:
                    measure(url, size, width, calls * scale, options.rounds, ours, environment)


if __name__ == "__main__":
    main()
