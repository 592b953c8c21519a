"""`AsyncEndpoints`: the same flows as `Endpoints`, driven on the event loop."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mme_sdk.aws import Aws
from mme_sdk.endpoints import flows
from mme_sdk.endpoints.async_endpoint import AsyncEndpoint
from mme_sdk.endpoints.operations import apply as applying
from mme_sdk.endpoints.operations import create as creating
from mme_sdk.endpoints.operations import orphans, preflight
from mme_sdk.endpoints.operations.apply import Plan
from mme_sdk.endpoints.operations.delete import Deletion
from mme_sdk.endpoints.operations.orphans import Orphan
from mme_sdk.endpoints.operations.preflight import Preflight
from mme_sdk.endpoints.operations.wait import ProgressCallback
from mme_sdk.endpoints.spec import validators as check
from mme_sdk.endpoints.spec.deployment import Deployment
from mme_sdk.endpoints.spec.spec import EndpointSpec, HasUri
from mme_sdk.endpoints.state import describe as reading
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.protocols import ReadMetrics
from mme_sdk.types import ModelVersion

if TYPE_CHECKING:
    from mme_sdk.runtime import AsyncRuntimeInvoker

__all__ = ["AsyncEndpoints"]


class AsyncEndpoints:
    """`Endpoints`, awaited.

    Args:
        aws: The way to AWS.
        invoker: Returns the invoker of the handles. It is called on first use.
        read_metrics: What the handles' `metrics` goes to.
    """

    def __init__(
        self, aws: Aws, invoker: Callable[[], AsyncRuntimeInvoker], read_metrics: ReadMetrics | None = None
    ) -> None:
        self.aws = aws
        self._make_invoker = invoker
        self.read_metrics = read_metrics

    @cached_property
    def invoker(self) -> AsyncRuntimeInvoker:
        """The invoker of the handles, made on first use."""
        return self._make_invoker()

    def handle(self, name: str) -> AsyncEndpoint:
        """A handle; no call is made; see `Endpoints.handle`."""
        check.named("name", name)
        return AsyncEndpoint(self, name)

    async def create(self, spec: EndpointSpec) -> AsyncEndpoint:
        """Begin to create an endpoint and return at once; see `Endpoints.create`."""
        creation = await self.aws.arun(creating.create(spec))
        return AsyncEndpoint(self, spec.name, seen=creation.seen, creation=creation)

    @asynccontextmanager
    async def temporary(
        self, spec: EndpointSpec, *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> AsyncIterator[AsyncEndpoint]:
        """An endpoint for the length of an `async with` block; see `Endpoints.temporary`."""
        creation = await self.aws.arun(flows.create_new(spec, timeout=timeout, now=self.aws.async_clock.monotonic))
        handle = AsyncEndpoint(self, spec.name, creation=creation)
        try:
            yield await handle.wait(timeout, progress=progress)
        finally:
            await self.delete(spec.name)

    async def get(self, name: str) -> AsyncEndpoint:
        """The handle of an endpoint that exists; see `Endpoints.get`."""
        return AsyncEndpoint(self, name, seen=await self.describe(name))

    async def describe(self, name: str) -> EndpointDescription:
        """Read an endpoint; see `Endpoints.describe`."""
        return await self.aws.arun(flows.describe(name))

    async def metrics(self, name: str, *, hours: float, variant: str, period: int) -> Any:
        """What CloudWatch knows of an endpoint; see `Endpoint.metrics`."""
        return await self.aws.arun(
            flows.metrics(
                self.read_metrics, name, hours=hours, variant=variant, period=period, now=self.aws.clock.time()
            )
        )

    async def from_endpoint(self, name: str) -> EndpointSpec:
        """The spec that would make a live endpoint; see `Endpoints.from_endpoint`."""
        return await self.aws.arun(flows.from_endpoint(name))

    async def list(self, name_contains: str | None = None) -> list[AsyncEndpoint]:
        """Every endpoint, newest first; see `Endpoints.list`."""
        found = await self.aws.arun(reading.list_all(name_contains))
        return [AsyncEndpoint(self, one.name, seen=one) for one in found]

    async def wait(
        self, name: str, *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> AsyncEndpoint:
        """Wait until an endpoint is in service; see `Endpoint.wait`."""
        return await self.handle(name).wait(timeout, progress=progress)

    async def plan(self, spec: EndpointSpec) -> Plan:
        """What `apply` would do; see `Endpoints.plan`."""
        return await self.aws.arun(applying.plan(spec))

    async def apply(
        self,
        wanted: EndpointSpec | Plan,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> AsyncEndpoint:
        """Create or update an endpoint to match a spec, and wait until it does; see `Endpoints.apply`."""
        flow = flows.apply(
            wanted, deployment=deployment, timeout=timeout, now=self.aws.async_clock.monotonic, progress=progress
        )
        seen = await self.aws.arun(flow)
        return AsyncEndpoint(self, seen.name, seen=seen)

    async def to_multi_model(
        self,
        name: str,
        models: str | HasUri,
        *,
        target_model: str | None = None,
        instance_type: str | None = None,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> AsyncEndpoint:
        """Turn a single-model endpoint into a multi-model one; see `Endpoints.to_multi_model`."""
        flow = flows.to_multi_model(
            name,
            check.address("models", models),
            target_model=target_model,
            instance_type=instance_type,
            deployment=deployment,
            timeout=timeout,
            now=self.aws.async_clock.monotonic,
            progress=progress,
        )
        return AsyncEndpoint(self, name, seen=await self.aws.arun(flow))

    async def to_single_model(
        self,
        name: str,
        model: str | ModelVersion,
        *,
        instance_type: str | None = None,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> AsyncEndpoint:
        """Turn a multi-model endpoint into a single-model one; see `Endpoints.to_single_model`."""
        flow = flows.to_single_model(
            name,
            model,
            instance_type=instance_type,
            deployment=deployment,
            timeout=timeout,
            now=self.aws.async_clock.monotonic,
            progress=progress,
        )
        return AsyncEndpoint(self, name, seen=await self.aws.arun(flow))

    async def preflight(self, spec: EndpointSpec) -> Preflight:
        """Look at what a spec names before money is spent; see `Endpoints.preflight`."""
        return await self.aws.arun(preflight.preflight(spec, self.aws.region))

    async def orphans(self) -> builtins.list[Orphan]:
        """Configurations and models that no endpoint uses; see `Endpoints.orphans`."""
        return await self.aws.arun(orphans.find())

    async def remove_orphans(self, found: Iterable[Orphan] = (), *, names: Iterable[str] = ()) -> tuple[Orphan, ...]:
        """Delete orphans; see `Endpoints.remove_orphans`."""
        return await self.aws.arun(orphans.remove_all(found, names))

    async def delete(
        self,
        name: str,
        *,
        dry_run: bool = False,
        timeout: float = 900,
        progress: ProgressCallback | bool = False,
    ) -> Deletion:
        """Delete an endpoint and what belongs to it; see `Endpoints.delete`."""
        now = self.aws.async_clock.monotonic
        return await self.aws.arun(flows.delete(name, timeout=timeout, now=now, dry_run=dry_run, progress=progress))
