"""The files of examples/docker start the host as the page says. Docker itself is not run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

FOLDER = ROOT / "examples" / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def instruction(name: str) -> str:
    """The arguments of the only instruction of this name."""
    (found,) = re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)
    return found


def test_the_application_reaches_the_host_on_loopback() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    host, application = services["sagemaker"], services["application"]
    assert application["network_mode"] == "service:sagemaker"
    assert "ports" not in application  # Compose refuses them together with network_mode
    assert application["depends_on"]["sagemaker"]["condition"] == "service_healthy"
    place = instruction("VOLUME")
    assert [one.split(":")[1] for one in host["volumes"]] == [place]
    assert f". {place}/host.env" in application["command"][-1]


def test_the_command_has_options_that_exist() -> None:
    shell, _, line = json.loads(instruction("CMD"))
    words = shlex.split(line.removeprefix("exec "))
    assert (shell, words[:3]) == ("sh", ["python", "-m", "mme_sdk.local"])
    run = [sys.executable, "-m", "mme_sdk.local", "--help"]
    known = subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert all(word in known for word in words if word.startswith("--"))


@pytest.mark.slow
def test_the_command_and_the_health_check_work(tmp_path: Path) -> None:
    command = [word.replace("/data", str(tmp_path)) for word in json.loads(instruction("CMD"))]
    command[-1] = command[-1].replace("exec python", f"exec {shlex.quote(sys.executable)}")
    command[-1] = command[-1].replace("4567", "0").replace("4568", "0")
    healthy = instruction("HEALTHCHECK").partition(" CMD ")[2].replace("/data", str(tmp_path))
    assert subprocess.run(["sh", "-c", healthy], capture_output=True).returncode  # not before it runs
    with subprocess.Popen(command, cwd=ROOT) as host:
        try:
            while subprocess.run(["sh", "-c", healthy], capture_output=True).returncode:
                assert host.poll() is None
            listing = "import boto3; print(boto3.client('sagemaker').list_models()['Models'])"
            line = f". {tmp_path}/host.env && {shlex.quote(sys.executable)} -c {shlex.quote(listing)}"
            clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
            done = subprocess.run(["sh", "-c", line], env=clean, capture_output=True, text=True, check=True)
            assert done.stdout.strip() == "[]"
        finally:
            host.send_signal(signal.SIGTERM)
    assert host.returncode == 0
