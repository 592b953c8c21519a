"""The content of a model archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.artifacts.image_layout import SCRIPTS
from mme_sdk.artifacts.layout import detect
from mme_sdk.artifacts.reading import ArchiveSource, opened
from mme_sdk.artifacts.tree import MAX_BYTES, MAX_ENTRIES

__all__ = ["POINTER", "POINTER_SIZE", "Archive", "Entry", "content_digest", "inspect", "inspect_with_texts"]

POINTER = b"version https://git-lfs.github.com/spec/"
"""First bytes of a pointer of Git LFS, which stands for a file that was not downloaded."""
POINTER_SIZE = 1024
"""Number of bytes that such a pointer has at most."""
_TEXT_SIZE = 1 << 20  # bytes of a script that is checked


@attrs.frozen(order=True)
class Entry:
    """A file or an empty directory of an archive.

    Attributes:
        path: Path relative to the root, with `/` between parts. The path of a directory ends in `/`.
        size: Size in bytes. 0 for a directory.
        executable: Whether its owner may execute it. False by default.
    """

    path: str
    size: int
    executable: bool = False


@attrs.frozen(kw_only=True)
class Archive:
    """Description of a model archive.

    Attributes:
        size: Size of the tar.gz in bytes.
        sha256: Hex SHA-256 of the tar.gz.
        content: Hex SHA-256 of the uncompressed tar. It depends on the files, and not on the compression.
        entries: The files and empty directories.
        framework: Framework that the file names indicate, such as `triton`. None if they indicate none.
    """

    size: int
    sha256: str
    content: str
    entries: tuple[Entry, ...] = attrs.field(repr=lambda entries: f"<{len(entries)} entries>")
    framework: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all entries."""
        return tuple(entry.path for entry in self.entries)

    @property
    def unpacked(self) -> int:
        """Size of all files in bytes."""
        return sum(entry.size for entry in self.entries)


@short_tracebacks
def inspect(source: ArchiveSource, *, max_bytes: int | None = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> Archive:
    """Read an archive and describe it, without unpacking it.

    It raises the same errors as `extract`.

    Args:
        source: Path of a tar.gz, or a binary stream at its beginning.
        max_bytes: Largest size of the uncompressed tar, in bytes. 64 GiB by default; None for no limit.
        max_entries: Largest number of files and directories, including directories that only a path implies. 100,000
            by default.

    Returns:
        Sizes, digests, files and framework.

    Raises:
        InvalidInputError: There is no such file.
        LayoutError: The file is not a valid tar.gz, has an entry that is not safe to unpack, or exceeds a limit.
        StorageError: The file cannot be read.

    Example:
        >>> inspect("fraud.tar.gz").framework  # doctest: +SKIP
        'sklearn'
    """
    return inspect_with_texts(source, max_bytes=max_bytes, max_entries=max_entries)[0]


def content_digest(path: Path) -> str:
    """Return the hex SHA-256 of the uncompressed tar of an archive, `Archive.content`, in a fraction of the time.

    It does not look at the entries: the content can be one that `inspect` refuses.

    Raises:
        InvalidInputError: There is no such file.
        LayoutError: The file is not gzip, is damaged, or exceeds the limit of its size.
        StorageError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with opened(path, max_bytes=MAX_BYTES, max_entries=MAX_ENTRIES) as archive:
        for piece in archive.unpacked():
            digest.update(piece)
    return digest.hexdigest()


def inspect_with_texts(
    source: ArchiveSource, *, max_bytes: int | None = MAX_BYTES, max_entries: int = MAX_ENTRIES
) -> tuple[Archive, dict[str, bytes]]:
    """Read an archive and describe it. Return the content of its scripts and of its pointers of Git LFS too.

    Args:
        source: As in `inspect`.
        max_bytes: As in `inspect`.
        max_entries: As in `inspect`.

    Returns:
        The description, and the content of these files by path.
    """
    found: dict[str, Entry] = {}
    texts: dict[str, bytes] = {}
    with opened(source, max_bytes=max_bytes, max_entries=max_entries) as archive:
        archive.digest()
        for member, content in archive.members():
            parent = member.path.rpartition("/")[0]
            if parent:
                found.pop(f"{parent}/", None)  # the directory is not empty
            for folder in member.new_folders:
                found.pop(f"{folder.rpartition('/')[0]}/", None)
            if not member.is_folder:
                found[member.path] = Entry(member.path, member.size, member.executable)
                texts.pop(member.path, None)  # the last of several files with one path counts
                limit = _TEXT_SIZE if member.path in SCRIPTS else POINTER_SIZE
                if member.size <= limit:
                    text = b"".join(content)
                    if member.path in SCRIPTS or text.startswith(POINTER):
                        texts[member.path] = text
            elif member.new_folders:
                found[f"{member.path}/"] = Entry(f"{member.path}/", 0)
        sha256, digest = archive.digests
        size = archive.size
    entries = tuple(found[path] for path in sorted(found))
    described = Archive(
        size=size,
        sha256=sha256,
        content=digest,
        entries=entries,
        framework=detect([entry.path for entry in entries]),
    )
    return described, texts
