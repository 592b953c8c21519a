"""Asynchronous collection of endpoints: create, find, change and delete them.

One file because it is one class, and most of its lines are documentation.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance
from mme_sdk.aws import Aws
from mme_sdk.display.shown import Listing, Shown, facts_of
from mme_sdk.endpoints._endpoint_base import Context, flows
from mme_sdk.endpoints.async_endpoint import AsyncEndpoint
from mme_sdk.protocols import ReadMetrics
from mme_sdk.types import ModelVersion

if TYPE_CHECKING:
    from mme_sdk.display.progress import ProgressOption
    from mme_sdk.endpoints.operations.apply import EndpointPlan
    from mme_sdk.endpoints.operations.calls import Now
    from mme_sdk.endpoints.operations.delete import EndpointDeletion
    from mme_sdk.endpoints.operations.orphans import Orphan
    from mme_sdk.endpoints.operations.preflight import Preflight
    from mme_sdk.endpoints.spec.deployment import Deployment
    from mme_sdk.endpoints.spec.spec import EndpointSpec, HasUri
    from mme_sdk.endpoints.state.description import EndpointDescription
    from mme_sdk.runtime import AsyncRuntimeInvoker

__all__ = ["AsyncEndpoints"]


@short_tracebacks
class AsyncEndpoints(Shown):
    """Asynchronous collection of the endpoints of an account and region.

    Args:
        aws: Access to AWS.
        make_invoker: Returns the invoker of the handles. Called when a handle invokes for the first time.
        read_metrics: Reads CloudWatch for `metrics` of the handles. Default: None, `metrics` raises ConfigurationError.

    Example:
        ```python
        endpoint = await async_client.endpoints.create(spec, timeout=900)
        print(await async_client.endpoints.plan(changed_spec))
        endpoint = await async_client.endpoints.apply(changed_spec)
        ```
    """

    def __init__(
        self, aws: Aws, make_invoker: Callable[[], AsyncRuntimeInvoker], read_metrics: ReadMetrics | None = None
    ) -> None:
        self._context: Context[AsyncRuntimeInvoker] = Context(aws, make_invoker, read_metrics)

    @property
    def aws(self) -> Aws:
        """Access to AWS."""
        return self._context.aws

    @property
    def invoker(self) -> AsyncRuntimeInvoker:
        """The invoker of the handles; made on first use."""
        return self._context.invoker

    def handle(self, name: str) -> AsyncEndpoint:
        """Return a handle without a call.

        Args:
            name: EndpointName.

        Returns:
            The handle. Whether the endpoint exists is not checked.

        Raises:
            InvalidInputError: `name` is not a valid endpoint name.
        """
        return AsyncEndpoint(self._context, name)

    async def create(
        self,
        spec: EndpointSpec,
        *,
        wait: bool = True,
        check: bool = True,
        timeout: float = 1800,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:
        """Create an endpoint with its models, configuration and autoscaling, or create nothing.

        An endpoint that exists and matches the spec is returned. If its creation is not complete, for example because
        the process that began it has ended, this call completes it.

        Args:
            spec: The endpoint to create.
            wait: True waits until the endpoint is in service and its autoscaling is attached; if a step fails,
                everything that this call made is removed. False returns once SageMaker has accepted the endpoint;
                `wait()` of any handle of the endpoint, `create` or `apply` then completes the creation. Default: True.
            check: Whether to check first that the role, the bucket, the archive and the image exist, for a second at
                most. A check that the caller has no permission for is left out. `preflight` checks the quotas too.
                Default: True.
            timeout: Longest time to wait, in seconds. Default: 1800.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            The handle.

        Raises:
            InvalidInputError: A check failed. Nothing was created.
            ConflictError: An endpoint of this name exists and differs from the spec; the message lists the differences.
            EndpointFailedError: The creation failed, with SageMaker's reason; what it made is removed.
            MMEError: A step failed; everything that this call made is removed.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds; its creation continues.

        Example:
            ```python
            endpoint = await async_client.endpoints.create(spec, timeout=900, progress=True)
            ```
        """
        check_instance("check", check, bool)
        seen, creation = await self.aws.arun(
            flows.create(
                spec,
                wait=wait,
                timeout=timeout,
                now=self._now,
                progress=progress,
                region=self.aws.region if check else None,
            )
        )
        return AsyncEndpoint(self._context, spec.name, seen=seen, creation=creation)

    @asynccontextmanager
    async def temporary(
        self, spec: EndpointSpec, *, timeout: float = 1800, progress: ProgressOption = False
    ) -> AsyncIterator[AsyncEndpoint]:
        """Create an endpoint and delete it at the end of the `async with` block, also after an exception or Ctrl-C.

        Args:
            spec: The endpoint to create.
            timeout: Longest time to wait until it is in service, in seconds. Default: 1800.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Yields:
            The handle of the endpoint in service.

        Raises:
            ConflictError: The endpoint exists; it is not deleted.
            EndpointFailedError: The creation failed; what it made is removed.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds; it is deleted.
        """
        creation = await self.aws.arun(flows.create_temporary(spec, timeout=timeout, now=self._now, progress=progress))
        handle = AsyncEndpoint(self._context, spec.name, creation=creation)
        try:
            yield await handle.wait(timeout, progress=progress)
        finally:
            await self.delete(spec.name)

    async def get(self, name: str) -> AsyncEndpoint:
        """Return the handle of an endpoint that exists.

        Args:
            name: EndpointName.

        Returns:
            The handle, with the description.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
        """
        return AsyncEndpoint(self._context, name, seen=await self.describe(name))

    async def describe(self, name: str) -> EndpointDescription:
        """Describe an endpoint, its configuration, models, autoscaling and tags.

        Args:
            name: EndpointName.

        Returns:
            The description. Its `notes` say what the caller is not allowed to read.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
        """
        return await self.aws.arun(flows.describe(name))

    async def from_endpoint(self, name: str) -> EndpointSpec:
        """Return the spec of a live endpoint, with its current counts, weights and autoscaling.

        Args:
            name: EndpointName.

        Returns:
            The spec. Applying it changes nothing.

        Raises:
            EndpointNotFoundError: The endpoint does not exist.
            InvalidInputError: A spec cannot describe the endpoint, for example because its configuration is deleted.
        """
        return await self.aws.arun(flows.from_endpoint(name))

    async def list(self, name_contains: str | None = None) -> list[AsyncEndpoint]:
        """List the endpoints, newest first.

        Args:
            name_contains: Only endpoints whose names contain this text. Default: None, all endpoints.

        Returns:
            The handles, with name, status and times.
        """
        found = await self.aws.arun(flows.list_endpoints(name_contains))
        handles = [AsyncEndpoint(self._context, seen.name, seen=seen) for seen in found]
        return Listing(handles, "endpoints", AsyncEndpoint._row, AsyncEndpoint._brief)

    async def wait(self, name: str, *, timeout: float = 1800, progress: ProgressOption = False) -> AsyncEndpoint:
        """Wait until an endpoint is in service; see `AsyncEndpoint.wait`.

        Args:
            name: EndpointName.
            timeout: Longest time to wait, in seconds. Default: 1800.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            The handle, with the description.

        Raises:
            EndpointFailedError: The endpoint ended in another status; with SageMaker's reason.
            EndpointNotFoundError: The endpoint does not exist.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds.
        """
        return await self.handle(name).wait(timeout, progress=progress)

    async def plan(self, spec: EndpointSpec) -> EndpointPlan:
        """Return the changes that `apply` would make; nothing is changed.

        Args:
            spec: The spec to match.

        Returns:
            The plan. `print` shows it; `apply` accepts it.

        Raises:
            ConflictError: The endpoint is busy with another change.
        """
        return await self.aws.arun(flows.plan(spec))

    async def apply(
        self,
        wanted: EndpointSpec | EndpointPlan,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:
        """Create or change an endpoint to match a spec, and wait until it does.

        Counts, weights, autoscaling and tags change in place. Any other change starts a new fleet of instances, whose
        model caches are empty. Instance counts that autoscaling has reached are kept. Autoscaling is detached during
        the update if the instance type changes. The configuration that was replaced is kept for `rollback`; older ones
        are deleted. A creation of the same spec that is not complete is completed.

        Args:
            wanted: A spec, or a plan from `plan`.
            deployment: `BlueGreen(…)` or `Rolling(…)`. Default: None, which replaces GPU fleets of several instances
                batch by batch, and all others at once.
            timeout: Longest time to wait, in seconds. Default: 3600.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            The handle, with the description.

        Raises:
            ConflictError: The endpoint is busy, or has changed since it was planned.
            EndpointFailedError: The creation failed or the update was rolled back, with the reason; what it made is
                removed.
            WaitTimeoutError: The endpoint is not in service after `timeout` seconds; the change continues. A further
                `apply` completes it.
        """
        seen = await self.aws.arun(
            flows.apply(wanted, deployment=deployment, timeout=timeout, now=self._now, progress=progress)
        )
        return AsyncEndpoint(self._context, seen.name, seen=seen)

    async def to_multi_model(
        self,
        name: str,
        models: str | HasUri,
        *,
        target_model: str | None = None,
        instance_type: str | None = None,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:
        """Turn a single-model endpoint into a multi-model endpoint: copy its archive under a prefix and serve that.

        After the update, callers must name the model. `rollback` undoes the change.

        Args:
            name: EndpointName.
            models: S3 prefix of the archives, or a model registry.
            target_model: Key of the copy under the prefix. Default: None, the archive's file name.
            instance_type: New instance type. Default: None, the present one.
            deployment: `BlueGreen(…)` or `Rolling(…)`. Default: None, chosen as for `apply`.
            timeout: Longest time to wait, in seconds. Default: 3600.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            The handle, with the description.

        Raises:
            InvalidInputError: The endpoint does not serve exactly one archive, or its image or instance type cannot
                serve multi-model endpoints.
            ConflictError: The prefix has another archive at that key.
            EndpointFailedError: The update was rolled back.
        """
        seen = await self.aws.arun(
            flows.to_multi_model(
                name,
                models,
                target_model=target_model,
                instance_type=instance_type,
                deployment=deployment,
                timeout=timeout,
                now=self._now,
                progress=progress,
            )
        )
        return AsyncEndpoint(self._context, name, seen=seen)

    async def to_single_model(
        self,
        name: str,
        model: str | ModelVersion,
        *,
        instance_type: str | None = None,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressOption = False,
    ) -> AsyncEndpoint:
        """Turn a multi-model endpoint into a single-model endpoint that serves one of its archives in place.

        Args:
            name: EndpointName.
            model: Target model, or a registered version.
            instance_type: New instance type. Default: None, the present one.
            deployment: `BlueGreen(…)` or `Rolling(…)`. Default: None, chosen as for `apply`.
            timeout: Longest time to wait, in seconds. Default: 3600.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            The handle, with the description.

        Raises:
            ModelNotFoundError: The endpoint's prefix has no such archive.
            InvalidInputError: The endpoint is not a multi-model endpoint with one variant and one container.
            EndpointFailedError: The update was rolled back.
        """
        seen = await self.aws.arun(
            flows.to_single_model(
                name,
                model,
                instance_type=instance_type,
                deployment=deployment,
                timeout=timeout,
                now=self._now,
                progress=progress,
            )
        )
        return AsyncEndpoint(self._context, name, seen=seen)

    async def preflight(self, spec: EndpointSpec) -> Preflight:
        """Check the name, role, archives, images and quotas of a spec; nothing is created.

        Args:
            spec: The endpoint to create.

        Returns:
            One finding for each: `ok`, `failed`, or `unknown` if the caller is not allowed to read it. `.check()`
            raises if one failed.
        """
        return await self.aws.arun(flows.preflight(spec, self.aws.region))

    async def orphans(self, *, progress: ProgressOption = False) -> builtins.list[Orphan]:
        """List the configurations and models that no endpoint uses, oldest first; nothing is deleted.

        Those that other tools made are listed too. The configuration that an endpoint's last update replaced is not
        listed: `rollback` needs it.

        Args:
            progress: Called with an `mme_sdk.Progress` at each step; True shows a progress bar. Default: False.

        Returns:
            The orphans. `Orphan.made_for` tells which of them this SDK made.
        """
        found = await self.aws.arun(flows.orphans(now=self._now, progress=progress))
        return Listing(found, "orphans", facts_of, lambda one: f"{one.kind} {one.name}")

    async def remove_orphans(
        self, found: Iterable[Orphan] = (), *, names: Iterable[str] = (), progress: ProgressOption = False
    ) -> tuple[Orphan, ...]:
        """Delete configurations and models that no endpoint uses. Those that an endpoint uses by now are kept.

        Args:
            found: Orphans from `orphans()`. Only those that this SDK made are deleted (`Orphan.made_for` is not None).
            names: Names of orphans to delete, also if other tools made them.
            progress: Called with an `mme_sdk.Progress` at each step; True shows a progress bar. Default: False.

        Returns:
            The orphans that were deleted.

        Raises:
            InvalidInputError: `found` contains anything but orphans, or `names` anything but names.
        """
        return await self.aws.arun(flows.remove_orphans(found, names, now=self._now, progress=progress))

    async def delete(
        self,
        name: str,
        *,
        dry_run: bool = False,
        timeout: float = 900,
        progress: ProgressOption = False,
    ) -> EndpointDeletion:
        """Delete an endpoint, its autoscaling, configurations and models, and wait until they are deleted.

        Only configurations and models that this SDK made for the endpoint are deleted: a tag names the endpoint, the
        name is the digest of the content, and no other endpoint uses them. Resources that do not exist are skipped.

        Args:
            name: EndpointName.
            dry_run: True returns what would be deleted and deletes nothing. Default: False.
            timeout: Longest time to wait, in seconds. Default: 900.
            progress: Called with an `mme_sdk.Progress` after each DescribeEndpoint; True shows a progress bar. Default:
                False.

        Returns:
            What was deleted and what was kept.

        Raises:
            WaitTimeoutError: The endpoint is not deleted after `timeout` seconds; a further call continues.
        """
        return await self.aws.arun(
            flows.delete(name, timeout=timeout, now=self._now, dry_run=dry_run, progress=progress)
        )

    def _facts(self) -> dict[str, object]:
        return {"region": self.aws.known_region}

    @property
    def _now(self) -> Now:
        return self.aws.async_clock.monotonic
