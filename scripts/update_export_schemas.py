"""Write mme_sdk/exports/schemas.json: the members that CloudFormation and Terraform's AWS provider have.

Usage: update_export_schemas.py CFN_LINT PROVIDER

CFN_LINT is the folder of the installed package cfnlint, which contains AWS's resource schemas. PROVIDER is the unpacked
npm package @cdktf/provider-aws, whose type declarations are generated from the schema of Terraform's AWS provider.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "mme_sdk" / "exports" / "schemas.json"
CLOUDFORMATION = (
    "AWS::SageMaker::Model",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Endpoint",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
)
TERRAFORM = (
    "sagemaker-model",
    "sagemaker-endpoint-configuration",
    "sagemaker-endpoint",
    "appautoscaling-target",
    "appautoscaling-policy",
    "appautoscaling-scheduled-action",
    "cloudwatch-metric-alarm",
)


def cloudformation(folder: Path, resource: str) -> dict[str, Any]:
    """Return the members of a resource of CloudFormation."""
    schemas = folder / "data" / "schemas"
    digest = json.loads((schemas / "providers" / "us-east-1.json").read_text())[resource]
    schema = json.loads((schemas / "resources" / f"{digest}.json").read_text())
    definitions = schema.get("definitions", {})
    read_only = {path.split("/")[2] for path in schema.get("readOnlyProperties", ()) if path.count("/") == 2}

    def node(part: dict[str, Any], above: tuple[str, ...]) -> Any:
        name = part.get("$ref", "").rpartition("/")[2]
        if name:
            if name in above:
                return True
            found = node(definitions[name], (*above, name))
            return {"type": name, **found} if isinstance(found, dict) and "type" not in found else found
        if "items" in part:
            found = node(part["items"], above)
            return {**found, "list": True} if isinstance(found, dict) else True
        if part.get("properties"):
            return {"members": members(part, above)}
        return True

    def members(part: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
        return {key: node(value, above) for key, value in sorted(part["properties"].items())}

    found = members(schema, ())
    return {"members": {key: value for key, value in found.items() if key not in read_only}}


def terraform(folder: Path, module: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the members of a resource of Terraform's AWS provider."""
    text = (folder / "lib" / module / "index.d.ts").read_text()
    interfaces = dict(re.findall(r"export interface (\w+)[^{]*\{\n(.*?)\n\}", text, re.DOTALL))
    main = next(name for name in interfaces if name.endswith("Config") and f"class {name[:-6]} " in text)
    field = re.compile(r"#(\w+) \w+#\w+\}(?:(?!readonly).)*?readonly \w+\??: ([^;]*(?:;\s*\}[^;]*)?);", re.DOTALL)

    def members(name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, kind in field.findall(interfaces[name]):
            part = re.match(r"\w+", kind.strip())
            nested = part is not None and part.group() in interfaces
            found[key] = {"members": members(part.group())} if part and nested else True
            if nested and "[]" in kind:
                found[key]["list"] = True
        return dict(sorted(found.items()))

    return f"aws_{module.replace('-', '_')}", {"members": members(main)}


def main(cfn_lint: str, provider: str) -> None:
    """Write the file."""
    version = json.loads((Path(provider) / "package.json").read_text())["version"]
    schemas = {
        "terraform_bindings": version,
        "cloudformation": {name: cloudformation(Path(cfn_lint), name) for name in CLOUDFORMATION},
        "terraform": dict(terraform(Path(provider), module) for module in TERRAFORM),
    }
    OUT.write_text(json.dumps(schemas, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
