"""Measures how long `invoke` runs beyond its deadline, for each transport and each kind of slow server or provider.

Each server would hold the call for a minute. The documented limit is 0.1 s plus 2 % of the deadline. First calls run in
new processes, because they include the imports.

    python benchmarks/deadlines.py                # every case, some minutes
    python benchmarks/deadlines.py --times 3 --only first
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HOLD = 60.0
TRANSPORTS = ("fast", "botocore")
BIG = bytes(24 << 20)
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDBENCHMARK",
    "AWS_SECRET_ACCESS_KEY": "s" * 40,
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
OK = b"HTTP/1.1 200 OK\r\n"


def drip(*, first: bytes, piece: bytes, every: float = 1.0) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            time.sleep(every)
            connection.sendall(piece)

    return answer


def silent(_: socket.socket) -> None:
    time.sleep(HOLD)


ANSWERS: dict[str, Callable[[socket.socket], None]] = {
    "silent": silent,
    "drips in the head": drip(first=OK + b"X: ", piece=b"a", every=0.3),
    "drips in the body": drip(first=OK + b"Content-Length: 100000\r\n\r\n", piece=b"x", every=0.3),
    "drips in chunks": drip(first=OK + b"Transfer-Encoding: chunked\r\n\r\n", piece=b"1\r\nx\r\n", every=0.3),
}


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            answer(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """Accept connections and read nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Drop connection requests, because the backlog is full."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


def one_call(url: str, transport: str, deadline: float, *, twin: bool, body: bytes = b"1") -> float:
    """Return the seconds of a call beyond its deadline."""
    from mme_sdk import AsyncMMEClient, MMEClient
    from mme_sdk.errors import MMEError

    if twin:

        async def main() -> float:
            async with AsyncMMEClient(endpoint_url=url, transport=transport) as client:
                endpoint = client.endpoint("slow")
                began = time.monotonic()
                with contextlib.suppress(MMEError):
                    await endpoint.invoke(body, model="m.tar.gz", deadline=deadline)
                return time.monotonic() - began - deadline

        return asyncio.run(main())
    with MMEClient(endpoint_url=url, transport=transport) as client:
        endpoint = client.endpoint("slow")
        began = time.monotonic()
        with contextlib.suppress(MMEError):
            endpoint.invoke(body, model="m.tar.gz", deadline=deadline)
        return time.monotonic() - began - deadline


def cases() -> Iterator[tuple[str, Any, bytes]]:
    for name, answer in ANSWERS.items():
        yield name, lambda answer=answer: server(answer), b"1"
    yield "TLS that never answers", lambda: tls(silent), b"1"
    yield "connect black hole", black_hole, b"1"
    yield "upload to a deaf server", deaf, BIG


@contextlib.contextmanager
def tls(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    with server(answer) as url:
        yield url.replace("http://", "https://")


def first_call(url: str, transport: str, deadline: float, twin: bool, environment: dict[str, str]) -> float:
    """Do the same in a new process, including its imports."""
    command = [sys.executable, __file__, "--one", url, transport, str(deadline), str(int(twin))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def report(name: str, transport: str, twin: bool, deadline: float, over: list[float]) -> None:
    allowed = 0.1 + 0.02 * deadline
    worst = max(over)
    mark = "" if worst <= allowed else "  OVER"
    kind = f"{transport}{', async' if twin else ''}"
    median = statistics.median(over)
    print(f"| {name} | {kind} | {deadline:g} | {median * 1e3:+.0f} | {worst * 1e3:+.0f} |{mark}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", choices=["warm", "first"])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(KEYS)
    if options.one:
        url, transport, deadline, twin = options.one
        if url == "provider":
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                os.environ.pop(name, None)
            url = "http://127.0.0.1:1"
        print(one_call(url, transport, float(deadline), twin=twin == "1"))
        return
    print(f"ssl {ssl.OPENSSL_VERSION}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| case | transport | deadline s | median ms beyond | worst ms beyond |\n|---|---|--:|--:|--:|")
    slept = []
    for _ in range(4 * options.times):
        began = time.monotonic()
        time.sleep(0.5)
        slept.append(time.monotonic() - began - 0.5)
    report("a sleep: the machine's own delay", "none", False, 0.5, slept)
    kinds = [(transport, twin) for transport in TRANSPORTS for twin in (False, True)]
    if options.only != "first":
        for name, make, body in cases():
            for transport, twin in kinds:
                with make() as url:
                    one_call(url, transport, 0.05, twin=twin)
                    over = [one_call(url, transport, 0.5, twin=twin, body=body) for _ in range(options.times)]
                report(name, transport, twin, 0.5, over)
    if options.only != "warm":
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "config")
            config.write_text(f"[default]\nregion = eu-west-1\ncredential_process = sleep {HOLD:.0f}\n")
            slow = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(Path(folder, "none"))}
            for deadline in (0.2, 1.0):
                for transport, twin in kinds:
                    with server(silent) as url:
                        over = [
                            first_call(url, transport, deadline, twin, dict(os.environ)) for _ in range(options.times)
                        ]
                    report("first call, silent server", transport, twin, deadline, over)
                    over = [
                        first_call("provider", transport, deadline, twin, os.environ | slow)
                        for _ in range(options.times)
                    ]
                    report("first call, slow provider", transport, twin, deadline, over)


if __name__ == "__main__":
    main()
