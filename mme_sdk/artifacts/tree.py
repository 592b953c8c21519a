"""Check the paths of an archive. Packing, reading and unpacking use the same rules."""

from __future__ import annotations

import sys
import unicodedata

from mme_sdk.errors import LayoutError

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "Tree", "shown"]

MAX_BYTES = 64 << 30  # of the uncompressed tar
MAX_ENTRIES = 100_000
_MAX_PATH = 1024  # bytes; leaves space for the target folder within the limit of operating systems
_MAX_PART = 255  # bytes, the limit of common file systems
_MAX_DEPTH = 100
_MEAN_PATH = 256  # largest mean size of a path, in bytes
_CASE_INSENSITIVE = sys.platform in ("darwin", "win32")  # their file systems treat a.txt and A.TXT as one file


def shown(name: str) -> str:
    """Return a name for an error message: quoted, escaped and shortened."""
    return repr(name if len(name) <= 120 else f"{name[:100]}…")


class Tree:
    """The paths of an archive, added in their order in the archive.

    Args:
        archive: Name of the archive in error messages.
        max_entries: Largest number of files and directories, including directories that only a path implies.
    """

    def __init__(self, archive: str, max_entries: int) -> None:
        self._archive = archive
        self._max_entries = max_entries
        self._entries_left = max_entries
        self._bytes_left = max(1 << 20, max_entries * _MEAN_PATH)
        self._files: set[str] = set()
        self._folders: set[str] = {""}
        self._spelled: dict[str, str] = {}

    def add(self, name: str, *, is_folder: bool) -> tuple[str, tuple[str, ...], bool]:
        """Add a file or directory.

        Args:
            name: Its name in the archive.
            is_folder: Whether it is a directory.

        Returns:
            The path with `/` between its parts, which is empty for the root; the new directories, parents first; and
            whether a previous file has the same path.

        Raises:
            LayoutError: The name is not safe to unpack, conflicts with a previous entry, or exceeds a limit.
        """
        path = self._relative(name)
        if not path and not is_folder:
            raise LayoutError(
                f"{self._archive}: {shown(name)} is a file without a name", hint="remove it from the archive"
            )
        self._count(path)
        if path in (self._files if is_folder else self._folders):
            raise self._conflict(path)
        fresh: list[str] = []
        above = path if is_folder else path.rpartition("/")[0]
        while above not in self._folders:
            if above in self._files:
                raise self._conflict(above)
            fresh.append(above)
            above = above.rpartition("/")[0]
        fresh.reverse()
        for folder in fresh:
            if folder != path:
                self._count(folder)
            self._check_spelling(folder)
        self._folders.update(fresh)
        again = False
        if not is_folder:
            again = path in self._files
            self._check_spelling(path)
            self._files.add(path)
        return path, tuple(fresh), again

    def _relative(self, name: str) -> str:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or name[1:2] == ":":
            raise LayoutError(
                f"{self._archive}: the entry {shown(name)} could be unpacked outside its directory",
                hint="use relative names without '..' and backslashes",
            )
        if "" in parts or "." in parts:
            parts = [part for part in parts if part not in ("", ".")]
        path = "/".join(parts)
        try:
            size = len(path) if path.isascii() else len(path.encode())
            longest = size if size <= _MAX_PART else max(len(part.encode()) for part in parts)
        except UnicodeEncodeError as error:
            raise LayoutError(
                f"{self._archive}: the name of the entry {shown(name)} is not UTF-8", hint="rename the file"
            ) from error
        for what, value, limit in (
            ("a path", size, _MAX_PATH),
            ("a name in its path", longest, _MAX_PART),
        ):
            if value > limit:
                raise LayoutError(
                    f"{self._archive}: the entry {shown(name)} has {what} of {value:,} bytes, "
                    f"more than the {limit:,} allowed",
                    hint="use shorter names",
                )
        if len(parts) > _MAX_DEPTH:
            raise LayoutError(
                f"{self._archive}: the entry {shown(name)} is {len(parts):,} levels deep, "
                f"more than the {_MAX_DEPTH} allowed",
                hint="use fewer nested directories",
            )
        return path

    def _count(self, path: str) -> None:
        self._entries_left -= 1
        self._bytes_left -= len(path)
        if self._entries_left < 0:
            raise LayoutError(
                f"{self._archive} has more than the {self._max_entries:,} entries allowed", hint="use fewer files"
            )
        if self._bytes_left < 0:
            raise LayoutError(
                f"{self._archive} has names that are longer than {_MEAN_PATH} bytes on average",
                hint="use shorter names, or fewer files",
            )

    def _check_spelling(self, path: str) -> None:
        """Raise LayoutError if the file systems of this platform treat a path and a previous one as the same file."""
        if not _CASE_INSENSITIVE:
            return
        key = unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())
        other = self._spelled.setdefault(key, path)
        if other != path:
            raise LayoutError(
                f"{self._archive}: {shown(other)} and {shown(path)} are the same file on this platform's file systems",
                hint="rename one of them",
            )

    def _conflict(self, path: str) -> LayoutError:
        return LayoutError(f"{self._archive}: {shown(path)} is both a file and a directory", hint="rename one of them")
