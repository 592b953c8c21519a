"""Connections to one container that stay open between invocations.

`aiohttp.ClientSession` takes three times as long for the same request: it prepares redirects, cookies and tracing.
The connections use aiohttp's protocol and parser, so that they read a response as the session reads it.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import deque
from collections.abc import AsyncGenerator, Mapping

import aiohttp
import attrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import SERVER_SOFTWARE, HttpProcessingError

__all__ = [
    "ContainerConnectionError",
    "ContainerConnections",
    "ContainerResponse",
    "ContainerUnreachableError",
    "free_port",
]

_IDLE_SECONDS = 15.0  # a container can close a connection that is idle for longer
_ADDED = {  # the headers that `aiohttp.ClientSession` adds, which models can read
    name.lower(): (name, value)
    for name, value in (
        *ClientRequest.DEFAULT_HEADERS.items(),
        ("User-Agent", SERVER_SOFTWARE),
        ("Content-Type", "application/octet-stream"),
    )
}


class ContainerConnectionError(Exception):
    """The container did not send a complete response: its process ended or closed the connection."""


class ContainerUnreachableError(ContainerConnectionError):
    """The connection to the container was refused; the request was not sent."""


@attrs.frozen
class ContainerResponse:
    """An HTTP response of a container.

    Attributes:
        status: HTTP status.
        headers: Response headers by lower-case name.
        body: The whole body; empty for a streamed response.
        chunks: The body of a streamed response; None otherwise.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: AsyncGenerator[bytes, None] | None = None

    @property
    def text(self) -> str:
        """The error text: `message` or `error` of a JSON body, else the first 2048 bytes of the body."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict):
            for name in ("message", "error"):
                if isinstance(parsed.get(name), str):
                    return str(parsed[name])
        return self.body[:2048].decode(errors="replace")


class ContainerConnections:
    """The connections to one TCP port of 127.0.0.1. Use them on one event loop.

    Args:
        port: TCP port of the container.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[tuple[ResponseHandler, float]] = deque()
        self._closed = False

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> ContainerResponse:
        """Send a POST request.

        Args:
            path: Path of the URL, of characters that need no escape.
            body: Request body.
            headers: Request headers.

        Returns:
            The response.

        Raises:
            ContainerUnreachableError: The request was not sent.
            ContainerConnectionError: The response is missing, incomplete or invalid.
        """
        loop = asyncio.get_running_loop()
        head = _head(path, self._port, len(body), headers)
        connection = self._take(loop.time())
        if connection is None:
            try:
                _, connection = await loop.create_connection(lambda: ResponseHandler(loop), "127.0.0.1", self._port)
            except OSError as error:
                raise ContainerUnreachableError(str(error)) from error
        try:
            response = await _exchange(connection, head + body)
        except HttpProcessingError as error:
            connection.close()
            raise ContainerConnectionError(f"the response is not valid HTTP: {error.message}") from error
        except (aiohttp.ClientError, OSError) as error:
            connection.close()
            raise ContainerConnectionError(str(error) or type(error).__name__) from error
        except BaseException:
            connection.close()  # the next bytes on this connection belong to this request
            raise
        if self._closed or connection.should_close or not connection.is_connected():
            connection.close()
        else:
            self._idle.append((connection, loop.time()))
        return response

    def _take(self, now: float) -> ResponseHandler | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_connected() and not connection.should_close and now - since < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close the idle connections. A connection in use is closed after its response."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()


async def _exchange(connection: ResponseHandler, request: bytes) -> ContainerResponse:
    transport = connection.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    connection.set_response_params(read_until_eof=True, auto_decompress=False)
    transport.write(request)
    while True:
        message, payload = await connection.read()
        if not 100 <= message.code <= 199 or message.code == 101:  # other responses of this class are interim
            break
    received = {name.lower(): value for name, value in message.headers.items()}
    return ContainerResponse(message.code, received, await payload.read())


def _head(path: str, port: int, length: int, headers: Mapping[str, str]) -> bytes:
    fields = {**_ADDED, **{name.lower(): (name, value) for name, value in headers.items()}}
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in fields.values()]
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1 or "\0" in head:
        raise ContainerConnectionError("a header of the request has a line break")
    return f"{head}\r\n\r\n".encode()


def free_port(rng: random.Random) -> int:
    """Return a free port below the ephemeral port range, and below 32768, the limit of Multi Model Server."""
    while True:
        port = rng.randrange(15000, 32000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
