"""Child processes that cannot outlive their host, not even when it is killed with SIGKILL."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mme_sdk.local.storage import disk

__all__ = ["die_with_parent", "kill_recorded", "record_process", "remove_record", "stop_process"]

# Runs in the child before the program. PR_SET_PDEATHSIG survives exec; a preexec_fn would not be safe among threads.
_LEASH = (
    "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,9,0,0,0);"
    "os.getppid()==int(sys.argv[1]) or os._exit(1);os.execvp(sys.argv[2],sys.argv[2:])"
)


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """The command line that runs a program so that it dies with this process.

    Linux kills the child when the *thread* that started it ends, so start children from a thread that lives as long as
    the host (its event loop's). Elsewhere there is no such call: `record` it, `kill_recorded` at the next start.

    Args:
        argv: Program and arguments.

    Returns:
        The command line to start.
    """
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *argv]


def stop_process(process: subprocess.Popen[bytes], *, grace: float = 2.0) -> None:
    """End a child: SIGTERM, after `grace` seconds (at once where 0) SIGKILL; returns when it is gone."""
    if process.poll() is None and not grace:
        process.kill()
    elif process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def record_process(path: Path, pid: int | None, mark: str, **facts: object) -> None:
    """Write down a child, so that a later host can end it if this one is killed.

    Args:
        path: File to write.
        pid: Its process id; None before it is started.
        mark: Text that its command line contains, so that a reused id is not mistaken for it.
        facts: Anything else to remember.

    Raises:
        StorageError: The file cannot be written.
    """
    disk.write_atomically(path, json.dumps({"pid": pid, "mark": mark, **facts}).encode())


def kill_recorded(path: Path, *, sleep: Callable[[float], None] = time.sleep) -> dict[str, object] | None:
    """End the child that an earlier host recorded and left behind, if it still runs; the record stays.

    Args:
        path: File that `record` wrote.
        sleep: Waits.

    Returns:
        What was recorded; None where nothing was.
    """
    try:
        facts: dict[str, object] = json.loads(path.read_text())
        pid = None if facts["pid"] is None else int(str(facts["pid"]))
        mark = str(facts["mark"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if pid is not None and _runs(pid, mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            if not _runs(pid, mark):
                break
            sleep(0.05)
    return facts


def remove_record(path: Path) -> None:
    """Remove a record."""
    path.unlink(missing_ok=True)


def _runs(pid: int, mark: str) -> bool:
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return mark in listed.stdout and "<defunct>" not in listed.stdout
