"""Unpack a model archive. No file is written outside the target directory."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.artifacts.reading import ArchiveSource, OpenArchive, opened
from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.artifacts.tree import MAX_BYTES, MAX_ENTRIES
from mme_sdk.errors import InvalidInputError, LayoutError, StorageError

__all__ = ["Extracted", "extract"]


@attrs.frozen
class Extracted:
    """Result of `extract`.

    Attributes:
        files: Number of files that were written.
        size: Size of these files in bytes.
    """

    files: int
    size: int


@short_tracebacks
def extract(
    source: ArchiveSource, directory: str | Path, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES
) -> Extracted:
    """Unpack a `tar.gz` completely into a new directory. If it fails, the directory is unchanged.

    It rejects links, devices and sparse files; names that are absolute, contain `..` or are too long for a file system;
    and archives that are damaged or ambiguous. Both limits apply while the archive is read. Files are unpacked into a
    temporary directory, which is renamed at the end. If several files have the same path, the last one is kept, as tar
    programs do.

    Args:
        source: Path of the archive, or a binary stream.
        directory: The target directory. It must be empty or not exist.
        max_bytes: Largest size of the uncompressed tar, in bytes. 64 GiB by default.
        max_entries: Largest number of files and directories, including directories that only a path implies. 100,000
            by default.

    Returns:
        Number and size of the files.

    Raises:
        InvalidInputError: The directory is not empty, or there is no such archive.
        LayoutError: The file is not a valid tar.gz, has an entry that is not safe to unpack, or exceeds a limit.
        StorageError: A file cannot be written or read, for example because the disk is full.

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
    with opened(source, max_bytes=max_bytes, max_entries=max_entries) as archive:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = TemporaryFolder(".mme-sdk-unpacking-", target.parent)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise _disk(target, error) from error
        try:
            extracted = _unpack(archive, str(temporary.path))
            try:
                temporary.path.chmod(0o755)
                temporary.path.replace(target)
            except (OSError, ValueError) as error:
                raise _disk(target, error) from error
        except BaseException:
            temporary.close()
            raise
        temporary.release()
    return extracted


def _unpack(archive: OpenArchive, root: str) -> Extracted:
    files = size = 0
    for member, content in archive.members():
        place = f"{root}/{member.path}"
        try:
            for folder in member.new_folders:
                os.mkdir(f"{root}/{folder}", 0o755)  # noqa: PTH102 - a Path for each of 100,000 files is slow
            if member.is_folder:
                continue
            if member.again:
                size -= os.stat(place).st_size  # noqa: PTH116
                files -= 1
                os.unlink(place)  # noqa: PTH108
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if member.executable else 0o644)
        except FileExistsError as error:
            raise LayoutError(
                f"{archive.name}: {member.path!r} and another entry are the same file on this file system",
                hint="rename one of them",
            ) from error
        except OSError as error:
            raise _disk(place, error) from error
        with os.fdopen(handle, "wb", buffering=0) as file:
            for piece in content:  # outside the try: an error of this iterator is a fault of the archive
                left = piece
                try:
                    while left:
                        left = left[file.write(left) :]
                except OSError as error:
                    raise _disk(place, error) from error
        files += 1
        size += member.size
    return Extracted(files, size)


def _disk(path: str | Path, error: OSError | ValueError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}", hint="check the free space and permissions"
    )
