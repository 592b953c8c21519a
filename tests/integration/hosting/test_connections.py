"""Connections to a container: requests, responses and errors are those of `aiohttp.ClientSession`."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from mme_sdk.local.hosting.connections import (
    ContainerConnectionError,
    ContainerConnections,
    ContainerUnreachableError,
    free_port,
)

HEADERS = {"content-type": "text/csv", "x-amzn-sagemaker-target-model": "a/b.tar.gz", "X-Mme-Sdk-Key": "key"}
PATH = "/models/one/invoke"


class Server:
    """Answers each request of a connection with the next of its responses; closes after the last one."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.handlers: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.handlers.add(task)
        while self.responses:
            try:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
            except asyncio.IncompleteReadError:
                break
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self.requests.append((first, headers, await reader.readexactly(int(headers["content-length"]))))
            writer.write(self.responses.pop(0))
            await writer.drain()
        writer.close()
        self.closed.set()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def with_server(server: Callable[[], Server], use: Callable[[Server, int], Awaitable[None]]) -> None:
    async def run() -> None:
        one = server()
        listening = await asyncio.start_server(one, "127.0.0.1", 0)
        async with listening:
            await use(one, listening.sockets[0].getsockname()[1])
            await asyncio.gather(*one.handlers)
            await asyncio.sleep(0)

    asyncio.run(run())


def ok(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers])
    return f"{head}\r\n\r\n".encode() + body


@pytest.mark.parametrize("body", [b"", b"1,2\n"])
@pytest.mark.parametrize("headers", [HEADERS, {}, {"content-type": "a/b", "Content-Type": "c/d", "Accept": "e/f"}])
def test_a_model_sees_the_headers_that_a_session_sends(body: bytes, headers: dict[str, str]) -> None:
    async def use(server: Server, port: int) -> None:
        connections = ContainerConnections(port)
        await connections.post(PATH, body, headers)
        connections.close()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}{PATH}", data=body, headers=headers) as answer,
        ):
            await answer.read()
        assert server.requests[0] == server.requests[1]

    with_server(lambda: Server(ok(b"1"), ok(b"2")), use)


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (ok(b"answer"), 200, b"answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nans\r\n3\r\nwer\r\n0\r\n\r\n", 200, b"answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"answer"), 200, b"answer"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 507 Full\r\nContent-Length: 2\r\n\r\n{}", 507, b"{}"),
        (ok(b"packed", "Content-Encoding: gzip"), 200, b"packed"),
    ],
)
def test_a_response_is_read_to_its_end_and_the_connection_is_used_again(
    response: bytes, status: int, body: bytes
) -> None:
    async def use(server: Server, port: int) -> None:
        connections = ContainerConnections(port)
        for expected in ((status, body), (200, b"next")):
            answer = await connections.post(PATH, b"x", HEADERS)
            assert (answer.status, answer.body) == expected
        assert server.connections == 1
        connections.close()

    with_server(lambda: Server(response, ok(b"next"), ok(b"unused")), use)


def test_a_body_that_ends_with_the_connection_is_whole_and_the_next_request_connects_again() -> None:
    async def use(server: Server, port: int) -> None:
        connections = ContainerConnections(port)
        assert (await connections.post(PATH, b"x", HEADERS)).body == b"to the end"
        server.responses = [ok(b"next")]
        assert (await connections.post(PATH, b"x", HEADERS)).body == b"next"
        assert server.connections == 2
        connections.close()

    with_server(lambda: Server(b"HTTP/1.1 200 OK\r\n\r\nto the end"), use)


def test_a_connection_that_the_container_closed_is_not_used_again() -> None:
    async def use(server: Server, port: int) -> None:
        connections = ContainerConnections(port)
        await connections.post(PATH, b"x", HEADERS)
        await server.closed.wait()
        await asyncio.sleep(0)  # the loop reads the end of the connection
        await asyncio.sleep(0)
        server.responses = [ok(b"next")]
        assert (await connections.post(PATH, b"x", HEADERS)).body == b"next"
        connections.close()

    with_server(lambda: Server(ok(b"first")), use)


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"no HTTP\r\n\r\n"])
def test_a_response_that_is_missing_incomplete_or_invalid_is_an_error(response: bytes) -> None:
    async def use(server: Server, port: int) -> None:
        connections = ContainerConnections(port)
        with pytest.raises(ContainerConnectionError) as error:
            await connections.post(PATH, b"x", HEADERS)
        assert not isinstance(error.value, ContainerUnreachableError)
        server.responses = [ok(b"next")]
        assert (await connections.post(PATH, b"x", HEADERS)).body == b"next"
        connections.close()

    with_server(lambda: Server(response), use)


def test_a_refused_connection_says_that_nothing_was_sent() -> None:
    with pytest.raises(ContainerUnreachableError):
        asyncio.run(ContainerConnections(free_port(random.Random())).post(PATH, b"x", HEADERS))


def test_a_header_with_a_line_break_is_not_sent() -> None:
    async def use(server: Server, port: int) -> None:
        with pytest.raises(ContainerConnectionError, match="line break"):
            await ContainerConnections(port).post(PATH, b"x", {"accept": "a\r\nX-Mme-Sdk-Key: b"})
        assert not server.requests

    with_server(lambda: Server(ok(b"1")), use)


def test_a_cancelled_request_does_not_leave_its_response_to_the_next_one() -> None:
    async def use(server: Server, port: int) -> None:
        connections = ContainerConnections(port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connections.post(PATH, b"x", HEADERS)  # the response has no end
        server.responses = [ok(b"next")]
        assert (await connections.post(PATH, b"x", HEADERS)).body == b"next"
        connections.close()

    with_server(lambda: Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ok(b"unused")), use)
