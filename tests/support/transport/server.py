"""A loopback server that verifies every signature with botocore's code. The endpoint's name selects its behaviour."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import h11
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS, SECRET, TOKEN, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a+token/with==", "eu-west-1"


@attrs.frozen(kw_only=True)
class Seen:
    """One request as it came over the wire."""

    endpoint: str
    method: str
    target: str
    headers: dict[str, str]
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    connection: int
    fault: str | None
    until_gone: Callable[[], Awaitable[object]]


def signature_fault(method: str, url: str, headers: dict[str, str], body: bytes, secret: str = SECRET) -> str | None:
    """Why the request's signature is wrong; None when botocore computes the same."""
    given = headers.get("authorization", "")
    if not given.startswith("AWS4-HMAC-SHA256 "):
        return f"not signed: {given!r}"
    parts = dict(part.strip().split("=", 1) for part in given.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    access, day, region, service, _ = parts["Credential"].split("/")
    signed = parts["SignedHeaders"].split(";")
    request = AWSRequest(method, url, {name: headers[name] for name in signed if name != "host"}, body)
    if "host" not in signed or "host" not in headers:
        return "host is not signed"
    request.headers["host"] = headers["host"]
    request.context["timestamp"] = headers["x-amz-date"]
    if headers["x-amz-date"][:8] != day:
        return "the scope is of another day"
    auth = SigV4Auth(Credentials(access, secret), service, region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if expected != parts["Signature"]:
        return f"signature {parts['Signature']} where botocore computes {expected}"
    left_out = {name for name in headers if name.startswith("x-amz")} - {*signed, "x-amzn-trace-id"}
    return f"not signed: {left_out}" if left_out else None


class LoopbackServer:
    """Serves `/endpoints/{behaviour}/invocations` from a thread of its own.

    A behaviour is a coroutine function `(seen, writer) -> keep` that writes to the socket what it likes.
    """

    def __init__(
        self, behaviours: dict[str, Callable[..., Any]], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self._open_changed = threading.Condition()
        self._behaviours, self._tls, self._host = behaviours, tls, host
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._connection, self._host, 0, ssl=self._tls))
        self.port = self._server.sockets[0].getsockname()[1]
        scheme = "https" if self._tls else "http"
        name = "localhost" if self._tls else (f"[{self._host}]" if ":" in self._host else self._host)
        self.url = f"{scheme}://{name}:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._do(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def _count(self, change: int) -> None:
        with self._open_changed:
            self.open += change
            self._open_changed.notify_all()

    def until_open(self, count: int) -> None:
        """Block until so many connections are open."""
        with self._open_changed:
            assert self._open_changed.wait_for(lambda: self.open == count, 60.0), self.open

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._count(1)
        number = self.connections
        try:
            while await self._request(reader, writer, number):
                pass
        except (ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._tasks.discard(task)
            self._count(-1)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(1 << 16)
                if not data and head is None:
                    return False
                parser.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
        assert head is not None
        target = head.target.decode()
        headers = {name.decode(): value.decode("utf-8") for name, value in head.headers}
        method = head.method.decode()
        endpoint = target.split("/")[2] if target.startswith("/endpoints/") else ""
        scheme = "https" if self._tls else "http"
        fault = signature_fault(method, f"{scheme}://{headers['host']}{target}", headers, bytes(body))
        seen = Seen(
            endpoint=endpoint,
            method=method,
            target=target,
            headers=headers,
            raw_headers=list(head.headers),
            body=bytes(body),
            connection=number,
            fault=fault,
            until_gone=reader.read,
        )
        self.seen.append(seen)
        if fault is not None:
            writer.write(
                answer(403, json.dumps({"message": fault}).encode(), {"x-amzn-ErrorType": "InvalidSignatureException"})
            )
            return True
        keep = await self._behaviours.get(endpoint, echo)(seen, writer)
        await writer.drain()
        return bool(keep)


def answer(status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, version: str = "1.1") -> bytes:
    """An answer with Content-Length."""
    lines = [f"HTTP/{version} {status} Whatever", f"Content-Length: {len(body)}", "x-amzn-RequestId: r-1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def echo(seen: Seen, writer: asyncio.StreamWriter) -> bool:
    """Everything is well."""
    writer.write(
        answer(200, seen.body, {"Content-Type": "text/csv", "x-Amzn-Invoked-Production-Variant": "AllTraffic"})
    )
    return True
