"""Exit codes, errors and imports of the command line."""

from __future__ import annotations

import fcntl
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from mme_sdk.cli import main as root_module
from mme_sdk.cli.__main__ import main


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name, one in group.commands.items():
        found += _leaves(one, (*path, name)) if isinstance(one, click.Group) else [((*path, name), one)]
    return found


@pytest.mark.parametrize("path", [path for path, _ in _leaves(root_module.make())], ids=" ".join)
def test_each_help_lists_the_exit_codes(path: tuple[str, ...], capsys: Any) -> None:
    assert main([*path, "--help"]) == 0
    assert "Exit codes:" in capsys.readouterr().out


def test_a_command_that_deletes_has_yes_and_dry_run() -> None:
    for path, one in _leaves(root_module.make()):
        if path[-1] in ("rm", "reset", "orphans", "sync"):
            assert {"yes", "dry_run"} <= {option.name for option in one.params}, path


def test_a_usage_error_has_a_code_of_its_own(capsys: Any) -> None:
    assert main(["endpoints", "plan", "absent.yaml"]) == 64
    assert "absent.yaml" in capsys.readouterr().err


def test_a_plan_that_exceeds_the_budget_has_a_code_of_its_own(tmp_path: Any, capsys: Any) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time,model\n" + "".join(f"{second},m{second % 3}\n" for second in range(60)))
    limits = ["--warm-p95", "0.5", "--cold-p95", "3", "--cold-rate", "0.5", "--json"]
    for budget, code in (("20", 5), ("500", 0)):
        assert main(["plan", str(trace), *limits, "--budget", budget]) == code
        assert json.loads(capsys.readouterr().out)["feasible"] is (code == 0)


def test_an_error_is_a_message_without_a_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: Any) -> None:
    monkeypatch.setenv("MME_LOCAL_FILE", str(tmp_path / "absent.json"))
    assert main(["local", "status"]) == 1
    assert capsys.readouterr().err == "error: no local host runs\n  start one with: mme local up\n"
    assert main(["local", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"] == "ConfigurationError"


def test_an_unknown_key_of_a_spec_is_refused_with_a_near_one(tmp_path: Any, capsys: Any) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("multi_model:\n  nam: scoring\n")
    assert main(["endpoints", "plan", str(spec), "--region", "us-east-1"]) == 1
    assert "did you mean 'name'?" in capsys.readouterr().err


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_ctrl_c_and_a_closed_output(
    raised: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setattr("mme_sdk.cli.local.read_host", fail)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(["local", "status"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delitem(sys.modules, "mme_sdk.cli.main")
    monkeypatch.setitem(sys.modules, "click", None)
    assert main([]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["endpoint", "ls"], "'endpoints'"),
        (["endpoints", "lst"], "'ls'"),
        (["endpoints", "ls", "--jsn"], "'--json'"),
        (["endpoints", "ls", "--endpoint-url", "s33=http://127.0.0.1"], "the service is one of"),
        (["endpoints", "ls", "--endpoint-url", "127.0.0.1:80"], "begins with http://"),
        (["endpoints", "weights", "x", "blue"], "blue is not NAME=NUMBER"),
        (["endpoints", "autoscale", "x", "none"], "neither JSON nor off"),
        (["endpoints", "autoscale", "x", "[1]"], "must be a JSON object"),
        (["diagnose", "x", "--quota", "ml.m5.large=1.5"], "1.5 is not a number of instances"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_what_is_misspelt_is_a_usage_error(words: list[str], message: str, capsys: Any) -> None:
    assert main(words) == 64
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("multi_model:\n  name: x\n   models: y\n", "at line 3, column 10"),
        ("multi_model:\n  name: x\n  name: y\n", "at line 3, column 3: 'name' is given twice"),
        ("", "a spec has one key"),
    ],
)
def test_a_spec_that_is_not_valid_yaml_names_the_line(text: str, message: str, tmp_path: Path, capsys: Any) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    assert main(["endpoints", "plan", str(spec), "--region", "us-east-1"]) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert str(spec) in errors


def test_reset_deletes_only_the_folder_of_a_stopped_host(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mine.txt").write_text("x")
    assert main(["local", "reset", str(folder), "--yes"]) == 1
    assert "is not the data directory of a host" in capsys.readouterr().err
    (folder / "credentials.json").write_text("{}")
    (folder / "s3").mkdir()
    assert main(["local", "reset", str(folder), "--dry-run"]) == 0
    assert main(["local", "reset", str(folder)]) == 64
    with (folder / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(["local", "reset", str(folder), "--yes"]) == 1
        assert "a host runs on" in capsys.readouterr().err
    assert (folder / "mine.txt").exists()
    assert main(["local", "reset", str(folder), "--yes"]) == 0
    assert not folder.exists()
