"""SageMaker resources by kind and name, and the calls that describe and delete them."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from mme_sdk.aws import Call
from mme_sdk.endpoints.operations.calls import sagemaker_call

__all__ = ["Kind", "Resource", "delete_call", "describe_call"]

Kind = Literal["endpoint", "config", "model"]
_NAMES: dict[Kind, tuple[str, str]] = {
    "endpoint": ("endpoint", "EndpointName"),
    "config": ("endpoint_config", "EndpointConfigName"),
    "model": ("model", "ModelName"),
}


@attrs.frozen
class Resource:
    """A SageMaker resource.

    Attributes:
        kind: `endpoint`, `config` or `model`.
        name: Name of the resource.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def delete_call(one: Resource, endpoint: str | None = None) -> Call:
    """Return the call that deletes a resource."""
    return _call("delete", one, endpoint)


def describe_call(one: Resource, endpoint: str | None = None) -> Call:
    """Return the call that describes a resource."""
    return _call("describe", one, endpoint)


def _call(verb: str, one: Resource, endpoint: str | None) -> Call:
    noun, parameter = _NAMES[one.kind]
    named: dict[str, Any] = {parameter: one.name}
    return sagemaker_call(f"{verb}_{noun}", endpoint, **named)
