"""The Python of the pages runs as it is printed, block after block, against the embedded SageMaker."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.local import ControlSettings, HostingSettings, LocalSageMaker
from tests.support.examples import load_file
from tests.support.paths import ROOT

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
# docs/registry.md, docs/endpoints.md and docs/local.md have tests of their own, with a state that they need.
PAGES = [
    "architecture", "containers", "diagnosis", "exports", "fleet", "invoke", "notebooks", "planning", "recording",
    "autopilot", "router", "scale", "shared", "transport",
    "howto/add-a-model", "howto/async-inference", "howto/autoscaling", "howto/aws-lambda", "howto/boto3",
    "howto/canary", "howto/cold-starts", "howto/copy-models", "howto/costs", "howto/deadlines", "howto/gpu",
    "howto/images-and-bytes", "howto/kms", "howto/logs", "howto/migrate", "howto/multi-tenant-iam",
    "howto/own-container", "howto/pytest", "howto/score-a-file", "howto/security", "howto/send-your-data",
    "howto/streaming", "howto/vpc", "howto/watch-an-endpoint",
    "howto/idle-endpoint", "howto/without-downtime",  # the last ones: they replace the instances
]  # fmt: skip


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def account() -> Iterator[dict[str, str]]:
    """The variables of the host that examples/with_host.py starts; its endpoint has published a metric."""
    control = ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
    with (
        load_file(ROOT / "examples" / "with_host.py").started(control, HostingSettings(metrics_seconds=0.2)) as host,
        host.client() as client,
    ):
        scoring = client.endpoint("scoring")
        scoring.invoke({"amount": 1.0}, model="fraud/v3.tar.gz")
        while not scoring.metrics(hours=1).loaded_models.values:  # the instance publishes it
            scoring.invoke({"amount": 1.0}, model="fraud/v3.tar.gz")
        yield host.environ()


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(
    account: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # boto3 keeps a session, with the keys of its first use
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    spec = EndpointSpec.multi_model(
        name="scoring", models="s3://ml-models/prod/", image="own:1", instance_type="ml.m5.large", role=ROLE
    )
    spec.to_yaml(tmp_path / "scoring.yaml")
    (tmp_path / "models.csv").write_text("model,memory_bytes,disk_bytes\nfraud/v3.tar.gz,50000000,50000000\n")
    found = blocks(page)
    assert found
    names: dict[str, Any] = {}
    for block in found:
        exec(compile(block, f"docs/{page}.md", "exec"), names)
    logging.getLogger("mme_sdk").setLevel(logging.NOTSET)  # a page shows how to set it
    for one in names.values():
        if isinstance(one, MMEClient | LocalSageMaker):
            one.close()


def test_every_page_with_code_is_run() -> None:
    others = {"registry", "endpoints", "local"}
    pages = [path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert {page for page in pages if blocks(page)} == {*PAGES, *others}


@pytest.mark.slow
def test_the_tests_of_the_page_on_pytest_pass(tmp_path: Path) -> None:
    conftest, *tests = blocks("howto/pytest")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_page.py").write_text("\n".join(tests))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
