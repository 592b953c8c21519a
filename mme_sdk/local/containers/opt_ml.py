"""Run a program that finds the folder of its model at `/opt/ml/model`, as in a container of SageMaker.

The folder is mounted in a mount namespace of the program; other processes do not see it. This file imports nothing of
the package: it also runs as a script: `python -I -S opt_ml.py FOLDER PROGRAM ARGUMENT…`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["MODEL", "enter", "mounted", "obstacle"]

MODEL = "/opt/ml/model"
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_DEATH_SIGNAL = 1


def mounted(words: Sequence[str], folder: Path) -> list[str]:
    """Return the command line that runs a program with a folder mounted at `/opt/ml/model`.

    Args:
        words: Program and arguments.
        folder: The folder.
    """
    return [sys.executable, "-I", "-S", __file__, str(folder), *words]


@functools.cache
def obstacle() -> str | None:
    """Return why this machine cannot mount a folder at `/opt/ml/model`; None if it can. Starts a process."""
    if sys.platform != "linux":
        return f"{sys.platform} has no mount namespaces"
    with tempfile.TemporaryDirectory() as folder:
        words = mounted([sys.executable, "-I", "-S", "-c", ""], Path(folder))
        tried = subprocess.run(words, capture_output=True, text=True, check=False)
    return tried.stderr.strip() or f"exit status {tried.returncode}" if tried.returncode else None


def enter(folder: str, *, user_namespace: bool) -> None:
    """Move this process to a new mount namespace in which a folder is mounted at `/opt/ml/model`.

    Args:
        folder: The folder.
        user_namespace: Whether to create a user namespace too. Users other than root need it for the right to mount.

    Raises:
        OSError: The kernel refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _checked(libc.unshare(_NEW_MOUNTS | (_NEW_USER if user_namespace else 0)), "unshare")
    if user_namespace:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount(libc, "none", "/", _RECURSIVE | _PRIVATE)  # so that the host does not see the mounts
    above = Path(MODEL)
    while not above.is_dir():
        above = above.parent
    if above != Path(MODEL):
        _make_writable(libc, str(above))
        Path(MODEL).mkdir(parents=True)
    _mount(libc, folder, MODEL, _BIND | _RECURSIVE)
    os.chdir(os.getcwd())  # noqa: PTH109 - the path can be on one of the new mounts


def _make_writable(libc: ctypes.CDLL, folder: str) -> None:
    """Mount an empty file system over a folder, and mount everything that was in the folder into it."""
    kept = [(one, os.open(one.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)) for one in os.scandir(folder)]
    links = {one.path: os.readlink(one.path) for one, _ in kept if one.is_symlink()}  # noqa: PTH115
    _mount(libc, "tmpfs", folder, 0, "tmpfs", "mode=755")
    for one, descriptor in kept:
        if one.is_symlink():
            Path(one.path).symlink_to(links[one.path])
        else:
            if one.is_dir(follow_symlinks=False):
                Path(one.path).mkdir()
            else:
                Path(one.path).touch()
            _mount(libc, f"/proc/self/fd/{descriptor}", one.path, _BIND | _RECURSIVE)
        os.close(descriptor)


def _mount(libc: ctypes.CDLL, source: str, target: str, flags: int, kind: str | None = None, data: str = "") -> None:
    done = libc.mount(
        source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    _checked(done, f"mount on {target}")


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _main() -> None:
    folder, program = sys.argv[1], sys.argv[2:]
    parent = os.getppid()
    try:
        enter(folder, user_namespace=os.geteuid() != 0)
    except OSError as error:
        sys.exit(str(error.strerror))
    # A new user namespace can remove the signal that the host has set.
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    try:
        os.execvp(program[0], program)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()
