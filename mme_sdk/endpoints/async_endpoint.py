"""The handle of one endpoint, for asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mme_sdk.aws import Flow
from mme_sdk.endpoints import flows
from mme_sdk.endpoints.async_invocation import AsyncInvocationMixin
from mme_sdk.endpoints.operations.calls import Now
from mme_sdk.endpoints.operations.create import Creation
from mme_sdk.endpoints.operations.delete import Deletion
from mme_sdk.endpoints.operations.wait import ProgressCallback
from mme_sdk.endpoints.spec.deployment import Deployment
from mme_sdk.endpoints.spec.spec import Autoscaling, EndpointSpec
from mme_sdk.endpoints.state.description import EndpointDescription

if TYPE_CHECKING:
    from mme_sdk.endpoints.async_collection import AsyncEndpoints
    from mme_sdk.metrics import EndpointMetrics
    from mme_sdk.runtime import AsyncRuntimeInvoker

__all__ = ["AsyncEndpoint"]


class AsyncEndpoint(AsyncInvocationMixin):
    """`Endpoint`, awaited.

    Attributes:
        name: EndpointName.
    """

    __slots__ = ("_endpoints",)

    def __init__(
        self,
        endpoints: AsyncEndpoints,
        name: str,
        *,
        seen: EndpointDescription | None = None,
        creation: Creation | None = None,
    ) -> None:
        super().__init__(name, seen=seen, creation=creation)
        self._endpoints = endpoints

    @property
    def _invoker(self) -> AsyncRuntimeInvoker:
        return self._endpoints.invoker

    async def metrics(self, *, hours: float = 24.0, variant: str = "AllTraffic", period: int = 60) -> EndpointMetrics:
        """What CloudWatch knows of this endpoint; see `Endpoint.metrics`."""
        read = self._endpoints.metrics
        series: EndpointMetrics = await read(self.name, hours=hours, variant=variant, period=period)
        return series

    async def describe(self) -> EndpointDescription:
        """Read the endpoint, its configuration, models, autoscaling and tags; see `Endpoint.describe`."""
        self._seen = await self._endpoints.describe(self.name)
        return self._seen

    async def wait(self, timeout: float = 1800, *, progress: ProgressCallback | bool = False) -> AsyncEndpoint:
        """Wait until it is in service; see `Endpoint.wait`."""
        return await self._run(flows.wait(self.name, self._creation, timeout=timeout, now=self._now, progress=progress))

    async def update(
        self,
        spec: EndpointSpec,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> AsyncEndpoint:
        """Change it to match a spec of the same name; see `Endpoint.update`."""
        self._check_own(spec)
        return await self._run(
            flows.apply(spec, deployment=deployment, timeout=timeout, now=self._now, progress=progress, must_exist=True)
        )

    async def rollback(
        self,
        to: str | None = None,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> AsyncEndpoint:
        """Go back to the configuration that the last update replaced; see `Endpoint.rollback`."""
        return await self._run(
            flows.rollback(self.name, to=to, deployment=deployment, timeout=timeout, now=self._now, progress=progress)
        )

    async def scale(
        self,
        count: int,
        *,
        variant: str | None = None,
        timeout: float = 1800,
        progress: ProgressCallback | bool = False,
    ) -> AsyncEndpoint:
        """Set the instance count; see `Endpoint.scale`."""
        return await self._run(
            flows.scale(self.name, count, variant=variant, timeout=timeout, now=self._now, progress=progress)
        )

    async def weights(
        self, weights: Mapping[str, float], *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> AsyncEndpoint:
        """Set the variants' shares of the traffic; see `Endpoint.weights`."""
        return await self._run(flows.reweigh(self.name, weights, timeout=timeout, now=self._now, progress=progress))

    async def autoscale(self, wanted: Autoscaling | None, *, variant: str | None = None) -> AsyncEndpoint:
        """Attach autoscaling, or take it off; see `Endpoint.autoscale`."""
        return await self._run(flows.autoscale(self.name, wanted, variant=variant))

    async def delete(self, *, dry_run: bool = False, timeout: float = 900) -> Deletion:
        """Delete it and everything that belongs to it; see `Endpoints.delete`."""
        return await self._endpoints.delete(self.name, dry_run=dry_run, timeout=timeout)

    @property
    def _now(self) -> Now:
        return self._endpoints.aws.async_clock.monotonic

    async def _run(self, flow: Flow[EndpointDescription]) -> AsyncEndpoint:
        return AsyncEndpoint(self._endpoints, self.name, seen=await self._endpoints.aws.arun(flow))
