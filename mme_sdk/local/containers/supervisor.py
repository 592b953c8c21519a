"""Runs a server that knows nothing of its host, and takes it along when the host goes."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from mme_sdk.local import processes as children
from mme_sdk.local.containers import descendants as offspring

__all__ = ["tethered"]

_GRACE = 3.0  # seconds from SIGTERM to SIGKILL, less than the host itself gives


def tethered(argv: Sequence[str], environment: Mapping[str, str], *, scratch: str | None = None) -> int:
    """Run a program until it ends, SIGTERM comes or standard input ends; then end it with all that it started.

    The caller must be the leader of its process group, as containers of the host are.

    Args:
        argv: Program and arguments.
        environment: Its environment.
        scratch: A folder to delete at the end.

    Returns:
        Its exit status; 0 where it was told to end.
    """
    offspring.adopt()
    held, guard = _guard(scratch)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    process = subprocess.Popen(children.die_with_parent(argv), env=dict(environment), stdin=subprocess.DEVNULL)
    watched = [read, sys.stdin.fileno()]
    try:
        while process.poll() is None and not told:
            ready, _, _ = select.select(watched, [], [])
            if read in ready:
                os.read(read, 512)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 512):
                told.append(0)
        ended = process.poll()
        children.stop_process(process, grace=_GRACE)
        return 0 if ended is None else ended
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(held)
        offspring.end_all({guard})


def _guard(scratch: str | None) -> tuple[int, int]:
    """Start a process that ends this one's group once this one is gone, be it by SIGKILL.

    Returns:
        A descriptor, held open as long as the group may live, and the guard's process id.
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
