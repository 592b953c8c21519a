"""The frames between server and model process: the lengths, a JSON head and a binary body."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

__all__ = ["pack", "read_async", "read_blocking"]

_LENGTHS = struct.Struct("!IQ")


def pack(head: dict[str, Any], body: bytes | memoryview = b"") -> bytes:
    """Encode one frame.

    Args:
        head: Values that JSON can represent.
        body: The binary body.

    Returns:
        The bytes to send.
    """
    encoded = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_LENGTHS.pack(len(encoded), len(body)), encoded, body))


async def read_async(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Read one frame on the event loop.

    Raises:
        asyncio.IncompleteReadError: The peer closed the connection.
    """
    head, body = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    return json.loads(await reader.readexactly(head)), await reader.readexactly(body)


def read_blocking(sock: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """Read one frame from a blocking socket; return None if the peer closed the connection."""
    lengths = _exactly(sock, _LENGTHS.size)
    if lengths is None:
        return None
    head_size, body_size = _LENGTHS.unpack(lengths)
    head = _exactly(sock, head_size)
    body = _exactly(sock, body_size)
    return None if head is None or body is None else (json.loads(head), bytes(body))


def _exactly(sock: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return data
