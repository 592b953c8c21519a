"""Typed SDK for Amazon SageMaker multi-model endpoints: register models, create endpoints, invoke.

Names are imported on first use: `import mme_sdk` imports neither boto3 nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names
from mme_sdk._version import __version__

if TYPE_CHECKING:
    from mme_sdk import errors
    from mme_sdk.async_client import AsyncMMEClient
    from mme_sdk.client import MMEClient
    from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
    from mme_sdk.display.progress import Progress
    from mme_sdk.endpoints import (
        AsyncEndpoint,
        Autoscaling,
        BlueGreen,
        Container,
        Endpoint,
        EndpointSpec,
        Rolling,
        Schedule,
        Serverless,
        Variant,
        Vpc,
    )
    from mme_sdk.recording.recorder import Recorder
    from mme_sdk.registry import AsyncModelRegistry, ModelRegistry
    from mme_sdk.runtime.transport.accelerate import accelerate
    from mme_sdk.types import Attempt, ModelVersion, Reply

__all__ = [
    "AsyncEndpoint",
    "AsyncMMEClient",
    "AsyncModelRegistry",
    "Attempt",
    "Autoscaling",
    "BlueGreen",
    "ColdStart",
    "Container",
    "Endpoint",
    "EndpointSpec",
    "MMEClient",
    "ModelRegistry",
    "ModelVersion",
    "Progress",
    "Recorder",
    "Reply",
    "RetryPolicy",
    "Rolling",
    "Schedule",
    "Serverless",
    "Timeouts",
    "Variant",
    "Vpc",
    "__version__",
    "accelerate",
    "errors",
]

_MODULES = {
    "AsyncEndpoint": "endpoints",
    "AsyncMMEClient": "async_client",
    "AsyncModelRegistry": "registry",
    "Attempt": "types",
    "Autoscaling": "endpoints",
    "BlueGreen": "endpoints",
    "ColdStart": "config",
    "Container": "endpoints",
    "Endpoint": "endpoints",
    "EndpointSpec": "endpoints",
    "MMEClient": "client",
    "ModelRegistry": "registry",
    "ModelVersion": "types",
    "Progress": "display.progress",
    "Recorder": "recording.recorder",
    "Reply": "types",
    "RetryPolicy": "config",
    "Rolling": "endpoints",
    "Schedule": "endpoints",
    "Serverless": "endpoints",
    "Timeouts": "config",
    "Variant": "endpoints",
    "Vpc": "endpoints",
    "accelerate": "runtime.transport.accelerate",
}

__getattr__ = lazy_names(__name__, _MODULES, {"errors": "errors"})


def __dir__() -> list[str]:
    return sorted(__all__)
