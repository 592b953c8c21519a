"""An endpoint for the programs of this folder: it answers each row with its length, on loopback and without AWS."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mme_sdk import Endpoint, MMEClient


class _Lengths(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        rows = self.rfile.read(int(self.headers["Content-Length"])).split()
        answer = json.dumps([float(len(row)) for row in rows]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def address() -> Iterator[str]:
    """Serve an endpoint of any name, and yield the address."""
    # Workers of an engine find the credentials here.
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_REGION": "eu-west-1"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Lengths)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def endpoint(**settings: Any) -> Iterator[Endpoint]:
    """Serve an endpoint, and yield its handle.

    Args:
        **settings: Keywords of `MMEClient`.
    """
    with address() as url, MMEClient(region="eu-west-1", endpoint_url=url, **settings) as client:
        yield client.endpoint("lengths")
