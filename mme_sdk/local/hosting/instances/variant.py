"""The base class of variants: adds, drains and removes instances."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk import instance_types
from mme_sdk.artifacts.temporary import remove_tree
from mme_sdk.fleet import FleetSnapshot
from mme_sdk.local.hosting.container import ContainerConnectionError, ContainerResponse, ContainerUnreachableError
from mme_sdk.local.hosting.downloads.archives import ArchiveError, fetch
from mme_sdk.local.hosting.downloads.files import fetch_files
from mme_sdk.local.hosting.gpus import environment
from mme_sdk.local.hosting.instances.instance import Instance, InstanceCapacity, connection_error_message
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.invoke_errors import InvokeError, model_error
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import ContainerPlan, HostingError, VariantPlan, VariantStatus
from mme_sdk.local.wire.service_model import partition_of

__all__ = ["Variant", "capacity_of"]


def capacity_of(plan: VariantPlan, shared: Shared) -> InstanceCapacity:
    """Return the capacity of each instance of a variant."""
    kind = instance_types.find(plan.instance_type)
    settings = shared.settings
    return InstanceCapacity(
        memory_bytes=settings.memory_bytes or plan.memory_bytes or int((kind.memory_gib if kind else 8) * 2**30),
        volume_bytes=settings.volume_bytes or (plan.volume_gb or 30) * 10**9,
        vcpus=kind.vcpus if kind else 2,
        gpu=instance_types.accelerator(plan.instance_type) == "gpu",
    )


class Variant(abc.ABC):
    """The instances of one production variant.

    Args:
        endpoint: EndpointName.
        plan: The containers and the instances to run.
        folder: Folder for the volumes of instances.
        logs: Folder for the logs of instances.
        shared: Services that all variants share.
    """

    def __init__(self, endpoint: str, plan: VariantPlan, folder: Path, logs: Path, shared: Shared) -> None:
        self.endpoint = endpoint
        self.plan = plan
        self.shared = shared
        self.weight = plan.weight
        self.capacity = capacity_of(plan, shared)
        self.instances: dict[str, Instance] = {}
        self.draining: set[str] = set()
        self.wanted = 0
        self.stopped = False
        self.skip_drain = False  # set when the host closes: instances are stopped without waiting for their requests
        self._folder = folder
        self._logs = logs
        self._numbers = 0
        context = shared.context
        where = f"arn:{partition_of(context.region)}:logs:{context.region}:{context.account_id}"
        self.log_stream = f"{where}:log-group:/aws/sagemaker/Endpoints/{endpoint}"

    @abc.abstractmethod
    def instance_added(self, instance: Instance) -> None:
        """Called when an instance has started to serve."""

    @abc.abstractmethod
    def instance_removed(self, instance: Instance) -> None:
        """Called when an instance is removed."""

    @abc.abstractmethod
    def instance_crashed(self, instance: Instance) -> None:
        """Called when a container of an instance has ended unexpectedly."""

    @abc.abstractmethod
    async def invoke(
        self, target: str | None, /, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> ContainerResponse:
        """Serve one request.

        Args:
            target: TargetModel.
            body: Request body.
            headers: Request headers for the container.
            trace: Receives the measurements of the invocation.
            options: Keywords of `Instance.invoke`, and `session`.

        Returns:
            The response of the container.

        Raises:
            InvokeError: The request cannot be served.
        """

    async def invoke_instance(
        self,
        instance: Instance,
        target: str | None,
        body: bytes,
        headers: Mapping[str, str],
        trace: Trace,
        **options: Any,
    ) -> ContainerResponse:
        """Send a request to the containers of an instance, or inject a fault.

        Raises:
            InvokeError: The containers did not respond.
            ContainerUnreachableError: The request was not sent and can be retried.
        """
        faults = self.shared.context.faults
        fault = faults.trigger("container_crash", "instance_lost", endpoint=self.endpoint, model=target)
        if fault is not None and fault.kind == "instance_lost":
            await self.remove_instance(instance)
            self.shared.spawn(self._replace())
            raise InvokeError(
                code="InternalFailure", message=f"The instance was lost while it ran {target or 'the model'}."
            )
        if fault is not None:
            instance.crash()
        began = self.shared.clock.monotonic()
        try:
            return await instance.invoke(body, headers, **options)
        except ContainerConnectionError as error:
            await instance.wait_for_crash()  # the next request must not reach the same ending process
            if isinstance(error, ContainerUnreachableError):
                raise
            raise model_error(500, connection_error_message(error), log_stream=self.log_stream) from error
        finally:
            trace.model_seconds += self.shared.clock.monotonic() - began

    @abc.abstractmethod
    def snapshot(self) -> FleetSnapshot | None:
        """Return the state of the model cache; None for a single-model variant."""

    def view(self) -> VariantStatus:
        """Return the state of the variant."""
        return VariantStatus(
            endpoint=self.endpoint,
            variant=self.plan.name,
            instance_type=self.plan.instance_type,
            instances={name: one.pids for name, one in self.instances.items()},
            memory_bytes=self.capacity.memory_bytes,
            volume_bytes=self.capacity.volume_bytes,
            fleet=self.snapshot(),
        )

    def measure(self, metric: str, value: float) -> None:
        """Record a CloudWatch metric of this variant."""
        self.shared.context.measure(metric, self.endpoint, self.plan.name, value)

    async def start(self) -> None:
        """Start all instances.

        Raises:
            HostingError: An instance did not start. All started instances are stopped.
        """
        await self.scale(self.plan.instance_count)

    async def scale(self, count: int) -> None:
        """Add or remove instances.

        Raises:
            HostingError: A new instance did not start. The old instances continue to serve.
        """
        serving = self._serving()
        if count > len(serving):
            before = set(self.instances)
            results = await asyncio.gather(*(self._add() for _ in range(count - len(serving))), return_exceptions=True)
            failures = [result for result in results if isinstance(result, BaseException)]
            if failures:
                await asyncio.gather(
                    *(self.remove_instance(one) for name, one in self.instances.items() if name not in before)
                )
                raise failures[0]
        self.wanted = count
        # Remove the newest instances: the oldest have the most models loaded.
        await asyncio.gather(*(self._drain_and_remove(self.instances[name]) for name in serving[count:]))

    async def _add(self) -> None:
        self._numbers += 1
        name = f"i-{self._numbers:04d}"
        plan = self.plan
        if self.capacity.gpu:
            settings = self.shared.settings
            given = environment(self._numbers, plan.instance_type, settings.gpus, on_cpu=settings.gpu_types_on_cpu)
            containers = tuple(attrs.evolve(one, environment={**given, **one.environment}) for one in plan.containers)
            plan = attrs.evolve(plan, containers=containers)
        instance = Instance(
            name,
            plan,
            self.capacity,
            self._folder / name,
            self._logs / f"{name}.log",
            self.log_stream,
            self.shared,
            self._fetch,
        )
        await instance.start(lambda: self.instance_crashed(instance))
        self.instances[name] = instance
        self.instance_added(instance)

    async def _replace(self) -> None:
        """Start instances until the wanted number serves again; retry after failures."""
        while not self.stopped and len(self._serving()) < self.wanted:
            try:
                await self._add()
            except HostingError as error:
                self.shared.note(f"{self.endpoint}/{self.plan.name}: a lost instance is not replaced yet: {error}")
                await self.shared.clock.sleep(self.shared.settings.restart_seconds)
        if self.stopped:
            await self.stop()  # an instance can have started after the others were stopped

    def _serving(self) -> list[str]:
        return [name for name in self.instances if name not in self.draining]

    async def _drain_and_remove(self, instance: Instance) -> None:
        self.draining.add(instance.name)
        self.drain(instance)
        deadline = self.shared.clock.monotonic() + self.shared.settings.invocation_limit
        while self.busy(instance) and not self.skip_drain and self.shared.clock.monotonic() < deadline:
            await self.shared.clock.sleep(0.05)
        await self.remove_instance(instance)

    @abc.abstractmethod
    def drain(self, instance: Instance) -> None:
        """Stop sending new requests to an instance."""

    @abc.abstractmethod
    def busy(self, instance: Instance) -> bool:
        """Return whether requests wait for an instance or run on it."""

    async def remove_instance(self, instance: Instance) -> None:
        """Remove an instance at once. Its running requests fail."""
        if self.instances.pop(instance.name, None) is None:
            return
        self.draining.discard(instance.name)
        self.instance_removed(instance)
        await instance.stop()

    async def stop(self, *, drain: bool = False) -> None:
        """Stop all instances.

        Args:
            drain: Whether to let running requests end first.
        """
        self.stopped = True
        instances = list(self.instances.values())
        end = self._drain_and_remove if drain else self.remove_instance
        await asyncio.gather(*(end(one) for one in instances))
        await self.shared.offload(lambda: remove_tree(self._folder))

    async def _fetch(self, plan: ContainerPlan, number: int, directory: Path) -> None:
        """Download the model of a single-model container, with the error texts of CreateEndpoint."""
        uri = plan.model_data_url or ""
        limit = self.plan.download_timeout or self.shared.settings.download_limit
        try:
            async with asyncio.timeout(limit):
                download = fetch_files if plan.uncompressed else fetch
                await download(
                    self.shared,
                    uri,
                    directory,
                    max_bytes=self.capacity.volume_bytes,
                    endpoint=self.endpoint,
                    role=self.plan.role,
                )
        except TimeoutError:
            raise HostingError(
                f'Failed to download model data for container "{plan.hostname or f"container_{number + 1}"}" '
                f'from URL: "{uri}" within {limit:g} seconds.'
            ) from None
        except ArchiveError as failure:
            if failure.kind in ("archive", "volume") and plan.uncompressed:
                raise HostingError(
                    f'Failed to download model data for container "{plan.hostname or f"container_{number + 1}"}" '
                    f'from URL: "{uri}". Please ensure that the objects located at the URL form a valid folder. '
                    f"({failure.message})"
                ) from failure
            if failure.kind in ("archive", "volume"):
                raise HostingError(
                    f'Failed to extract model data archive from URL "{uri}" for container '
                    f'"{plan.hostname or f"container_{number + 1}"}". Please ensure that the object located at the URL '
                    f"is a valid tar.gz archive. ({failure.message})"
                ) from failure
            raise HostingError(
                f'Failed to download model data for container "{plan.hostname or f"container_{number + 1}"}" '
                f'from URL: "{uri}". Please ensure that there is an object located at the URL and that the role passed '
                f"to CreateModel has permissions to download the object. ({failure.message})"
            ) from failure
