"""Read a tar.gz once from start to end, within limits, so that a hostile archive cannot exhaust memory or disk."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from mme_sdk.artifacts.tar import Member, invalid_archive, too_large, walk
from mme_sdk.errors import InvalidInputError, StorageError

__all__ = ["ArchiveSource", "Content", "OpenArchive", "opened"]

ArchiveSource: TypeAlias = "str | Path | IO[bytes]"
Content: TypeAlias = Iterator[memoryview]

_CHUNK = 1 << 18
_FIRST_FEED = (
    1 << 12
)  # first bytes given to a new gzip member; a decompressor copies all bytes after the end of a member
_FLAGS = 3  # position of the flags in a gzip header
_GZIP = 31  # window bits for a gzip header and trailer, whose checksum is verified
_BROKEN: tuple[type[Exception], ...] = (zlib.error,)

_decompressor: Callable[..., Any] = zlib.decompressobj
try:  # several times faster, from the `fast` extra
    from isal import isal_zlib
except ImportError:
    pass
else:
    _decompressor = isal_zlib.decompressobj
    _BROKEN = (*_BROKEN, cast(Any, isal_zlib).error)


@contextmanager
def opened(source: ArchiveSource, *, max_bytes: int | None, max_entries: int) -> Iterator[OpenArchive]:
    """Open an archive to read it once.

    Args:
        source: Path of the archive, or a binary stream, which stays open.
        max_bytes: Largest size of the uncompressed tar, in bytes. None for no limit.
        max_entries: Largest number of files and directories.

    Yields:
        The archive.

    Raises:
        InvalidInputError: There is no such file.
        LayoutError: The file is not a valid tar.gz, has an entry that is not safe to unpack, or exceeds a limit.
        StorageError: The file cannot be read.
    """
    name, stream, ours = _open(source)
    try:
        yield OpenArchive(name, stream, max_bytes=max_bytes, max_entries=max_entries)
    except OSError as error:
        raise StorageError(f"cannot read {name}: {error.strerror or error}") from error
    finally:
        if ours:
            stream.close()


def _open(source: ArchiveSource) -> tuple[str, IO[bytes], bool]:
    if isinstance(source, (str, Path)):
        path = Path(source)
        try:
            return str(path), path.open("rb"), True
        except FileNotFoundError as error:
            raise InvalidInputError(f"there is no archive at {path}", hint="pass the path of a tar.gz file") from error
        except IsADirectoryError as error:
            raise InvalidInputError(
                f"{path} is a directory, not an archive", hint="pack it first, with register() or pack()"
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise StorageError(f"cannot read {path}: {error}") from error
    return str(getattr(source, "name", "the archive")), source, False


class OpenArchive:
    """An archive that is read once, from its start to its end.

    Args:
        name: Its name in error messages.
        stream: The compressed bytes.
        max_bytes: Largest size of the uncompressed tar, in bytes. None for no limit.
        max_entries: Largest number of files and directories.

    Attributes:
        name: Its name in error messages.
        size: Number of compressed bytes read so far.
    """

    def __init__(self, name: str, stream: IO[bytes], *, max_bytes: int | None, max_entries: int) -> None:
        self.name = name
        self.size = 0
        self._stream = stream
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._hashes: tuple[Any, Any] | None = None

    def digest(self) -> None:
        """Compute digests while reading. Call it before `members`."""
        self._hashes = hashlib.sha256(), hashlib.sha256()

    @property
    def digests(self) -> tuple[str, str]:
        """Hex SHA-256 of the compressed bytes, and of the uncompressed bytes."""
        assert self._hashes is not None
        return self._hashes[0].hexdigest(), self._hashes[1].hexdigest()

    def members(self) -> Iterator[tuple[Member, Content]]:
        """Yield each file and directory with its content. At the end, all checksums are verified.

        Raises:
            LayoutError: The file is not a valid tar.gz, has an entry that is not safe to unpack, or exceeds a limit.
        """
        unpacked = _Unpacked(self.name, self._tar(), self._max_bytes)
        yield from walk(unpacked, self.name, max_bytes=self._max_bytes, max_entries=self._max_entries)
        while unpacked.take(_CHUNK):
            pass

    def unpacked(self) -> Iterator[memoryview]:
        """Yield the uncompressed tar, whatever it contains, instead of `members`.

        Raises:
            LayoutError: The file is not gzip, is damaged, or exceeds the limit of its size.
        """
        return _Unpacked(self.name, self._tar(), self._max_bytes).pieces(sys.maxsize)

    def _read(self) -> bytes:
        data = self._stream.read(_CHUNK)
        self.size += len(data)
        if self._hashes is not None:
            self._hashes[0].update(data)
        return data

    def _tar(self) -> Iterator[bytes]:
        for chunk in _unzipped(self._read, self.name):
            if self._hashes is not None:
                self._hashes[1].update(chunk)
            yield chunk


def _unzipped(read: Callable[[], bytes], name: str) -> Iterator[bytes]:
    """Yield the content of consecutive gzip members, without the zero bytes between and after them.

    Raises:
        LayoutError: The data is not gzip, is damaged, or ends too early.
    """
    data, at = read(), 0
    if not data:
        raise invalid_archive(name, "it is empty")
    while True:
        while len(data) - at < _FLAGS + 1 and (more := read()):
            data, at = data[at:] + more, 0
        if data[at + _FLAGS : at + _FLAGS + 1] >= b"\x20":  # isal ignores them
            raise invalid_archive(name, "unknown header flags set")
        member, feed = _decompressor(wbits=_GZIP), _FIRST_FEED
        while not member.eof:
            if at == len(data):
                data, at = read(), 0
                if not data:
                    raise invalid_archive(name, "it is cut off")
            piece = data[at : at + feed]
            at += len(piece)
            while True:
                try:
                    chunk = member.decompress(piece, _CHUNK)
                except _BROKEN as error:
                    raise invalid_archive(name, str(error)) from error
                if chunk:
                    yield chunk
                piece = member.unconsumed_tail
                if member.eof or (not piece and len(chunk) < _CHUNK):  # after a full chunk there may be more output
                    break
            feed = min(2 * feed, _CHUNK)
        at -= len(member.unused_data)
        while at == len(data) or data[at] == 0:
            if at == len(data):
                data, at = read(), 0
                if not data:
                    return
            else:
                window = data[at : at + _FIRST_FEED]
                at += len(window) - len(window.lstrip(b"\0"))


class _Unpacked:
    """The uncompressed tar, as a stream.

    Args:
        name: Name of the archive in error messages.
        chunks: The bytes.
        max_bytes: Largest size, in bytes. None for no limit.
    """

    def __init__(self, name: str, chunks: Iterator[bytes], max_bytes: int | None) -> None:
        self._name = name
        self._chunks = chunks
        self._left = self._max_bytes = max_bytes
        self._chunk = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer only at the end."""
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            return data
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next bytes in pieces; fewer only at the end."""
        while size:
            if self._at == len(self._chunk) and not self._more():
                return
            piece = memoryview(self._chunk)[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def _more(self) -> bool:
        self._chunk, self._at = next(self._chunks, b""), 0
        if self._left is not None and self._max_bytes is not None:
            self._left -= len(self._chunk)
            if self._left < 0:
                raise too_large(self._name, self._max_bytes)
        return bool(self._chunk)
