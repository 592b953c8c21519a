"""Runs one job in a process of its own against an endpoint, watches its workers, and says what the host saw."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import psutil
from endpoint import Measured, Setup, running

_EVERY = 0.5  # seconds between two looks at the workers


@attrs.define
class Watch:
    """The workers of a job: the processes that have connections to the endpoint.

    Attributes:
        cpu: For each look, its time, and the seconds of CPU that the job has taken.
        memory: For each look, the number of rows that were answered, and the largest resident memory of a worker.
        killed: The number of rows that were answered when a worker was killed, or None.
    """

    cpu: list[tuple[float, float]] = attrs.field(factory=list)
    memory: list[tuple[int, int]] = attrs.field(factory=list)
    killed: int | None = None
    _workers: dict[psutil.Process, None] = attrs.field(factory=dict)

    def look(self, job: int, endpoint: Measured, kill_after: int | None) -> None:
        """Note the memory of the workers, and kill one of them if enough rows were answered."""
        running = psutil.Process(job).children(recursive=True)
        for one in running:
            if one not in self._workers and _calls(one, endpoint.port):
                self._workers[one] = None
        workers = [one for one in self._workers if one.is_running()]
        rows = sum(rows for rows, _ in endpoint.calls())
        self.cpu.append((time.time(), sum(map(_seconds, [psutil.Process(job), *running]))))
        sizes = [size for one in workers if (size := _memory(one))]
        if sizes:
            self.memory.append((rows, max(sizes)))
        if workers and kill_after is not None and self.killed is None and rows >= kill_after:
            workers[0].send_signal(signal.SIGKILL)
            self.killed = rows


def _calls(process: psutil.Process, port: int) -> bool:
    try:
        return any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp"))
    except psutil.Error:
        return False


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _seconds(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0


def measure(setup: Setup, job: list[str], *, kill_after: int | None = None, limit: float = 600.0) -> dict[str, Any]:
    """Return what a job printed, what the host counted, and the memory of the workers.

    Args:
        setup: The endpoint.
        job: The arguments of `job.py`.
        kill_after: Number of answered rows after which a worker is killed. None: none is.
        limit: Seconds for the job.
    """
    command = [sys.executable, str(Path(__file__).with_name("job.py")), *job]
    with running(setup) as endpoint, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        environment = os.environ | endpoint.host.environ()
        watch = Watch()
        with subprocess.Popen(command, stdout=out, stderr=errors, env=environment, start_new_session=True) as process:
            try:
                left = limit
                while process.poll() is None:
                    watch.look(process.pid, endpoint, kill_after)
                    left -= _EVERY
                    if left < 0:
                        raise TimeoutError(f"the job did not end within {limit:g} seconds: {job}")
                    try:
                        process.wait(_EVERY)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"the job failed: {job}\n{errors.read().decode()[-3000:]}")
        found: dict[str, Any] = json.loads(out.read().splitlines()[-1])
        calls = endpoint.calls()
        found |= {"loads": endpoint.loads(), "calls": len(calls), "rows": sum(rows for rows, _ in calls)}
        found |= {"killed": watch.killed, "wall": found["ended"] - found["ready"]}
        found |= {"before": calls[0][1] - found["ready"], "after": found["ended"] - calls[-1][1]}
        found["calling"] = calls[-1][1] - calls[0][1]
        if setup.rate is not None:
            found["throttled"], found["sent"] = endpoint.throttled()
    total = max(1, found["rows"])
    found["memory"] = {
        share: max((size for rows, size in watch.memory if rows <= share / 100 * total), default=0)
        for share in (10, 25, 50, 100)
    }
    begins, ends = (
        max((cpu for at, cpu in watch.cpu if at <= until), default=0.0)
        for until in (found["ready"], found["ready"] + found["before"])
    )
    found["cpu_before"] = ends - begins
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("given", help="JSON: setup, job, kill_after")
    given = json.loads(parser.parse_args().given)
    print(json.dumps(measure(Setup(**given["setup"]), given["job"], kill_after=given.get("kill_after"))))


if __name__ == "__main__":
    main()
