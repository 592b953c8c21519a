"""The examples run, and show what they promise."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.paths import ROOT

FOLDER = ROOT / "examples" / "endpoints"
SHOWN = {
    "from_yaml": """
        Plan for endpoint scoring: create
        Loaded beforehand: ('fraud/v1.tar.gz',)
        21 becomes 42
        'ml.m5.large' → 'ml.c5.large' (new fleet)
        autoscaling.max: 8 → 6 (in place)
        Read back, it is the file's spec again: True
        Orphans: []""",
    "both_modes": """
        Four rare models, one endpoint: [10, 20, 30, 40]
        The hot one on its own: 1000
        The same answer, by name now: 1000
        And back: 1000
        Nothing is left: [] []""",
    "blue_green": """
        alarm(s) checkout-wrong-scores went into ALARM
        Statuses: Updating →
        The endpoint has stayed in service: 21 becomes 42
        Release 3: Endpoint(name='scoring', status='InService'""",
    "multi_tenant_iam": """
        name shared: the name is free
        "team_a/*"
        team_a → team_a/score/v1.tar.gz: 20
        team_a → team_b/score/v1.tar.gz: AccessDeniedException
        team_b → team_a/score/v1.tar.gz: AccessDeniedException
        team_b → team_b/score/v1.tar.gz: 30""",
}


def test_every_example_is_run_here():
    assert {path.stem for path in FOLDER.glob("*.py")} - {"models"} == set(SHOWN)


@pytest.fixture(scope="module")
def local():
    """A host of its own: the examples show that nothing is left, and other tests leave resources on theirs."""
    with LocalSageMaker(
        control=ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
    ) as host:
        yield host


@pytest.fixture
def ml_models(local):
    """The examples' bucket, empty before and after."""
    s3 = local.boto("s3")
    s3.create_bucket(Bucket="ml-models")
    yield
    for one in s3.list_objects_v2(Bucket="ml-models").get("Contents", []):
        s3.delete_object(Bucket="ml-models", Key=one["Key"])
    s3.delete_bucket(Bucket="ml-models")
    s3.close()


@pytest.mark.parametrize("name", SHOWN)
def test_what_an_example_shows(local, ml_models, tmp_path, monkeypatch, capsys, name):
    monkeypatch.syspath_prepend(str(FOLDER))
    example = importlib.import_module(name)
    with local.client() as client:
        if name == "multi_tenant_iam":
            example.main()  # with a host of its own, which evaluates IAM policies
        elif name == "blue_green":
            cloudwatch = local.boto("cloudwatch")
            example.tour(client, cloudwatch, tmp_path)
            cloudwatch.close()
        else:
            example.tour(client, tmp_path)
        assert client.endpoints.list() == []
    shown = capsys.readouterr().out
    for line in SHOWN[name].strip().splitlines():
        assert line.strip() in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs_as_a_program(name):
    run = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / f"{name}.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    for line in SHOWN[name].strip().splitlines():
        assert line.strip() in run.stdout
