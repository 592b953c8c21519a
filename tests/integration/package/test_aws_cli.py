"""Test the AWS CLI with `python -m mme_sdk.local` and the environment variables that it prints."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.local.helpers import archive

AWS = Path(sysconfig.get_path("scripts")) / "aws"


@contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen, dict[str, str]]]:
    """Start the host as a child process. Yield it with the variables that it printed."""
    command = [sys.executable, "-m", "mme_sdk.local", "--port", "0", "--data-dir", str(folder / "data")]
    environment = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
    printed: dict[str, str] = {}
    with process:
        for line in process.stdout:
            if line.startswith("# ready"):
                break
            word, assignment = shlex.split(line)
            assert word == "export"
            name, _, value = assignment.partition("=")
            printed[name] = value
        yield process, printed
        if process.poll() is None:
            process.terminate()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with started(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def aws(host, tmp_path):
    """A function that runs the AWS CLI with these variables only and returns its JSON."""
    _, printed = host

    def run(*words: str, ok: bool = True):
        environment = {"PATH": os.defpath, "HOME": str(tmp_path), **printed}
        done = subprocess.run(
            [sys.executable, str(AWS), *words, "--output", "json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stderr
        if not ok:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.lstrip().startswith("{") else done.stdout

    return run


def test_the_printed_variables_are_those_of_every_aws_client(host):
    assert set(host[1]) == {
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
    }


@pytest.mark.slow  # twenty starts of the AWS CLI; `make clients` runs it
def test_from_an_archive_to_an_answer_and_back_to_nothing(aws, tmp_path):
    double, triple = tmp_path / "double.tar.gz", tmp_path / "triple.tar.gz"
    double.write_bytes(archive(2))
    triple.write_bytes(archive(3))
    aws("s3", "mb", "s3://cli-models")
    aws("s3", "cp", str(double), "s3://cli-models/prefix/double.tar.gz")
    aws(
        *("sagemaker", "create-model", "--model-name", "cli"),
        *("--primary-container", "Image=any,Mode=MultiModel,ModelDataUrl=s3://cli-models/prefix/"),
        *("--execution-role-arn", "arn:aws:iam::123456789012:role/SageMaker"),
    )
    variant = "VariantName=AllTraffic,ModelName=cli,InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", "cli", "--production-variants", variant)
    aws("sagemaker", "create-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli")
    for _ in range(60):  # a call of the CLI takes about a second, so no pause is needed
        described = aws("sagemaker", "describe-endpoint", "--endpoint-name", "cli")
        if described["EndpointStatus"] != "Creating":
            break
    assert described["EndpointStatus"] == "InService", described
    out = tmp_path / "answer"

    def invoke(target: str, *, ok: bool = True):
        return aws(
            *("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "cli", "--target-model", target),
            *("--content-type", "application/json", "--body", "fileb://" + str(body), str(out)),
            ok=ok,
        )

    body = tmp_path / "body"
    body.write_text("[1, 2]")
    assert invoke("double.tar.gz")["InvokedProductionVariant"] == "AllTraffic"
    assert json.loads(out.read_text()) == [2, 4]
    assert "Failed to download model data" in invoke("triple.tar.gz", ok=False)
    aws("s3", "cp", str(triple), "s3://cli-models/prefix/triple.tar.gz")
    invoke("triple.tar.gz")
    assert json.loads(out.read_text()) == [3, 6]
    aws("sagemaker", "delete-endpoint", "--endpoint-name", "cli")
    aws("sagemaker", "delete-endpoint-config", "--endpoint-config-name", "cli")
    aws("sagemaker", "delete-model", "--model-name", "cli")
    aws("s3", "rb", "--force", "s3://cli-models")
    assert "Could not find model" in aws("sagemaker", "describe-model", "--model-name", "cli", ok=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_nothing_stays(number, tmp_path):
    with started(tmp_path) as (process, _):
        stops(process, number)


def stops(process: subprocess.Popen, number: signal.Signals) -> None:
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    children = [pid for task in tasks for pid in (task / "children").read_text().split()]
    process.send_signal(number)
    assert process.wait(60) == 0
    assert children
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
