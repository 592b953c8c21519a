"""A spec as a template of CloudFormation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.errors import InvalidInputError
from mme_sdk.exports.resources import Kind, Reference, Resource, check_data, refused, resources_of, schema_of

__all__ = ["TYPES", "cloudformation_template", "logical_ids", "properties"]

TYPES: Mapping[Kind, str] = {
    "model": "AWS::SageMaker::Model",
    "config": "AWS::SageMaker::EndpointConfig",
    "endpoint": "AWS::SageMaker::Endpoint",
    "target": "AWS::ApplicationAutoScaling::ScalableTarget",
    "policy": "AWS::ApplicationAutoScaling::ScalingPolicy",
    "alarm": "AWS::CloudWatch::Alarm",
}
_ATTRIBUTES = {"model": "ModelName", "config": "EndpointConfigName"}
_TARGET = ("ServiceNamespace", "ResourceId", "ScalableDimension")


def cloudformation_template(spec: EndpointSpec) -> dict[str, Any]:
    """Return a template of CloudFormation that creates the endpoint of a spec.

    Names of models and of the configuration are derived from their content, as `endpoints.apply` derives them. So a
    changed spec makes a new configuration, to which CloudFormation updates the endpoint.

    Args:
        spec: The spec. The template contains its environment variables: keep secrets elsewhere.

    Returns:
        The template, for `json.dumps`.

    Raises:
        InvalidInputError: The spec holds a setting that CloudFormation has no property for; the message names it.

    Example:
        ```python
        template = cloudformation_template(EndpointSpec.from_yaml("scoring.yaml"))
        Path("scoring.json").write_text(json.dumps(template, indent=2))
        ```
    """
    found = resources_of(spec)
    ids = logical_ids(found)
    template: dict[str, Any] = {}
    for one in found:
        if one.kind == "action":
            continue
        template[ids[one.label]] = {"Type": TYPES[one.kind], "Properties": _rendered(properties(one, found), ids)}
        if one.kind == "target":
            template[ids[one.label]]["DependsOn"] = [ids[label] for label in one.after]
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"SageMaker endpoint {spec.name}",
        "Resources": template,
    }


def logical_ids(found: tuple[Resource, ...]) -> dict[tuple[str, ...], str]:
    """Return the logical id of each resource by its label: letters and digits only, each once."""
    ids: dict[tuple[str, ...], str] = {}
    for one in found:
        words = ["".join(letter for letter in word if letter.isalnum()) for word in one.label]
        stem = "".join(word[:1].upper() + word[1:] for word in words)
        name, number = stem, 1
        while name in ids.values():
            number += 1
            name = f"{stem}x{number}"
        ids[one.label] = name
    return ids


def properties(resource: Resource, found: tuple[Resource, ...]) -> dict[str, Any]:
    """Return the properties of a resource, with references, and check that CloudFormation has them."""
    params = dict(resource.params)
    if resource.kind == "target":
        actions = [one for one in found if one.kind == "action" and one.after == (resource.label,)]
        members = [{key: value for key, value in one.params.items() if key not in _TARGET} for one in actions]
        params |= {"ScheduledActions": members} if members else {}
    if resource.kind == "policy":
        params = {key: value for key, value in params.items() if key not in _TARGET}
        params["ScalingTargetId"] = Reference(resource.after[0])
    checked: dict[str, Any] = _checked(params, schema_of("cloudformation", TYPES[resource.kind]), resource, "")
    return checked


def _checked(value: Any, tree: Any, resource: Resource, where: str) -> Any:
    if isinstance(value, Reference):
        return value
    if tree is True:
        if isinstance(value, Mapping):
            for key in value:
                if key == "Ref" or str(key).startswith("Fn::"):
                    raise InvalidInputError(
                        f"spec: {where} has the key {key!r}, which CloudFormation takes as a function",
                        hint="use another key",
                    )
        if isinstance(value, (list, tuple)):
            return [_checked(item, True, resource, f"{where}[{place}]") for place, item in enumerate(value)]
        return check_data(value, where)
    if isinstance(value, (list, tuple)) and tree.get("list"):
        one = {**tree, "list": False}
        return [_checked(item, one, resource, f"{where}[{place}]") for place, item in enumerate(value)]
    if not isinstance(value, Mapping) or tree.get("list"):
        raise refused("CloudFormation", resource.operation, where)
    checked = {}
    for key, item in value.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in tree["members"]:
            raise refused("CloudFormation", resource.operation, path)
        checked[key] = _checked(item, tree["members"][key], resource, path)
    return checked


def _rendered(value: Any, ids: Mapping[tuple[str, ...], str]) -> Any:
    if isinstance(value, Reference):
        name, attribute = ids[value.label], _ATTRIBUTES.get(value.label[0])
        return {"Fn::GetAtt": [name, attribute]} if attribute else {"Ref": name}
    if isinstance(value, Mapping):
        return {key: _rendered(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [_rendered(item, ids) for item in value]
    return value
