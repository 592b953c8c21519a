"""What a model archive holds."""

from __future__ import annotations

import attrs

from mme_sdk.artifacts.layout import detect
from mme_sdk.artifacts.reading import ArchiveSource, opened
from mme_sdk.artifacts.tree import MAX_BYTES, MAX_ENTRIES

__all__ = ["Archive", "Entry", "inspect"]


@attrs.frozen(order=True)
class Entry:
    """A file or an empty directory of an archive.

    Attributes:
        path: Relative to the root, with `/` between parts; a directory ends in `/`.
        size: Bytes; 0 for a directory.
        executable: Whether its owner may run it.
    """

    path: str
    size: int
    executable: bool = False


@attrs.frozen(kw_only=True)
class Archive:
    """A model archive, as read or as packed.

    Attributes:
        size: Bytes of the tar.gz.
        sha256: Hex digest of the tar.gz.
        content: Hex SHA-256 of the tar inside: the same for the same files, whatever compressed it.
        entries: Its files and empty directories.
        framework: Framework that the layout speaks of, such as `triton`; None where it tells nothing.
    """

    size: int
    sha256: str
    content: str
    entries: tuple[Entry, ...] = attrs.field(repr=lambda entries: f"<{len(entries)} entries>")
    framework: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all entries."""
        return tuple(entry.path for entry in self.entries)

    @property
    def unpacked(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)


def inspect(source: ArchiveSource, *, max_bytes: int | None = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> Archive:
    """Read an archive once and describe it; nothing is unpacked.

    It refuses what `extract` refuses, with the same message.

    Args:
        source: Path of a tar.gz, or a binary stream at its beginning.
        max_bytes: Largest size of the uncompressed tar, in bytes; None for no limit.
        max_entries: Most files and directories, directories that only a path implies included.

    Returns:
        Sizes, digests, files and framework.

    Raises:
        InvalidInputError: There is no such file.
        LayoutError: It is no sound tar.gz, holds something unsafe to unpack, or is over a limit.
        StorageError: The file cannot be read.

    Example:
        >>> inspect("fraud.tar.gz").framework  # doctest: +SKIP
        'sklearn'
    """
    found: dict[str, Entry] = {}
    with opened(source, max_bytes=max_bytes, max_entries=max_entries) as archive:
        archive.digest()
        for member, _ in archive.members():
            parent = member.path.rpartition("/")[0]
            if parent:
                found.pop(f"{parent}/", None)  # it is not empty
            for folder in member.new_folders:
                found.pop(f"{folder.rpartition('/')[0]}/", None)
            if not member.is_folder:
                found[member.path] = Entry(member.path, member.size, member.executable)
            elif member.new_folders:
                found[f"{member.path}/"] = Entry(f"{member.path}/", 0)
        sha256, content = archive.digests
        size = archive.size
    entries = tuple(found[path] for path in sorted(found))
    return Archive(
        size=size,
        sha256=sha256,
        content=content,
        entries=entries,
        framework=detect([entry.path for entry in entries]),
    )
