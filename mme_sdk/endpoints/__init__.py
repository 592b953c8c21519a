"""Endpoints in both hosting modes: specs, and the operations that create, change and delete endpoints.

Names are imported on first use: a program that only invokes does not import the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

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
    "AsyncEndpoint": "endpoints.async_endpoint",
    "AsyncEndpoints": "endpoints.async_collection",
    "AsyncInference": "endpoints.spec.components",
    "Autoscaling": "endpoints.spec.autoscaling",
    "BlueGreen": "endpoints.spec.deployment",
    "Change": "endpoints.state.diff",
    "Container": "endpoints.spec.components",
    "DataCapture": "endpoints.spec.components",
    "Endpoint": "endpoints.endpoint",
    "EndpointDeletion": "endpoints.operations.delete",
    "EndpointDescription": "endpoints.state.description",
    "EndpointPlan": "endpoints.operations.apply",
    "EndpointSpec": "endpoints.spec.spec",
    "Endpoints": "endpoints.collection",
    "Finding": "endpoints.operations.preflight",
    "FromZero": "endpoints.spec.autoscaling",
    "InstancePool": "endpoints.spec.instances",
    "MetricsSettings": "endpoints.spec.components",
    "Orphan": "endpoints.operations.orphans",
    "Preflight": "endpoints.operations.preflight",
    "Rolling": "endpoints.spec.deployment",
    "ScalingDescription": "endpoints.state.description",
    "Schedule": "endpoints.spec.autoscaling",
    "Serverless": "endpoints.spec.components",
    "Tracking": "endpoints.spec.autoscaling",
    "Variant": "endpoints.spec.components",
    "VariantDescription": "endpoints.state.description",
    "Vpc": "endpoints.spec.components",
}

__getattr__ = lazy_names(__name__, _MODULES, {"images": "endpoints.spec.images", "policies": "endpoints.policies"})


def __dir__() -> list[str]:
    return sorted(__all__)
