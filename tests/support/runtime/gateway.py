"""A loopback gateway before a real service: requests pass, but those that a test names are held until it ends."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from mme_sdk.local.wire.event_stream import encode_payload_part

Holds = Callable[[str], bool]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends in the middle of a request is what the tests are about."""


class Gateway:
    """Passes requests on to a service.

    Attributes:
        holds: Says of a request (`METHOD path operation`) whether it is held: it never reaches the service.
        held: The requests that are held, in order.
        halves: Says of a request whether its answer stops after half of its body.
    """

    def __init__(self, service: str) -> None:
        self.holds: Holds = lambda _: False
        self.halves: Holds = lambda _: False
        self.held: list[str] = []
        self._arrived, self._open = threading.Condition(), threading.Event()
        where, gateway = urlsplit(service).netloc, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                what = f"{self.command} {self.path} {self.headers.get('x-amz-target', '')}"
                if gateway.holds(what):
                    gateway.hold(what)
                    self.close_connection = True
                    return
                if self.path.endswith("/invocations-response-stream"):
                    self.send_response(200)
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    part = encode_payload_part(b"first")
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                    gateway.hold(what)
                    self.close_connection = True
                    return
                service = http.client.HTTPConnection(where)
                service.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() != "expect":
                        service.putheader(name, value)
                service.endheaders(body or None)
                answer = service.getresponse()
                data = answer.read()
                service.close()
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.headers.get("content-length") if self.command == "HEAD" else str(len(data))
                self.send_header("content-length", length or "0")
                self.end_headers()
                if gateway.halves(what):
                    self.wfile.write(data[: len(data) // 2])
                    gateway.hold(what)
                    self.close_connection = True
                    return
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def hold(self, what: str) -> None:
        """Keep a request."""
        with self._arrived:
            self.held.append(what)
            self._arrived.notify_all()
        self._open.wait()

    def until_held(self, timeout: float, count: int = 1) -> None:
        """Wait until so many requests are held."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.held) >= count, timeout), self.held

    @property
    def is_shut(self) -> bool:
        """Whether what is held is still held."""
        return not self._open.is_set()

    def close(self) -> None:
        """Let go of what is held, and end."""
        self._open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
