"""The tree of paths that an archive may hold: one set of rules for packing, reading and unpacking."""

from __future__ import annotations

import sys
import unicodedata

from mme_sdk.errors import LayoutError

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "Tree", "shown"]

MAX_BYTES = 64 << 30  # of the uncompressed tar
MAX_ENTRIES = 100_000
_MAX_PATH = 1024  # bytes; with the folder above it, a path stays below what operating systems take
_MAX_PART = 255  # bytes, the limit of common file systems
_MAX_DEPTH = 100
_MEAN_PATH = 256  # bytes that paths may have on average
_FOLDS = sys.platform in ("darwin", "win32")  # file systems there take a.txt and A.TXT for one file


def shown(name: str) -> str:
    """A name for a message: quoted, without control characters, and not long."""
    return repr(name if len(name) <= 120 else f"{name[:100]}…")


class Tree:
    """Paths of an archive, in the order in which they come.

    Args:
        archive: The archive's name for messages.
        max_entries: Most files and directories, directories that only a path implies included.
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
            name: As the archive has it.
            is_folder: Whether it is a directory.

        Returns:
            The path with `/` between its parts, empty for the root; the directories that are new, parents first; and
            whether a file of this path came before.

        Raises:
            LayoutError: It is unsafe, contradicts what came before, or is over a limit.
        """
        path = self._relative(name)
        if not path and not is_folder:
            raise LayoutError(f"{self._archive}: {shown(name)} is a file without a name")
        self._count(path)
        if path in (self._files if is_folder else self._folders):
            raise self._both(path)
        fresh: list[str] = []
        above = path if is_folder else path.rpartition("/")[0]
        while above not in self._folders:
            if above in self._files:
                raise self._both(above)
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
                hint="names in a model archive are relative, without '..' and backslashes",
            )
        if "" in parts or "." in parts:
            parts = [part for part in parts if part not in ("", ".")]
        path = "/".join(parts)
        try:
            size = len(path) if path.isascii() else len(path.encode())
            longest = size if size <= _MAX_PART else max(len(part.encode()) for part in parts)
        except UnicodeEncodeError as error:
            raise LayoutError(f"{self._archive}: the name of the entry {shown(name)} is not UTF-8") from error
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
                hint="use fewer directories inside each other",
            )
        return path

    def _count(self, path: str) -> None:
        self._entries_left -= 1
        self._bytes_left -= len(path)
        if self._entries_left < 0:
            raise LayoutError(f"{self._archive} holds more than the {self._max_entries:,} entries allowed")
        if self._bytes_left < 0:
            raise LayoutError(
                f"{self._archive} holds names that are longer than {_MEAN_PATH} bytes on average",
                hint="use shorter names, or fewer files",
            )

    def _check_spelling(self, path: str) -> None:
        """Refuse a path that differs from another in a way that this platform's file systems do not see."""
        if not _FOLDS:
            return
        key = unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())
        other = self._spelled.setdefault(key, path)
        if other != path:
            raise LayoutError(
                f"{self._archive}: {shown(other)} and {shown(path)} are one file on this platform's file systems",
                hint="rename one of them",
            )

    def _both(self, path: str) -> LayoutError:
        return LayoutError(f"{self._archive}: {shown(path)} is both a file and a directory")
