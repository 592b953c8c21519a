"""Behaviours of the loopback server, selected by the name of the endpoint."""
# ruff: noqa: E501 - a table

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any

from tests.support.transport.server import Seen, answer

Writer = asyncio.StreamWriter
BIG = bytes(range(256)) * (8 << 12)  # 8 MiB


def _writes(*pieces: bytes, keep: bool = False) -> Callable[..., Any]:
    async def behave(seen: Seen, writer: Writer) -> bool:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return keep

    return behave


async def _silent(seen: Seen, writer: Writer) -> bool:
    await seen.until_gone()
    return False


async def _endless(seen: Seen, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Pad: ")
    while True:
        writer.write(b"a" * 4096)
        await writer.drain()


async def _endless_lines(seen: Seen, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Pad: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 64)
        await writer.drain()


async def _endless_interim(seen: Seen, writer: Writer) -> bool:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 64)
        await writer.drain()


async def _slow_body(seen: Seen, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    return await _silent(seen, writer)


async def _closes_later(seen: Seen, writer: Writer) -> bool:
    writer.write(answer(200, b"bye"))
    return False


async def _drips(seen: Seen, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _pours(seen: Seen, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    while True:
        writer.write(b"x" * 4096)
        await writer.drain()


async def _punctual(seen: Seen, writer: Writer) -> bool:
    """Refuses what was signed more than five minutes from now, as AWS does."""
    signed = datetime.datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    now = datetime.datetime.now(datetime.UTC)
    if abs((now - signed).total_seconds()) > 300:
        said = json.dumps({"message": "Signature expired"}).encode()
        headers = {"x-amzn-ErrorType": "InvalidSignatureException", "Date": format_datetime(now, usegmt=True)}
        writer.write(answer(403, said, headers))
    else:
        writer.write(answer(200, b"in time"))
    return True


MODEL_ERROR = {
    "OriginalStatusCode": 503,
    "OriginalMessage": "boom",
    "LogStreamArn": "arn:aws:logs:…",
    "Message": "Received server error (503)",
}

BEHAVIOURS: dict[str, Callable[..., Any]] = {
    "model-error": _writes(answer(424, json.dumps(MODEL_ERROR).encode(), {"x-amzn-ErrorType": "ModelError:http://internal.amazon.com/"}), keep=True),
    "expired": _writes(answer(403, b'{"message":"The security token included in the request is expired"}', {"x-amzn-ErrorType": "ExpiredTokenException"}), keep=True),
    "html": _writes(answer(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}), keep=True),
    "redirect": _writes(answer(307, b"", {"Location": "http://127.0.0.1:1/elsewhere"}), keep=True),
    "garbage": _writes(b"SSH-2.0-OpenSSH_9.6\r\n\r\n\x00\x01\x02"),
    "tiny-garbage": _writes(b"\x00"),
    "half-body": _writes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
    "half-head": _writes(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half-chunk": _writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc"),
    "bad-chunk": _writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
    "bad-length": _writes(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc"),
    "drop": _writes(),
    "endless-header": _endless,
    "endless-lines": _endless_lines,
    "endless-interim": _endless_interim,
    "continue": _writes(b"HTTP/1.1 100 Continue\r\n\r\n", answer(200, b"after"), keep=True),
    "hints": _writes(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(200, b"after"), keep=True),
    "chunked": _writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n", b"5\r\nhello\r\n", b"6;ext=1\r\n", b" world\r\n0\r\n\r\n", keep=True),
    "trailers": _writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-After: 1\r\n\r\n", keep=True),
    "until-close": _writes(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end"),
    "http10": _writes(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"),
    "asks-to-close": _writes(answer(200, b"bye", {"Connection": "close"})),
    "no-content": _writes(b"HTTP/1.1 204 No Content\r\n\r\n", keep=True),
    "folded": _writes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Twice: a\r\nX-Twice: b\r\n\r\nok", keep=True),
    "byte-by-byte": _writes(*(bytes([b]) for b in answer(200, b"slowly", {"X-A": "1"})), keep=True),
    "big": _writes(answer(200, BIG), keep=True),
    "silent": _silent,
    "slow-body": _slow_body,
    "closes-later": _closes_later,
    "drips": _drips,
    "pours": _pours,
    "punctual": _punctual,
}  # fmt: skip
BEHAVIOURS |= {
    f"status-{status}": _writes(answer(status, b"{}", {"retry-after": "3"}), keep=True)
    for status in (400, 404, 429, 500, 503, 530)
}
