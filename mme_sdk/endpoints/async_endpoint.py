"""Asynchronous handle of one endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, overload

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.endpoints._endpoint_base import Context, flows
from mme_sdk.endpoints.async_invocation import AsyncInvocationMixin
from mme_sdk.endpoints.state import links

if TYPE_CHECKING:
    from mme_sdk.aws import Flow
    from mme_sdk.costs import Cost
    from mme_sdk.diagnosis import Diagnosis
    from mme_sdk.display.progress import ProgressOption
    from mme_sdk.endpoints.operations.calls import Now
    from mme_sdk.endpoints.operations.create import Creation
    from mme_sdk.endpoints.operations.delete import EndpointDeletion
    from mme_sdk.endpoints.spec.autoscaling import Autoscaling
    from mme_sdk.endpoints.spec.deployment import Deployment
    from mme_sdk.endpoints.spec.spec import EndpointSpec
    from mme_sdk.endpoints.state.description import EndpointDescription
    from mme_sdk.endpoints.state.logs import LogReader
    from mme_sdk.endpoints.state.metrics import MetricsResult
    from mme_sdk.recording import RecordedMinute
    from mme_sdk.runtime import AsyncRuntimeInvoker
    from mme_sdk.types import ModelVersion

__all__ = ["AsyncEndpoint"]


@short_tracebacks
class AsyncEndpoint(AsyncInvocationMixin):
    """Asynchronous handle of one endpoint. Making, copying and sharing one makes no call.

    `AsyncMMEClient.endpoint` and the methods of `AsyncEndpoints` return handles.

    Args:
        context: AWS session and invoker of the collection that made the handle.
        name: EndpointName.
        seen: Last description of the endpoint. None if it has not been described.
        creation: Creation that `wait` completes. None if the handle has not created the endpoint.

    Attributes:
        name: EndpointName.

    Example:
        ```python
        endpoint = async_client.endpoint("scoring")
        reply = await endpoint.invoke({"amount": 12.5}, model="fraud/v3.tar.gz", deadline=30)
        ```
    """

    __slots__ = ("_context",)

    def __init__(
        self,
        context: Context[AsyncRuntimeInvoker],
        name: str,
        *,
        seen: EndpointDescription | None = None,
        creation: Creation | None = None,
    ) -> None:
        super().__init__(name, seen=seen, creation=creation)
        self._context = context

    @property
    def _invoker(self) -> AsyncRuntimeInvoker:
        return self._context.invoker

    async def metrics(self, *, hours: float = 24.0, variant: str = "AllTraffic", period: int = 60) -> MetricsResult:
        """Read this endpoint's metrics from CloudWatch.

        Args:
            hours: How far to look back, in hours; at most 10920. Default: 24.
            variant: VariantName. Default: `AllTraffic`.
            period: Length of the time that each value stands for, in seconds; a multiple of 60. Default: 60.

        Returns:
            An `mme_sdk.metrics.EndpointMetrics`. A series is empty if CloudWatch has no values.

        Raises:
            InvalidInputError: The values of the arguments need more points than CloudWatch returns at a time.
        """
        aws = self._context.aws
        result: MetricsResult = await aws.arun(
            flows.metrics(
                self._context.read_metrics,
                self.name,
                hours=hours,
                variant=variant,
                period=period,
                now=aws.async_clock.time(),
            )
        )
        return result

    async def diagnose(
        self,
        hours: float = 24.0,
        *,
        recordings: Iterable[RecordedMinute] | None = None,
        prices: Mapping[str, float] | None = None,
        quotas: Mapping[str, int] | None = None,
        key: str = "{name}/{version}.tar.gz",
    ) -> Diagnosis:
        """Find what is wrong with this endpoint: in its metrics, its settings, its models and recordings of its calls.

        It changes nothing. Data that cannot be read is named in `Diagnosis.missing`, with what it leaves open. The
        caller needs the permissions to describe the endpoint and, for the rest, cloudwatch:GetMetricData,
        application-autoscaling:Describe*, s3:ListBucket and s3:GetObject.

        Args:
            hours: How far to look back, in hours; at most 10920. Default: 24.
            recordings: The calls by minute and model. Default: None; what needs them is not looked for.
            prices: Price of an instance and hour by instance type, such as `planning.load_prices()`. Default: None; the
                cost of instances is not computed.
            quotas: Largest number of instances of the account by instance type. Default: None, not compared.
            key: Template of the models' keys, as for `client.models`. Default: `{name}/{version}.tar.gz`.

        Returns:
            The findings, each with its evidence and the command that mends it.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
            InvalidInputError: An argument is not valid.

        Example:
            ```python
            for finding in await endpoint.diagnose(hours=6):
                print(finding.summary, finding.command)
            ```
        """
        aws = self._context.aws
        found: Diagnosis = await aws.arun(
            flows.diagnose(
                self.name,
                hours=hours,
                recordings=recordings,
                prices=prices,
                quotas=quotas,
                key=key,
                aws=aws,
                now=aws.async_clock.time(),
            )
        )
        return found

    async def cost(
        self, *, by: Literal["model", "tenant"] = "model", hours: float = 24.0,
        recordings: Iterable[RecordedMinute], prices: Mapping[str, float], memory_share: float = 0.5,
        currency: str = "USD",
    ) -> Cost:  # fmt: skip
        """Share the bill of this endpoint's instances among its models or tenants.

        Args:
            by: `model` or `tenant`. Default: `model`.
            hours: How far to look back, in hours. Default: 24.
            recordings: The calls by minute and model, from `mme_sdk.recording.read_recordings`.
            prices: Price of an instance and hour by instance type, such as `planning.load_prices()`.
            memory_share: Part of the bill shared by bytes in memory, 0 to 1; time in use shares the rest. Default: 0.5.
            currency: Currency of the prices. Default: `USD`.

        Returns:
            The rows, whose amounts add up to the bill, and a monthly forecast. `estimated` names what is estimated.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
            InvalidInputError: An argument is not valid, a type has no price, or a variant has no instances.
        """
        aws = self._context.aws
        found: Cost = await aws.arun(
            flows.cost(
                self.name, by=by, hours=hours, recordings=recordings, prices=prices, memory_share=memory_share,
                currency=currency, now=aws.async_clock.time(),
            )
        )  # fmt: skip
        return found

    @overload
    async def logs(
        self, *, model: str | ModelVersion | None = None, lines: int = 100, follow: Literal[False] = False
    ) -> list[str]: ...

    @overload
    async def logs(
        self, *, model: str | ModelVersion | None = None, lines: int = 100, follow: Literal[True]
    ) -> AsyncIterator[str]: ...

    async def logs(
        self, *, model: str | ModelVersion | None = None, lines: int = 100, follow: bool = False
    ) -> list[str] | AsyncIterator[str]:
        """Read the end of the containers' log: from CloudWatch Logs, or from the embedded SageMaker.

        The caller needs logs:DescribeLogStreams and logs:GetLogEvents.

        Args:
            model: Only lines that contain this text, such as a target model. The embedded SageMaker writes the target
                model before each line of a model; on AWS, the container decides what its lines contain. None returns
                all lines. Default None.
            lines: Largest number of lines, 1 to 10,000; of those that `follow` returns first. Default 100.
            follow: Whether to return an iterator that continues with the lines as they are written, without end.
                Default False.

        Returns:
            The lines, oldest first; with `follow`, an iterator over them.

        Raises:
            InvalidInputError: An argument is invalid.
            NotFoundError: There is no log: no container of such an endpoint has written anything.

        Example:
            ```python
            for line in await endpoint.logs(model="fraud/v3.tar.gz", lines=20):
                print(line)
            ```
        """
        from mme_sdk.endpoints.state.logs import LogReader

        reader = LogReader(self.name, model, lines)
        last = await self._context.aws.arun(reader.last())
        return self._follow(reader, last) if follow else last

    async def _follow(self, reader: LogReader, last: list[str]) -> AsyncIterator[str]:
        for line in last:
            yield line
        while True:
            for line in await self._context.aws.arun(reader.new()):
                yield line

    async def describe(self) -> EndpointDescription:
        """Describe the endpoint, its configuration, models, autoscaling and tags.

        Returns:
            The description. The handle keeps it for its representation.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
        """
        self._seen = await self._context.aws.arun(flows.describe(self.name))
        return self._seen

    async def wait(self, timeout: float = 1800, *, progress: ProgressOption = False) -> AsyncEndpoint:
        """Wait until the endpoint is in service.

        Waiting changes nothing, with one exception: if the endpoint's tags say that a creation is not complete,
        because it was begun with `create(spec, wait=False)` or because the process that began it has ended, this
        method completes it. It attaches the autoscaling, or removes what a failed creation made.

        Args:
            timeout: Longest time to wait, in seconds. Default: 1800.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            A handle with the description.

        Raises:
            EndpointFailedError: The endpoint ended in another status; with SageMaker's reason.
            EndpointNotFoundError: The endpoint does not exist, or was deleted.
            MMEError: Autoscaling of a creation that was not complete could not be attached. Waiting again retries it.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds; with the statuses seen.
        """
        return await self._run(flows.wait(self.name, self._creation, timeout=timeout, now=self._now, progress=progress))

    async def update(
        self,
        spec: EndpointSpec,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:
        """Change the endpoint to match a spec of the same name, and wait until it does; see `AsyncEndpoints.apply`.

        Args:
            spec: The spec.
            deployment: `BlueGreen(…)` or `Rolling(…)`. Default: None, chosen as for `apply`.
            timeout: Longest time to wait, in seconds. Default: 3600.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            A handle with the description.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
            InvalidInputError: The spec describes another endpoint.
            ConflictError: The endpoint is busy with another change.
            EndpointFailedError: The update was rolled back.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds; the update continues.
        """
        self._check_same_endpoint(spec)
        return await self._run(
            flows.apply(
                spec,
                deployment=deployment,
                timeout=timeout,
                now=self._now,
                progress=progress,
                must_exist=True,
                operation="update",
            )
        )

    async def rollback(
        self,
        to: str | None = None,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:
        """Update the endpoint to the configuration that its last update replaced. A second rollback undoes the first.

        Args:
            to: Name of another endpoint configuration to update to. Default: None, the one that was replaced last.
            deployment: `BlueGreen(…)` or `Rolling(…)`. Default: None, chosen as for `apply`.
            timeout: Longest time to wait, in seconds. Default: 3600.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            A handle with the description.

        Raises:
            ConflictError: There is no earlier configuration, or the endpoint is busy.
            EndpointFailedError: The update was rolled back.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds; the update continues.
        """
        return await self._run(
            flows.rollback(self.name, to=to, deployment=deployment, timeout=timeout, now=self._now, progress=progress)
        )

    async def scale(
        self, count: int, *, variant: str | None = None, replace: bool = False, timeout: float = 1800,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:  # fmt: skip
        """Set a variant's instance count, and wait until the instances run.

        Args:
            count: Number of instances, 1 or more; 0 or more with asynchronous inference.
            variant: VariantName. Default: None, the only variant.
            replace: Whether an update replaces all instances of the endpoint, so that SageMaker places all models anew.
                Default: False, instances are added or removed.
            timeout: Longest time to wait, in seconds. Default: 1800.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            A handle with the description.

        Raises:
            InvalidInputError: There is no such variant, or the count is outside the limits of autoscaling.
            ConflictError: The endpoint is busy with another change.
            EndpointFailedError: The instances could not be started.
            WaitTimeoutError: The instances do not run after `timeout` seconds; the change continues.
        """
        return await self._run(
            flows.scale(
                self.name, count, variant=variant, replace=replace, timeout=timeout, now=self._now, progress=progress
            )
        )

    async def weights(
        self, weights: Mapping[str, float], *, timeout: float = 1800, progress: ProgressOption = False
    ) -> AsyncEndpoint:
        """Set the variants' shares of the traffic, and wait until they are in effect.

        Args:
            weights: Weight by VariantName. A variant's share is its weight divided by the sum of all weights.
            timeout: Longest time to wait, in seconds. Default: 1800.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            A handle with the description.

        Raises:
            InvalidInputError: There is no such variant, or a weight is below zero.
            ConflictError: The endpoint is busy with another change.
            WaitTimeoutError: The weights are not in effect after `timeout` seconds; the change continues.
        """
        return await self._run(flows.set_weights(self.name, weights, timeout=timeout, now=self._now, progress=progress))

    async def autoscale(self, wanted: Autoscaling | None, *, variant: str | None = None) -> AsyncEndpoint:
        """Attach autoscaling to a variant in place of what is attached, or detach it.

        Args:
            wanted: The settings; None detaches autoscaling.
            variant: VariantName. Default: None, the only variant.

        Returns:
            A handle with the description.

        Raises:
            InvalidInputError: There is no such variant, or it is serverless.
        """
        return await self._run(flows.autoscale(self.name, wanted, variant=variant))

    async def delete(
        self, *, dry_run: bool = False, timeout: float = 900, progress: ProgressOption = False
    ) -> EndpointDeletion:
        """Delete the endpoint and what this SDK made for it; see `AsyncEndpoints.delete`.

        Args:
            dry_run: True returns what would be deleted and deletes nothing. Default: False.
            timeout: Longest time to wait, in seconds. Default: 900.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            What was deleted and what was kept.

        Raises:
            WaitTimeoutError: The endpoint is not deleted after `timeout` seconds; a further call continues.
        """
        deletion = await self._context.aws.arun(
            flows.delete(self.name, timeout=timeout, now=self._now, dry_run=dry_run, progress=progress)
        )
        if not dry_run:
            self._forget("Deleted")
        return deletion

    @property
    def console_url(self) -> str:
        """URL of the endpoint's page in the AWS console; that of the status page where an embedded SageMaker serves it.

        Raises:
            ConfigurationError: No AWS region is set.
        """
        aws = self._context.aws
        return links.console_url(self.name, aws.region, aws.address("sagemaker"))

    def _links(self) -> dict[str, str]:
        aws = self._context.aws
        return links.pages(self.name, aws.known_region, aws.address("sagemaker"))

    @property
    def _now(self) -> Now:
        return self._context.aws.async_clock.monotonic

    async def _run(self, flow: Flow[EndpointDescription]) -> AsyncEndpoint:
        self._seen = await self._context.aws.arun(flow)
        return AsyncEndpoint(self._context, self.name, seen=self._seen)
