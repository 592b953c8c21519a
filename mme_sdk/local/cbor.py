"""CBOR (RFC 8949), as much of it as AWS's rpc-v2-cbor protocol uses."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["dumps", "loads"]

_FLOATS = {25: ("!e", 2), 26: ("!f", 4), 27: ("!d", 8)}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_EPOCH = 1  # the tag of a timestamp
_DEEPEST = 100


def loads(data: bytes) -> Any:
    """Decode one item; a timestamp becomes its number of seconds.

    Args:
        data: The encoded item.

    Returns:
        Dicts, lists, str, bytes, numbers, booleans and None.

    Raises:
        ValueError: No CBOR, or not all of it.
    """
    try:
        value, end = _item(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"no CBOR: {error}") from error
    if end != len(data):
        raise ValueError("no CBOR: more follows the item")
    return value


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise ValueError("no CBOR: too deep")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if low in _FLOATS:
            form, size = _FLOATS[low]
            return struct.unpack_from(form, data, at)[0], at + size
        return _SIMPLE[low], at
    endless = low == 31
    if low < 24 or endless:
        count = low
    else:
        size = 1 << (low - 24)
        count = int.from_bytes(_slice(data, at, size))
        at += size
    match major:
        case 0:
            return count, at
        case 1:
            return -1 - count, at
        case 2 | 3 if endless:
            parts, at = _until_break(data, at, depth)
            return (b"" if major == 2 else "").join(parts), at
        case 2:
            return _slice(data, at, count), at + count
        case 3:
            return _slice(data, at, count).decode(), at + count
        case 4 | 5 if endless:
            found, at = _until_break(data, at, depth)
        case 4 | 5:
            found = []
            for _ in range(count * (major - 3)):
                value, at = _item(data, at, depth + 1)
                found.append(value)
        case _:
            return _item(data, at, depth + 1)  # a tag: what it marks is enough
    return (found if major == 4 else dict(zip(found[::2], found[1::2], strict=True))), at


def _until_break(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    found = []
    while data[at] != 0xFF:
        value, at = _item(data, at, depth + 1)
        found.append(value)
    return found, at + 1


def _slice(data: bytes, at: int, count: int) -> bytes:
    if at + count > len(data):
        raise ValueError("no CBOR: it breaks off")
    return data[at : at + count]


def dumps(value: Any) -> bytes:
    """Encode an item.

    Args:
        value: Mappings, lists, str, bytes, numbers, booleans, None and datetimes.

    Returns:
        CBOR.
    """
    if value is None or isinstance(value, bool):
        return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[value]])
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack("!d", value)
    if isinstance(value, datetime):
        seconds = value.timestamp()
        return _head(6, _EPOCH) + dumps(int(seconds) if seconds == math.floor(seconds) else seconds)
    if isinstance(value, str):
        encoded = value.encode()
        return _head(3, len(encoded)) + encoded
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, Mapping):
        pairs = b"".join(dumps(key) + dumps(item) for key, item in value.items())
        return _head(5, len(value)) + pairs
    return _head(4, len(value)) + b"".join(dumps(item) for item in value)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([major << 5 | (24 + size.bit_length() - 1)]) + number.to_bytes(size)
