"""A spec as a program of AWS CDK in Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.exports.cloudformation import TYPES, logical_ids, properties
from mme_sdk.exports.resources import Reference, resources_of, schema_of

__all__ = ["cdk_program"]

_MODULES = {
    "SageMaker": "aws_sagemaker",
    "ApplicationAutoScaling": "aws_applicationautoscaling",
    "CloudWatch": "aws_cloudwatch",
}
_ATTRIBUTES = {"model": "attr_model_name", "config": "attr_endpoint_config_name"}
_INDENT = "    "


def cdk_program(spec: EndpointSpec) -> str:
    """Return a program of AWS CDK that creates the endpoint of a spec: one stack with the resources of CloudFormation.

    The stack synthesizes to the resources of `cloudformation_template(spec)`, with the same logical ids.

    Args:
        spec: The spec. The program contains its environment variables: keep secrets elsewhere.

    Returns:
        The source of the program, in Python. It needs aws-cdk-lib 2.
        `cdk deploy --app "python scoring.py"` runs it.

    Raises:
        InvalidInputError: The spec holds a setting that CloudFormation has no property for; the message names it.

    Example:
        ```python
        Path("scoring.py").write_text(cdk_program(EndpointSpec.from_yaml("scoring.yaml")))
        ```
    """
    found = resources_of(spec)
    ids = logical_ids(found)
    names = {label: label[0] if len(label) == 1 else f"{label[0]}_{place}" for place, label in enumerate(ids, 1)}
    lines: list[str] = []
    modules: set[str] = set()
    for one in found:
        if one.kind == "action":
            continue
        _, service, kind = TYPES[one.kind].split("::")
        module = _MODULES[service]
        modules.add(module)
        maker = f"{module}.Cfn{kind}"
        tree = schema_of("cloudformation", TYPES[one.kind])
        arguments = ["self", repr(ids[one.label]), *_arguments(properties(one, found), tree, maker, names)]
        lines.append(f"{names[one.label]} = {_call(maker, arguments)}")
        if one.kind == "target":
            lines += [f"{names[one.label]}.add_dependency({names[label]})" for label in one.after]
    imports = "\n".join(f"from aws_cdk import {module}" for module in sorted(modules))
    body = "\n".join(lines).replace("\n", f"\n{_INDENT * 2}")
    return _PROGRAM.format(imports=imports, body=body, name=spec.name, stack=_stack(spec.name))


_PROGRAM = '''"""The SageMaker endpoint {name}."""

from aws_cdk import App, CfnTag, Stack
{imports}
from constructs import Construct


class EndpointStack(Stack):
    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        {body}


app = App()
EndpointStack(app, {stack!r})
app.synth()
'''


def _stack(name: str) -> str:
    """Return the name of the stack: it begins with a letter."""
    return name if name[0].isalpha() else f"endpoint-{name}"


def _snake(name: str) -> str:
    """Return the name of a property in Python: VolumeSizeInGB is volume_size_in_gb."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", parted).lower()


def _call(maker: str, arguments: list[str]) -> str:
    if not arguments:
        return f"{maker}()"
    inner = ",\n".join(arguments).replace("\n", f"\n{_INDENT}")
    return f"{maker}(\n{_INDENT}{inner},\n)"


def _arguments(
    value: Mapping[str, Any], tree: Mapping[str, Any], maker: str, names: Mapping[tuple[str, ...], str]
) -> list[str]:
    return [
        f"{_snake(key)}={_expression(item, key, tree['members'][key], maker, names)}" for key, item in value.items()
    ]


def _expression(value: Any, key: str, tree: Any, maker: str, names: Mapping[tuple[str, ...], str]) -> str:
    if isinstance(value, Reference):
        return f"{names[value.label]}.{_ATTRIBUTES.get(value.label[0], 'ref')}"
    if isinstance(value, list):
        items = [_expression(one, key, tree, maker, names) for one in value]
        inner = ",\n".join(items).replace("\n", f"\n{_INDENT}")
        return f"[\n{_INDENT}{inner},\n]" if items else "[]"
    if tree is True or not isinstance(value, Mapping):
        return repr(value)
    kind = "CfnTag" if tree["type"] == "Tag" else f"{maker}.{tree['type']}Property"
    return _call(kind, _arguments(value, tree, maker, names))
