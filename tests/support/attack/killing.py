"""Forks processes that end with SIGKILL at a chosen step, and waits until nothing of them is left.

Reads orders from standard input, one JSON object a line, and answers each with one line. The modules are imported once;
each process is a fork. What a killed process leaves running becomes a child of this one: without children nothing is
left.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

sys.path.insert(0, str(Path(__file__).parents[3]))

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_LIMIT = 60.0  # seconds that only a hang would take
CALLS = {
    *("connect", "send", "sendall", "recv", "recv_into", "fork_exec", "flock", "execute", "commit", "open", "read"),
    *("readinto", "pread", "write", "flush", "fsync", "truncate", "replace", "rename", "unlink", "rmdir", "mkdir"),
}


class Steps:
    """Counts the calls into the system of all threads, before and after each; at a chosen one the process ends.

    Args:
        at: The step of the end; None for no end.
    """

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.seen = 0

    def watch(self, _: FrameType, event: str, called: Any) -> None:
        """The profile function."""
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in CALLS:
            self.seen += 1
            if self.seen == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def start(self) -> None:
        """Count from now on, in this thread and those that start later."""
        threading.setprofile(self.watch)
        sys.setprofile(self.watch)


def say(**facts: Any) -> None:
    """Add a line to the report; it is there at once, whatever happens to this process."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def client(order: dict[str, Any], steps: Steps) -> None:
    """Do one piece of work of a client."""
    from tests.support.attack import kill_scenarios

    kill_scenarios.prepare(order)
    steps.start()
    kill_scenarios.SCENARIOS[order["scenario"]](order)
    sys.setprofile(None)
    say(steps=steps.seen)


def host(order: dict[str, Any], steps: Steps) -> None:
    """Be `python -m mme_sdk.local`; SIGUSR1 sets the step of the end anew, counted from then on."""
    import attrs

    from mme_sdk.local import __main__ as command
    from tests.support.hosting.harness import BARE

    def printed(*words: Any, **more: Any) -> None:
        print(*words, **more)
        say(started=steps.seen)

    def again(*_: Any) -> None:
        steps.seen, steps.at = 0, order["work_at"]

    signal.signal(signal.SIGUSR1, again)
    command._images = lambda _: {"bare": attrs.evolve(BARE, isolated=True)}  # starts in a fraction of the time
    command.print = printed  # type: ignore[attr-defined]
    steps.start()
    sys.exit(command.main(order["arguments"]))


def forked(order: dict[str, Any]) -> int:
    """Start one process."""
    pid = os.fork()
    if not pid:
        _child(order)
    return pid


def _child(order: dict[str, Any]) -> NoReturn:
    status = 1
    try:
        report = os.open(order["report"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(report, 1)
        os.dup2(report, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        {"client": client, "host": host}[order["run"]](order, Steps(order["at"]))
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - it ends here
        traceback.print_exc()
    os._exit(status)


def left_of(limit: float) -> list[str]:
    """What lives on below this process when the time is over; each is killed."""
    end = time.monotonic() + limit
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid and (
                time.monotonic() >= end or not signal.sigtimedwait([signal.SIGCHLD], max(0.0, end - time.monotonic()))
            ):
                break
        left = psutil.Process().children(recursive=True)
        said = [f"{one.pid} {one.status()} {' '.join(one.cmdline())}" for one in left]
        for one in left:
            one.kill()
        return said
    except ChildProcessError:
        return []
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def main() -> None:
    """Serve orders."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    import boto3  # noqa: F401

    import mme_sdk.local.async_inference
    import mme_sdk.local.control
    import mme_sdk.local.host
    import mme_sdk.local.hosting
    import mme_sdk.local.http.server  # noqa: F401
    from tests.support.attack import kill_scenarios  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer: dict[str, Any] = {"status": os.waitstatus_to_exitcode(status), "left": left_of(_LIMIT)}
        else:
            answer = {"pid": forked(order)}
        print(json.dumps(answer), flush=True)
    left_of(0.0)  # a test failed and left a process


if __name__ == "__main__":
    main()
