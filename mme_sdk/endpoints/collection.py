"""`Endpoints`: creates, finds, changes and deletes endpoints, from threads."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mme_sdk.aws import Aws
from mme_sdk.endpoints import flows
from mme_sdk.endpoints.endpoint import Endpoint
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
    from mme_sdk.runtime import RuntimeInvoker

__all__ = ["Endpoints"]


class Endpoints:
    """Creates, finds, changes and deletes endpoints.

    Args:
        aws: The way to AWS.
        invoker: Returns the invoker of the handles. It is called on first use.
        read_metrics: What the handles' `metrics` goes to.

    Example:
        ```python
        endpoint = client.endpoints.create(spec).wait(timeout=900)
        print(client.endpoints.plan(changed_spec))
        endpoint = client.endpoints.apply(changed_spec)
        ```
    """

    def __init__(
        self, aws: Aws, invoker: Callable[[], RuntimeInvoker], read_metrics: ReadMetrics | None = None
    ) -> None:
        self.aws = aws
        self._make_invoker = invoker
        self.read_metrics = read_metrics

    @cached_property
    def invoker(self) -> RuntimeInvoker:
        """The invoker of the handles, made on first use."""
        return self._make_invoker()

    def handle(self, name: str) -> Endpoint:
        """A handle; no call is made.

        Raises:
            InvalidInputError: No endpoint can have this name.
        """
        check.named("name", name)
        return Endpoint(self, name)

    def create(self, spec: EndpointSpec) -> Endpoint:
        """Begin to create an endpoint and return at once; `wait()` on the handle finishes the work.

        Asking again for what exists is no error: interrupted creations go on with the same resources.

        Args:
            spec: What to create.

        Returns:
            The handle.

        Raises:
            ConflictError: An endpoint of this name exists and is something else; the message says what differs.
            EndpointFailedError: An endpoint of this name exists and has failed.
            MMEError: A step failed; everything that this call made is removed.
        """
        creation = self.aws.run(creating.create(spec))
        return Endpoint(self, spec.name, seen=creation.seen, creation=creation)

    @contextmanager
    def temporary(
        self, spec: EndpointSpec, *, timeout: float = 1800, progress: ProgressCallback | bool = False
    ) -> Iterator[Endpoint]:
        """An endpoint for the length of a `with` block; it goes at the end, also after an exception or Ctrl-C.

        Args:
            spec: What to create.
            timeout: Seconds to wait for it at most.
            progress: Called at every look, or True for a progress bar.

        Yields:
            The handle, in service.

        Raises:
            ConflictError: The endpoint exists already, so it is not this block's to delete.
            EndpointFailedError: The creation failed.
        """
        creation = self.aws.run(flows.create_new(spec, timeout=timeout, now=self.aws.clock.monotonic))
        handle = Endpoint(self, spec.name, creation=creation)
        try:
            yield handle.wait(timeout, progress=progress)
        finally:
            self.delete(spec.name)

    def get(self, name: str) -> Endpoint:
        """The handle of an endpoint that exists.

        Raises:
            EndpointNotFoundError: There is none of this name.
        """
        return Endpoint(self, name, seen=self.describe(name))

    def describe(self, name: str) -> EndpointDescription:
        """Read an endpoint, its configuration, models, autoscaling and tags.

        Raises:
            EndpointNotFoundError: There is none of this name.
        """
        return self.aws.run(flows.describe(name))

    def metrics(self, name: str, *, hours: float, variant: str, period: int) -> Any:
        """What CloudWatch knows of an endpoint; see `Endpoint.metrics`."""
        return self.aws.run(
            flows.metrics(
                self.read_metrics, name, hours=hours, variant=variant, period=period, now=self.aws.clock.time()
            )
        )

    def from_endpoint(self, name: str) -> EndpointSpec:
        """The spec that would make a live endpoint, with the counts, weights and autoscaling that it has now.

        Raises:
            EndpointNotFoundError: There is none of this name.
            InvalidInputError: It has a shape that specs have not.
        """
        return self.aws.run(flows.from_endpoint(name))

    def list(self, name_contains: str | None = None) -> list[Endpoint]:
        """Every endpoint, newest first.

        Args:
            name_contains: Only those with this in their name.
        """
        found = self.aws.run(reading.list_all(name_contains))
        return [Endpoint(self, one.name, seen=one) for one in found]

    def wait(self, name: str, *, timeout: float = 1800, progress: ProgressCallback | bool = False) -> Endpoint:
        """Wait until an endpoint is in service; see `Endpoint.wait`."""
        return self.handle(name).wait(timeout, progress=progress)

    def plan(self, spec: EndpointSpec) -> Plan:
        """What `apply` would do; nothing is changed.

        Raises:
            ConflictError: The endpoint is busy with another change.
        """
        return self.aws.run(applying.plan(spec))

    def apply(
        self,
        wanted: EndpointSpec | Plan,
        *,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Create or update an endpoint to match a spec, and wait until it does.

        Counts, weights, autoscaling and tags change in place. Anything else brings a new fleet, whose caches begin
        cold: instance counts that autoscaling has reached are kept, autoscaling is taken off and put back where the
        instance type changes, and the configuration that was replaced is kept for `rollback`; older ones go.

        Args:
            wanted: A spec, or a plan that was looked at.
            deployment: `BlueGreen(…)` or `Rolling(…)`. Where None, GPU fleets of several instances are replaced batch
                by batch, all others all at once.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            ConflictError: The endpoint is busy, or has changed since it was planned.
            EndpointFailedError: The creation failed or the update was rolled back, with the reason; what it had made is
                removed.
            WaitTimeoutError: The time is over, and the change goes on; apply again to finish.
        """
        flow = flows.apply(
            wanted, deployment=deployment, timeout=timeout, now=self.aws.clock.monotonic, progress=progress
        )
        seen = self.aws.run(flow)
        return Endpoint(self, seen.name, seen=seen)

    def to_multi_model(
        self,
        name: str,
        models: str | HasUri,
        *,
        target_model: str | None = None,
        instance_type: str | None = None,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Turn a single-model endpoint into a multi-model one: its archive is copied under the prefix, then applied.

        From the switch on, callers must name the model; `rollback` leads back.

        Args:
            name: The endpoint's name.
            models: S3 prefix of the archives, or a model registry.
            target_model: What the archive is called under the prefix; its own file name where None.
            instance_type: Another instance type, where the present one cannot host many models.
            deployment: How traffic moves; chosen as for `apply` where None.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            InvalidInputError: It is no single-model endpoint with one archive, or its image or instances cannot do it.
            ConflictError: Another archive has this name under the prefix.
            EndpointFailedError: The update was rolled back.
        """
        flow = flows.to_multi_model(
            name,
            check.address("models", models),
            target_model=target_model,
            instance_type=instance_type,
            deployment=deployment,
            timeout=timeout,
            now=self.aws.clock.monotonic,
            progress=progress,
        )
        return Endpoint(self, name, seen=self.aws.run(flow))

    def to_single_model(
        self,
        name: str,
        model: str | ModelVersion,
        *,
        instance_type: str | None = None,
        deployment: Deployment | None = None,
        timeout: float = 3600,
        progress: ProgressCallback | bool = False,
    ) -> Endpoint:
        """Turn a multi-model endpoint into a single-model one that serves one of its archives, from where it lies.

        Args:
            name: The endpoint's name.
            model: Target model, or a registered version.
            instance_type: Another instance type.
            deployment: How traffic moves; chosen as for `apply` where None.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle.

        Raises:
            ModelNotFoundError: There is no such archive under its prefix.
            InvalidInputError: It is no multi-model endpoint with one variant and one container.
            EndpointFailedError: The update was rolled back.
        """
        flow = flows.to_single_model(
            name,
            model,
            instance_type=instance_type,
            deployment=deployment,
            timeout=timeout,
            now=self.aws.clock.monotonic,
            progress=progress,
        )
        return Endpoint(self, name, seen=self.aws.run(flow))

    def preflight(self, spec: EndpointSpec) -> Preflight:
        """Look at the name, role, archives, images and quotas of a spec before money is spent.

        Args:
            spec: What would be created.

        Returns:
            What was found: `ok`, `failed` or `unknown` for each; `.check()` raises what is known to fail.
        """
        return self.aws.run(preflight.preflight(spec, self.aws.region))

    def orphans(self) -> builtins.list[Orphan]:
        """Configurations and models that no endpoint uses, oldest first, whoever made them; nothing is deleted.

        What an endpoint's last update replaced is not among them, since `rollback` needs it.
        """
        return self.aws.run(orphans.find())

    def remove_orphans(self, found: Iterable[Orphan] = (), *, names: Iterable[str] = ()) -> tuple[Orphan, ...]:
        """Delete orphans that this SDK made, and others by name; those that are used by now are left.

        Args:
            found: What `orphans()` found; of it, only what this SDK made is deleted (`Orphan.made_for` is not None).
            names: Names of orphaned configurations and models to delete, whoever made them.

        Returns:
            What was deleted.

        Raises:
            InvalidInputError: `found` has something else than orphans, or `names` something else than names.
        """
        return self.aws.run(orphans.remove_all(found, names))

    def delete(
        self,
        name: str,
        *,
        dry_run: bool = False,
        timeout: float = 900,
        progress: ProgressCallback | bool = False,
    ) -> Deletion:
        """Delete an endpoint, its autoscaling, its configurations and its models, and wait until they are gone.

        Only what this SDK made for the endpoint goes: its tag says so, its name is the digest of its content, and
        nobody else uses it. What is not there is no error.

        Args:
            name: The endpoint's name.
            dry_run: Only say what would go.
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            What was removed, and what was kept.

        Raises:
            WaitTimeoutError: The time is over; delete again to go on.
        """
        flow = flows.delete(name, timeout=timeout, now=self.aws.clock.monotonic, dry_run=dry_run, progress=progress)
        return self.aws.run(flow)
