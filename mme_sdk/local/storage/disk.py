"""Files of a data directory: readable by their owner alone, and written completely or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mme_sdk.errors import ConfigurationError, StorageError

__all__ = [
    "free_space",
    "low_space",
    "make_folder",
    "make_private",
    "open_data_dir",
    "open_private",
    "write_atomically",
    "write_error",
]

_OTHERS = 0o077  # the permission bits of group and others
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_private(path: Path, *, append: bool = False) -> BinaryIO:
    """Open a file for writing, made so that only its owner can read it, whatever the umask.

    Args:
        path: The file.
        append: Keep what it holds; else it is emptied.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if append else "wb")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that only their owner can use them; there is fine.

    Raises:
        OSError: It cannot be made.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or the next start after a crash, finds the old or the new content.

    One process at a time writes a given path.

    Args:
        path: The file; its owner alone can read it.
        content: All of it.

    Raises:
        StorageError: It cannot be written; the old file is unchanged.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)  # left by a process that was killed
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise write_error(path, error) from error


def free_space(path: Path) -> str:
    """Free and total bytes of a path's file system, for a message."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return f"{usage.free:,} of {usage.total:,} bytes are free"


def low_space(path: Path, share: float, least: int = 0) -> str | None:
    """What is wrong with the free space of a path's file system.

    Args:
        path: A folder.
        share: Part of the file system, from 0 to 1, that must be free.
        least: Bytes that must be free.

    Returns:
        Its free and total bytes, for a message; None where enough is free, or nothing can be learnt.
    """
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return free_space(path) if usage.free < max(share * usage.total, least) else None


def write_error(path: Path, error: OSError) -> StorageError:
    """The error for a path that cannot be written: it names the path, the reason and, for a full disk, the space."""
    reason = error.strerror or str(error)
    if error.errno not in _FULL:
        return StorageError(f"cannot write {path}: {reason}", hint="check the permissions of the data directory")
    return StorageError(
        f"cannot write {path}: {reason}; {free_space(path)} there",
        hint="free some space, or choose another data_dir (--data-dir)",
    )


def open_data_dir(given: Path, own: Iterable[str]) -> Path:
    """Make a data directory, or take one that exists, and close it to other users.

    Args:
        given: The folder.
        own: Names of the entries that the host writes; nothing else in the folder is changed.

    Returns:
        Its path without symbolic links.

    Raises:
        ConfigurationError: Another user owns it, an entry of it, or a symbolic link on the way to it.
        StorageError: It cannot be made.
    """
    path = given.absolute()
    for part in (path, *path.parents):
        _check_link(part)
    folder = path.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close(folder)
        for name in own:
            make_private(folder / name)
    except OSError as error:
        if error.errno in _FULL:
            raise write_error(folder, error) from error
        raise ConfigurationError(
            f"cannot use {folder} as data directory: {error.strerror}", hint="choose another data_dir (--data-dir)"
        ) from error
    return folder


def make_private(path: Path) -> None:
    """Take all permissions of group and others from a file, or from a folder and all below it; absent is fine.

    Nothing is done below a folder that is closed already: nobody else can reach what is in it.

    Raises:
        ConfigurationError: Another user owns something there.
        OSError: The permissions cannot be changed.
    """
    _check_link(path)
    if not path.exists() or not _close(path) or not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            if not entry.is_symlink():
                _close(entry)


def _check_link(path: Path) -> None:
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise _foreign(path, path.lstat().st_uid, "a symbolic link")


def _close(path: Path) -> bool:
    """Close a file or folder to others; whether it was open to them."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise _foreign(path, found.st_uid, "a folder" if stat.S_ISDIR(found.st_mode) else "a file")
    if not found.st_mode & _OTHERS:
        return False
    path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    return True


def _foreign(path: Path, owner: int, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is {kind} of another user (uid {owner}), who could read and replace the models",
        hint="choose another data_dir (--data-dir), or make yourself the owner of everything in it",
    )
