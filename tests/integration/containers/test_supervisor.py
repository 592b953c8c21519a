"""The supervisor ends a server with all processes that it has started."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

SERVER = """
import os, signal, subprocess, sys
sleep = [sys.executable, "-c", "import signal; signal.pause()"]
pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
print(*pids, flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process its orphaned descendants")
def test_processes_that_left_the_group_of_a_server_end_with_it() -> None:
    program = (
        "import sys; from mme_sdk.local.containers.supervisor import supervise; sys.exit(supervise(sys.argv[1:], {}))"
    )
    words = [sys.executable, "-c", program, sys.executable, "-c", SERVER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as supervisor:
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        pids = [int(one) for one in supervisor.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(psutil.pid_exists, pids))
        supervisor.stdin.close()
        assert supervisor.wait(60) == 0
    assert not any(map(psutil.pid_exists, pids))
