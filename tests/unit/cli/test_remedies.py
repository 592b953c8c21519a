"""The command lines that a diagnosis prints are commands of `mme`."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

import click
import pytest

from mme_sdk.cli.__main__ import main
from mme_sdk.cli.common import Shell
from mme_sdk.cli.endpoints import _autoscaling
from mme_sdk.cli.main import make
from mme_sdk.diagnosis import commands
from mme_sdk.diagnosis.findings import Command
from mme_sdk.diagnosis.observation import ObservedEndpoint, ObservedRegistry, ObservedVariant
from mme_sdk.endpoints import Autoscaling, FromZero, Schedule, Tracking
from mme_sdk.errors import ModelNotFoundError

REGISTRY = ObservedRegistry(uri="s3://ml-models/it's a prefix/", versions={})
VARIANT = ObservedVariant(name="AllTraffic", instance_type="ml.m5.large", instance_count=1)
ENDPOINT = ObservedEndpoint(
    name="scoring",
    status="InService",
    start=datetime(2026, 11, 27, tzinfo=UTC),
    end=datetime(2026, 11, 28, tzinfo=UTC),
    variants=(VARIANT,),
    failed_config="scoring-2",
    registry=REGISTRY,
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/python:1",
    role="arn:aws:iam::123456789012:role/execution",
)
SETTINGS: dict[str, Any] = {
    "min": 0,
    "max": 4,
    "target": 5.0,
    "metric": "backlog",
    "schedule": (Schedule(name="it's day", when="cron(0 8 ? * * *)", min=2),),
    "more": (Tracking(target=70.0, metric="cpu"),),
    "from_zero": FromZero(instances=2),
}
REMEDIES = [
    commands.resize(ENDPOINT, VARIANT, 4),
    commands.retry_update(ENDPOINT),
    commands.rollback_alias(REGISTRY, "fraud", "live"),
    commands.alias(REGISTRY, "fraud", "live", "v2"),
    commands.call_alias(ENDPOINT, "fraud@live"),
    commands.logs(ENDPOINT, "fraud/v1.tar.gz"),
    commands.versions(REGISTRY, "fraud"),
    commands.unalias(REGISTRY, "fraud", "live"),
    commands.weights(ENDPOINT, {"blue": 1.0, "green": 0.0}),
    commands.autoscale(ENDPOINT, VARIANT, SETTINGS),
]


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return the arguments that the command line gives to its command."""
    assert words[0] == "mme"
    group: click.Command = make()
    context, rest = click.Context(group, info_name="mme"), words[1:]
    while isinstance(group, click.Group):
        _, found, rest = group.resolve_command(context, rest)
        assert found is not None
        group, context = found, click.Context(found, parent=context)
    with group.make_context("mme", rest, parent=context) as made:
        return dict(made.params)


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda one: " ".join(shlex.split(one.shell)[1:3]))
def test_a_remedy_is_a_command(remedy: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    with open("payload.json", "w") as file:  # noqa: PTH123 - the remedy names a file of the working directory
        file.write("{}")
    assert remedy.shell is not None
    arguments = parsed(shlex.split(remedy.shell), monkeypatch)
    assert arguments
    if "--models" in remedy.shell:
        assert REGISTRY.uri in arguments.values()


def test_the_spec_of_an_endpoint_for_one_model_is_a_spec() -> None:
    remedy = commands.dedicated(ENDPOINT, VARIANT, "fraud/v1.tar.gz", "fraud-alone")
    assert remedy is not None
    assert remedy.shell is not None
    write, _, apply = remedy.shell.partition(" && ")
    words = shlex.split(write)
    assert (words[0], words[2:]) == ("echo", [">", "fraud-alone.yaml"])
    assert shlex.split(apply) == ["mme", "endpoints", "apply", "fraud-alone.yaml"]


def test_the_settings_of_autoscaling_arrive_as_they_are() -> None:
    shell = commands.autoscale(ENDPOINT, VARIANT, SETTINGS).shell
    assert shell is not None
    settings = shlex.split(shell)[4]
    assert _autoscaling(settings) == Autoscaling(**SETTINGS)


def test_keys_of_another_form_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ObservedRegistry(uri="s3://ml-models/prod/", key="{name}-{version}.tar.gz", versions={})
    asked: list[tuple[str, str]] = []

    class Client:
        def models(self, uri: str, *, key: str) -> None:
            asked.append((uri, key))
            raise ModelNotFoundError("there is no such model")

    monkeypatch.setattr(Shell, "client", Client())
    monkeypatch.setattr(Shell, "close", lambda _: None)
    for remedy in (commands.alias(other, "fraud", "live", "v2"), commands.versions(other, "fraud")):
        assert remedy.shell is not None
        assert main(shlex.split(remedy.shell)[1:]) == 1
    assert asked == [(other.uri, other.key)] * 2
