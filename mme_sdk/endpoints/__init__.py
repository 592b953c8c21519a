"""Endpoints in both hosting modes: declared once, created whole or not at all, never orphaned."""

from mme_sdk.endpoints import policies
from mme_sdk.endpoints.async_collection import AsyncEndpoints
from mme_sdk.endpoints.async_endpoint import AsyncEndpoint
from mme_sdk.endpoints.collection import Endpoints
from mme_sdk.endpoints.endpoint import Endpoint
from mme_sdk.endpoints.operations.apply import Plan
from mme_sdk.endpoints.operations.delete import Deletion
from mme_sdk.endpoints.operations.orphans import Orphan
from mme_sdk.endpoints.operations.preflight import Finding, Preflight
from mme_sdk.endpoints.operations.wait import Progress
from mme_sdk.endpoints.spec import images
from mme_sdk.endpoints.spec.deployment import BlueGreen, Rolling
from mme_sdk.endpoints.spec.spec import (
    AsyncInference,
    Autoscaling,
    Container,
    DataCapture,
    EndpointSpec,
    Schedule,
    Serverless,
    Variant,
    Vpc,
)
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
    "Deletion",
    "Endpoint",
    "EndpointDescription",
    "EndpointSpec",
    "Endpoints",
    "Finding",
    "Orphan",
    "Plan",
    "Preflight",
    "Progress",
    "Rolling",
    "ScalingDescription",
    "Schedule",
    "Serverless",
    "Variant",
    "VariantDescription",
    "Vpc",
    "images",
    "policies",
]
