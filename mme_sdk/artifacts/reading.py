"""Reads a tar.gz forward only, within limits, so that a hostile archive can exhaust neither memory nor disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias, cast

from mme_sdk.errors import InvalidInputError, LayoutError, MMEError, StorageError

__all__ = ["ArchiveSource", "members", "opened", "relative_path"]

ArchiveSource: TypeAlias = "str | Path | IO[bytes]"

MAX_HEADER = 1 << 20  # bytes of one tar header; tarfile would read any announced size into memory
_CHUNK = 1 << 18
_BROKEN: tuple[type[Exception], ...] = (gzip.BadGzipFile, zlib.error, EOFError, tarfile.TarError)

_open_gzip: Any = gzip.GzipFile
try:  # several times faster, where the `fast` extra is installed
    from isal import isal_zlib
    from isal.igzip import IGzipFile
except ImportError:
    pass
else:
    _open_gzip = IGzipFile
    _BROKEN = (*_BROKEN, cast(Any, isal_zlib).error)


@contextmanager
def opened(source: ArchiveSource, *, max_bytes: int | None = None, digest: bool = False) -> Iterator[ForwardTar]:
    """Open an archive for one pass.

    Args:
        source: Path of the archive, or a binary stream; a stream is left open.
        max_bytes: Largest size of the uncompressed tar.
        digest: Whether the compressed bytes are digested on their way.

    Yields:
        The tar.

    Raises:
        LayoutError: It is no sound tar.gz, or larger than allowed.
        StorageError: The file cannot be read.
    """
    name, stream, ours = _open(source)
    try:
        yield ForwardTar(name, Source(stream, digest=digest), max_bytes)
    except _BROKEN as error:
        raise LayoutError(
            f"{name} is no sound tar.gz archive: {error or type(error).__name__}",
            hint="a model archive is a gzip-compressed tar; pack the model's directory with register() or pack()",
        ) from error
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
            raise InvalidInputError(f"there is no archive at {path}") from error
        except IsADirectoryError as error:
            raise InvalidInputError(f"{path} is a directory, not an archive") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise StorageError(f"cannot read {path}: {error}") from error
    return str(getattr(source, "name", "the archive")), source, False


class Source(io.RawIOBase):
    """The compressed bytes: any stream that can be read, counted and digested; never closed from here.

    Args:
        stream: Where they come from.
        digest: Whether to digest them.
    """

    def __init__(self, stream: IO[bytes], *, digest: bool) -> None:
        super().__init__()
        self._stream = stream
        self._digest = hashlib.sha256() if digest else None
        self._size = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read on."""
        data = self._stream.read(len(buffer))
        if self._digest is not None:
            self._digest.update(data)
        self._size += len(data)
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> tuple[int, str]:
        """Read what is left; the size and hex SHA-256 of everything."""
        while self.read(_CHUNK):
            pass
        return self._size, "" if self._digest is None else self._digest.hexdigest()


class ForwardTar:
    """A tar that is read once, from front to back.

    Attributes:
        name: What to call it in messages.
        source: The compressed bytes.
        raw: The decompressed bytes, as `tarfile` reads them.
    """

    def __init__(self, name: str, source: Source, max_bytes: int | None) -> None:
        self.name = name
        self.source = source
        self.raw = _Forward(name, _open_gzip(fileobj=source, mode="rb"), max_bytes)

    def __iter__(self) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        """Each member, with a reader of its content where it is a regular file."""
        try:
            with _Tar.open(
                fileobj=cast(IO[bytes], self.raw), mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as tar:
                for member in tar:
                    regular = member.isreg() and not member.issparse()
                    yield member, tar.extractfile(member) if regular else None
                    cast(Any, tar).members.clear()  # tarfile would keep every header
            self.raw.drain()  # to the end, so that the checksum of gzip is compared
        finally:
            self.raw.close()


class _Tar(tarfile.TarFile):
    """A tar whose bad extended headers are all one kind of error; tarfile itself lets a hostile one raise anything."""

    def next(self) -> tarfile.TarInfo | None:
        try:
            member = super().next()
        except MMEError:
            raise
        except (ValueError, OverflowError, RecursionError) as error:
            raise tarfile.ReadError(f"bad header: {error}") from error
        if member is not None and member.size < 0:
            raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
        return member


class _Forward(io.RawIOBase):
    """What `tarfile` needs of a file, over a stream that cannot go back."""

    def __init__(self, name: str, stream: IO[bytes], max_bytes: int | None) -> None:
        super().__init__()
        self._name = name
        self._stream = stream
        self._max = max_bytes
        self._at = 0
        self.tap: Any = None  # called with every chunk, in order

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > MAX_HEADER:
            raise LayoutError(f"{self._name} holds a tar header of {size} bytes", hint="it is broken or hostile")
        data = self._stream.read(size)
        self._at += len(data)
        if self._max is not None and self._at > self._max:
            raise LayoutError(
                f"{self._name} unpacks to more than the {self._max:,} bytes allowed",
                hint="raise the limit if the model is really that large",
            )
        if self.tap is not None:
            self.tap(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence != 0 or offset < self._at:
            raise tarfile.ReadError("its entries overlap")
        while self._at < offset and self.read(min(_CHUNK, offset - self._at)):
            pass
        return self._at

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def members(tar: ForwardTar, *, max_entries: int) -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
    """The files and directories of an archive, each with its safe relative path.

    Args:
        tar: An opened archive.
        max_entries: How many entries are allowed.

    Yields:
        Path, header and reader; the reader is None for a directory. The root itself is left out.

    Raises:
        LayoutError: An entry that must not be unpacked, or too many.
    """
    for count, (member, content) in enumerate(tar, 1):
        if count > max_entries:
            raise LayoutError(f"{tar.name} holds more than the {max_entries:,} entries allowed")
        kind = _forbidden_kind(member)
        if kind:
            raise LayoutError(
                f"{tar.name}: {member.name!r} is a {kind}; only regular files and directories may be unpacked",
                hint="pack with `tar --dereference --hard-dereference`, or let register() pack the directory",
            )
        path = relative_path(member.name, tar.name)
        if path:
            yield path, member, content


def _forbidden_kind(member: tarfile.TarInfo) -> str | None:
    if member.issym():
        return f"symbolic link to {member.linkname!r}"
    if member.islnk():
        return f"hard link to {member.linkname!r}"
    if member.issparse():
        return "sparse file"
    if member.isdev():
        return "device or pipe"
    return None if member.isreg() or member.isdir() else f"special entry (type {member.type!r})"


def relative_path(name: str, archive: str) -> str:
    """An entry's name as a path below the directory it is unpacked to.

    Args:
        name: The name in the tar header.
        archive: The archive, for the message.

    Returns:
        The path with `/` between its parts; empty for the root.

    Raises:
        LayoutError: It would lead out of the directory.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":"):
        raise LayoutError(
            f"{archive}: the entry {name!r} could be unpacked outside its directory",
            hint="names in a model archive are relative, without '..' and backslashes",
        )
    path = str(PurePosixPath(name))
    return "" if path == "." else path
