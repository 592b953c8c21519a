"""Start, stop, kill and start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import pytest

from mme_sdk.errors import ClosedError, ConfigurationError
from mme_sdk.local import ControlSettings, LocalSageMaker

from .fakes import FakeHosting
from .helpers import make_endpoint

CHILD = """
import sys; sys.path.insert(0, {tests!r})
from local_control.fakes import FakeHosting
from mme_sdk.local import LocalSageMaker
host = LocalSageMaker({data!r}, hosting=FakeHosting).start()
print(host.port, host._s3.port, host._s3.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_after_stop(tmp_path):
    before = {thread.name for thread in threading.enumerate()}
    host = LocalSageMaker(hosting=FakeHosting)
    with pytest.raises(ClosedError, match="not running"):
        _ = host.endpoint_url
    with host:
        pid, port = host._s3.pid, host.port
        assert set(host.environ()) >= {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"}
    host.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert {thread.name for thread in threading.enumerate()} == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_taken_port_names_the_fix_and_leaves_nothing():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host = LocalSageMaker(port=taken.getsockname()[1], hosting=FakeHosting)
        with pytest.raises(ConfigurationError, match="another one"):
            host.start()
    assert host._thread is None


def test_two_hosts_cannot_share_a_data_directory(tmp_path):
    with (
        LocalSageMaker(tmp_path, hosting=FakeHosting),
        pytest.raises(ConfigurationError, match="another embedded SageMaker is running"),
    ):
        LocalSageMaker(tmp_path, hosting=FakeHosting).start()


def test_resources_objects_and_keys_survive_kill_9(tmp_path):
    program = CHILD.format(tests=str(Path(__file__).parents[1]), data=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as child:
        port, s3_port, _ = map(int, child.stdout.readline().split())
        import json

        keys = json.loads((tmp_path / "credentials.json").read_text())
        session = boto3.Session(keys["access_key"], keys["secret_key"], region_name="us-east-1")
        sm = session.client("sagemaker", endpoint_url=f"http://127.0.0.1:{port}")
        s3 = session.client("s3", endpoint_url=f"http://127.0.0.1:{s3_port}")
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="key", Body=b"bytes")
        before = make_endpoint(sm, "kept")
        sm.create_endpoint(EndpointName="half-made", EndpointConfigName="kept")
        child.send_signal(signal.SIGKILL)
        child.wait()
        sm.close()
        s3.close()
    assert oct((tmp_path / "credentials.json").stat().st_mode)[-3:] == "600"
    control = ControlSettings(provisioning=0.01)
    with LocalSageMaker(tmp_path, hosting=FakeHosting, control=control) as host:
        assert host.credentials.secret_key == keys["secret_key"]
        sm, s3, runtime = host.boto("sagemaker"), host.boto("s3"), host.boto("sagemaker-runtime")
        after = sm.describe_endpoint(EndpointName="kept")
        assert after["EndpointStatus"] == "InService"
        assert after["ProductionVariants"] == before["ProductionVariants"]
        assert after["CreationTime"] == before["CreationTime"]
        assert runtime.invoke_endpoint(EndpointName="kept", Body=b"x")["Body"].read() == b"x"
        assert s3.get_object(Bucket="kept", Key="key")["Body"].read() == b"bytes"
        waiter = sm.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName="half-made", WaiterConfig={"Delay": 0.02, "MaxAttempts": 200})
        for client in (sm, s3, runtime):
            client.close()
