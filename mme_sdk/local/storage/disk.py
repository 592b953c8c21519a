"""Files of a data directory. Only their owner can read them, and a write is atomic."""

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
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_private(path: Path, *, append: bool = False) -> BinaryIO:
    """Open a file for writing. If it is new, only its owner can read it, regardless of the umask.

    Args:
        path: The file.
        append: Whether to append to the file. Otherwise it is truncated.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if append else "wb")


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, which only their owner can use. Does nothing if it exists.

    Raises:
        OSError: The folder cannot be created.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file atomically. After a crash it has the old or the new content.

    Only one process at a time may write a path.

    Args:
        path: The file. Only its owner can read it.
        content: The new content.

    Raises:
        StorageError: The file cannot be written. The old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(path, error) from error


def free_space(path: Path) -> str:
    """Return a text with the free and total bytes of a path's file system."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return f"{usage.free:,} of {usage.total:,} bytes are free"


def low_space(path: Path, share: float, least: int = 0) -> str | None:
    """Return a text with the free and total bytes of a path's file system if too little is free.

    Args:
        path: A folder.
        share: Part of the file system, from 0 to 1, that must be free.
        least: Bytes that must be free.

    Returns:
        The text; None if enough is free or the system does not give the numbers.
    """
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return free_space(path) if usage.free < max(share * usage.total, least) else None


def write_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a path that cannot be written, with the free space if the disk is full."""
    reason = error.strerror or str(error)
    if error.errno not in _FULL_DISK:
        return StorageError(f"cannot write {path}: {reason}", hint="check the permissions of the data directory")
    return StorageError(
        f"cannot write {path}: {reason}; {free_space(path)} there",
        hint="free some space, or choose another data_dir (--data-dir)",
    )


def open_data_dir(given: Path, own: Iterable[str]) -> Path:
    """Create a data directory if it does not exist, and remove the permissions of other users.

    Args:
        given: The folder.
        own: Names of the entries that the host writes. Other entries are unchanged.

    Returns:
        The path without symbolic links.

    Raises:
        ConfigurationError: Another user owns the folder, an entry, or a symbolic link in the path.
        StorageError: The disk is full.
    """
    path = given.absolute()
    for part in (path, *path.parents):
        _check_link(part)
    folder = path.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _restrict(folder)
        for name in own:
            make_private(folder / name)
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise write_error(folder, error) from error
        raise ConfigurationError(
            f"cannot use {folder} as data directory: {error.strerror}", hint="choose another data_dir (--data-dir)"
        ) from error
    return folder


def make_private(path: Path) -> None:
    """Remove the permissions of group and others from a file, or from a folder and everything below it.

    Does nothing if the path does not exist, or if others have no permissions for the folder.

    Raises:
        ConfigurationError: Another user owns the path or something below it.
        OSError: The permissions cannot be changed.
    """
    _check_link(path)
    if not path.exists() or not _restrict(path) or not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            if not entry.is_symlink():
                _restrict(entry)


def _check_link(path: Path) -> None:
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise _other_owner(path, path.lstat().st_uid, "a symbolic link")


def _restrict(path: Path) -> bool:
    """Remove the permissions of other users from a file or folder. Return whether there were any."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise _other_owner(path, found.st_uid, "a folder" if stat.S_ISDIR(found.st_mode) else "a file")
    if not found.st_mode & _OTHERS:
        return False
    path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    return True


def _other_owner(path: Path, owner: int, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is {kind} of another user (uid {owner}), who could read and replace the models",
        hint="choose another data_dir (--data-dir), or change the owner of all files in it to your user",
    )
