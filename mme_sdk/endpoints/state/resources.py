"""The resources behind an endpoint, by kind and name."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from mme_sdk.aws import Call
from mme_sdk.endpoints.operations.calls import sagemaker

__all__ = ["Kind", "Made", "describe", "remove"]

Kind = Literal["endpoint", "config", "model"]
_NAMES: dict[Kind, tuple[str, str]] = {
    "endpoint": ("endpoint", "EndpointName"),
    "config": ("endpoint_config", "EndpointConfigName"),
    "model": ("model", "ModelName"),
}


@attrs.frozen
class Made:
    """A resource of SageMaker.

    Attributes:
        kind: `endpoint`, `config` or `model`.
        name: Its name.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def remove(one: Made, endpoint: str | None = None) -> Call:
    """The call that deletes a resource."""
    return _call("delete", one, endpoint)


def describe(one: Made, endpoint: str | None = None) -> Call:
    """The call that describes a resource."""
    return _call("describe", one, endpoint)


def _call(verb: str, one: Made, endpoint: str | None) -> Call:
    noun, parameter = _NAMES[one.kind]
    named: dict[str, Any] = {parameter: one.name}
    return sagemaker(f"{verb}_{noun}", endpoint, **named)
