"""Test the start and the stop of a host."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from mme_sdk.errors import ClosedError, ConfigurationError
from mme_sdk.local import LocalSageMaker
from tests.support.local.fakes import FakeHosting
from tests.support.local.waiting import wait_until


def test_nothing_is_left_after_stop(tmp_path):
    before = {thread.name for thread in threading.enumerate()}
    host = LocalSageMaker(hosting=FakeHosting)
    with pytest.raises(ClosedError, match="not running"):
        _ = host.endpoint_url
    with host:
        pid, port = host._s3.pid, host.port
        assert set(host.environ()) >= {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"}
        assert host.environ()["AWS_REGION"] == host.region
    host.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert {thread.name for thread in threading.enumerate()} == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_an_s3_that_dies_is_there_again_under_the_same_address(tmp_path):
    with LocalSageMaker(tmp_path, hosting=FakeHosting) as host:
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="kept")
        os.kill(host._s3.pid, signal.SIGKILL)

        def buckets():
            with contextlib.suppress(BotoCoreError, ClientError):
                return [one["Name"] for one in s3.list_buckets()["Buckets"]]

        assert wait_until(buckets, "S3") == ["kept"]
        pid = host._s3.pid
        s3.close()
    assert not Path(f"/proc/{pid}").exists()


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path, monkeypatch):
    before = set(threading.enumerate())

    def interrupted(self, timeout=None):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    host = LocalSageMaker(tmp_path, hosting=FakeHosting)
    with pytest.raises(KeyboardInterrupt):
        host.start()
    assert set(threading.enumerate()) == before
    assert host._s3 is None or host._s3.pid is None
    with host:  # and it can be started again
        assert host.endpoint_url


def test_a_taken_port_names_the_fix_and_leaves_nothing():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host = LocalSageMaker(port=taken.getsockname()[1], hosting=FakeHosting)
        with pytest.raises(ConfigurationError, match="choose another port"):
            host.start()
    assert host._thread is None


def test_two_hosts_cannot_share_a_data_directory(tmp_path):
    with (
        LocalSageMaker(tmp_path, hosting=FakeHosting),
        pytest.raises(ConfigurationError, match="another embedded SageMaker is running"),
    ):
        LocalSageMaker(tmp_path, hosting=FakeHosting).start()
