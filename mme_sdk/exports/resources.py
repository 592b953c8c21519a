"""The resources of a spec, as a tool for infrastructure counts them, with references between them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources as package_files
from typing import Any, Literal, TypeAlias

import attrs

from mme_sdk.endpoints.spec.requests import requests_of
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.errors import InvalidInputError

__all__ = ["Kind", "Reference", "Resource", "check_data", "refused", "resources_of", "schema_of"]

Kind: TypeAlias = Literal["model", "config", "endpoint", "target", "policy", "action", "alarm"]
_KINDS: Mapping[str, Kind] = {
    "create_model": "model",
    "create_endpoint_config": "config",
    "create_endpoint": "endpoint",
    "register_scalable_target": "target",
    "put_scaling_policy": "policy",
    "put_scheduled_action": "action",
    "put_metric_alarm": "alarm",
}


@attrs.frozen
class Reference:
    """A reference to another resource of the same file.

    Attributes:
        label: Label of the resource.
        value: The name that the reference has at run time; None if AWS chooses it.
    """

    label: tuple[str, ...]
    value: str | None = None


@attrs.frozen(kw_only=True)
class Resource:
    """One resource.

    Attributes:
        kind: What it is.
        operation: The operation of boto3 that creates it.
        label: Words that identify it in the file. They do not depend on its content.
        params: Parameters of the operation, with references.
        after: Labels of the resources that must exist before it and that `params` does not refer to.
    """

    kind: Kind
    operation: str
    label: tuple[str, ...]
    params: Mapping[str, Any]
    after: tuple[tuple[str, ...], ...] = ()


def resources_of(spec: EndpointSpec) -> tuple[Resource, ...]:
    """Return the resources of a spec, each after those that it needs."""
    check_spec(spec)
    requests = requests_of(spec)
    first: dict[str, str] = {}
    for variant in requests.config["ProductionVariants"]:
        first.setdefault(variant["ModelName"], variant["VariantName"])
    labels = {name: ("model", variant) for name, variant in first.items()}
    found = [
        Resource(kind="model", operation="create_model", label=labels[model["ModelName"]], params=model)
        for model in requests.models
    ]
    variants = [
        one | {"ModelName": Reference(labels[one["ModelName"]], one["ModelName"])}
        for one in requests.config["ProductionVariants"]
    ]
    config = requests.config | {"ProductionVariants": variants}
    found.append(Resource(kind="config", operation="create_endpoint_config", label=("config",), params=config))
    endpoint = requests.endpoint | {"EndpointConfigName": Reference(("config",), requests.config_name)}
    found.append(Resource(kind="endpoint", operation="create_endpoint", label=("endpoint",), params=endpoint))
    return (*found, *_autoscaling(requests.autoscaling))


def _autoscaling(requests: tuple[tuple[str, dict[str, Any]], ...]) -> list[Resource]:
    found: list[Resource] = []
    variant = ""
    target: tuple[str, ...] = ("endpoint",)
    counts: dict[Kind, int] = {}
    for operation, params in requests:
        kind = _KINDS[operation]
        after: tuple[tuple[str, ...], ...] = (target,)
        if kind == "target":
            # The resource id is endpoint/NAME/variant/NAME.
            variant, counts, after = params["ResourceId"].rpartition("/")[2], {}, (("endpoint",),)
        counts[kind] = counts.get(kind, 0) + 1
        label: tuple[str, ...] = (kind, variant) if kind in ("target", "alarm") else (kind, variant, str(counts[kind]))
        if kind == "target":
            target = label
        if kind == "alarm":
            after = ()
        more = {"AlarmActions": [Reference(found[-1].label)]} if kind == "alarm" else {}
        found.append(Resource(kind=kind, operation=operation, label=label, params=params | more, after=after))
    return found


@functools.cache
def _schemas() -> Mapping[str, Any]:
    text = (package_files.files("mme_sdk.exports") / "schemas.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def schema_of(tool: Literal["cloudformation", "terraform"], resource: str) -> Mapping[str, Any]:
    """Return the members of a resource of a tool, as a tree of `members`, `list` and `type`."""
    found: Mapping[str, Any] = _schemas()[tool][resource]
    return found


def refused(tool: str, operation: str, where: str) -> InvalidInputError:
    """Return the error for a member that a tool has no place for."""
    request = "".join(word.capitalize() for word in operation.split("_"))
    return InvalidInputError(
        f"spec: {tool} cannot express {where} of {request}",
        hint="remove the setting from the spec, or create the endpoint with endpoints.apply(spec)",
    )


def check_data(value: Any, where: str) -> Any:
    """Return a value that JSON can represent.

    Raises:
        InvalidInputError: JSON cannot represent it.
    """
    if isinstance(value, Mapping):
        return {key: check_data(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [check_data(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and abs(value) < 1e300):
        return value
    raise InvalidInputError(f"spec: {where} is not plain data: {value!r}", hint="use text, numbers, lists and mappings")
