"""Run a server as a child process, and end it when the host ends."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from mme_sdk.local import processes
from mme_sdk.local.containers import descendants

__all__ = ["supervise"]

_GRACE = 3.0  # seconds from SIGTERM to SIGKILL after the host has ended


def supervise(argv: Sequence[str], environment: Mapping[str, str], *, scratch: str | None = None) -> int:
    """Run a program until it ends, SIGTERM arrives or standard input ends. Then kill its descendants.

    SIGTERM is passed on to the program, which then ends by itself, or with this process when the host kills this one.
    After the end of standard input the program has 3 seconds to end.

    The calling process must be the leader of its process group, as containers of the host are.

    Args:
        argv: Program and arguments.
        environment: Environment of the program.
        scratch: Folder to delete at the end.

    Returns:
        Exit status of the program; 0 if it was stopped.
    """
    descendants.adopt()
    held, guard = _guard(scratch)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    process = subprocess.Popen(processes.die_with_parent(argv), env=dict(environment), stdin=subprocess.DEVNULL)
    watched = [read, sys.stdin.fileno()]
    try:
        informed = False
        while process.poll() is None:
            if stops and not informed:
                process.terminate()
                informed = True
            ready, _, _ = select.select(watched, [], [])
            if read in ready:
                os.read(read, 512)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 512):
                stops.append(0)
                break
        ended = process.poll()
        processes.stop_process(process, grace=_GRACE)
        return 0 if ended is None or stops else ended
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(held)
        descendants.kill_and_reap_children({guard})


def _guard(scratch: str | None) -> tuple[int, int]:
    """Start a process that kills the process group of this process once this process has ended, even by SIGKILL.

    Returns:
        A file descriptor whose end closes when this process ends, and the id of the guard process.
    """
    watched, held = os.pipe()
    group = os.getpid()
    guard = os.fork()
    if guard:
        os.close(watched)
        return held, guard
    os.setsid()
    os.close(held)
    while os.read(watched, 1):
        pass
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid="], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        pid, of_group = map(int, line.split())
        if of_group == group and pid != group:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)
