"""Test the files of a host: permissions, atomic writes, and errors of a full disk."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mme_sdk.errors import ConfigurationError, StorageError
from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.control.store import Store
from mme_sdk.local.credentials import load_credentials
from mme_sdk.local.storage import disk
from tests.support.local.fakes import FakeHosting
from tests.support.local.helpers import archive, make_config, make_endpoint, make_model, settle
from tests.support.logs import wait_for_log
from tests.support.paths import ROOT

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files, or mount")
STRANGER = 12345
BROKEN = (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"access_key": "A"}', b'{"access_key": 1, "secret_key": ""}')


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(folder: Path) -> list[Path]:
    """Return the paths with permissions for others, except the .vif files of SeaweedFS."""
    entries = [path for path in folder.rglob("*") if not path.is_symlink() and path.suffix != ".vif"]
    return [path for path in (folder, *entries) if mode(path) & 0o077]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, left: int = 0) -> None:
    """Fill the disk. A host may write at the same time, so less may be free than a moment ago."""
    with (folder / "filling").open("wb") as file:
        for _ in range(20):
            if (free := shutil.disk_usage(folder).free - left) <= 0:
                return
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)


def until_full(write: Callable[[int], object]) -> None:
    """Call `write` until the disk is full. The first writes may use free pages of the files."""
    for number in range(300):
        write(number)


def test_all_that_a_host_writes_is_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    program = (
        "import os, sys; os.umask(0)\n"
        "from mme_sdk.local import LocalSageMaker\n"
        "from tests.support.local.helpers import archive, make_endpoint\n"
        "host = LocalSageMaker(sys.argv[1]).start()\n"
        "host.boto('s3').create_bucket(Bucket='bucket')\n"
        "host.boto('s3').put_object(Bucket='bucket', Key='prefix/a.tar.gz', Body=archive(2))\n"
        "make_endpoint(host.boto('sagemaker'), 'e')\n"
        "print(host.boto('sagemaker-runtime').invoke_endpoint(EndpointName='e', TargetModel='a.tar.gz', Body=b'[2]',\n"
        "    ContentType='application/json')['Body'].read(), flush=True)\n"
        "sys.stdin.read(); host.stop()\n"
    )
    folder = tmp_path / "data"
    running = [sys.executable, "-W", "ignore", "-c", program, str(folder)]
    root = ROOT
    with subprocess.Popen(running, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"b'[4]'\n"
        written = {path.name for path in folder.rglob("*")}
        assert {"credentials.json", "state.sqlite", "state.sqlite-wal", "weed.json", "inference.py", "lock"} <= written
        assert open_to_others(folder) == []
        host.communicate(timeout=60)
    assert open_to_others(folder) == []


def test_a_directory_of_an_earlier_edition_is_closed_and_what_is_not_the_hosts_is_left(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("s3/log/weed.out", "hosting/logs/e/log", "mine/notes"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, mode=0o777)
        path.write_text("text")
        path.chmod(0o644)
    (tmp_path / "s3" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "s3" / "run").chmod(0o755)
    (tmp_path / "state.sqlite").touch(0o644)
    with LocalSageMaker(tmp_path, hosting=FakeHosting):
        assert mode(tmp_path) == 0o700
        assert open_to_others(tmp_path / "s3") == open_to_others(tmp_path / "hosting") == []
        assert mode(tmp_path / "s3" / "run") == 0o700
        assert mode(tmp_path / "state.sqlite") == 0o600
        assert mode(tmp_path / "mine" / "notes") == 0o644


@root_only
@pytest.mark.parametrize("foreign", [".", "s3", "credentials.json", "s3/log/weed.out"])
def test_what_another_user_owns_is_refused(tmp_path: Path, foreign: str) -> None:
    folder = tmp_path / "data"
    (folder / "s3" / "log").mkdir(parents=True)
    for name in ("credentials.json", "s3/log/weed.out"):
        (folder / name).write_text("{}")
    (folder / "s3").chmod(0o755)
    os.chown(folder / foreign, STRANGER, STRANGER)
    with pytest.raises(ConfigurationError, match=rf"another user \(uid {STRANGER}\)"):
        LocalSageMaker(folder, hosting=FakeHosting).start()
    assert not (folder / "state.sqlite").exists()


@root_only
def test_a_link_of_another_user_is_refused_and_an_own_one_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    assert disk.open_data_dir(link / "data", ()) == tmp_path / "real" / "data"
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    for given in (link, link / "data"):
        with pytest.raises(ConfigurationError, match="symbolic link of another user"):
            disk.open_data_dir(given, ())


def test_a_data_directory_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for given in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=r"cannot use .*file.* as data directory"):
            LocalSageMaker(given, hosting=FakeHosting).start()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    disk.write_atomically(path, b"old")
    (tmp_path / ".record.json.new").write_bytes(b"left by a process that was killed")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*record.json: File too large; [\d,]+ of [\d,]+ bytes"):
            disk.write_atomically(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    disk.write_atomically(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


@pytest.mark.parametrize("content", BROKEN)
def test_damaged_credentials_are_kept_aside_and_made_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        keys = load_credentials(path)
    assert (tmp_path / "credentials.json.damaged").read_bytes() == content
    assert "credentials.json.damaged" in caplog.text
    assert keys.secret_key not in caplog.text
    assert load_credentials(path) == keys
    assert mode(path) == 0o600


def test_a_host_starts_with_credentials_that_were_cut_and_still_has_its_objects(tmp_path: Path) -> None:
    with LocalSageMaker(tmp_path, hosting=FakeHosting) as host:
        host.boto("s3").create_bucket(Bucket="kept")
    (tmp_path / "credentials.json").write_bytes(b"")
    with LocalSageMaker(tmp_path, hosting=FakeHosting) as host:
        assert [one["Name"] for one in host.boto("s3").list_buckets()["Buckets"]] == ["kept"]


def test_a_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigurationError, match=r"(?s)state.sqlite is damaged .*move it") as caught:
        LocalSageMaker(tmp_path, hosting=FakeHosting).start()
    assert "the objects in S3 are not affected" in str(caught.value)


def test_a_record_that_is_no_record_is_passed_over(tmp_path: Path) -> None:
    from mme_sdk.local import processes

    for content in (*BROKEN, b'{"pid": "x", "mark": 1}'):
        (tmp_path / "weed.json").write_bytes(content)
        assert processes.kill_recorded(tmp_path / "weed.json") is None


def test_state_on_a_full_disk_is_refused_and_stays_as_it_was(small: Path) -> None:
    store = Store(small / "state.sqlite")
    store.put("model", "a", {"old": True})
    fill(small)
    with pytest.raises(StorageError, match=r"state.sqlite: .*full; [\d,]+ of 67,108,864 bytes are free"):
        until_full(lambda number: store.put("model", f"b{number}", {"text": "x" * 100_000}))
    assert store.get("model", "a") == {"old": True}
    (small / "filling").unlink()
    store.put("model", "a", {"old": False})
    store.close()


def test_a_host_names_a_full_disk_at_start_and_at_every_write(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = small / "data"
    (small / "filling").touch()
    fill(small)
    with pytest.raises(StorageError, match=rf"{folder}.*bytes are free"):
        LocalSageMaker(folder, hosting=FakeHosting).start()
    (small / "filling").unlink()
    shutil.rmtree(folder, ignore_errors=True)
    once = Config(retries={"max_attempts": 0})
    with LocalSageMaker(folder) as host:
        s3, sagemaker = host.boto("s3", config=once), host.boto("sagemaker", config=once)
        runtime = host.boto("sagemaker-runtime", config=once)
        s3.create_bucket(Bucket="bucket")
        big = os.urandom(8 << 20)
        s3.put_object(Bucket="bucket", Key="prefix/a.tar.gz", Body=archive(2, padding=big))
        make_endpoint(sagemaker, "e")
        fill(small, left=4 << 20)
        with pytest.raises(ClientError, match=rf"disk is almost full: [\d,]+ of .* bytes are free.* {folder}/s3"):
            s3.put_object(Bucket="bucket", Key="b", Body=big)
        invocation = {"EndpointName": "e", "TargetModel": "a.tar.gz", "Body": b"[2]"}
        with pytest.raises(ClientError, match=rf"{folder}.*No space left on device.*bytes are free"):
            runtime.invoke_endpoint(**invocation, ContentType="application/json")
        fill(small / "data", left=0)
        with pytest.raises(ClientError, match=r"state.sqlite.*bytes are free"):
            until_full(lambda number: make_model(sagemaker, f"m{number}", Environment={"A": "x" * 1000}))
        wait_for_log(caplog, f"S3 refuses writes: less than 1% of the disk of {folder}/s3")
        (small / "filling").unlink()
        (small / "data" / "filling").unlink()
        assert runtime.invoke_endpoint(**invocation, ContentType="application/json")["Body"].read() == b"[4]"
        for client in (s3, sagemaker, runtime):
            client.close()


def test_an_endpoint_whose_new_state_cannot_be_written_is_named_and_resumed(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, once = small / "data", Config(retries={"max_attempts": 0})
    with LocalSageMaker(folder, hosting=FakeHosting, control=ControlSettings(provisioning=3.0)) as host:
        sagemaker = host.boto("sagemaker", config=once)
        make_config(sagemaker, "c", model=make_model(sagemaker, "m"))
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        fill(small)
        with pytest.raises(ClientError, match=r"state.sqlite.*bytes are free"):
            until_full(lambda number: make_model(sagemaker, f"m{number}", Environment={"A": "x" * 1000}))
        wait_for_log(caplog, "the operation on endpoint e stopped")
        assert f"{folder}/state.sqlite" in caplog.text.partition("the operation on endpoint e stopped")[2]
        sagemaker.close()
    (small / "filling").unlink()
    with LocalSageMaker(folder, hosting=FakeHosting, control=ControlSettings(provisioning=0.0)) as host:
        sagemaker = host.boto("sagemaker")
        assert settle(sagemaker, "e")[-1]["EndpointStatus"] == "InService"
        sagemaker.close()


def test_a_disk_that_cannot_be_written_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(StorageError, match=rf"cannot write {small}/lock: Read-only file system"):
        LocalSageMaker(small, hosting=FakeHosting).start()
    with pytest.raises(ConfigurationError, match=r"cannot use .*below.*Read-only file system"):
        LocalSageMaker(small / "below", hosting=FakeHosting).start()
    monkeypatch.setattr("tempfile.tempdir", str(small))
    with pytest.raises(StorageError, match="temporary data directory: Read-only file system"):
        LocalSageMaker(hosting=FakeHosting).start()


def test_no_key_is_in_a_log_a_command_line_or_a_repr(tmp_path: Path) -> None:
    with LocalSageMaker(tmp_path, hosting=FakeHosting) as host:
        secret = host.credentials.secret_key
        assert secret not in repr(host.credentials) + repr(host)
        listed = subprocess.run(["ps", "-A", "-o", "command="], capture_output=True, text=True, check=True).stdout
        assert secret not in listed
    holders = [path.name for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert sorted(holders) == ["credentials.json", "s3.json"]
    assert json.loads((tmp_path / "credentials.json").read_text())["secret_key"] == secret
