"""The life of an endpoint by the command line, against one embedded SageMaker, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import MMEClient, Recorder
from mme_sdk.cli.__main__ import main
from mme_sdk.errors import ModelNotFoundError
from mme_sdk.local import LocalSageMaker
from tests.support.first_hour.world import IMAGE, ROLE, SCRIPT

SPEC = f"""multi_model:
  name: life
  models: s3://BUCKET/prod/
  image: {IMAGE}
  role: {ROLE}
  instance_type: ml.m5.large
"""

ECHO = """
import json

def model_fn(directory):
    return None

def input_fn(body, content_type):
    text = body if isinstance(body, str) else body.decode()
    return [float(line) for line in text.split()]

def predict_fn(data, model):
    print("rows", len(data))
    return [10 * one for one in data]

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


@pytest.mark.slow  # each command loads the service models of its own client
def test_the_life_of_an_endpoint(
    local: LocalSageMaker, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in local.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MME_MODELS", f"s3://{bucket}/prod/")

    def mme(*arguments: str, code: int = 0) -> Any:
        assert main([*arguments, "--json"]) == code, capsys.readouterr().err
        text = capsys.readouterr().out
        return json.loads(text) if text else None

    for version in ("one", "two"):
        folder = tmp_path / version
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "inference.py").write_text(SCRIPT)
        (folder / "facts.json").write_text(json.dumps({"name": version, "load": 0, "fails": False}))
        mme("models", "register", "fraud", str(folder), "--version", version)
    mme("models", "alias", "fraud", "live", "one")
    mme("models", "alias", "fraud", "live", "two")
    assert {row["version"] for row in mme("models", "ls")} == {"one", "two"}
    assert all(row["state"] == "ok" for row in mme("models", "verify"))

    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("BUCKET", bucket))
    assert mme("endpoints", "plan", str(spec), code=2)["action"] == "create"
    mme("endpoints", "apply", str(spec), "--dry-run")
    mme("endpoints", "wait", "life", code=1)  # a dry run creates nothing
    mme("endpoints", "apply", str(spec))
    mme("endpoints", "wait", "life")
    assert mme("endpoints", "plan", str(spec))["action"] == "nothing"
    assert main(["endpoints", "show", "life", "--yaml"]) == 0
    spec.write_text(capsys.readouterr().out)
    assert mme("endpoints", "plan", str(spec))["action"] == "nothing"

    payload = tmp_path / "payload.json"
    payload.write_text('{"amount": 1}')
    assert mme("invoke", "life", str(payload), "--model", "fraud@live")["value"]["name"] == "two"
    assert mme("models", "rollback", "fraud", "live")["weights"] == {"one": 1.0}
    assert mme("warm", "life", "fraud/one.tar.gz")[0]["error"] is None
    mme("endpoints", "scale", "life", "2")
    assert mme("endpoints", "plan", str(spec), code=2)["changes"]

    mme("endpoints", "rm", "life", code=64)  # nobody can confirm
    assert [row["name"] for row in mme("endpoints", "ls", "life")] == ["life"]
    mme("endpoints", "rm", "life", "--yes")
    assert mme("endpoints", "ls", "life") == []
    mme("endpoints", "orphans")
    assert mme("models", "rm", "fraud:two", "--yes")["versions"][0]["version"] == "two"


def test_plan_apply_batch_logs_diagnose_cost_export_and_rm(
    local: LocalSageMaker, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in local.environ().items():
        monkeypatch.setenv(name, value)
    local.boto("s3").put_object(Bucket=bucket, Key="prod/any.tar.gz", Body=b"x")
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("BUCKET", bucket).replace("life", "short"))
    assert main(["endpoints", "plan", str(spec)]) == 2
    assert main(["endpoints", "apply", str(spec)]) == 0
    assert main(["endpoints", "plan", str(spec)]) == 0

    folder = tmp_path / "echo" / "code"
    folder.mkdir(parents=True)
    (folder / "inference.py").write_text(ECHO)
    models = f"s3://{bucket}/prod/"
    assert main(["models", "register", "echo", str(tmp_path / "echo"), "--version", "v1", "--models", models]) == 0
    (tmp_path / "in.csv").write_text("amount,model\n1,echo/v1.tar.gz\n2,echo/v1.tar.gz\n")
    answers = tmp_path / "out.jsonl"
    source = str(tmp_path / "in.csv")
    assert main(["batch", source, str(answers), "--endpoint", "short", "--model-column", "model"]) == 0
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [(row["amount"], row["prediction"], row["error"]) for row in rows] == [(1, 10, None), (2, 20, None)]
    kept = ["--endpoint", "short", "--model-column", "model", "--ledger", f"s3://{bucket}/jobs/1/"]
    calls = []
    for _ in range(2):
        assert main(["batch", source, str(answers), *kept]) == 0
        assert [json.loads(line) for line in answers.read_text().splitlines()] == rows
        calls.append(sum(one.operation == "InvokeEndpoint" for one in local.requests.last(1000)))
    assert calls[1] == calls[0]
    assert main(["logs", "short", "--lines", "5"]) == 0

    recordings = f"s3://{bucket}/recordings/"
    with Recorder(recordings, endpoint_url=local.s3_endpoint_url) as recorder, MMEClient(hooks=[recorder]) as client:
        for _ in range(3):
            client.endpoint("short").invoke(b"1", model="echo/v1.tar.gz", content_type="text/csv")
        with pytest.raises(ModelNotFoundError):
            client.endpoint("short").invoke(b"1", model="missing/v1.tar.gz", content_type="text/csv")
    capsys.readouterr()
    for source, where in (
        ("auto", f"status data of the embedded SageMaker at {local.endpoint_url}"),
        ("cloudwatch", "CloudWatch"),
    ):
        assert main(["top", "short", "--once", "--json", "--source", source]) == 0
        figures = json.loads(capsys.readouterr().out)
        (variant,) = figures["variants"]
        assert figures["source"].startswith(where)
        assert (variant["requests"] >= 4, variant["cold"], variant["loads"]) == (True, 1, 1)
        assert [one["name"] for one in figures["models"]] == (["echo/v1.tar.gz"] if source == "auto" else [])
    assert main(["diagnose", "short", "--recordings", recordings, "--json"]) in (0, 6)
    found = json.loads(capsys.readouterr().out)
    assert not any("recordings" in one for one in found["missing"])
    assert main(["cost", "short", "--recordings", recordings, "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert "echo/v1.tar.gz" in [row["name"] for row in cost["rows"]]
    for kind in ("cloudformation", "terraform", "cdk", "dashboard", "alarms", "grafana"):
        assert main(["export", kind, str(spec)]) == 0
        assert "short" in capsys.readouterr().out
    assert main(["endpoints", "rm", "short", "--yes"]) == 0
