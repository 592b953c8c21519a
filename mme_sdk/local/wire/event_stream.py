"""The event stream encoding (`application/vnd.amazon.eventstream`) of InvokeEndpointWithResponseStream."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

__all__ = ["encode_exception", "encode_payload_part"]

_STRING = 7  # the header type


def encode_payload_part(chunk: bytes) -> bytes:
    """Return the message that holds a part of the model's response."""
    headers = {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
    return _message(headers, chunk)


def encode_exception(kind: str, body: bytes) -> bytes:
    """Return the message that ends a stream with an error.

    Args:
        kind: `ModelStreamError` or `InternalStreamFailure`.
        body: JSON with the members of the error.
    """
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _message(headers, body)


def _message(headers: Mapping[str, str], payload: bytes) -> bytes:
    encoded = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(value)) + value.encode()
        for name, value in headers.items()
    )
    # Total length, length of the headers, checksum of both, headers, payload, checksum of the message.
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack("!I", crc32(prelude)) + encoded + payload
    return message + struct.pack("!I", crc32(message))
