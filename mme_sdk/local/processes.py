"""Start and stop child processes that end when their host ends, even if SIGKILL ends it."""

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

# Runs in the child before the program. PR_SET_PDEATHSIG survives exec. A preexec_fn is not safe in a threaded process.
_LAUNCHER = (
    "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,9,0,0,0);"
    "os.getppid()==int(sys.argv[1]) or os._exit(1);os.execvp(sys.argv[2],sys.argv[2:])"
)


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """Return a command line that runs a program which Linux kills when this process ends.

    Linux kills the child when the *thread* that started it ends. Start children from a thread that lives as long as the
    host, such as the thread of its event loop. On other systems the command line is unchanged: call `record_process`
    after the start, and `kill_recorded` at the next start of the host.

    Args:
        argv: Program and arguments.

    Returns:
        The command line to start.
    """
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *argv]


def stop_process(process: subprocess.Popen[bytes], *, grace: float = 2.0) -> None:
    """Stop a child process and wait until it has ended.

    Args:
        process: The child.
        grace: Seconds between SIGTERM and SIGKILL. 0 sends SIGKILL at once.
    """
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
    """Write a file that lets the next host kill this child if the current host is killed.

    Args:
        path: File to write.
        pid: Process id of the child; None before it is started.
        mark: Text that the child's command line contains. It shows whether another process has the same id now.
        facts: Further values to store.

    Raises:
        StorageError: The file cannot be written.
    """
    disk.write_atomically(path, json.dumps({"pid": pid, "mark": mark, **facts}).encode())


def kill_recorded(path: Path, *, sleep: Callable[[float], None] = time.sleep) -> dict[str, object] | None:
    """Kill the child that an earlier host recorded, if it still runs. The file is kept.

    Args:
        path: File that `record_process` wrote.
        sleep: Function that waits for a number of seconds.

    Returns:
        The recorded values; None if the file does not exist or is damaged.
    """
    try:
        facts: dict[str, object] = json.loads(path.read_text())
        pid = None if facts["pid"] is None else int(str(facts["pid"]))
        mark = str(facts["mark"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if pid is not None and _is_running(pid, mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            if not _is_running(pid, mark):
                break
            sleep(0.05)
    return facts


def remove_record(path: Path) -> None:
    """Remove a file that `record_process` wrote, if it exists."""
    path.unlink(missing_ok=True)


def _is_running(pid: int, mark: str) -> bool:
    if Path("/proc/self/cmdline").exists():  # on Linux, where slim container images have no `ps`
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return mark in command.replace(b"\0", b" ").decode(errors="replace")  # a zombie has an empty command line
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return mark in listed.stdout and "<defunct>" not in listed.stdout
