"""Commands against one endpoint of the embedded SageMaker: rollbacks, pipes, profiles, signals and networks."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.cli.__main__ import main
from mme_sdk.cli.common import Shell
from mme_sdk.local import Fault, LocalSageMaker
from tests.support.first_hour.world import IMAGE, ROLE, SCRIPT

NAME, BUCKET = "commanded", "commanded-models"
URI = f"s3://{BUCKET}/prod/"
SPEC = EndpointSpec.multi_model(name=NAME, models=URI, image=IMAGE, role=ROLE, instance_type="ml.m5.large")

Mme = Callable[..., Any]


def model(folder: Path, name: str) -> Path:
    """Write the directory of a model that answers with its name."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(SCRIPT)
    (folder / "facts.json").write_text(json.dumps({"name": name, "load": 0, "fails": False}))
    return folder


@pytest.fixture(scope="module")
def client(local: LocalSageMaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MMEClient]:
    """A client of the host, whose endpoint has one model with two versions."""
    folder = tmp_path_factory.mktemp("models")
    s3 = local.boto("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.close()
    with local.client() as made:
        models = made.models(URI)
        for version in ("one", "two"):
            models.register("fraud", model(folder / version, version), version=version)
            models.alias("fraud", "live", version)
        endpoint = made.endpoints.create(SPEC, timeout=60)
        yield made
        endpoint.delete()


@pytest.fixture
def environ(client: MMEClient, local: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables of the host."""
    for name, value in local.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MME_MODELS", URI)


@pytest.fixture
def own_client(client: MMEClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands share a client, because each new one loads the service models again."""
    monkeypatch.setattr(Shell, "client", client)
    monkeypatch.setattr(Shell, "close", lambda _: None)


@pytest.fixture
def mme(environ: None, own_client: None, capsys: Any) -> Mme:
    """Run a command, compare its exit code, and return its JSON; its standard error if it fails."""
    return _runner(capsys)


def _runner(capsys: Any) -> Mme:

    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        ended = main([*words, "--json"])
        written, errors = capsys.readouterr()
        assert ended == code, (written, errors)
        assert "Traceback" not in errors
        return json.loads(written) if code == 0 else errors

    return run


def test_wait_fails_after_a_rollback_and_a_rollback_names_its_target(
    mme: Mme, client: MMEClient, local: LocalSageMaker, tmp_path: Path
) -> None:
    first = client.endpoint(NAME).describe().config_name
    spec = tmp_path / "spec.yaml"
    text = SPEC.to_yaml()
    spec.write_text(text.replace(NAME, "absent", 1))
    assert "absent" in mme("endpoints", "update", str(spec), code=1)
    spec.write_text(text.replace("ml.m5.large", "ml.m5.xlarge"))
    assert mme("endpoints", "update", str(spec), "--dry-run")["action"] == "update"
    assert client.endpoint(NAME).describe().config_name == first
    local.faults.add(Fault(kind="capacity", endpoint=NAME, times=1))
    assert "rolled back" in mme("endpoints", "update", str(spec), code=1)
    local.faults.clear()
    assert "rolled back" in mme("endpoints", "wait", NAME, code=1)

    second = mme("endpoints", "update", str(spec))["config_name"]
    assert second != first
    assert mme("endpoints", "wait", NAME)["failure_reason"] is None
    planned = mme("endpoints", "rollback", NAME, "--dry-run")
    assert (planned["config"], planned["to"]) == (second, first)
    assert "nothing-here" in mme("endpoints", "rollback", NAME, "--to", "nothing-here", "--dry-run", code=1)


def test_weights_and_autoscaling_of_a_variant(mme: Mme) -> None:
    assert mme("endpoints", "weights", NAME, "AllTraffic=2", "--dry-run")["now"] == {"AllTraffic": 1.0}
    assert mme("endpoints", "weights", NAME, "AllTraffic=2")["variants"][0]["weight"] == 2.0
    assert "blue" in mme("endpoints", "weights", NAME, "blue=1", code=1)
    settings = '{"min": 1, "max": 3, "target": 60, "metric": "cpu"}'
    assert mme("endpoints", "autoscale", NAME, settings, "--dry-run")["now"] == {"AllTraffic": None}
    assert mme("endpoints", "autoscale", NAME, settings)["variants"][0]["autoscaling"]["max"] == 3
    assert mme("endpoints", "autoscale", NAME, "off")["variants"][0]["autoscaling"] is None


def test_the_rollback_of_an_alias_names_its_target(mme: Mme, client: MMEClient) -> None:
    assert mme("models", "rollback", "fraud", "live", "--dry-run")["to"] == {"one": 1.0}
    assert mme("models", "rollback", "fraud", "live")["weights"] == {"one": 1.0}
    assert "no version before" in mme("models", "rollback", "fraud", "live", "--dry-run", code=1)
    assert mme("models", "unalias", "fraud", "live", "--dry-run")["weights"] == {"one": 1.0}
    mme("models", "unalias", "fraud", "live")
    assert client.models(URI).aliases() == ()


def test_sync_registers_and_deletes_what_a_directory_has_and_lacks(mme: Mme, tmp_path: Path) -> None:
    prefix = f"s3://{BUCKET}/synced/"
    model(tmp_path / "first", "first")
    model(tmp_path / "second", "second")
    sync = ("models", "sync", str(tmp_path), "--models", prefix)
    assert set(mme(*sync, "--dry-run")["registered"]) == {"first", "second"}
    assert mme("models", "ls", "--models", prefix) == []
    assert set(mme(*sync)["registered"]) == {"first", "second"}
    assert mme(*sync, "--alias", "live")["registered"] == {}
    assert "first@live would refer to a deleted version" in _deleted_with_its_alias(mme, sync, tmp_path)
    mme("models", "unalias", "first", "live", "--models", prefix)
    assert "--yes" in mme(*sync, "--delete", code=64)
    assert [one["name"] for one in mme(*sync, "--delete", "--yes")["deleted"]] == ["first"]
    assert {row["name"] for row in mme("models", "ls", "--models", prefix)} == {"second"}


def _deleted_with_its_alias(mme: Mme, sync: tuple[str, ...], folder: Path) -> str:
    (folder / "first").rename(folder.with_name("elsewhere"))
    return str(mme(*sync, "--delete", "--yes", code=1))


def test_a_profile_replaces_the_keys_of_the_environment(
    environ: None, local: LocalSageMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    mme = _runner(capsys)
    known = local.environ()
    config = tmp_path / "config"
    keys = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    lines = ["[profile host]", *(f"{key} = {known[name]}" for key, name in keys.items())]
    config.write_text("\n".join([*lines, f"region = {local.region}", ""]))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    assert [row["name"] for row in mme("endpoints", "ls", NAME, "--profile", "host")] == [NAME]
    assert os.environ["AWS_ACCESS_KEY_ID"] == "wrong"
    mme("endpoints", "ls", NAME, code=1)
    assert "nobody" in mme("endpoints", "ls", NAME, "--profile", "nobody", code=1)


@pytest.mark.parametrize("words", [["-"], []])
def test_a_payload_comes_from_the_standard_input(
    words: list[str], environ: None, own_client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"amount": 1}')))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written))
    assert main(["invoke", NAME, *words, "--model", "fraud/one.tar.gz"]) == 0
    assert json.loads(written.getvalue())["name"] == "one"


def test_logs_follow_until_ctrl_c(environ: None, client: MMEClient) -> None:
    client.endpoint(NAME).invoke({"amount": 17}, model="fraud/one.tar.gz")
    command = [sys.executable, "-m", "mme_sdk.cli", "logs", NAME, "--follow", "--model", "amount"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "amount" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (130, "interrupted")


@pytest.mark.parametrize("words", [("endpoints", "ls"), ("models", "ls"), ("invoke", NAME), ("logs", NAME, "-f")])
def test_without_a_network_there_is_an_error(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MME_MODELS", URI)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1")))
    with socket.socket() as silent:  # bound, and does not listen
        silent.bind(("127.0.0.1", 0))
        assert main([*words, "--endpoint-url", f"http://127.0.0.1:{silent.getsockname()[1]}"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert "connection" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "expected"), [("mme endpoints sc", "scale"), ("mme endpoints scale --var", "--variant")]
)
def test_commands_and_options_are_completed(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    bash = subprocess.run(["bash", "-c", f"{script}\ncomplete -p mme"], capture_output=True, text=True, check=True)
    assert bash.stdout.startswith("complete ")
    assert "_MME_COMPLETE=bash_complete" in script
    monkeypatch.setenv("_MME_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert main([]) == 0
    assert f"plain,{expected}" in capsys.readouterr().out.splitlines()
