"""What a model archive holds."""

from __future__ import annotations

import hashlib

import attrs

from mme_sdk.artifacts.layout import detect
from mme_sdk.artifacts.reading import ArchiveSource, members, opened

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


def inspect(source: ArchiveSource, *, max_bytes: int | None = None, max_entries: int = 100_000) -> Archive:
    """Read an archive once and tell what it holds; nothing is unpacked.

    Args:
        source: Path of a tar.gz, or a binary stream at its beginning.
        max_bytes: Largest size of the uncompressed tar, in bytes.
        max_entries: Most files and directories.

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
    content = hashlib.sha256()
    with opened(source, max_bytes=max_bytes, digest=True) as tar:
        tar.raw.tap = content.update
        for path, member, reader in members(tar, max_entries=max_entries):
            entry = Entry(f"{path}/", 0) if reader is None else Entry(path, member.size, bool(member.mode & 0o100))
            found[entry.path] = entry
        size, sha256 = tar.source.finish()
    parents = {f"{parent}/" for path in found for parent in _parents(path)}
    entries = tuple(sorted(entry for entry in found.values() if entry.path not in parents))
    return Archive(
        size=size,
        sha256=sha256,
        content=content.hexdigest(),
        entries=entries,
        framework=detect([entry.path for entry in entries]),
    )


def _parents(path: str) -> list[str]:
    parts = path.rstrip("/").split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
