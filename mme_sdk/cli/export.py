"""`mme export`: an endpoint as files for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mme_sdk.cli.common import Shell, command
from mme_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from mme_sdk.endpoints import EndpointSpec

__all__ = ["add_to"]

_file = click.argument("spec", type=click.Path(exists=True, dir_okay=False))
_out = click.option("--out", "-o", type=click.Path(dir_okay=False), help="File to write. Default: standard output.")


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """
    group = click.Group("export", help="Write an endpoint as files for CloudFormation, Terraform, CDK and dashboards.")
    root.add_command(group)
    _specs(group)
    _dashboards(group)


def _specs(group: click.Group) -> None:
    @command(group, "cloudformation")
    @_out
    @_file
    def cloudformation(shell: Shell, out: str | None, spec: str) -> None:
        """Write the template of CloudFormation that creates the endpoint of SPEC, a YAML file."""
        from mme_sdk.exports import cloudformation_template

        _write_json(shell, out, cloudformation_template(_read(spec)))

    @command(group, "terraform")
    @_out
    @_file
    def terraform(shell: Shell, out: str | None, spec: str) -> None:
        """Write the Terraform configuration (.tf.json) that creates the endpoint of SPEC, a YAML file."""
        from mme_sdk.exports import terraform_configuration

        _write_json(shell, out, terraform_configuration(_read(spec)))

    @command(group, "cdk")
    @_out
    @_file
    def cdk(shell: Shell, out: str | None, spec: str) -> None:
        """Write the program of AWS CDK, in Python, that creates the endpoint of SPEC, a YAML file."""
        from mme_sdk.exports import cdk_program

        program = cdk_program(_read(spec))
        _write(shell, out, {"program": program}, program.rstrip("\n"))


def _dashboards(group: click.Group) -> None:
    @command(group, "dashboard")
    @_out
    @_file
    def dashboard(shell: Shell, out: str | None, spec: str) -> None:
        """Write the body of a CloudWatch dashboard for the endpoint of SPEC. It needs a region."""
        from mme_sdk.exports import cloudwatch_dashboard

        found = _read(spec)
        region = shell.client.region
        _write_json(shell, out, cloudwatch_dashboard(found.name, region=region, variants=_variants(found)))

    @command(group, "alarms")
    @click.option("--action", "actions", multiple=True, metavar="ARN", help="What to notify; can be repeated.")
    @_out
    @_file
    def alarms(shell: Shell, actions: tuple[str, ...], out: str | None, spec: str) -> None:
        """Write the parameters of PutMetricAlarm for the alarms of the endpoint of SPEC."""
        from mme_sdk.exports import alarms as alarms_of

        found = _read(spec)
        _write_json(shell, out, alarms_of(found.name, variants=_variants(found), actions=actions))

    @command(group, "grafana")
    @_out
    @_file
    def grafana(shell: Shell, out: str | None, spec: str) -> None:
        """Write a Grafana dashboard of the recorder's counters in Prometheus for the endpoint of SPEC."""
        from mme_sdk.exports import grafana_dashboard

        _write_json(shell, out, grafana_dashboard(_read(spec).name))


def _read(path: str) -> EndpointSpec:
    from mme_sdk.endpoints import EndpointSpec

    return EndpointSpec.from_yaml(Path(path))


def _variants(spec: EndpointSpec) -> tuple[str, ...]:
    return tuple(one.name for one in spec.variants)


def _write_json(shell: Shell, out: str | None, data: Any) -> None:
    _write(shell, out, data, json.dumps(data, ensure_ascii=False, indent=2))


def _write(shell: Shell, out: str | None, data: Any, text: str) -> None:
    if out is None:
        shell.out.result(data, text)
        return
    try:
        Path(out).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be written: {error}", hint="give another path with --out") from error
    shell.out.item({"path": out}, f"Wrote {out}.")
