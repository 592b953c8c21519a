"""A server that knows nothing of its host takes along all that it has started."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

SERVER = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
print(*pids, flush=True)
time.sleep(3600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process its orphaned descendants")
def test_processes_that_left_the_group_of_a_server_end_with_it() -> None:
    program = (
        "import sys; from mme_sdk.local.containers.supervisor import tethered; sys.exit(tethered(sys.argv[1:], {}))"
    )
    words = [sys.executable, "-c", program, sys.executable, "-c", SERVER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as tether:
        assert tether.stdin is not None
        assert tether.stdout is not None
        pids = [int(one) for one in tether.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(psutil.pid_exists, pids))
        tether.stdin.close()
        assert tether.wait(60) == 0
    assert not any(map(psutil.pid_exists, pids))
