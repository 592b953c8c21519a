"""Requests of boto3, read back from the exports. The names come from botocore's models, not from the exporters."""

from __future__ import annotations

import functools
import re
import types
from typing import Any

import botocore.session

CREATES = {
    "Model": "create_model",
    "EndpointConfig": "create_endpoint_config",
    "Endpoint": "create_endpoint",
    "ScalableTarget": "register_scalable_target",
    "ScalingPolicy": "put_scaling_policy",
    "Alarm": "put_metric_alarm",
}
TERRAFORM = {
    "aws_sagemaker_model": "create_model",
    "aws_sagemaker_endpoint_configuration": "create_endpoint_config",
    "aws_sagemaker_endpoint": "create_endpoint",
    "aws_appautoscaling_target": "register_scalable_target",
    "aws_appautoscaling_policy": "put_scaling_policy",
    "aws_appautoscaling_scheduled_action": "put_scheduled_action",
    "aws_cloudwatch_metric_alarm": "put_metric_alarm",
}
RENAMED = {
    ("create_model", "name"): "ModelName",
    ("create_model", "container"): "Containers",
    ("create_endpoint_config", "name"): "EndpointConfigName",
    ("create_endpoint_config", "kms_key_arn"): "KmsKeyId",
    ("create_endpoint", "name"): "EndpointName",
    ("put_scaling_policy", "name"): "PolicyName",
    ("put_scaling_policy", "step_adjustment"): "StepAdjustments",
    ("put_scheduled_action", "name"): "ScheduledActionName",
}
META = ("lifecycle", "depends_on")
TARGET = ("ServiceNamespace", "ResourceId", "ScalableDimension")


@functools.cache
def shape_of(operation: str) -> Any:
    """Return botocore's input shape of an operation."""
    session = botocore.session.get_session()
    for service in ("sagemaker", "application-autoscaling", "cloudwatch"):
        model = session.get_service_model(service)
        name = "".join(word.capitalize() for word in operation.split("_"))
        if name in model.operation_names:
            return model.operation_model(name).input_shape
    raise LookupError(operation)


def expected(spec: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the requests that `apply` sends, by operation."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _, operation, params in spec.to_requests().calls:
        found.setdefault(operation, []).append(params)
    return found


def from_cloudformation(template: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the requests that a template stands for."""
    resources = template["Resources"]

    def value(item: Any) -> Any:
        if isinstance(item, dict) and set(item) == {"Fn::GetAtt"}:
            name, attribute = item["Fn::GetAtt"]
            return resources[name]["Properties"][attribute]
        if isinstance(item, dict):
            return {key: value(one) for key, one in item.items()}
        return [value(one) for one in item] if isinstance(item, list) else item

    found: dict[str, list[dict[str, Any]]] = {}
    for resource in resources.values():
        operation = CREATES[resource["Type"].rpartition("::")[2]]
        params = {**resource["Properties"]}
        if operation == "put_scaling_policy":
            target = resources[params.pop("ScalingTargetId")["Ref"]]["Properties"]
            params |= {key: target[key] for key in TARGET}
        if operation == "put_metric_alarm":
            (action,) = params.pop("AlarmActions")
            assert resources[action["Ref"]]["Properties"]["PolicyType"] == "StepScaling"
        for one in params.pop("ScheduledActions", ()):
            found.setdefault("put_scheduled_action", []).append(one | {key: params[key] for key in TARGET})
        found.setdefault(operation, []).append(value(params))
    return found


def _flat(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def named(value: Any, shape: Any, operation: str) -> Any:
    """Return a value in lower case with underscores with the names of the API."""
    if shape.type_name == "structure":
        members = {_flat(key): key for key in shape.members}
        found = {}
        for key, item in value.items():
            name = members.get(_flat(key)) or RENAMED[operation, key]
            found[name] = named(item, shape.members[name], operation)
        return found
    if shape.type_name == "list":
        if isinstance(value, dict):
            first = next(iter(shape.member.members))
            return [{first: key, "Value": item} for key, item in value.items()]
        return [named(one, shape.member, operation) for one in value]
    if shape.type_name == "double" and isinstance(value, str):
        return float(value)
    return plain(value)


def plain(value: Any) -> Any:
    """Return an expression of Terraform without its escapes."""
    if isinstance(value, str):
        return value.replace("$${", "${").replace("%%{", "%{")
    return {plain(key): plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def from_terraform(configuration: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the requests that a configuration stands for."""
    resources = configuration["resource"]

    def resolved(item: Any) -> Any:
        reference = re.fullmatch(r"\$\{(\w+)\.([\w-]+)\.name\}", item) if isinstance(item, str) else None
        if reference:
            return resources[reference[1]][reference[2]]["name"]
        if isinstance(item, dict):
            return {key: resolved(one) for key, one in item.items()}
        return [resolved(one) for one in item] if isinstance(item, list) else item

    found: dict[str, list[dict[str, Any]]] = {}
    for kind, bodies in resources.items():
        operation = TERRAFORM[kind]
        for body in bodies.values():
            for address in body.get("depends_on", ()):
                above, _, label = address.partition(".")
                assert label in resources[above]
            params = {key: item for key, item in body.items() if key not in META}
            if operation == "put_metric_alarm":
                (action,) = params.pop("alarm_actions")
                policy = re.fullmatch(r"\$\{aws_appautoscaling_policy\.([\w-]+)\.arn\}", action)
                assert resources["aws_appautoscaling_policy"][policy[1]]["policy_type"] == "StepScaling"
            found.setdefault(operation, []).append(named(resolved(params), shape_of(operation), operation))
    return found


class _Made:
    """What a program makes: a construct, or a property."""

    def __init__(self, kind: str, scope: Any = None, name: str | None = None, /, **values: Any) -> None:
        self.kind, self.name, self.values, self.after = kind, name, values, []
        if scope is not None:
            scope.made.append(self)

    def __getattr__(self, name: str) -> Any:
        if name == "ref":
            return self
        if not name.startswith("attr_"):
            raise AttributeError(name)
        return self.values[name.removeprefix("attr_")]

    def add_dependency(self, other: Any) -> None:
        self.after.append(other)


class _Kind:
    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> _Kind:
        return _Kind(f"{self._path}.{name}")

    def __call__(self, *words: Any, **values: Any) -> Any:
        return _Made(self._path, *words, **values)


class _Stack:
    stacks: list[Any] = []

    def __init__(self, scope: Any, name: str) -> None:
        self.made: list[Any] = []
        self.stacks.append(self)


class _App:
    def synth(self) -> None:
        return


def from_cdk(program: str, monkeypatch_modules: Any) -> dict[str, list[dict[str, Any]]]:
    """Run a program with a stand-in for aws_cdk that keeps what the constructs get, and return the requests."""
    stacks: list[Any] = []
    library: Any = types.ModuleType("aws_cdk")
    library.Stack, library.App, library.CfnTag = type("Stack", (_Stack,), {"stacks": stacks}), _App, _Kind("CfnTag")
    for name in ("aws_sagemaker", "aws_applicationautoscaling", "aws_cloudwatch"):
        setattr(library, name, _Kind(name))
    constructs: Any = types.ModuleType("constructs")
    constructs.Construct = object
    with monkeypatch_modules({"aws_cdk": library, "constructs": constructs}):
        exec(compile(program, "program.py", "exec"), {})
    found: dict[str, list[dict[str, Any]]] = {}

    def value(item: Any) -> Any:
        if isinstance(item, _Made):
            return {key: value(one) for key, one in item.values.items()}
        if isinstance(item, dict):
            return {key: value(one) for key, one in item.items()}
        return [value(one) for one in item] if isinstance(item, list) else item

    (stack,) = stacks
    for one in stack.made:
        operation = CREATES[one.kind.rpartition(".Cfn")[2]]
        params = dict(one.values)
        if operation == "put_scaling_policy":
            target = params.pop("scaling_target_id").values
            params |= {key: target[key] for key in ("service_namespace", "resource_id", "scalable_dimension")}
        if operation == "put_metric_alarm":
            (action,) = params.pop("alarm_actions")
            assert action.values["policy_type"] == "StepScaling"
        for action in params.pop("scheduled_actions", ()):
            shape = shape_of("put_scheduled_action")
            made = named(value(action), shape, "") | {
                name: params[key]
                for name, key in zip(TARGET, ("service_namespace", "resource_id", "scalable_dimension"), strict=True)
            }
            found.setdefault("put_scheduled_action", []).append(made)
        found.setdefault(operation, []).append(named_exactly(value(params), shape_of(operation)))
    return found


def named_exactly(value: Any, shape: Any) -> Any:
    """Return a value as `named` does, without Terraform's names and escapes."""
    if shape.type_name == "structure":
        members = {_flat(key): key for key in shape.members}
        return {
            members[_flat(key)]: named_exactly(item, shape.members[members[_flat(key)]]) for key, item in value.items()
        }
    if shape.type_name == "list":
        return [named_exactly(one, shape.member) for one in value]
    return value
