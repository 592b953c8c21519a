"""Call an endpoint with one client. `invoke.py` starts one such process for each client.

Usage: python benchmarks/invoke_rival.py NAME URL
It reads jobs from stdin, one JSON object a line: {"calls": …, "concurrency": …, "size": …}. It writes the CPU and wall
seconds of each job to stdout. It imports only the client, so that it runs in a virtual environment without the others.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from urllib.parse import urlsplit

ENDPOINT, TYPE = "scoring", "application/json"
MODELS = [f"tenant-{number:02}/fraud/v3.tar.gz" for number in range(50)]  # each call takes the next one
CONNECT, READ = 5.0, 70.0
Call = Callable[[bytes], object]


def boto3_client(**config: object) -> object:
    import boto3
    from botocore.config import Config

    return boto3.Session().client("sagemaker-runtime", endpoint_url=sys.argv[2], config=Config(**config))


def with_client(client: object) -> Callable[[], Call]:
    def make() -> Call:
        model = cycle(MODELS).__next__

        def call(body: bytes) -> object:
            reply = client.invoke_endpoint(EndpointName=ENDPOINT, TargetModel=model(), ContentType=TYPE, Body=body)
            return json.loads(reply["Body"].read())

        return call

    return make


def boto3_default() -> Callable[[], Call]:
    return with_client(boto3_client())


def boto3_tuned() -> Callable[[], Call]:
    return with_client(
        boto3_client(
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            user_agent="tuned/1",
            max_pool_connections=64,
            tcp_keepalive=True,
        )
    )


def boto3_accelerated() -> Callable[[], Call]:
    from mme_sdk.runtime.transport.accelerate import accelerate

    client = boto3_client(max_pool_connections=64)
    accelerate(client)
    return with_client(client)


def predictor() -> Callable[[], Call]:
    import boto3
    from sagemaker.deserializers import BytesDeserializer
    from sagemaker.predictor import Predictor
    from sagemaker.serializers import IdentitySerializer
    from sagemaker.session import Session

    session = Session(
        boto3.Session(), sagemaker_client=object(), sagemaker_runtime_client=boto3_client(max_pool_connections=64)
    )
    one = Predictor(
        ENDPOINT, session, serializer=IdentitySerializer(TYPE), deserializer=BytesDeserializer("application/json")
    )
    model = cycle(MODELS).__next__
    return lambda: lambda body: json.loads(one.predict(body, target_model=model()))


def requests() -> Callable[[bytes], object]:
    from mme_sdk.runtime.transport_interface import InvokeRequest

    model = cycle(MODELS).__next__
    return lambda body: InvokeRequest(endpoint=ENDPOINT, body=body, content_type=TYPE, target_model=model())


def settings(name: str) -> dict[str, object]:
    """Return the settings of a client: with a hook, if the name says so."""
    return {"hooks": [lambda _: None]} if name.endswith("-hook") else {}


def payload_of(name: str) -> Callable[[bytes], tuple[object, str | None]]:
    """Return a function that makes the payload of a call from a body: the body itself, a dict or an array."""
    if name.endswith("-dict"):
        return lambda body: ({"amount": 12.5, "country": "DE", "id": body.decode()}, None)
    if name.endswith("-array"):
        import numpy as np

        return lambda body: (np.zeros((2, max(1, (len(body) - 128) // 16))), None)  # the answer has two results
    return lambda body: (body, TYPE)


def mme() -> Callable[[], Call]:
    """Call `endpoint.invoke`, which users call, and read the decoded answer."""
    from mme_sdk import MMEClient

    name = sys.argv[1]
    client = MMEClient(endpoint_url=sys.argv[2], transport="fast", **settings(name))
    endpoint, payload, kept = client.endpoint(ENDPOINT), payload_of(name), {}

    def make() -> Call:
        model = cycle(MODELS).__next__

        def call(body: bytes) -> object:
            data = kept.get(len(body))
            if data is None:
                data = kept[len(body)] = payload(body)
            return endpoint.invoke(data[0], model=model(), content_type=data[1]).value

        return call

    return make


def mme_transport() -> Callable[[], Call]:
    """Send prepared requests with the transport alone, without the policy of `endpoint.invoke`."""
    from mme_sdk.aws import Aws
    from mme_sdk.runtime.transport import make_transport

    transport, request_of = make_transport(Aws(endpoint_url=sys.argv[2]), "fast"), requests()
    return lambda: lambda body: transport.send(request_of(body), connect_timeout=CONNECT, read_timeout=READ)


def connected() -> socket.socket:
    """Return a blocking socket that is connected to the server."""
    parts = urlsplit(sys.argv[2])
    sock = socket.create_connection((parts.hostname, parts.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
        sock = context.wrap_socket(sock, server_hostname=parts.hostname)
    return sock


def unsigned(body: bytes) -> bytes:
    """Return an unsigned request."""
    head = f"POST /endpoints/{ENDPOINT}/invocations HTTP/1.1\r\nHost: {urlsplit(sys.argv[2]).netloc}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def mme_undecoded() -> Callable[[], Call]:
    """Call `endpoint.invoke`, and leave the answer undecoded."""
    from mme_sdk import MMEClient

    endpoint = MMEClient(endpoint_url=sys.argv[2], transport="fast").endpoint(ENDPOINT)

    def make() -> Call:
        model = cycle(MODELS).__next__
        return lambda body: endpoint.invoke(body, model=model(), content_type=TYPE)

    return make


def signed() -> Callable[[], Call]:
    """Sign each request and send it on a raw socket; with `parsed` in the name, parse the response too."""
    from mme_sdk.aws import Aws
    from mme_sdk.runtime.transport.request_signer import RequestSigner
    from mme_sdk.runtime.transport.response_parser import ResponseParser
    from mme_sdk.runtime.transport.selection_base import route_of

    aws = Aws(endpoint_url=sys.argv[2])
    signer = RequestSigner(route_of(aws), aws.clock)
    request_of, parsed = requests(), sys.argv[1] == "socket-parsed"

    def make() -> Call:
        sock, parser = connected(), ResponseParser()

        def call(body: bytes) -> object:
            sock.sendall(signer.head(request_of(body), signer.cached_keys() or signer.read_keys()) + body)
            data = sock.recv(65_536)
            if not parsed:
                return data
            parser.begin()
            assert parser.feed(data)
            return parser.answer()

        return call

    return make


def floor() -> Callable[[], Call]:
    """Send a prebuilt, unsigned request on a blocking socket: the lower bound of every client."""

    def make() -> Call:
        sock = connected()

        def call(body: bytes) -> None:
            sock.sendall(unsigned(body))
            sock.recv(65_536)

        return call

    return make


async def mme_async() -> Callable[[bytes], object]:
    from mme_sdk import AsyncMMEClient

    endpoint = AsyncMMEClient(endpoint_url=sys.argv[2], transport="fast").endpoint(ENDPOINT)
    model = cycle(MODELS).__next__

    async def call(body: bytes) -> object:
        return (await endpoint.invoke(body, model=model(), content_type=TYPE)).value

    return call


async def mme_transport_async() -> Callable[[bytes], object]:
    from mme_sdk.aws import Aws
    from mme_sdk.runtime.transport import make_async_transport

    transport, request_of = make_async_transport(Aws(endpoint_url=sys.argv[2]), "fast"), requests()
    return lambda body: transport.send(request_of(body), connect_timeout=CONNECT, read_timeout=READ)


async def aiobotocore_() -> Callable[[bytes], object]:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(max_pool_connections=64)
    context = get_session().create_client("sagemaker-runtime", endpoint_url=sys.argv[2], config=config)
    client = await context.__aenter__()

    model = cycle(MODELS).__next__

    async def call(body: bytes) -> object:
        reply = await client.invoke_endpoint(EndpointName=ENDPOINT, TargetModel=model(), ContentType=TYPE, Body=body)
        return json.loads(await reply["Body"].read())

    return call


class Exchange(asyncio.Protocol):
    """A connection on which one request at a time waits for its response."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received.set_result(data)


async def floor_async() -> Callable[[bytes], object]:
    """Send an unsigned request on a bare asyncio protocol: the lower bound of every client on an event loop."""
    loop, parts, idle = asyncio.get_running_loop(), urlsplit(sys.argv[2]), []
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]) if parts.scheme == "https" else None

    async def call(body: bytes) -> None:
        if not idle:
            _, made = await loop.create_connection(Exchange, parts.hostname, parts.port, ssl=context)
            idle.append(made)
        connection = idle.pop()
        connection.received = loop.create_future()
        connection.transport.write(unsigned(body))
        await connection.received
        idle.append(connection)

    return call


THREADED = {
    "boto3": boto3_default,
    "boto3-tuned": boto3_tuned,
    "boto3-accelerated": boto3_accelerated,
    "sagemaker-predictor": predictor,
    "mme": mme,
    "mme-dict": mme,
    "mme-array": mme,
    "mme-hook": mme,
    "mme-undecoded": mme_undecoded,
    "mme-transport": mme_transport,
    "socket-parsed": signed,
    "socket-signed": signed,
    "floor": floor,
}
ASYNC = {
    "aiobotocore": aiobotocore_,
    "mme-async": mme_async,
    "mme-async-uvloop": mme_async,
    "mme-transport-async-uvloop": mme_transport_async,
    "floor-async-uvloop": floor_async,
}


def report(cpu: float, wall: float) -> None:
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}), file=OUT, flush=True)


def run_threads(make: Callable[[], Call]) -> None:
    print("ready", file=OUT, flush=True)
    calls: list[Call] = []  # one for each thread, kept between jobs so that connections are warm
    pool = ThreadPoolExecutor(256)  # kept between jobs, so that the start of threads is not measured
    for line in sys.stdin:
        job = json.loads(line)
        body = b"x" * job["size"]
        width = job["concurrency"]
        calls += [make() for _ in range(width - len(calls))]
        share = max(job["calls"] // width, 1)
        together = threading.Barrier(width)

        def work(
            call: Call, body: bytes = body, share: int = share, together: threading.Barrier = together
        ) -> tuple[float, float]:
            together.wait()
            began = time.process_time(), time.perf_counter()
            for _ in range(share):
                call(body)
            return began

        gc.collect()
        began = [work(calls[0])] if width == 1 else list(pool.map(work, calls[:width]))
        report(*min(began))


async def run_tasks(make: Callable[[], object]) -> None:
    call = await make()
    print("ready", file=OUT, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        body = b"x" * job["size"]
        share = max(job["calls"] // job["concurrency"], 1)

        async def work(body: bytes = body, share: int = share) -> None:
            for _ in range(share):
                await call(body)

        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(job["concurrency"])))
        report(cpu, wall)


if __name__ == "__main__":
    # Some clients print to stdout.
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name = sys.argv[1]
    if name in THREADED:
        run_threads(THREADED[name]())
    elif name == "mme-async":
        asyncio.run(run_tasks(ASYNC[name]))
    else:
        import uvloop

        uvloop.run(run_tasks(ASYNC[name]))
