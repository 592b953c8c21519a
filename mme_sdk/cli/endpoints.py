"""`mme endpoints`: create, change, watch and delete endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mme_sdk.cli.common import Shell, command, numbers, timeout_option
from mme_sdk.cli.exit_codes import DIFFERENT

if TYPE_CHECKING:
    from mme_sdk.endpoints import Autoscaling, EndpointDescription, EndpointPlan, EndpointSpec

__all__ = ["add_to"]

_file = click.argument("spec_file", metavar="SPEC.yaml", type=click.Path(exists=True, dir_okay=False))


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """
    group = click.Group("endpoints", help="Create, change, watch and delete endpoints.")
    root.add_command(group)
    for add in (_reading, _planning, _changing, _deletion):
        add(group)


def _read(path: str) -> EndpointSpec:
    from pathlib import Path

    from mme_sdk.endpoints import EndpointSpec

    return EndpointSpec.from_yaml(Path(path))


def _show(shell: Shell, seen: EndpointDescription) -> None:
    rows = [("name", seen.name), ("status", seen.status), ("reason", seen.failure_reason), ("mode", seen.mode)]
    rows += [("models", seen.model_data), ("config", seen.config_name), ("updating to", seen.pending_config)]
    for one in seen.variants:
        scaling = "" if one.autoscaling is None else ", with autoscaling"
        rows.append((f"variant {one.name}", f"{one.instance_count} x {one.instance_type}{scaling}"))
    shell.out.result(seen, "\n".join(f"{name:<20} {value}" for name, value in rows if value))


def _reading(group: click.Group) -> None:
    @command(group, "ls")
    @click.argument("text", required=False)
    def ls(shell: Shell, text: str | None) -> None:
        """List the endpoints, or those whose names contain TEXT; newest first."""
        rows = []
        for endpoint in shell.client.endpoints.list(text):
            row = endpoint._row()
            rows.append({"name": endpoint.name, **{key: row.get(key) for key in ("status", "created", "modified")}})
        shell.out.table(rows, "no endpoints")

    @command(group, "show")
    @click.option("--yaml", is_flag=True, help="Write the spec as YAML, with the environment variables.")
    @click.argument("name")
    def show(shell: Shell, yaml: bool, name: str) -> None:
        """Describe an endpoint."""
        if yaml and shell.out.as_json:
            raise click.UsageError("--yaml and --json exclude each other.")
        if yaml:
            shell.out.line(shell.client.endpoints.from_endpoint(name).to_yaml().rstrip())
        else:
            _show(shell, shell.client.endpoints.describe(name))

    @command(group, "wait")
    @timeout_option(1800)
    @click.argument("name")
    def wait(shell: Shell, timeout: float, name: str) -> None:
        """Wait until an endpoint is in service. Fails if it failed, or if its update was rolled back."""
        from mme_sdk.errors import EndpointFailedError

        handle = shell.client.endpoints.wait(name, timeout=timeout, progress=shell.out.progress)
        seen = handle.describe()
        if seen.failure_reason:
            raise EndpointFailedError(
                f"the last update of endpoint {name} was rolled back: {seen.failure_reason}",
                reason=seen.failure_reason,
                endpoint=name,
            )
        _show(shell, seen)


def _plan_facts(plan: EndpointPlan) -> dict[str, Any]:
    return {"endpoint": plan.spec.name, "action": plan.action, "changes": plan.changes}


def _planning(group: click.Group) -> None:
    @command(group, "plan", exits=(DIFFERENT,))
    @_file
    def plan(shell: Shell, spec_file: str) -> int:
        """Show what `apply` would change. Changes nothing; exits with 2 if there are differences."""
        found = shell.client.endpoints.plan(_read(spec_file))
        shell.out.result(_plan_facts(found), str(found))
        return 0 if found.action == "nothing" else DIFFERENT

    @command(group, "apply", dry_run=True)
    @timeout_option(3600)
    @_file
    def apply(shell: Shell, timeout: float, spec_file: str, dry_run: bool) -> None:
        """Create or change an endpoint to match a spec, and wait until it does."""
        endpoints = shell.client.endpoints
        found = endpoints.plan(_read(spec_file))
        if dry_run:
            shell.out.result(_plan_facts(found), str(found))
            return
        _show(shell, endpoints.apply(found, timeout=timeout, progress=shell.out.progress).describe())

    @command(group, "update", dry_run=True)
    @timeout_option(3600)
    @_file
    def update(shell: Shell, timeout: float, spec_file: str, dry_run: bool) -> None:
        """Change an endpoint that exists to match a spec, and wait until it does."""
        spec = _read(spec_file)
        endpoints = shell.client.endpoints
        if dry_run:
            endpoints.describe(spec.name)
            found = endpoints.plan(spec)
            shell.out.result(_plan_facts(found), str(found))
            return
        handle = endpoints.handle(spec.name).update(spec, timeout=timeout, progress=shell.out.progress)
        _show(shell, handle.describe())


def _changing(group: click.Group) -> None:
    @command(group, "scale", dry_run=True)
    @timeout_option(1800)
    @click.option("--variant", help="VariantName. Default: the only variant.")
    @click.option("--replace", is_flag=True, help="Replace all instances by an update; all models are placed anew.")
    @click.argument("name")
    @click.argument("count", type=click.IntRange(min=0))
    def scale(
        shell: Shell, timeout: float, variant: str | None, replace: bool, name: str, count: int, dry_run: bool
    ) -> None:
        """Set the instance count of a variant, and wait until the instances run."""
        handle = shell.client.endpoint(name)
        if dry_run:
            now = {one.name: one.instance_count for one in handle.describe().variants}
            if variant is not None and variant not in now:
                raise click.UsageError(f"{name} has no variant {variant}; it has {', '.join(now)}.")
            how = ", on new instances" if replace else ""
            text = f"would set {variant or 'the only variant'} of {name} to {count}{how}; now {now}"
            shell.out.result({"dry_run": True, "endpoint": name, "now": now, "count": count}, text)
            return
        done = handle.scale(count, variant=variant, replace=replace, timeout=timeout, progress=shell.out.progress)
        _show(shell, done.describe())

    @command(group, "weights", dry_run=True)
    @timeout_option(1800)
    @click.argument("name")
    @click.argument("weights", nargs=-1, required=True, metavar="VARIANT=WEIGHT...")
    def weights_(shell: Shell, timeout: float, name: str, weights: tuple[str, ...], dry_run: bool) -> None:
        """Set the variants' shares of the traffic, and wait until they are in effect."""
        wanted = numbers(weights)
        handle = shell.client.endpoint(name)
        if dry_run:
            now = _weights_of(handle.describe(), wanted)
            text = f"would set the weights of {name} to {wanted}; now {now}"
            shell.out.result({"dry_run": True, "endpoint": name, "now": now, "weights": {**now, **wanted}}, text)
            return
        _show(shell, handle.weights(wanted, timeout=timeout, progress=shell.out.progress).describe())

    @command(group, "autoscale", dry_run=True)
    @click.option("--variant", help="VariantName. Default: the only variant.")
    @click.argument("name")
    @click.argument("settings", metavar="SETTINGS|off")
    def autoscale(shell: Shell, variant: str | None, name: str, settings: str, dry_run: bool) -> None:
        """Attach autoscaling to a variant in place of what is attached, or detach it ("off").

        SETTINGS are the fields of autoscaling in a spec file, as JSON: '{"min": 1, "max": 4, "target": 60, "metric":
        "cpu"}'.
        """
        wanted = _autoscaling(settings)
        handle = shell.client.endpoint(name)
        if dry_run:
            now = {one.name: one.autoscaling for one in handle.describe().variants}
            if variant is not None and variant not in now:
                raise click.UsageError(f"{name} has no variant {variant}; it has {', '.join(now)}.")
            chosen = variant or "the only variant"
            verb = f"detach autoscaling from {chosen}" if wanted is None else f"attach {wanted} to {chosen}"
            facts = {"dry_run": True, "endpoint": name, "variant": variant, "now": now, "autoscaling": wanted}
            shell.out.result(facts, f"would {verb} of {name}")
            return
        _show(shell, handle.autoscale(wanted, variant=variant).describe())

    @command(group, "rollback", dry_run=True)
    @timeout_option(3600)
    @click.option("--to", help="Endpoint configuration. Default: the one that was replaced last.")
    @click.argument("name")
    def rollback(shell: Shell, timeout: float, to: str | None, name: str, dry_run: bool) -> None:
        """Update an endpoint to the configuration that its last update replaced."""
        if dry_run:
            from mme_sdk.endpoints.operations.rollback import target_of

            config, target = shell.client.endpoints.aws.run(target_of(name, to))
            text = f"would update {name} from {config} to {target}"
            shell.out.result({"dry_run": True, "endpoint": name, "config": config, "to": target}, text)
            return
        handle = shell.client.endpoint(name)
        _show(shell, handle.rollback(to, timeout=timeout, progress=shell.out.progress).describe())


def _weights_of(seen: EndpointDescription, wanted: dict[str, float]) -> dict[str, float | None]:
    now = {one.name: one.weight for one in seen.variants}
    for variant in wanted:
        if variant not in now:
            raise click.UsageError(f"{seen.name} has no variant {variant}; it has {', '.join(now)}.")
    return now


def _autoscaling(text: str) -> Autoscaling | None:
    import json

    from mme_sdk.endpoints import Autoscaling
    from mme_sdk.endpoints.spec.serialization import built

    if text == "off":
        return None
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"SETTINGS is neither JSON nor off: {error}") from error
    if not isinstance(fields, dict):
        raise click.UsageError(f"SETTINGS must be a JSON object, not {text}")
    made: Autoscaling = built(Autoscaling, fields, "autoscaling")
    return made


def _deletion(group: click.Group) -> None:
    @command(group, "rm", dry_run=True, yes=True)
    @timeout_option(900)
    @click.argument("name")
    def rm(shell: Shell, timeout: float, name: str, dry_run: bool, yes: bool) -> None:
        """Delete an endpoint and what this SDK made for it."""
        if not dry_run:
            shell.confirm(f"Delete the endpoint {name}?", yes=yes)
        done = shell.client.endpoints.delete(name, dry_run=dry_run, timeout=timeout, progress=shell.out.progress)
        shell.out.result(done, str(done))

    @command(group, "orphans", dry_run=True, yes=True)
    @click.option("--rm", "remove", is_flag=True, help="Delete those that this SDK made.")
    def orphans(shell: Shell, remove: bool, dry_run: bool, yes: bool) -> None:
        """List the configurations and models that no endpoint uses."""
        endpoints = shell.client.endpoints
        found = endpoints.orphans(progress=shell.out.progress)
        rows = [{"kind": one.kind, "name": one.name, "made_for": one.made_for, "created": one.created} for one in found]
        if not remove or dry_run:
            if remove:
                rows = [row for row in rows if row["made_for"] is not None]
            shell.out.table(rows, "no orphans")
            return
        mine = [one for one in found if one.made_for is not None]
        if mine:
            shell.confirm(f"Delete {len(mine)} configurations and models?", yes=yes)
        removed = endpoints.remove_orphans(mine, progress=shell.out.progress)
        shell.out.result(removed, "\n".join(f"deleted {one.kind} {one.name}" for one in removed) or "no orphans")
