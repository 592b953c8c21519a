"""Bodies of 25 MB: they arrive unchanged, and sending one takes no second copy of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from mme_sdk import AsyncMMEClient, MMEClient
from tests.support.transport.server import ACCESS, REGION, SECRET

SIZE = 25_000_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
ASYNC = {"async": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
MADE: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "view of numbers": lambda data: memoryview(data).cast("d"),
    "every second byte": lambda data: memoryview(bytes(2 * len(data)))[::2],
}


class Sink:
    """Reads requests into one buffer, which takes no memory while a call is measured, and answers."""

    def __init__(self, context: ssl.SSLContext | None = None, authority: str = "") -> None:
        self.digests: list[str] = []
        self.authority = authority
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = bytearray(1 << 18)
        view = memoryview(buffer)
        with contextlib.suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                while size := connection.recv_into(buffer):
                    while (end := buffer.find(b"\r\n\r\n", 0, size)) < 0:
                        size += connection.recv_into(view[size:])
                    head = bytes(view[:end]).lower()
                    if b"expect: 100-continue" in head:
                        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]) - (size - end - 4)
                    digest = hashlib.sha256(view[end + 4 : size])
                    while left:
                        size = connection.recv_into(buffer)
                        digest.update(view[:size])
                        left -= size
                    self.digests.append(digest.hexdigest())
                    connection.sendall(ANSWER)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def sinks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sink]]:
    authority: Any = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    found = {"plain": Sink(), "TLS": Sink(context, str(path))}
    yield found
    for sink in found.values():
        sink.close()


@pytest.fixture(params=["plain", "TLS"])
def sink(sinks: dict[str, Sink], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sink:
    found = sinks[request.param]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    if found.authority:
        monkeypatch.setenv("AWS_CA_BUNDLE", found.authority)
    return found


@contextlib.contextmanager
def calling(kind: str, url: str) -> Iterator[Callable[[Any], Any]]:
    """Return a function that invokes a model with a payload."""
    transport, _, loop = kind.partition("-")
    if not loop:
        with MMEClient(region=REGION, endpoint_url=url, transport=transport) as client:
            endpoint = client.endpoint("scoring")
            yield lambda data: endpoint.invoke(data, model="m.tar.gz").body
        return
    with asyncio.Runner(loop_factory=ASYNC[loop]) as runner:
        awaited = AsyncMMEClient(region=REGION, endpoint_url=url, transport=transport)
        one = awaited.endpoint("scoring")

        async def call(data: Any) -> bytes:
            return (await one.invoke(data, model="m.tar.gz")).body

        try:
            yield lambda data: runner.run(call(data))
        finally:
            runner.run(awaited.close())


KINDS = ["fast", "fast-async", "fast-uvloop", "botocore", "botocore-async"]


def memory_of(call: Callable[[Any], Any], data: Any) -> float:
    """Return the memory that a call takes, relative to the size of its body."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert call(data) == b"{}"
        return (tracemalloc.get_traced_memory()[1] - before) / SIZE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in KINDS[:2] else pytest.mark.slow) for kind in KINDS]
)
def test_bytes_are_sent_from_where_they_are(sink: Sink, kind: str) -> None:
    body = bytes(range(250)) * (SIZE // 250)
    with calling(kind, sink.url) as call:
        for _ in range(3):
            call(b"warm")
        assert memory_of(call, body) < 0.1
    assert sink.digests[-1] == hashlib.sha256(body).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bytearray", "memoryview"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_copy_is_taken_of_what_the_caller_can_change(sink: Sink, kind: str, what: str) -> None:
    body = bytes(range(250)) * (SIZE // 250)
    data = MADE[what](body)
    with calling(kind, sink.url) as call:
        for _ in range(3):
            call(b"warm")
        assert memory_of(call, data) < 1.1
    assert sink.digests[-1] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_each_type_arrive(sink: Sink, kind: str) -> None:
    body = bytes(range(240)) * 500  # 120,000 bytes: more than is sent in one write with the head
    with calling(kind, sink.url) as call:
        for make in MADE.values():
            data = make(body)
            call(data)
            assert sink.digests[-1] == hashlib.sha256(bytes(data)).hexdigest()


def test_a_body_that_changes_after_the_call_began_is_sent_as_it_was(sink: Sink) -> None:
    """The signature and the bytes are those of the time of the call, also if the event loop ran in between."""

    async def main() -> None:
        client = AsyncMMEClient(region=REGION, endpoint_url=sink.url, transport="fast")
        endpoint = client.endpoint("scoring")
        try:
            await endpoint.invoke(b"warm", model="m.tar.gz")
            data = bytearray(8_000_000)
            sending = asyncio.ensure_future(endpoint.invoke(data, model="m.tar.gz"))
            await asyncio.sleep(0)
            data[-1:] = b"x"
            await sending
        finally:
            await client.close()

    asyncio.run(main())
    assert sink.digests[-1] == hashlib.sha256(bytes(8_000_000)).hexdigest()
