"""Processes that are not children of the test: which there are, and waiting for their end without polling."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterable

import psutil

__all__ = ["in_sessions", "signal_asleep", "wait_for_exit", "wait_until_gone"]

LIMIT = 300.0  # seconds; only a process that never ends takes that long


def in_sessions(sessions: Collection[int]) -> list[int]:
    """The process ids of all that runs in some sessions; zombies do not run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def signal_asleep(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a Python process once its main thread sleeps in the kernel.

    Python looks for signals between two bytecodes. One that arrives after the last look before a blocking call does not
    end that call, so a test whose signal has to end a call waits until the thread is in it.
    """
    watched = psutil.Process(process.pid)
    while watched.status() not in (psutil.STATUS_SLEEPING, psutil.STATUS_ZOMBIE):
        time.sleep(0)
    process.send_signal(number)


def wait_for_exit(pids: Iterable[int], limit: float = LIMIT) -> None:
    """Block until processes have ended.

    Raises:
        AssertionError: One still runs after `limit` seconds.
    """
    end = time.monotonic() + limit
    for pid in pids:
        try:
            if hasattr(os, "pidfd_open"):
                descriptor = os.pidfd_open(pid)
                try:
                    ended, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
                finally:
                    os.close(descriptor)
            else:
                ended = psutil.wait_procs([psutil.Process(pid)], max(0.0, end - time.monotonic()))[0]
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
        assert ended, f"process {pid} still runs"


def wait_until_gone(pids: Iterable[int], limit: float = LIMIT) -> None:
    """Block until no process has any of these ids, not even a zombie.

    Raises:
        AssertionError: One still exists after `limit` seconds.
    """
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, left = psutil.wait_procs(processes, timeout=limit)
    assert not left, f"processes {left} still exist"
