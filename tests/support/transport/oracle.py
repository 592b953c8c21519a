"""The result of parsing bytes after which the server closes the connection, by the SDK's parser and by h11."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import attrs
import h11

from mme_sdk.runtime.transport.response_parser import InvalidResponseError, ResponseParser
from tests.support.transport.answers import ACCEPTED, REFUSED

_SINGLE = ("content-type", "content-encoding", "date", "x-amzn-errortype", "x-amzn-requestid")


@attrs.frozen
class Verdict:
    """An answer as a parser read it."""

    status: int
    headers: dict[str, str]
    body: bytes


def verdict(parser: Any, wire: bytes, cuts: Sequence[int] = ()) -> Verdict | None:
    """The answer; None where the parser refuses the bytes, or misses some at the end."""
    return _by_h11(wire) if parser is h11 else _by_ours(wire, cuts)


def _by_ours(wire: bytes, cuts: Sequence[int]) -> Verdict | None:
    parser = ResponseParser()
    edges = [0, *sorted(cuts), len(wire)]
    try:
        for a, b in pairwise(edges):
            if parser.feed(wire[a:b]):
                if b < len(wire):
                    return None  # bytes that the transport discards with the connection
                break
        else:
            parser.eof()
    except InvalidResponseError:
        return None
    answer = parser.answer()
    headers = dict(answer.headers)
    if "transfer-encoding" in headers:
        headers["transfer-encoding"] = headers["transfer-encoding"].lower()  # as h11 does
    return Verdict(answer.status, headers, answer.body)


def _by_h11(wire: bytes) -> Verdict | None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(wire)
    connection.receive_data(b"")
    status, headers, body = 0, {}, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
                for raw_name, raw_value in event.headers:
                    name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                    seen = headers.get(name)
                    if seen is None or (name in _SINGLE and seen == value):
                        headers[name] = value
                    else:
                        headers[name] = f"{seen}, {value}"
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None
    # What follows a whole answer is not looked at by h11; we refuse it.
    return Verdict(status, headers, body)


def valid_answers() -> Iterator[bytes]:
    """Those of the table, and some of the service's own shape."""
    yield from (wire for _, wire, _, _ in ACCEPTED)
    body = b'{"predictions": [0.5, 1.5]}'
    head = (
        b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 0f5a3c2e\r\nx-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
        b"Date: Fri, 27 Nov 2026 20:13:10 GMT\r\nContent-Type: application/json\r\n"
    )
    yield head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    yield (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n9;x=y\r\n"
        + body[:9]
        + b"\r\n12\r\n"
        + body[9:]
        + b"\r\n0\r\nA: b\r\n\r\n"
    )
    yield head + b"Connection: close\r\n\r\n" + body


_SPLICES = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b";", b",", b"0", b"1", b"f", b"+", b"-", b"0x",
    b"_", b"\x80", b"\xff", b"\x0b", b"\x0c", b"\x1c", b"\x7f", b"\x85", b"\xa0", b"chunked", b"gzip, ",
    b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 100 X\r\n\r\n",
    b"HTTP/1.1 101 X\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\n ", b"Connection: close\r\n", b"HTTP/1.0", b"204",
    b"304", b"0\r\n\r\n",
]  # fmt: skip


def mutations(rng: random.Random, count: int) -> Iterator[bytes]:
    """Valid and refused answers with one to four small changes: bytes replaced, inserted, removed, moved or doubled."""
    seeds = [*valid_answers(), *(wire for _, wire in REFUSED)]
    for _ in range(count):
        wire = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(wire) + 1)
            match rng.randrange(6):
                case 0:
                    wire[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    wire[at:at] = rng.choice(_SPLICES)
                case 2:
                    wire[at : at + 1] = rng.choice(_SPLICES)
                case 3:
                    del wire[at : at + rng.randint(1, 4)]
                case 4:
                    length = rng.randint(1, 20)
                    wire[at:at] = wire[at : at + length]
                case 5:
                    other = rng.choice(seeds)
                    wire[at:] = other[rng.randrange(len(other)) :]
            if not wire:
                wire = bytearray(b"H")
        yield bytes(wire)
