"""Test that the host answers while thousands of idle connections are open."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from tests.support.paths import ROOT

PROGRAM = """
import sys; sys.path.insert(0, {tests!r})
from tests.support.local.fakes import FakeHosting
from mme_sdk.local.__main__ import allow_many_connections
from mme_sdk.local import LocalSageMaker
allow_many_connections()
with LocalSageMaker(hosting=FakeHosting) as host:
    print(host.port, host.credentials.access_key, host.credentials.secret_key, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def many_files(count: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"this machine allows {hard} open files, {count} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_idle_connections(count):
    program = PROGRAM.format(tests=str(ROOT))
    with (
        many_files(count + 200),
        contextlib.ExitStack() as held,
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as child,
    ):
        held.callback(child.kill)
        port, access_key, secret_key = child.stdout.readline().split()
        sm = boto3.client(
            "sagemaker",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )
        held.callback(sm.close)
        sm.list_models()
        before = resident(child.pid)
        for number in range(count):
            idle = held.enter_context(socket.create_connection(("127.0.0.1", int(port))))
            if number % 2:
                idle.sendall(b"POST / HTTP/1.1\r\nHost: ")  # half of them stop in the middle of a request
        assert sm.list_models()["Models"] == []
        assert (resident(child.pid) - before) / count < 50_000
        child.stdin.close()
        assert child.wait(60) == 0
