"""Endpoints in both hosting modes: declared once, created whole or not at all, never orphaned."""

from mme_sdk.endpoints.description import EndpointDescription, ScalingDescription, VariantDescription
from mme_sdk.endpoints.handle import AsyncEndpoint, Endpoint
from mme_sdk.endpoints.rooms import AsyncEndpoints, Endpoints
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

__all__ = [
    "AsyncEndpoint",
    "AsyncEndpoints",
    "AsyncInference",
    "Autoscaling",
    "Container",
    "DataCapture",
    "Endpoint",
    "EndpointDescription",
    "EndpointSpec",
    "Endpoints",
    "ScalingDescription",
    "Schedule",
    "Serverless",
    "Variant",
    "VariantDescription",
    "Vpc",
]
