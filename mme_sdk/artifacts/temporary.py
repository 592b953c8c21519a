"""Temporary folders and files that are removed even if the process that created them was killed.

A process locks each folder or file that it uses. The operating system releases the lock when the process ends. The next
process that creates one with the same prefix removes those without a lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["TemporaryFolder", "remove_abandoned", "remove_tree", "replace_file"]

_TRIES = 100


class TemporaryFolder:
    """A new folder of this process that only its user can open. It is a context manager.

    Args:
        prefix: Start of its name. Abandoned folders with this prefix are removed.
        parent: The folder in which it is created. The system's temporary directory if None.

    Attributes:
        path: The folder.

    Raises:
        OSError: The folder cannot be created.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        remove_abandoned(prefix, parent)
        for _ in range(_TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            with contextlib.suppress(BlockingIOError, FileNotFoundError):  # another process removed it as abandoned
                self._lock = _locked(self.path)
                return
        raise FileExistsError(
            errno.EEXIST, "other processes keep removing the temporary file or folder", str(self.path)
        )

    def release(self) -> None:
        """Keep the folder and release its lock. Call this after it was renamed."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def close(self) -> None:
        """Remove the folder, except for files that cannot be removed."""
        remove_tree(self.path)
        self.release()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_abandoned(
    prefix: str, parent: Path | None = None, *, suffix: str = "", first: Callable[[Path], object] | None = None
) -> None:
    """Remove the folders and files of this user whose processes have ended.

    Args:
        prefix: Start of their names.
        parent: The folder that contains them. The system's temporary directory if None.
        suffix: End of their names. Empty by default.
        first: Called with each path before it is removed. None by default.
    """
    for path, lock in _abandoned(prefix, parent or Path(tempfile.gettempdir()), suffix):
        try:
            if first is not None:
                first(path)
            if path.is_dir():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(lock)


def remove_tree(folder: Path) -> None:
    """Remove a folder of any depth, except for files that cannot be removed."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, stderr=subprocess.DEVNULL)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically: readers see the old or the new content, even if this process is killed.

    Several processes may replace the same file at the same time.

    Args:
        path: The file.
        content: Its new content.

    Raises:
        OSError: The file cannot be written. The old file is unchanged.
    """
    prefix, suffix = f".{path.name}.", ".new"
    remove_abandoned(prefix, path.parent, suffix=suffix)
    for _ in range(_TRIES):
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file, contextlib.suppress(BlockingIOError, FileNotFoundError):
                lock = _locked(beside)
                try:
                    file.write(content)
                    file.close()
                    beside.replace(path)
                finally:
                    if lock is not None:
                        os.close(lock)
                return
        finally:
            beside.unlink(missing_ok=True)
    raise FileExistsError(errno.EEXIST, "other processes keep removing the temporary file or folder", str(path))


def _locked(path: Path) -> int | None:
    """Lock a folder or file; return None if the platform or the file system does not support locks.

    Raises:
        BlockingIOError: Another process has the lock.
        FileNotFoundError: Another process has removed it.
    """
    if sys.platform == "win32":
        return None
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            os.close(handle)
            return None
        if not os.path.samestat(os.fstat(handle), path.lstat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(handle)
        raise
    return handle


def _abandoned(prefix: str, parent: Path, suffix: str) -> Iterator[tuple[Path, int]]:
    if sys.platform == "win32":
        return
    try:
        with os.scandir(parent) as found:
            names = [one.name for one in found if one.name.startswith(prefix) and one.name.endswith(suffix)]
    except OSError:
        return
    for name in names:
        path = parent / name
        try:
            seen = path.lstat()
            ours = seen.st_uid == os.geteuid() and (stat.S_ISDIR(seen.st_mode) or stat.S_ISREG(seen.st_mode))
            lock = _locked(path) if ours else None
        except OSError:  # it is in use, was removed, or belongs to another user
            continue
        if lock is not None:
            yield path, lock
