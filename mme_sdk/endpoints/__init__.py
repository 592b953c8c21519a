"""Endpoints in both hosting modes: specs, and the operations that create, change and delete endpoints.

Names are imported on first use: a program that only invokes does not import the operations.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mme_sdk.endpoints import policies
    from mme_sdk.endpoints.async_collection import AsyncEndpoints
    from mme_sdk.endpoints.async_endpoint import AsyncEndpoint
    from mme_sdk.endpoints.collection import Endpoints
    from mme_sdk.endpoints.endpoint import Endpoint
    from mme_sdk.endpoints.operations.apply import EndpointPlan
    from mme_sdk.endpoints.operations.delete import EndpointDeletion
    from mme_sdk.endpoints.operations.orphans import Orphan
    from mme_sdk.endpoints.operations.preflight import Finding, Preflight
    from mme_sdk.endpoints.spec import images
    from mme_sdk.endpoints.spec.autoscaling import Autoscaling, FromZero, Schedule, Tracking
    from mme_sdk.endpoints.spec.components import (
        AsyncInference,
        Container,
        DataCapture,
        MetricsSettings,
        Serverless,
        Variant,
        Vpc,
    )
    from mme_sdk.endpoints.spec.deployment import BlueGreen, Rolling
    from mme_sdk.endpoints.spec.instances import InstancePool
    from mme_sdk.endpoints.spec.spec import EndpointSpec
    from mme_sdk.endpoints.state.description import EndpointDescription, ScalingDescription, VariantDescription
    from mme_sdk.endpoints.state.diff import Change

__all__ = [
    "AsyncEndpoint",
    "AsyncEndpoints",
    "AsyncInference",
    "Autoscaling",
    "BlueGreen",
    "Change",
    "Container",
    "DataCapture",
    "Endpoint",
    "EndpointDeletion",
    "EndpointDescription",
    "EndpointPlan",
    "EndpointSpec",
    "Endpoints",
    "Finding",
    "FromZero",
    "InstancePool",
    "MetricsSettings",
    "Orphan",
    "Preflight",
    "Rolling",
    "ScalingDescription",
    "Schedule",
    "Serverless",
    "Tracking",
    "Variant",
    "VariantDescription",
    "Vpc",
    "images",
    "policies",
]

_MODULES = {
    "AsyncEndpoint": "async_endpoint",
    "AsyncEndpoints": "async_collection",
    "AsyncInference": "spec.components",
    "Autoscaling": "spec.autoscaling",
    "BlueGreen": "spec.deployment",
    "Change": "state.diff",
    "Container": "spec.components",
    "DataCapture": "spec.components",
    "Endpoint": "endpoint",
    "EndpointDeletion": "operations.delete",
    "EndpointDescription": "state.description",
    "EndpointPlan": "operations.apply",
    "EndpointSpec": "spec.spec",
    "Endpoints": "collection",
    "Finding": "operations.preflight",
    "FromZero": "spec.autoscaling",
    "InstancePool": "spec.instances",
    "MetricsSettings": "spec.components",
    "Orphan": "operations.orphans",
    "Preflight": "operations.preflight",
    "Rolling": "spec.deployment",
    "ScalingDescription": "state.description",
    "Schedule": "spec.autoscaling",
    "Serverless": "spec.components",
    "Tracking": "spec.autoscaling",
    "Variant": "spec.components",
    "VariantDescription": "state.description",
    "Vpc": "spec.components",
}


def __getattr__(name: str) -> Any:
    if name in ("images", "policies"):
        return import_module(f"mme_sdk.endpoints.{'spec.images' if name == 'images' else name}")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'mme_sdk.endpoints' has no attribute {name!r}")
    value = getattr(import_module(f"mme_sdk.endpoints.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
