"""Temporary folders and files that are removed even if the process that made them was killed.

The process holds a lock on each while it uses it. The system frees the lock when the process ends, whatever ends it.
The next process that makes one of the same kind removes those that nobody holds.
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
    """A new folder of this process, open to its user alone; usable as a context manager.

    Args:
        prefix: Start of its name, which says what it is for; abandoned ones of this prefix are removed.
        parent: Where to make it; the system's folder for temporary files where None.

    Attributes:
        path: The folder.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        remove_abandoned(prefix, parent)
        for _ in range(_TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            with contextlib.suppress(BlockingIOError, FileNotFoundError):  # it was taken for an abandoned one
                self._lock = _locked(self.path)
                return
        raise FileExistsError(errno.EEXIST, "other processes remove it as soon as it is made", str(self.path))

    def release(self) -> None:
        """Leave the folder as it is: it is used under another name now."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def close(self) -> None:
        """Remove it; what cannot be removed stays."""
        remove_tree(self.path)
        self.release()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_abandoned(
    prefix: str, parent: Path | None = None, *, suffix: str = "", first: Callable[[Path], object] | None = None
) -> None:
    """Remove the folders and files of this user that processes which are gone have left.

    Args:
        prefix: Start of their names.
        parent: Where they are; the system's folder for temporary files where None.
        suffix: End of their names.
        first: Called with each before it is removed.
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
    """Remove a folder, however deep what was written into it is; what cannot be removed stays."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, stderr=subprocess.DEVNULL)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file so that readers find the old or the new content, also after a kill; any number may write.

    Args:
        path: The file.
        content: All of it.

    Raises:
        OSError: It cannot be written; the old file is unchanged.
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
    raise FileExistsError(errno.EEXIST, "other processes remove it as soon as it is made", str(path))


def _locked(path: Path) -> int | None:
    """Lock a folder or file; None where the platform or the file system has no locks.

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
        except OSError:  # it is in use, gone, or not ours to read
            continue
        if lock is not None:
            yield path, lock
