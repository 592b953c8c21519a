"""Hosting that runs nothing and fails on request: the control plane above it is the real embedded one."""

from __future__ import annotations

from collections.abc import Mapping

from mme_sdk.local.hosting_interface import (
    Deployment,
    HostContext,
    HostingError,
    Invocation,
    InvocationResponse,
    TrafficShift,
)

PING = (
    "The primary container for production variant AllTraffic did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint."
)


class QuietHosting:
    """Fails to deploy where an image is named `broken…`."""

    def __init__(self, context: HostContext) -> None:
        self.context = context

    async def deploy(self, deployment: Deployment, *, shift_traffic: TrafficShift | None = None) -> None:
        images = [container.image for variant in deployment.variants for container in variant.containers]
        if any("broken" in image for image in images):
            raise HostingError(PING)

    async def scale(self, endpoint: str, variant: str, instance_count: int) -> None:
        return None

    async def reweigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        return None

    async def remove(self, endpoint: str) -> None:
        return None

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        return InvocationResponse(status=200, headers={"Content-Type": "application/json"}, body=invocation.body)

    async def close(self) -> None:
        return None
