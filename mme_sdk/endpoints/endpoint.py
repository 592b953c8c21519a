"""The handle of one endpoint: what an application holds and calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mme_sdk.aws import Flow
from mme_sdk.endpoints import flows
from mme_sdk.endpoints.invocation import InvocationMixin
from mme_sdk.endpoints.operations.calls import Now
from mme_sdk.endpoints.operations.create import Creation
from mme_sdk.endpoints.operations.delete import Deletion
from mme_sdk.endpoints.operations.wait import ProgressCallback
from mme_sdk.endpoints.spec.deployment import Deployment
from mme_sdk.endpoints.spec.spec import Autoscaling, EndpointSpec
from mme_sdk.endpoints.state.description import EndpointDescription

if TYPE_CHECKING:
    from mme_sdk.endpoints.collection import Endpoints
    from mme_sdk.metrics import EndpointMetrics
    from mme_sdk.runtime import RuntimeInvoker

__all__ = ["Endpoint"]


class Endpoint(InvocationMixin):
    """An endpoint: cheap to make, to copy and to share between threads; making one calls nothing.

    Attributes:
        name: EndpointName.

    Example:
        ```python
        endpoint = client.endpoint("scoring")
        reply = endpoint.invoke({"amount": 12.5}, model="fraud/v3.tar.gz", deadline=30)
        ```
    """

    __slots__ = ("_endpoints",)

    def __init__(
        self,
        endpoints: Endpoints,
        name: str,
        *,
        seen: EndpointDescription | None = None,
        creation: Creation | None = None,
    ) -> None:
        super().__init__(name, seen=seen, creation=creation)
        self._endpoints = endpoints

    @property
    def _invoker(self) -> RuntimeInvoker:
        return self._endpoints.invoker

    def metrics(self, *, hours: float = 24.0, variant: str = "AllTraffic", period: int = 60) -> EndpointMetrics:
        """What CloudWatch knows of this endpoint, as typed series.

        Args:
            hours: How far back.
            variant: Production variant.
            period: Seconds that a point stands for, a multiple of 60.

        Returns:
            The series; empty where nothing was measured.

        Raises:
            InvalidInputError: More points than CloudWatch gives at a time.
        """
        series: EndpointMetrics = self._endpoints.metrics(self.name, hours=hours, variant=variant, period=period)
        return series

    def describe(self) -> EndpointDescription:
        """Read the endpoint, its configuration, models, autoscaling and tags.

        Raises:
            EndpointNotFoundError: It is not there.
        """
        self._seen = self._endpoints.describe(self.name)
        return self._seen

    def wait(self, timeout: float = 1800, *, progress: ProgressCallback | bool = False) -> Endpoint:
        """Wait until it is in service; after `create`, this also attaches autoscaling, or cleans up a failure.

        Args:
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle, with what was seen.

        Raises:
            EndpointFailedError: It failed; says why. What its creation had made is removed.
            WaitTimeoutError: The time is over; carries the statuses seen.
        """
        return self._run(flows.wait(self.name, self._creation, timeout=timeout, now=self._now, progress=progress))

    def update(
        self,
        spec: EndpointSpec,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Change it to match a spec of the same name, and wait until it does; see `Endpoints.apply`.

        Raises:
            EndpointNotFoundError: It is not there.
            InvalidInputError: The spec is of another endpoint.
        """
        self._check_own(spec)
        return self._run(
            flows.apply(spec, deployment=deployment, timeout=timeout, now=self._now, progress=progress, must_exist=True)
        )

    def rollback(
        self,
        to: str | None = None,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Go back to the configuration that the last update replaced; doing so twice comes forward again.

        Args:
            to: Name of another endpoint configuration to go to.
            deployment: How traffic moves; chosen as for `apply` where None.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            ConflictError: There is nothing to go back to, or the endpoint is busy.
            EndpointFailedError: It did not come up.
        """
        return self._run(
            flows.rollback(self.name, to=to, deployment=deployment, timeout=timeout, now=self._now, progress=progress)
        )

    def scale(
        self,
        count: int,
        *,
        variant: str | None = None,
        timeout: float = 1800,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Set the instance count, and wait until the instances are there.

        Args:
            count: Instances, 1 or more.
            variant: Which variant; the only one where None.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            InvalidInputError: No such variant, or a count outside autoscaling's limits.
            ConflictError: The endpoint is busy with another change.
        """
        return self._run(
            flows.scale(self.name, count, variant=variant, timeout=timeout, now=self._now, progress=progress)
        )

    def weights(
        self, weights: Mapping[str, float], *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> Endpoint:
        """Set the variants' shares of the traffic, and wait until they hold.

        Args:
            weights: Weight by variant, relative to each other.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            InvalidInputError: No such variant, or a weight below zero.
        """
        return self._run(flows.reweigh(self.name, weights, timeout=timeout, now=self._now, progress=progress))

    def autoscale(self, wanted: Autoscaling | None, *, variant: str | None = None) -> Endpoint:
        """Attach autoscaling in place of what was there; None takes it off.

        Args:
            wanted: The settings.
            variant: Which variant; the only one where None.

        Returns:
            The handle; `describe()` shows what is attached.

        Raises:
            InvalidInputError: No such variant, or a serverless one.
        """
        return self._run(flows.autoscale(self.name, wanted, variant=variant))

    def delete(self, *, dry_run: bool = False, timeout: float = 900) -> Deletion:
        """Delete it and everything that belongs to it; see `Endpoints.delete`."""
        return self._endpoints.delete(self.name, dry_run=dry_run, timeout=timeout)

    @property
    def _now(self) -> Now:
        return self._endpoints.aws.clock.monotonic

    def _run(self, flow: Flow[EndpointDescription]) -> Endpoint:
        return Endpoint(self._endpoints, self.name, seen=self._endpoints.aws.run(flow))
