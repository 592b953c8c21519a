"""Nothing that a host listens on serves a client without its keys."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from mme_sdk.local.containers import multi_model_server
from mme_sdk.local.storage import tls as s3_guard
from mme_sdk.local.storage.s3 import S3Server
from tests.support.attack import sweep
from tests.support.attack.sweep import BUCKET, KEY, SECRET, UNNAMED, Listener
from tests.support.local.helpers import archive, make_endpoint

OUTSIDE = Path(os.environ.get("MME_CONTAINERS_PYTHON", ".venv-containers/bin/python")).absolute()


class Host:
    """An embedded SageMaker in a process of its own, with one object in S3 and one model loaded."""

    def __init__(self, folder: Path, *more: str) -> None:
        arguments = ["--port", "0", "--data-dir", str(folder), *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mme_sdk.local", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # every refused request may be logged there
            text=True,
        )
        said: dict[str, str] = {}
        assert self.process.stdout is not None
        while not (line := self.process.stdout.readline()).startswith("# ready"):
            assert line, "the host ended"
            name, _, value = line.removeprefix("export ").strip().partition("=")
            said[name] = value
        self.session = boto3.Session(said["AWS_ACCESS_KEY_ID"], said["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
        self.url, self.s3_url = said["AWS_ENDPOINT_URL"], said["AWS_ENDPOINT_URL_S3"]
        self.s3 = self.session.client("s3", endpoint_url=self.s3_url)
        self.pid = self.process.pid

    def serve(self) -> None:
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_object(Bucket=BUCKET, Key=KEY, Body=SECRET)
        self.s3.put_object(Bucket=BUCKET, Key=UNNAMED, Body=SECRET)
        self.s3.put_object(Bucket=BUCKET, Key="served/three.tar.gz", Body=archive(3))
        sagemaker = self.session.client("sagemaker", endpoint_url=self.url)
        make_endpoint(sagemaker, "served", ModelDataUrl=f"s3://{BUCKET}/served/")
        sagemaker.close()

    def invoke(self) -> bytes:
        runtime = self.session.client("sagemaker-runtime", endpoint_url=self.url)
        answer = runtime.invoke_endpoint(
            EndpointName="served", TargetModel="three.tar.gz", ContentType="application/json", Body=b"[2]"
        )["Body"].read()
        runtime.close()
        return answer

    def content(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        return {one["Key"]: self.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed}

    def close(self) -> None:
        self.s3.close()
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swept") / "data"


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    host = Host(folder)
    try:
        host.serve()
        assert host.invoke() == b"[6]"
        yield host
    finally:
        host.close()


def part(host: Host, listener: Listener) -> str:
    if listener.port == int(host.url.rpartition(":")[2]):
        return "host"
    if listener.port == int(host.s3_url.rpartition(":")[2]) or f"-s3.port={listener.port} " in f"{listener.command} ":
        return "s3"  # the listener of the host, and that of SeaweedFS behind it
    return "container" if "mme_sdk.local.containers" in listener.command else "seaweedfs"


def excused(kind: str, address: str | Path, attempt: bytes, fault: str) -> bool:
    """SeaweedFS's S3 says that it is alive, and gives errors outside a bucket CORS headers: neither shows anything."""
    if kind != "s3" and not str(address).endswith("s3.sock"):
        return False
    target = attempt.split(b" ", 2)[1].decode()
    if target == "/status":
        return "CORS" in fault or "answers 200" in fault
    return "CORS" in fault and not target.startswith(f"/{BUCKET}/")


def attack(
    host: Host, *, paths: tuple[str, ...], methods: tuple[str, ...], calls: tuple[tuple[str, bytes], ...]
) -> int:
    """Try everything on every TCP listener and unix socket; how many attempts were made."""
    places: list[tuple[str, str | Path, int]] = [
        (part(host, one), one.address, one.port) for one in sweep.listeners(host.pid)
    ]
    kinds = [kind for kind, _, _ in places]
    assert {"host", "s3", "container", "seaweedfs"} <= set(kinds)
    assert kinds.count("seaweedfs") >= 9, kinds
    places += [("unix", path, 0) for path in sweep.unix_sockets(host.pid)]
    tries, faults = 0, []
    for kind, address, port in places:
        attempts = [*sweep.requests(paths, methods), *(sweep.grpc(*call) for call in calls)]
        for tls in (None, sweep.stranger(False), sweep.stranger(True)):
            for attempt in attempts[:: 1 if tls is None else 12]:  # the handshake comes before the request
                fault = sweep.success(sweep.send(address, port, attempt, tls), attempt)
                tries += 1
                if fault is not None and not excused(kind, address, attempt, fault):
                    faults.append(f"{kind} {address}:{port} {attempt[:60]!r}: {fault}")
    assert not faults, "\n".join(faults[:40])
    return tries


def unchanged(host: Host, before: dict[str, bytes]) -> None:
    assert host.content() == before
    assert before[KEY] == before[UNNAMED] == SECRET
    assert [one["Name"] for one in host.s3.list_buckets()["Buckets"]] == [BUCKET]
    assert host.invoke() == b"[6]"


def test_every_listener_is_on_loopback_and_every_unix_socket_is_closed_to_others(host: Host) -> None:
    open_to_the_network = [one for one in sweep.listeners(host.pid) if not sweep.is_loopback(one)]
    assert open_to_the_network == []
    assert sweep.unix_sockets(host.pid) != []
    assert [path for path in sweep.unix_sockets(host.pid) if sweep.others_can_connect(path)] == []


def test_no_listener_serves_a_stranger(host: Host) -> None:
    before = host.content()
    paths = ("/", "/models", "/dir/assign", "/submit", f"/buckets/{BUCKET}/{KEY}", f"/{BUCKET}/{KEY}")
    tries = attack(host, paths=paths, methods=("GET", "POST", "OPTIONS"), calls=sweep.GRPC[:3])
    assert tries > 300
    unchanged(host, before)


@pytest.mark.slow
def test_no_listener_serves_a_stranger_on_any_path(host: Host) -> None:
    before = host.content()
    tries = attack(host, paths=sweep.PATHS, methods=sweep.METHODS, calls=sweep.GRPC)
    print(f"\nsocket sweep: {tries} attempts")
    unchanged(host, before)


@pytest.mark.slow
@pytest.mark.skipif(not OUTSIDE.exists(), reason=f"{OUTSIDE} is absent: make containers")
def test_multi_model_server_listens_on_no_port(tmp_path: Path) -> None:
    host = Host(tmp_path / "data", "--image", f"python={shlex.join(multi_model_server(OUTSIDE).argv)}")
    try:
        host.serve()
        with pytest.raises(ClientError, match="Prediction failed"):  # it hands this script no bytes; the worker runs
            host.invoke()
        assert {part(host, one) for one in sweep.listeners(host.pid)} == {"host", "s3", "seaweedfs"}
        java = [path for path in sweep.unix_sockets(host.pid) if path.parent.name.startswith("mme-")]
        assert len(java) >= 2  # its own, and one of each worker
        assert [path for path in sweep.unix_sockets(host.pid) if sweep.others_can_connect(path)] == []
    finally:
        host.close()
    assert not java[0].parent.exists()


def test_s3_works_as_before_and_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    def check(server: S3Server) -> None:
        s3 = boto3.Session("AK", "sk", region_name="us-east-1").client("s3", endpoint_url=server.endpoint_url)
        assert s3.get_object(Bucket="kept", Key="large")["Body"].read() == large
        assert s3.get_object(Bucket="kept", Key="small", VersionId=version)["Body"].read() == b"1"
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.put_object(Bucket="kept", Key="small", Body=b"3", IfNoneMatch="*")
        s3.close()

    large = bytes(range(256)) * (6 << 12)  # 6 MiB: two parts
    with S3Server(tmp_path, access_key="AK", secret_key="sk") as server:
        s3 = boto3.Session("AK", "sk", region_name="us-east-1").client("s3", endpoint_url=server.endpoint_url)
        s3.create_bucket(Bucket="kept")
        s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
        version = s3.put_object(Bucket="kept", Key="small", Body=b"1")["VersionId"]
        s3.put_object(Bucket="kept", Key="small", Body=b"2")
        upload = s3.create_multipart_upload(Bucket="kept", Key="large")["UploadId"]
        cut = 5 << 20
        parts = [
            {
                "PartNumber": number,
                "ETag": s3.upload_part(Bucket="kept", Key="large", UploadId=upload, PartNumber=number, Body=body)[
                    "ETag"
                ],
            }
            for number, body in ((1, large[:cut]), (2, large[cut:]))
        ]
        s3.complete_multipart_upload(Bucket="kept", Key="large", UploadId=upload, MultipartUpload={"Parts": parts})
        s3.close()
        check(server)
    with S3Server(tmp_path, access_key="AK", secret_key="sk") as server:
        check(server)


def test_a_data_directory_of_an_edition_without_certificates_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client(server: S3Server):
        return boto3.Session("AK", "sk", region_name="us-east-1").client("s3", endpoint_url=server.endpoint_url)

    page = next(sweep.requests(["/"], ["GET"]))
    with monkeypatch.context() as patch:
        patch.setattr(s3_guard, "write_certificates", lambda _: None)
        patch.setattr(s3_guard, "answer_without_tls", lambda _, timeout: None)
        with S3Server(tmp_path, access_key="AK", secret_key="sk") as server:
            assert sweep.success(sweep.send("127.0.0.1", server._ports["filer"], page), page)
            client(server).create_bucket(Bucket="kept")
            client(server).put_object(Bucket="kept", Key="a", Body=b"bytes")
    with S3Server(tmp_path, access_key="AK", secret_key="sk") as server:
        assert client(server).get_object(Bucket="kept", Key="a")["Body"].read() == b"bytes"
        assert not sweep.success(sweep.send("127.0.0.1", server._ports["filer"], page), page)


def test_a_seaweedfs_that_serves_without_tls_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mme_sdk.errors import ConfigurationError

    monkeypatch.setattr(s3_guard, "write_certificates", lambda _: None)
    server = S3Server(tmp_path, access_key="AK", secret_key="sk")
    with pytest.raises(ConfigurationError, match=r"accepts requests without TLS \(port \d+ answered"):
        server.start()
    assert server.pid is None


def test_a_listener_of_another_program_on_a_port_of_seaweedfs_makes_it_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program can take a free port between the moment it is found and the moment SeaweedFS binds it."""
    answers = iter(["port 1 answered b'HTTP/1.0 403 Forbidden'"])
    real = s3_guard.answer_without_tls
    monkeypatch.setattr(
        s3_guard, "answer_without_tls", lambda port, timeout: next(answers, None) or real(port, timeout=timeout)
    )
    with S3Server(tmp_path, access_key="AK", secret_key="sk") as server:
        assert server.pid is not None
    assert next(answers, None) is None
