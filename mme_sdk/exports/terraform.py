"""A spec as a configuration of Terraform, in its JSON syntax.

Source of the syntax: https://developer.hashicorp.com/terraform/language/syntax/json. Source of the arguments: the
schema of the AWS provider, in schemas.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.errors import InvalidInputError
from mme_sdk.exports.resources import Kind, Reference, Resource, check_data, refused, resources_of, schema_of

__all__ = ["terraform_configuration"]

_TOOL = "Terraform's AWS provider"
_PROVIDER = {"source": "hashicorp/aws", "version": ">= 6.25"}
_TYPES: Mapping[Kind, str] = {
    "model": "aws_sagemaker_model",
    "config": "aws_sagemaker_endpoint_configuration",
    "endpoint": "aws_sagemaker_endpoint",
    "target": "aws_appautoscaling_target",
    "policy": "aws_appautoscaling_policy",
    "action": "aws_appautoscaling_scheduled_action",
    "alarm": "aws_cloudwatch_metric_alarm",
}
_NAMES = {
    "ModelName": {"model": "name"},
    "EndpointConfigName": {"config": "name"},
    "EndpointName": {"endpoint": "name"},
    "PolicyName": {"policy": "name"},
    "ScheduledActionName": {"action": "name"},
    "KmsKeyId": {"config": "kms_key_arn"},
    "Containers": {"model": "container"},
    "AdditionalModelDataSources": {"model": "additional_model_data_source"},
    "StepAdjustments": {"policy": "step_adjustment"},
}
"""Arguments that are not the API's name in lower case with underscores, by kind of resource."""
_BOUNDS = ("metric_interval_lower_bound", "metric_interval_upper_bound")
_LONGEST = 14_400


def terraform_configuration(spec: EndpointSpec) -> dict[str, Any]:
    """Return a configuration of Terraform that creates the endpoint of a spec, with resources of the AWS provider.

    A changed model or configuration is created before the old one is deleted, so that the endpoint always has one.

    Args:
        spec: The spec. The configuration contains its environment variables: keep secrets elsewhere.

    Returns:
        The configuration in Terraform's JSON syntax: write it to a file whose name ends with `.tf.json`.

    Raises:
        InvalidInputError: The spec holds a setting that the AWS provider has no argument for, or a value that it
            rejects; the message names it.

    Example:
        ```python
        configuration = terraform_configuration(EndpointSpec.from_yaml("scoring.yaml"))
        Path("scoring.tf.json").write_text(json.dumps(configuration, indent=2))
        ```
    """
    resources: dict[str, dict[str, Any]] = {}
    for one in resources_of(spec):
        if one.kind == "model" and "ExecutionRoleArn" not in one.params:
            raise InvalidInputError("spec: Terraform's AWS provider needs a role for each model", hint="give `role`")
        body = _body(one.params, schema_of("terraform", _TYPES[one.kind]), one, "")
        if one.kind in ("model", "config"):
            body["lifecycle"] = {"create_before_destroy": True}
        if one.after:
            body["depends_on"] = [_address(label) for label in one.after]
        resources.setdefault(_TYPES[one.kind], {})[_label(one.label)] = body
    return {"terraform": {"required_providers": {"aws": dict(_PROVIDER)}}, "resource": resources}


def _label(words: tuple[str, ...]) -> str:
    return "_".join(words)


def _address(words: tuple[str, ...]) -> str:
    kind: Any = words[0]
    return f"{_TYPES[kind]}.{_label(words)}"


def _snake(name: str) -> str:
    """Return a name of the API in lower case with underscores: VolumeSizeInGB is volume_size_in_gb."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", parted).lower()


def _body(value: Mapping[str, Any], tree: Mapping[str, Any], resource: Resource, where: str) -> dict[str, Any]:
    found = {}
    for key, item in value.items():
        path = f"{where}.{key}" if where else key
        name = _snake(key)
        if not where or key in ("AdditionalModelDataSources", "StepAdjustments"):
            name = _NAMES.get(key, {}).get(resource.kind, name)
        if name not in tree["members"]:
            raise refused(_TOOL, resource.operation, path)
        found[name] = _argument(name, item, tree["members"][name], resource, path)
    return found


def _argument(name: str, value: Any, tree: Any, resource: Resource, where: str) -> Any:
    if isinstance(value, Reference):
        return f"${{{_address(value.label)}.{'name' if value.value else 'arn'}}}"
    if isinstance(value, list) and any(isinstance(one, Reference) for one in value):
        return [_argument(name, one, tree, resource, where) for one in value]
    if tree is not True:
        if isinstance(value, (list, tuple)) and tree.get("list"):
            return [_body(item, tree, resource, f"{where}[{place}]") for place, item in enumerate(value)]
        if not isinstance(value, Mapping):
            raise refused(_TOOL, resource.operation, where)
        return _body(value, tree, resource, where)
    if name == "tags":
        value = {one["Key"]: one["Value"] for one in value}
    elif name == "dimensions":
        value = {one["Name"]: one["Value"] for one in value}
    elif name in _BOUNDS:
        return f"{value:.15g}"
    elif name in ("kms_key_arn", "kms_key_id") and not str(value).startswith("arn:"):
        raise InvalidInputError(f"spec: {_TOOL} takes the ARN of a key for {where}, not {value!r}", hint="give the ARN")
    elif name == "maximum_execution_timeout_in_seconds" and isinstance(value, int) and value > _LONGEST:
        raise InvalidInputError(
            f"spec: {_TOOL} takes at most {_LONGEST} seconds for {where}, not {value}", hint="give a shorter `limit`"
        )
    return _expression(check_data(value, where))


def _expression(value: Any) -> Any:
    """Return a value as an expression of Terraform, in which `${` and `%{` stand for themselves."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, dict):
        return {_expression(key): _expression(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expression(item) for item in value]
    return value
