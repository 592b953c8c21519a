"""Files for other programs are well-formed, and what they name exists: CI, Dockerfile, Compose, devcontainer."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from functools import cache
from typing import Any

import click
import pytest
import yaml
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

from mme_sdk.cli.main import make
from tests.support.paths import ROOT

PAGES = ("github-actions.md", "gitlab-ci.md", "docker-compose.md")
DOCKERFILE = (ROOT / "examples" / "docker" / "Dockerfile").read_text(encoding="utf-8")
_NAMES = "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL RUN SHELL STOPSIGNAL USER VOLUME"
INSTRUCTIONS = set(_NAMES.split())
SHELL = {"until", "sed", "printf", ".", "sleep", "grep", "do", "done", "useradd", "mkdir", "chown", "exec", "sh"}
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])
HOST_OPTIONS = set(
    re.findall(r'"(--[\w-]+)"', (ROOT / "mme_sdk" / "local" / "__main__.py").read_text(encoding="utf-8"))
)


@cache
def operations(service: str) -> set[str]:
    """The commands that the AWS CLI has for a service."""
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
    return {xform_name(name, "-") for name in model.operation_names}


def wrong(words: list[str]) -> str | None:
    """Return what a command names that does not exist, or None."""
    match words:
        case ["pip", "install", *packages]:
            extras = {extra for one in packages for extra in re.findall(r"\[(.*)\]", one) for extra in extra.split(",")}
            return ", ".join(extras - EXTRAS) or None
        case ["python", "-m", "mme_sdk.local", *rest]:
            return ", ".join({one for one in rest if one.startswith("--")} - HOST_OPTIONS) or None
        case ["aws", service, operation, *_]:
            return None if operation in operations(service) else operation
        case ["mme", *rest]:
            command: click.Command = make()
            while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
                name, rest = rest[0], rest[1:]
                if name not in command.commands:
                    return name
                command = command.commands[name]
            options = {option for one in command.params for option in one.opts} | {"--help", "-h"}
            return ", ".join({one for one in rest if one.startswith("-")} - options) or None
        case ["pytest", *_] | ["python", *_]:
            return None
        case [first, *_]:
            return None if first in SHELL or "=" in first else first
    return None


def commands(script: str) -> list[list[str]]:
    """The simple commands of a shell script."""
    found = []
    for part in re.split(r"\n|;|&&|\|\||(?<!>)&(?!>)|\bdo\b", script):
        words = shlex.split(part, comments=True)
        if words and words[0] in ("exec", "until"):
            words = words[1:]
        if words:
            found.append(words)
    return found


def scripts(value: Any, key: str = "") -> list[str]:
    """The scripts of a workflow or pipeline: each value of `run` and each line of `script`."""
    if isinstance(value, dict):
        return [one for name, inner in value.items() for one in scripts(inner, name)]
    if isinstance(value, list):
        return [one for inner in value for one in scripts(inner, key)]
    return [value] if key in ("run", "script", "before_script") and isinstance(value, str) else []


def blocks(page: str) -> list[Any]:
    """The YAML of a page."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    written = [one for one in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "--8<--" not in one]
    return [yaml.safe_load(one) for one in written]


@pytest.mark.parametrize("page", PAGES[:2])
def test_the_yaml_of_a_page_runs_commands_that_exist(page: str) -> None:
    found = [words for block in blocks(page) for script in scripts(block) for words in commands(script)]
    assert len(found) > 5
    assert [(words, name) for words in found if (name := wrong(words))] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_in_the_text_of_a_page_exist(page: str) -> None:
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    found = [shlex.split(one) for one in re.findall(r"`((?:mme|pip|aws|python -m mme_sdk\.local) [^`\n]+)`", text)]
    assert [(words, name) for words in found if (name := wrong(words))] == []


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("pip install 'mme-sdk[locale]' pytest", "locale"),
        ("mme endpoints aply scoring.yaml", "aply"),
        ("mme endpoints apply --now scoring.yaml", "--now"),
        ("aws sagemaker list-endpoint", "list-endpoint"),
        ("python -m mme_sdk.local --dir .mme", "--dir"),
        ("nosuch --help", "nosuch"),
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, name: str) -> None:
    assert wrong(shlex.split(command)) == name


def test_a_workflow_names_where_it_runs_and_versions_of_actions() -> None:
    jobs = [block for block in blocks("github-actions.md") if "jobs" in block]
    assert jobs
    for block in blocks("github-actions.md"):
        steps = [*block.get("steps", ()), *(step for job in block.get("jobs", {}).values() for step in job["steps"])]
        assert steps
        for step in steps:
            assert set(step) & {"run", "uses"}
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", step.get("uses", "a/b@v1"))
        assert all(isinstance(job["runs-on"], str) for job in block.get("jobs", {}).values())


def test_a_pipeline_has_jobs_with_an_image_and_a_script() -> None:
    jobs = {name: job for block in blocks("gitlab-ci.md") for name, job in block.items()}
    assert {"test", "deploy"} <= jobs.keys()
    for job in jobs.values():
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", job["image"])
        assert job["script"]
        assert all(isinstance(line, str) for line in job["script"])


def test_the_dockerfile_follows_the_rules() -> None:
    joined = re.sub(r"\\\n", " ", DOCKERFILE)
    lines = [line.split(None, 1) for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    assert {name for name, _ in lines} <= INSTRUCTIONS
    assert lines[0][0] == "FROM"
    assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", lines[0][1])  # an image with a version
    order = [name for name, _ in lines]
    assert order.count("CMD") == order.count("USER") == 1
    assert dict(lines)["USER"] not in ("root", "0")
    assert max(at for at, name in enumerate(order) if name == "RUN") < order.index("USER")  # it installs before
    for name, rest in lines:
        if name in ("CMD", "ENTRYPOINT"):
            program, *arguments = json.loads(rest)
            assert (program, arguments[0]) == ("sh", "-c")  # which hands its place to the host: exec
            assert arguments[1].startswith("exec ")
            assert [found for words in commands(arguments[1]) if (found := wrong(words))] == []
        if name == "RUN":
            assert "pip install" not in rest or "--no-cache-dir" in rest
            plain = rest.replace("--no-cache-dir ", "")
            assert [found for words in commands(plain) if (found := wrong(words))] == []


def test_the_compose_file_names_what_it_has() -> None:
    found = yaml.safe_load((ROOT / "examples" / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    assert set(found) == {"services", "volumes"}
    for service in found["services"].values():
        known = {"build", "command", "depends_on", "image", "init", "network_mode", "ports", "volumes"}
        assert set(service) <= known
        assert ("build" in service) != ("image" in service)
        assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", service.get("image", "a:1"))
        assert set(service.get("depends_on", ())) <= found["services"].keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        named = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert {one for one in named if not one.startswith((".", "/"))} <= found["volumes"].keys()


def test_the_devcontainer_runs_a_target_that_exists() -> None:
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert set(found) == {"customizations", "image", "name", "postCreateCommand"}
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.\d+", found["image"])
    program, target = shlex.split(found["postCreateCommand"])
    assert program == "make"
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    settings = found["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    assert all((ROOT / path).is_dir() for path in settings["python.testing.pytestArgs"])


def test_the_readme_names_each_extra() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Install\n")[2]
    named = set(re.findall(r"mme-sdk\[(\w+)\]", text)) | set(
        re.findall(r"`([\w-]+)`", text.partition("Further extras:")[2])
    )
    assert named >= EXTRAS
