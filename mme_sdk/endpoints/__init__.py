"""Endpoints in both hosting modes: declared once, created whole or not at all, never orphaned."""

from mme_sdk.endpoints import images, policies
from mme_sdk.endpoints.applying import Plan
from mme_sdk.endpoints.async_handle import AsyncEndpoint
from mme_sdk.endpoints.async_rooms import AsyncEndpoints
from mme_sdk.endpoints.deleting import Deletion
from mme_sdk.endpoints.deployment import BlueGreen, Rolling
from mme_sdk.endpoints.description import EndpointDescription, ScalingDescription, VariantDescription
from mme_sdk.endpoints.differences import Change
from mme_sdk.endpoints.handle import Endpoint
from mme_sdk.endpoints.orphans import Orphan
from mme_sdk.endpoints.preflight import Finding, Preflight
from mme_sdk.endpoints.rooms import Endpoints
from mme_sdk.endpoints.spec import (
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
from mme_sdk.endpoints.waiting import Progress

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
