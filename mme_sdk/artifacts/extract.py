"""Unpacks a model archive without letting it out of its directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

import attrs

from mme_sdk.artifacts.reading import ArchiveSource, members, opened
from mme_sdk.errors import InvalidInputError, LayoutError, StorageError

__all__ = ["Extracted", "extract"]

_CHUNK = 1 << 18


@attrs.frozen
class Extracted:
    """What an archive held.

    Attributes:
        files: How many files were written.
        size: Their bytes.
    """

    files: int
    size: int


def extract(
    source: ArchiveSource, directory: str | Path, *, max_bytes: int = 64 << 30, max_entries: int = 100_000
) -> Extracted:
    """Unpack a `tar.gz` into a new directory: all of it, or nothing.

    Refused are links, devices, sparse files, and names that are absolute or contain `..`. Both limits are enforced
    while the archive is being read. Files are unpacked beside the directory first and moved there at the end, so that
    the directory never holds half a model.

    Args:
        source: Path of the archive, or a binary stream.
        directory: Where to; must not exist, or be empty.
        max_bytes: Largest size of the uncompressed tar, in bytes.
        max_entries: Most files and directories.

    Returns:
        How much was written.

    Raises:
        InvalidInputError: The directory holds something, or there is no such archive.
        LayoutError: It is no sound tar.gz, holds something unsafe, or is over a limit.
        StorageError: The disk is full or refuses.

    Example:
        >>> extract("fraud.tar.gz", "build/unpacked", max_bytes=1 << 30)  # doctest: +SKIP
        Extracted(files=2, size=5731)
    """
    target = Path(directory)
    try:
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:
        raise _disk(target, error) from error
    if taken:
        raise InvalidInputError(f"{target} exists and is not an empty directory", hint="unpack into a new directory")
    with opened(source, max_bytes=max_bytes) as tar:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise _disk(target, error) from error
        try:
            files = size = 0
            for path, member, content in members(tar, max_entries=max_entries):
                place = partial / path
                try:
                    if content is None:
                        place.mkdir(parents=True, exist_ok=True)
                        continue
                    place.parent.mkdir(parents=True, exist_ok=True)
                except FileExistsError as error:
                    raise LayoutError(f"{tar.name}: {path!r} is both a file and a directory") from error
                except OSError as error:
                    raise _disk(place, error) from error
                if place.is_dir():
                    raise LayoutError(f"{tar.name}: {path!r} is both a file and a directory")
                size += _write(place, content, executable=bool(member.mode & 0o100))
                files += 1
            try:
                partial.chmod(0o755)
                partial.replace(target)
            except OSError as error:
                raise _disk(target, error) from error
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return Extracted(files, size)


def _write(place: Path, content: IO[bytes], *, executable: bool) -> int:
    written = 0
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755 if executable else 0o644)
    except OSError as error:
        raise _disk(place, error) from error
    with os.fdopen(handle, "wb", buffering=0) as file:
        while chunk := content.read(_CHUNK):  # outside the try: what goes wrong here is the archive's fault
            try:
                file.write(chunk)
            except OSError as error:
                raise _disk(place, error) from error
            written += len(chunk)
    return written


def _disk(path: Path, error: OSError | ValueError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}", hint="check the free space and permissions"
    )
