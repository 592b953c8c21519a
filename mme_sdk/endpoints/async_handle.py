"""The handle of one endpoint, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from mme_sdk.aws import Flow
from mme_sdk.endpoints import flows
from mme_sdk.endpoints.calls import Now
from mme_sdk.endpoints.creating import Creation
from mme_sdk.endpoints.deleting import Deletion
from mme_sdk.endpoints.deployment import Deployment
from mme_sdk.endpoints.description import EndpointDescription
from mme_sdk.endpoints.handle import Handle
from mme_sdk.endpoints.spec import Autoscaling, EndpointSpec
from mme_sdk.endpoints.waiting import ProgressCallback
from mme_sdk.protocols import InvokeOptions, ItemOutcome, WarmUp
from mme_sdk.shapes import ModelVersion, Reply

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.endpoints.async_rooms import AsyncEndpoints
    from mme_sdk.metrics import EndpointMetrics
    from mme_sdk.runtime import AsyncQueuedInvocation, AsyncReplyStream

__all__ = ["AsyncEndpoint"]

T = TypeVar("T")


class AsyncEndpoint(Handle):
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

    @overload
    async def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: type[T],
        **options: Unpack[InvokeOptions],
    ) -> Reply[T]: ...

    @overload
    async def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: None = None,
        **options: Unpack[InvokeOptions],
    ) -> Reply[Any]: ...

    async def invoke(
        self,
        data: Any,
        *,
        model: str | ModelVersion | None = None,
        response_type: type[Any] | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Reply[Any]:
        """Invoke a model; see `Endpoint.invoke`."""
        return await self._endpoints.invoker.invoke(
            self.name, data, model=model, response_type=response_type, prefix=self.prefix, **options
        )

    def invoke_many(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        model_of: Callable[[T], str | ModelVersion | None] = lambda _: None,
        data_of: Callable[[T], Any] | None = None,
        **options: Any,
    ) -> AsyncIterator[ItemOutcome[T]]:
        """Invoke for each item of any iterable, asynchronous ones included; see `Endpoint.invoke_many`."""
        many = self._endpoints.invoker.invoke_many
        return many(self.name, items, model_of=model_of, data_of=data_of, prefix=self.prefix, **options)

    async def invoke_frame(
        self,
        frame: pd.DataFrame,
        *,
        model_of: str | Callable[[Any], str | ModelVersion | None] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Invoke with the rows of a data frame, grouped by model; see `Endpoint.invoke_frame`."""
        invoke_frame = self._endpoints.invoker.invoke_frame
        return await invoke_frame(self.name, frame, model_of=model_of, prefix=self.prefix, **options)

    async def warm(
        self,
        models: Iterable[str | ModelVersion],
        *,
        expected: Mapping[str, float] | None = None,
        **options: Any,
    ) -> WarmUp:
        """Load models before they are called; see `Endpoint.warm`."""
        return await self._endpoints.invoker.warm(self.name, models, expected=expected, prefix=self.prefix, **options)

    async def keep_warm(
        self,
        models: Sequence[str],
        *,
        rates: Mapping[str, float],
        sizes: Mapping[str, int],
        capacity: int,
        bound_by_slo: bool = False,
        **options: Any,
    ) -> WarmUp:
        """Call models once so that they stay in memory; see `Endpoint.keep_warm`."""
        return await self._endpoints.invoker.keep_warm(
            self.name,
            models,
            rates=rates,
            sizes=sizes,
            capacity=capacity,
            bound_by_slo=bound_by_slo,
            prefix=self.prefix,
            **options,
        )

    async def invoke_stream(self, data: Any, **options: Any) -> AsyncReplyStream:
        """Invoke a single-model endpoint and read the answer while it is written; see `Endpoint.invoke_stream`."""
        stream: AsyncReplyStream = await self._endpoints.invoker.invoke_stream(self.name, data, **options)
        return stream

    async def invoke_async(self, data: Any, *, upload_to: str | None = None, **options: Any) -> AsyncQueuedInvocation:
        """Submit an asynchronous inference; see `Endpoint.invoke_async`."""
        invoker = self._endpoints.invoker
        queued: AsyncQueuedInvocation = await invoker.invoke_async(self.name, data, upload_to=upload_to, **options)
        return queued

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
