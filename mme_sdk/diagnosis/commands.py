"""The calls that mend findings, as Python and as a command line. No other module writes either."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.diagnosis.findings import Command
from mme_sdk.diagnosis.observation import ObservedEndpoint, ObservedRegistry, ObservedVariant

__all__ = ["alias", "autoscale", "call_alias", "dedicated", "resize", "retry_update", "rollback_alias", "weights"]

_KEY = "{name}/{version}.tar.gz"


def resize(
    endpoint: ObservedEndpoint, variant: ObservedVariant, count: int, *, replace: bool = False
) -> Command | None:
    """Set the number of instances; with autoscaling, its minimum. None if autoscaling cannot be expressed.

    Args:
        endpoint: The endpoint.
        variant: The variant.
        count: Number of instances.
        replace: Whether all instances are replaced by new ones. Autoscaling cannot do that.
    """
    scaling = variant.scaling
    if scaling is None:
        return Command(
            f"{_endpoint(endpoint)}.scale({count}, variant={_text(variant.name)}{', replace=True' if replace else ''})",
            f"mme endpoints scale {_quoted(endpoint.name)} {count} --variant {_quoted(variant.name)}"
            f"{' --replace' if replace else ''}",
        )
    if scaling.settings is None:
        return None
    limits = {"min": count, "max": max(count, scaling.max)}
    return autoscale(endpoint, variant, {**scaling.settings, **limits})


def autoscale(endpoint: ObservedEndpoint, variant: ObservedVariant, settings: Mapping[str, Any]) -> Command:
    """Replace the autoscaling of a variant.

    Args:
        endpoint: The endpoint.
        variant: The variant.
        settings: Keyword arguments of `Autoscaling`.
    """
    given = ", ".join(f"{key}={_text(value)}" for key, value in settings.items())
    fields = json.dumps(
        dict(settings), default=lambda one: attrs.asdict(one, filter=lambda _, value: value is not None)
    )
    return Command(
        f"{_endpoint(endpoint)}.autoscale(Autoscaling({given}), variant={_text(variant.name)})",
        f"mme endpoints autoscale {_quoted(endpoint.name)} {_quoted(fields)} --variant {_quoted(variant.name)}",
    )


def weights(endpoint: ObservedEndpoint, wanted: Mapping[str, float]) -> Command:
    """Set the variants' shares of the traffic."""
    given = " ".join(_quoted(f"{variant}={weight!r}") for variant, weight in wanted.items())
    return Command(
        f"{_endpoint(endpoint)}.weights({_text(dict(wanted))})",
        f"mme endpoints weights {_quoted(endpoint.name)} {given}",
    )


def retry_update(endpoint: ObservedEndpoint) -> Command | None:
    """Update to the configuration whose update was rolled back; None if it is not known."""
    if endpoint.failed_config is None:
        return None
    return Command(
        f"{_endpoint(endpoint)}.rollback(to={_text(endpoint.failed_config)})",
        f"mme endpoints rollback {_quoted(endpoint.name)} --to {_quoted(endpoint.failed_config)}",
    )


def rollback_alias(registry: ObservedRegistry, name: str, alias: str) -> Command:
    """Point an alias back at the version that it referred to before its last change."""
    return Command(
        f"{_models(registry)}.rollback({_text(name)}, {_text(alias)})",
        _shell(registry, "rollback", name, alias),
    )


def alias(registry: ObservedRegistry, name: str, alias: str, version: str) -> Command:
    """Point an alias at a version."""
    return Command(
        f"{_models(registry)}.alias({_text(name)}, {_text(alias)}, {_text(version)})",
        _shell(registry, "alias", name, alias, version),
    )


def unalias(registry: ObservedRegistry, name: str, alias: str) -> Command:
    """Remove an alias."""
    return Command(
        f"{_models(registry)}.unalias({_text(name)}, {_text(alias)})", _shell(registry, "unalias", name, alias)
    )


def call_alias(endpoint: ObservedEndpoint, reference: str) -> Command:
    """Invoke an alias in place of a version; callers replace the payload by their own."""
    return Command(
        f"{_endpoint(endpoint)}.invoke(payload, model={_text(reference)})",
        f"mme invoke {_quoted(endpoint.name)} payload.json --model {_quoted(reference)}",
    )


def logs(endpoint: ObservedEndpoint, model: str) -> Command:
    """Show what the container says about a model."""
    return Command(
        f"print(*{_endpoint(endpoint)}.logs(model={_text(model)}, lines=50), sep='\\n')",
        f"mme logs {_quoted(endpoint.name)} --model {_quoted(model)} --lines 50",
    )


def versions(registry: ObservedRegistry, name: str) -> Command:
    """List the versions of a model."""
    return Command(f"list({_models(registry)}.list({_text(name)}))", _shell(registry, "ls", name))


def dedicated(endpoint: ObservedEndpoint, variant: ObservedVariant, target: str, name: str) -> Command | None:
    """Create an endpoint for one model alone; None if image, role, prefix or instance type is not known."""
    prefix = None if endpoint.registry is None else endpoint.registry.uri
    if prefix is None or endpoint.image is None or endpoint.role is None or variant.instance_type is None:
        return None
    fields = {
        "name": name,
        "artifact": f"{prefix}{target}",
        "image": endpoint.image,
        "role": endpoint.role,
        "instance_type": variant.instance_type,
        "instance_count": 2,
    }
    given = ", ".join(f"{key}={_text(value)}" for key, value in fields.items())
    spec = json.dumps({"single_model": fields})
    return Command(
        f"client.endpoints.create(EndpointSpec.single_model({given}))",
        f"echo {shlex.quote(spec)} > {name}.yaml && mme endpoints apply {name}.yaml",
    )


def _endpoint(endpoint: ObservedEndpoint) -> str:
    return f"client.endpoint({_text(endpoint.name)})"


def _models(registry: ObservedRegistry) -> str:
    key = "" if registry.key == _KEY else f", key={_text(registry.key)}"
    return f"client.models({_text(registry.uri)}{key})"


def _shell(registry: ObservedRegistry, verb: str, *given: str) -> str:
    key = "" if registry.key == _KEY else f" --key {_quoted(registry.key)}"
    return f"mme models {verb} {' '.join(map(_quoted, given))} --models {_quoted(registry.uri)}{key}"


def _quoted(text: str) -> str:
    return shlex.quote(text)


def _text(value: Any) -> str:
    """Return Python source of a value, with double quotes where they need no escape."""
    if isinstance(value, str):
        return json.dumps(value) if value.isascii() and value.isprintable() else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return repr(value)
