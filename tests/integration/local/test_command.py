"""Test `python -m mme_sdk.local` with real processes: SIGKILL, restart and invalid options."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from mme_sdk import MMEClient
from mme_sdk.errors import DeadlineError, MMEError, TransportError
from tests.support.local.helpers import archive, make_endpoint, settle
from tests.support.local.waiting import wait_until


def start(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "mme_sdk.local", "--port", "0", "--data-dir", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen]:
    """Start a host, and kill it if the test fails."""
    with start(folder, *options) as host:
        try:
            yield host
        except BaseException:
            host.kill()
            raise


def printed(host: subprocess.Popen) -> dict[str, str]:
    found = {}
    for line in host.stdout:
        if line.startswith("#"):
            break
        name, value = re.fullmatch(r"export (\w+)=(.+)\n", line).groups()
        found[name] = value
    return found


def clients(environment: dict[str, str]):
    session = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
    )
    for service in ("sagemaker", "sagemaker-runtime", "s3"):
        url = environment["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"]
        yield session.client(service, endpoint_url=url)


def family(pid: int) -> list[int]:
    """Return all descendants of a process."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return children + [one for child in children for one in family(child)]


def running(pids: list[int]) -> list[int]:
    def state(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return "gone"

    return [pid for pid in pids if state(pid) not in ("gone", "Z", "X")]


def ask(runtime) -> bytes:
    answer = runtime.invoke_endpoint(
        EndpointName="kept", TargetModel="double.tar.gz", ContentType="application/json", Body=b"[1, 2]"
    )
    return answer["Body"].read()


def under_load(environment: dict[str, str], kill) -> None:
    """Kill the host during requests. Each request succeeds or raises an MMEError."""
    session = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
    )
    addresses = {"*": environment["AWS_ENDPOINT_URL"], "s3": environment["AWS_ENDPOINT_URL_S3"]}
    under_way = threading.Barrier(5)

    def ask_until_it_fails(_: int) -> MMEError:
        endpoint = client.endpoint("kept")
        for turn in range(100_000):
            if turn == 5:
                under_way.wait(60)
            try:
                assert endpoint.invoke([1, 2], model="double.tar.gz", deadline=15).json() == [2, 4]
            except MMEError as error:
                return error
        raise AssertionError("the host was not killed")

    with MMEClient(session=session, endpoint_url=addresses) as client, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_until_it_fails, number) for number in range(4)]
        under_way.wait(60)
        kill()
        errors = [one.result(60) for one in asking]
    assert all(isinstance(error, (TransportError, DeadlineError)) for error in errors), errors


def test_a_killed_host_takes_all_its_processes_along_and_serves_again_after_a_restart(tmp_path):
    with started(tmp_path, "--set", "provisioning=0.2") as host:
        environment = printed(host)
        sm, runtime, s3 = clients(environment)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="prefix/double.tar.gz", Body=archive(2))
        last = make_endpoint(sm, "kept", ModelDataUrl="s3://kept/prefix/")
        assert last["EndpointStatus"] == "InService", last
        assert ask(runtime) == b"[2, 4]"
        sm.create_endpoint(EndpointName="half-made", EndpointConfigName="kept")
        pids = family(host.pid)
        assert len(pids) >= 2  # SeaweedFS and a container
        under_load(environment, lambda: host.send_signal(signal.SIGKILL))
        for client in (sm, runtime, s3):
            client.close()
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    wait_until(lambda: not running(pids), f"the end of the processes {pids}")
    with started(tmp_path) as host:
        again = printed(host)
        assert again["AWS_SECRET_ACCESS_KEY"] == environment["AWS_SECRET_ACCESS_KEY"]
        sm, runtime, s3 = clients(again)
        assert ask(runtime) == b"[2, 4]"
        now = sm.describe_endpoint(EndpointName="kept")
        for member in ("EndpointStatus", "ProductionVariants", "CreationTime", "EndpointConfigName"):
            assert now[member] == last[member]
        assert settle(sm, "half-made")[-1]["EndpointStatus"] == "InService"
        pids = family(host.pid)
        host.send_signal(signal.SIGTERM)
        assert host.wait(60) == 0
        assert running(pids) == []
        for client in (sm, runtime, s3):
            client.close()


@pytest.mark.parametrize(
    ("setting", "said"), [("provisioning=soon", "is not a number"), ("gravity=9", "the settings are provisioning")]
)
def test_nonsense_is_refused_with_the_fix(tmp_path, setting, said):
    refused(start(tmp_path, "--set", setting), said)


def test_a_taken_port_is_refused_with_the_fix(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused(start(tmp_path, "--port", str(taken.getsockname()[1])), "choose another port")


def refused(host: subprocess.Popen, said: str) -> None:
    with host:
        out, err = host.communicate(timeout=60)
    assert host.returncode == 1
    assert said in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("package", ["aiohttp", "weed"])
def test_a_missing_extra_is_named(tmp_path, package):
    hide = {
        "aiohttp": "import sys; sys.modules['aiohttp'] = None",
        "weed": "import sysconfig; sysconfig.get_path = lambda *_: '/nowhere'; import os; os.environ['PATH'] = ''",
    }[package]
    program = f"{hide}\nfrom mme_sdk.local.__main__ import main\nraise SystemExit(main(['--port', '0']))"
    command = [sys.executable, "-c", program]
    host = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    refused(host, "pip install 'mme-sdk[local]'")
