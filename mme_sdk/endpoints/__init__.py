"""Endpoints in both hosting modes: declared once, created whole or not at all, never orphaned."""

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
    "AsyncInference",
    "Autoscaling",
    "Container",
    "DataCapture",
    "EndpointSpec",
    "Schedule",
    "Serverless",
    "Variant",
    "Vpc",
]
