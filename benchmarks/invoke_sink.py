"""Run a fast HTTP server on loopback that sends the same response to every request (httptools on uvloop).

Usage: python benchmarks/invoke_sink.py [--delay SECONDS] [--cert PEM]
It prints its port, and ends when its stdin is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys

import httptools
import uvloop

BODY = b'{"predictions": [0.75, 0.25]}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: %d\r\n"
    b"x-amzn-RequestId: 11111111-2222-3333-4444-555555555555\r\n"
    b"x-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
    b"Date: Tue, 24 Nov 2026 14:00:00 GMT\r\n\r\n" % len(BODY)
) + BODY


class Sink(asyncio.Protocol):
    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.answer)
        else:
            self.answer()

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds from a request to its response")
    parser.add_argument("--cert", help="file with certificate and key; enables TLS")
    options = parser.parse_args()
    tls = None
    if options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.cert)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(options.delay), "127.0.0.1", 0, ssl=tls, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    # stdin is closed when the parent process ends.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
