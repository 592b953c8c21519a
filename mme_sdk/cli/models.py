"""`mme models`: the registry of models in S3."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mme_sdk.cli.common import KEY, Shell, command, numbers
from mme_sdk.cli.exit_codes import PARTLY

if TYPE_CHECKING:
    from mme_sdk.registry import Alias, ModelRegistry
    from mme_sdk.types import ModelVersion

__all__ = ["add_to"]

_prefix = click.option(
    "--models",
    "uri",
    required=True,
    envvar="MME_MODELS",
    metavar="S3_PREFIX",
    help="S3 prefix of the models, such as s3://ml-models/prod/. Environment: MME_MODELS.",
)
_key = click.option(
    "--key",
    default=KEY,
    show_default=True,
    expose_value=False,
    callback=lambda context, _, value: context.meta.update({__name__: value}),
    help="Template of the keys under the prefix.",
)
_image = click.option("--image", help="Image that will load the models; what it cannot load is refused.")


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """
    group = click.Group("models", help="List, register and change the models under an S3 prefix.")
    root.add_command(group)
    for add in (_reading, _writing, _aliases, _deletion):
        add(group)


def _uri(function: Callable[..., int | None]) -> Callable[..., int | None]:
    made: Callable[..., int | None] = _prefix(_key(function))
    return made


def _registry(shell: Shell, uri: str) -> ModelRegistry:
    return shell.client.models(uri, key=click.get_current_context().meta[__name__])


def _pair(reference: str) -> tuple[str, str | None]:
    """Return the name and the version of `name` or `name:version`."""
    name, colon, version = reference.partition(":")
    if colon and not version:
        raise click.BadParameter(f"{reference}: the version after ':' is missing")
    return name, version or None


def _row(version: ModelVersion, aliases: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "target_model": version.target_model,
        "size": version.size,
        "created": version.created,
        "aliases": aliases.get((version.name, version.version), []),
    }


def _reading(group: click.Group) -> None:
    @command(group, "ls")
    @_uri
    @click.argument("name", required=False)
    def ls(shell: Shell, uri: str, name: str | None) -> None:
        """List the versions under the prefix, or those of NAME, with their aliases."""
        registry = _registry(shell, uri)
        versions = list(registry.list(name))
        aliases: dict[tuple[str, str], list[str]] = {}
        for alias in registry.aliases(name):
            for version in alias.weights:
                aliases.setdefault((alias.name, version), []).append(alias.alias)
        shell.out.table([_row(one, aliases) for one in versions], f"no models under {registry.uri}")

    @command(group, "verify", exits=(PARTLY,))
    @_uri
    @click.argument("references", nargs=-1, metavar="[NAME[:VERSION]]...")
    def verify(shell: Shell, uri: str, references: tuple[str, ...]) -> int:
        """Read versions from S3 and compare them with the digests of their registration. Default: all versions.

        NAME is a target model such as fraud/v3.tar.gz, or the name of a model, which means all its versions.
        """
        from mme_sdk.errors import AccessDeniedError, BucketNotFoundError, MMEError, ModelNotFoundError

        registry = _registry(shell, uri)
        rows = []
        for name, version in _versions(registry, references):
            row: dict[str, Any] = {"name": name, "version": version, "state": "ok", "error": None}
            try:
                registry.verify(name, version, progress=shell.out.progress)
            except (AccessDeniedError, BucketNotFoundError, ModelNotFoundError):
                raise
            except MMEError as error:
                row |= {"state": "failed", "error": error.message}
            rows.append(row)
        shell.out.table(rows, f"no models under {registry.uri}")
        return PARTLY if any(row["error"] for row in rows) else 0


def _versions(registry: ModelRegistry, references: tuple[str, ...]) -> list[tuple[str, str | None]]:
    from mme_sdk.errors import ModelNotFoundError

    if not references:
        return [(one.name, one.version) if one.version else (one.target_model, None) for one in registry.list()]
    found: list[tuple[str, str | None]] = []
    for reference in references:
        name, version = _pair(reference)
        listed = [] if version or name.endswith(".tar.gz") else [(name, one.version) for one in registry.list(name)]
        if not listed and not version and not name.endswith(".tar.gz"):
            raise ModelNotFoundError(f"there is no model {name} under {registry.uri}")
        found += listed or [(name, version)]
    return found


def _writing(group: click.Group) -> None:
    @command(group, "register", dry_run=True)
    @_uri
    @_image
    @click.option("--version", help="The version. Default: derived from the content.")
    @click.option("--framework", help="Framework whose layout is checked. Default: detected.")
    @click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Text to store; can be repeated.")
    @click.option("--alias", help="Alias to point at the version afterwards.")
    @click.argument("name")
    @click.argument("source", type=click.Path(exists=True))
    def register(
        shell: Shell,
        uri: str,
        image: str | None,
        version: str | None,
        framework: str | None,
        metadata: tuple[str, ...],
        alias: str | None,
        name: str,
        source: str,
        dry_run: bool,
    ) -> None:
        """Pack SOURCE (a directory, file or tar.gz archive) and upload it as a version of the model NAME.

        With --dry-run, the layout of SOURCE is checked as pack would, and nothing is uploaded.
        """
        registry = _registry(shell, uri)
        pairs = dict(_assignment(one) for one in metadata)
        if dry_run:
            _check(source, image, framework)
            text = f"would register {name} from {source} under {registry.uri}"
            shell.out.result({"dry_run": True, "name": name, "source": source, "models": registry.uri}, text)
            return
        made = registry.register(
            name,
            source,
            version,
            image=image,
            framework=framework,
            metadata=pairs,
            progress=shell.out.progress,
        )
        if alias is not None:
            registry.alias(name, alias, made)
        pointed = "" if alias is None else f", {name}@{alias} refers to it"
        shell.out.result(made, f"registered {made.name} {made.version} as {made.uri}{pointed}")

    @command(group, "sync", exits=(PARTLY,), dry_run=True, yes=True)
    @_uri
    @_image
    @click.option("--alias", help="Alias of each model to point at the version in the directory.")
    @click.option("--delete", is_flag=True, help="Delete the models that the directory does not have.")
    @click.argument("directory", type=click.Path(exists=True, file_okay=False))
    def sync(
        shell: Shell,
        uri: str,
        image: str | None,
        alias: str | None,
        delete: bool,
        directory: str,
        dry_run: bool,
        yes: bool,
    ) -> None:
        """Register each entry of DIRECTORY whose content is not registered yet."""
        registry = _registry(shell, uri)
        if delete and not dry_run:
            extra = registry.sync(directory, alias=alias, delete=True, dry_run=True, image=image).deleted
            if extra:
                names = ", ".join(sorted({one.name for one in extra}))
                shell.confirm(f"Delete {names} under {registry.uri}?", yes=yes)
        report = registry.sync(
            directory, alias=alias, delete=delete, dry_run=dry_run, image=image, progress=shell.out.progress
        )
        would = "would be " if report.dry_run else ""
        lines = [f"{name} {version} {would}registered" for name, version in report.registered.items()]
        lines += [f"{one.name} {one.version} {would}deleted" for one in report.deleted]
        lines.append(f"{len(report.unchanged)} unchanged")
        shell.out.result(report, "\n".join(lines))


def _check(source: str, image: str | None, framework: str | None) -> None:
    """Pack the source into a temporary archive, which checks its layout, and remove the archive."""
    import tempfile

    from mme_sdk.artifacts import pack

    with tempfile.TemporaryFile() as target:
        pack(source, target, image=image, framework=framework)


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--metadata")
    return key, value


def _aliases(group: click.Group) -> None:
    @command(group, "alias", dry_run=True)
    @_uri
    @click.argument("name")
    @click.argument("alias")
    @click.argument("versions", nargs=-1, required=True, metavar="VERSION[=WEIGHT]...")
    def alias_(shell: Shell, uri: str, name: str, alias: str, versions: tuple[str, ...], dry_run: bool) -> None:
        """Point ALIAS of the model NAME at a version, or share it between several by weight (v1=0.9 v2=0.1)."""
        registry = _registry(shell, uri)
        wanted = _weights(versions)
        if dry_run:
            for version in wanted:
                registry.get(name, version)
            shell.out.result(
                {"dry_run": True, "name": name, "alias": alias, "weights": wanted},
                f"{name}@{alias} would refer to {_share(wanted)}",
            )
            return
        made = registry.alias(name, alias, next(iter(wanted)) if len(wanted) == 1 else wanted)
        shell.out.result(_alias_facts(made), f"{made.reference} refers to {_share(made.weights)}")

    @command(group, "rollback", dry_run=True)
    @_uri
    @click.argument("name")
    @click.argument("alias")
    def rollback(shell: Shell, uri: str, name: str, alias: str, dry_run: bool) -> None:
        """Point ALIAS of the model NAME at what it referred to before its last change."""
        registry = _registry(shell, uri)
        if dry_run:
            from mme_sdk.registry.alias import rollback_target

            now = _alias(registry, name, alias)
            target = rollback_target(now)[1]
            shell.out.result(
                {"dry_run": True, **_alias_facts(now), "to": target},
                f"{now.reference} would refer to {_share(target)}; now {_share(now.weights)}",
            )
            return
        made = registry.rollback(name, alias)
        shell.out.result(_alias_facts(made), f"{made.reference} refers to {_share(made.weights)} again")

    @command(group, "unalias", dry_run=True)
    @_uri
    @click.argument("name")
    @click.argument("alias")
    def unalias(shell: Shell, uri: str, name: str, alias: str, dry_run: bool) -> None:
        """Delete ALIAS of the model NAME and its history. The versions are kept."""
        registry = _registry(shell, uri)
        now = _alias(registry, name, alias)
        if not dry_run:
            registry.unalias(name, alias)
        verb = "would delete" if dry_run else "deleted"
        shell.out.result(
            {"dry_run": dry_run, **_alias_facts(now)}, f"{verb} {now.reference}, which refers to {_share(now.weights)}"
        )


def _alias(registry: ModelRegistry, name: str, alias: str) -> Alias:
    from mme_sdk.errors import ModelNotFoundError

    found = next((one for one in registry.aliases(name) if one.alias == alias), None)
    if found is None:
        raise ModelNotFoundError(f"the model {name} has no alias {alias}")
    return found


def _alias_facts(alias: Any) -> dict[str, Any]:
    return {"name": alias.name, "alias": alias.alias, "weights": alias.weights}


def _share(weights: Any) -> str:
    return next(iter(weights)) if len(weights) == 1 else ", ".join(f"{key}={value}" for key, value in weights.items())


def _weights(versions: tuple[str, ...]) -> dict[str, float]:
    if len(versions) == 1 and "=" not in versions[0]:
        return {versions[0]: 1.0}
    return numbers(versions)


def _deletion(group: click.Group) -> None:
    @command(group, "rm", exits=(PARTLY,), dry_run=True, yes=True)
    @_uri
    @click.option("--force", is_flag=True, help="Delete it also if an alias refers to it.")
    @click.option(
        "--grace",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="Seconds between the tombstone and the deletion.",
    )
    @click.argument("reference", metavar="NAME[:VERSION]")
    def rm(shell: Shell, uri: str, force: bool, grace: float, reference: str, dry_run: bool, yes: bool) -> None:
        """Delete a version, or all versions of a model."""
        registry = _registry(shell, uri)
        name, version = _pair(reference)
        if not dry_run:
            shell.confirm(
                f"Delete {name}{f' {version}' if version else ', all versions,'} under {registry.uri}?", yes=yes
            )
        done = registry.delete(name, version, grace=grace, force=force, dry_run=dry_run, progress=shell.out.progress)
        verb = "would delete" if done.dry_run else "deleted"
        lines = [f"{verb} {one.target_model}" for one in done.versions] or ["nothing to delete"]
        lines += [f"{one} refers to a deleted version" for one in done.broken_aliases]
        shell.out.result(done, "\n".join(lines))
