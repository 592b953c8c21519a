"""Test SeaweedFS as a child process: it serves, keeps its data, and leaves no files or processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from mme_sdk.errors import ConfigurationError
from mme_sdk.local import processes
from mme_sdk.local.storage import s3 as s3_module
from mme_sdk.local.storage.s3 import S3Server


def client(server: S3Server, secret: str = "sk"):
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="AK",
        aws_secret_access_key=secret,
    )


def server(folder: Path, **more) -> S3Server:
    return S3Server(folder, access_key="AK", secret_key="sk", **more)


def sockets(ports) -> list[str]:
    return [str(p) for port in ports for p in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_objects_survive_kill_9_and_another_port(tmp_path):
    with server(tmp_path) as s3:
        client(s3).create_bucket(Bucket="kept")
        client(s3).put_object(Bucket="kept", Key="a/b", Body=b"bytes")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client(s3, "wrong").list_buckets()
        first_port, ports, pid = s3.port, list(s3._ports.values()), s3.pid
        os.kill(pid, signal.SIGKILL)
    assert not alive(pid)
    assert sockets(ports) == []
    with server(tmp_path) as s3:
        assert s3.port != first_port
        assert client(s3).get_object(Bucket="kept", Key="a/b")["Body"].read() == b"bytes"
        ports, pid = list(s3._ports.values()), s3.pid
    assert not alive(pid)
    assert sockets(ports) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", s3.port)).close()


def test_a_taken_port_names_the_fix(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="another s3_port"):
            server(tmp_path, port=taken.getsockname()[1]).start()


def test_a_folder_with_a_comma_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="comma"):
        server(tmp_path / "a,b").start()


def test_a_program_that_ends_at_once_is_reported_with_its_words(tmp_path):
    (tmp_path / "filerldb2").write_text("in the way of the folder that SeaweedFS wants")
    s3 = server(tmp_path, start_timeout=20)
    with pytest.raises(ConfigurationError, match=r"SeaweedFS (exited|did not answer)"):
        s3.start()
    assert s3.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the record is used")
def test_it_dies_with_a_host_that_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from mme_sdk.local.storage.s3 import S3Server\n"
        f"s3 = S3Server(Path({str(tmp_path)!r}), access_key='AK', secret_key='sk').start()\n"
        "print(s3.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as host:
        pid = int(host.stdout.readline())
        assert alive(pid)
        gone = os.pidfd_open(pid)
        host.kill()
    import select

    assert select.select([gone], [], [], 10)[0]
    os.close(gone)
    ports = json.loads((tmp_path / "weed.json").read_text())["ports"]
    assert sockets(ports) != []
    with server(tmp_path, keep=False):  # the next server with the same folder removes it
        assert sockets(ports) == []


def test_sockets_that_a_killed_host_left_are_swept_once_they_are_old(tmp_path):
    left, fresh = (Path(f"/tmp/seaweedfs-test-{os.getpid()}-{age}.sock") for age in ("old", "new"))
    for path in (left, fresh):
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    os.utime(left, (0, 0))
    with server(tmp_path, keep=False):
        assert not left.exists()
        assert fresh.exists()
    fresh.unlink()


@pytest.fixture
def left_socket():
    """Create a socket like one that a SeaweedFS of this port left."""
    path = Path(f"/tmp/seaweedfs-test-{os.getpid()}-1.sock")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    yield path
    path.unlink(missing_ok=True)


def test_ports_are_known_until_their_sockets_are_removed(tmp_path, monkeypatch, left_socket):
    processes.record_process(tmp_path / "weed.json", 2**22 + 1, "nobody", ports=[1])

    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(s3_module, "_remove_sockets", killed)
        with pytest.raises(KeyboardInterrupt):
            server(tmp_path).start()
    with server(tmp_path, keep=False):
        assert not left_socket.exists()


def test_ports_are_known_before_the_process_that_takes_them(tmp_path, monkeypatch, left_socket):
    class Killed(Exception):
        pass

    def spawned(*_, **__):
        raise Killed

    monkeypatch.setattr(s3_module.subprocess, "Popen", spawned)
    one = server(tmp_path)
    with pytest.raises(Killed):
        one.spawn()
    assert json.loads((tmp_path / "weed.json").read_text())["ports"] == sorted(one._ports.values())
    assert processes.kill_recorded(tmp_path / "weed.json")["ports"] == sorted(one._ports.values())


@pytest.mark.parametrize("way", ["at its stop", "at its next start"])
def test_the_sockets_of_a_seaweedfs_that_took_the_port_of_another_stay(tmp_path, monkeypatch, s3_server, way):
    """Ports are free once a SeaweedFS has ended, and another one may get them before its sockets are removed."""
    ports = list(s3_server._ports.values())
    expected = sockets(ports)
    assert len(expected) == 5
    one = server(tmp_path)
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as ended:
        pass
    if way == "at its stop":
        one._ports, one._process = s3_server._ports, ended
        one.stop()
    else:
        processes.record_process(tmp_path / "weed.json", ended.pid, str(tmp_path), ports=ports)
        monkeypatch.setattr(s3_module.subprocess, "Popen", lambda *_, **__: ended)
        one.spawn()
    assert sockets(ports) == expected


def test_a_recorded_process_is_ended_at_the_next_start_but_no_other(tmp_path):
    path = tmp_path / "record.json"
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()", "the-mark"]
    with subprocess.Popen(sleeper, stdin=-1) as child:
        processes.record_process(path, child.pid, "another-mark")
        processes.kill_recorded(path)
        assert child.poll() is None
        processes.record_process(path, child.pid, "the-mark", ports=[1])
        assert processes.kill_recorded(path)["ports"] == [1]
        assert child.wait(60) == -signal.SIGKILL
    assert processes.kill_recorded(path)["ports"] == [1]  # kept until the record is removed
    processes.remove_record(path)
    assert processes.kill_recorded(path) is None
