"""Tar archives byte by byte, so that each field of a header can lie."""

from __future__ import annotations

import gzip

END = bytes(1024)


def block(
    name: bytes = b"m",
    *,
    size: int | bytes = 0,
    mode: bytes = b"0000644\0",
    kind: bytes = b"0",
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block; a size in bytes stands as it is."""
    field = b"%011o\0" % size if isinstance(size, int) else size
    head = b"".join(
        part[:width].ljust(width, b"\0")
        for part, width in (
            (name, 100),
            (mode, 8),
            (b"0000000\0", 8),
            (b"0000000\0", 8),
            (field, 12),
            (b"00000000000\0", 12),
            (b" " * 8, 8),
            (kind, 1),
            (link, 100),
            (magic, 8),
            (b"", 80),
            (prefix, 155),
            (b"", 12),
        )
    )
    total = b"%06o\0 " % sum(head) if checksum is None else checksum[:8].ljust(8, b"\0")
    return head[:148] + total + head[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def member(name: bytes = b"m", content: bytes = b"", **lies: bytes) -> bytes:
    """A file with its content."""
    return block(name, **{"size": len(content), **lies}) + padded(content)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """One honest record of a pax header."""
    size = len(key) + len(value) + 3
    length = size + len(str(size))
    length = size + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def extended(content: bytes, kind: bytes = b"x") -> bytes:
    """A pax or GNU header with any content."""
    return block(b"extended", size=len(content), kind=kind) + padded(content)


def pax(kind: bytes = b"x", **records: bytes) -> bytes:
    return extended(b"".join(record(key.replace("__", ".").encode(), value) for key, value in records.items()), kind)


def archive(*parts: bytes, end: bytes = END) -> bytes:
    """The tar.gz of some parts."""
    return gzip.compress(b"".join(parts) + end, 1, mtime=0)
