"""What both kinds of variant share: instances that come and go."""

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
from mme_sdk.local.hosting.answers import Refusal, model_error
from mme_sdk.local.hosting.container import ContainerAway, ContainerGone, Said
from mme_sdk.local.hosting.downloads.archives import ArchiveTrouble, fetch
from mme_sdk.local.hosting.gpus import cuda_devices, environment
from mme_sdk.local.hosting.instances.instance import Instance, Sizes, container_gone
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import ContainerPlan, HostingError, VariantPlan, VariantStatus

__all__ = ["Variant", "sizes_of"]


def sizes_of(plan: VariantPlan, shared: Shared) -> Sizes:
    """Return what each instance of a variant has; 2 vCPUs and 8 GiB for an unknown instance type."""
    kind = instance_types.find(plan.instance_type)
    settings = shared.settings
    return Sizes(
        memory_bytes=settings.memory_bytes or plan.memory_bytes or int((kind.memory_gib if kind else 8) * 2**30),
        volume_bytes=settings.volume_bytes or (plan.volume_gb or 30) * 10**9,
        vcpus=kind.vcpus if kind else 2,
        gpu=instance_types.accelerator(plan.instance_type) == "gpu",
    )


class Variant(abc.ABC):
    """The instances of one production variant.

    Args:
        endpoint: EndpointName.
        plan: What to run.
        folder: Where its instances' volumes go.
        logs: Where its instances' logs go.
        shared: What all of hosting shares.
    """

    def __init__(self, endpoint: str, plan: VariantPlan, folder: Path, logs: Path, shared: Shared) -> None:
        self.endpoint = endpoint
        self.plan = plan
        self.shared = shared
        self.weight = plan.weight
        self.sizes = sizes_of(plan, shared)
        self.instances: dict[str, Instance] = {}
        self.draining: set[str] = set()
        self.wanted = 0
        self.stopped = False
        self.hurry = False  # no time to let requests come to their end
        self._folder = folder
        self._logs = logs
        self._numbers = 0
        context = shared.context
        self.log_stream = (
            f"arn:aws:logs:{context.region}:{context.account_id}:log-group:/aws/sagemaker/Endpoints/{endpoint}"
        )

    @abc.abstractmethod
    def joined(self, instance: Instance) -> None:
        """An instance came into service."""

    @abc.abstractmethod
    def left(self, instance: Instance) -> None:
        """An instance is gone."""

    @abc.abstractmethod
    def crashed(self, instance: Instance) -> None:
        """A container of an instance ended by itself."""

    @abc.abstractmethod
    async def ask(
        self, target: str | None, /, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> Said:
        """Serve one request.

        Args:
            target: TargetModel.
            body: The payload.
            headers: Headers for the container.
            trace: Takes down how it went.
            options: For `Instance.run`.

        Returns:
            The container's answer.

        Raises:
            Refusal: In AWS's words, why there is none.
        """

    async def run(
        self,
        instance: Instance,
        target: str | None,
        body: bytes,
        headers: Mapping[str, str],
        trace: Trace,
        **options: Any,
    ) -> Said:
        """Pass a request to the containers of an instance, or let a fault strike.

        Raises:
            Refusal: They gave no answer.
            ContainerAway: Nothing was sent: the request may be served once more.
        """
        faults = self.shared.context.faults
        struck = faults.trigger("container_crash", "instance_lost", endpoint=self.endpoint, model=target)
        if struck is not None and struck.kind == "instance_lost":
            await self.lose(instance)
            self.shared.spawn(self._replace())
            raise Refusal(
                code="InternalFailure", message=f"The instance was lost while it ran {target or 'the model'}."
            )
        if struck is not None:
            instance.crash()
        began = self.shared.clock.monotonic()
        try:
            return await instance.run(body, headers, **options)
        except ContainerGone as error:
            await instance.ended_soon()  # so that whoever comes next does not meet the same dying process
            if isinstance(error, ContainerAway):
                raise
            raise model_error(500, container_gone(error), log_stream=self.log_stream) from error
        finally:
            trace.model_seconds += self.shared.clock.monotonic() - began

    @abc.abstractmethod
    def picture(self) -> FleetSnapshot | None:
        """What is loaded where; None of a single-model variant."""

    def view(self) -> VariantStatus:
        """What runs, to look at."""
        return VariantStatus(
            endpoint=self.endpoint,
            variant=self.plan.name,
            instance_type=self.plan.instance_type,
            instances={name: one.pids for name, one in self.instances.items()},
            memory_bytes=self.sizes.memory_bytes,
            volume_bytes=self.sizes.volume_bytes,
            fleet=self.picture(),
        )

    def measure(self, metric: str, value: float) -> None:
        """Report a CloudWatch value of this variant."""
        self.shared.context.measure(metric, self.endpoint, self.plan.name, value)

    async def start(self) -> None:
        """Bring all instances up.

        Raises:
            HostingError: One did not come up; none is left running.
        """
        await self.scale(self.plan.instance_count)

    async def scale(self, count: int) -> None:
        """Add or remove instances.

        Raises:
            HostingError: A new one did not come up; those that served before serve on.
        """
        serving = self._serving()
        if count > len(serving):
            before = set(self.instances)
            results = await asyncio.gather(*(self._add() for _ in range(count - len(serving))), return_exceptions=True)
            failures = [result for result in results if isinstance(result, BaseException)]
            if failures:
                await asyncio.gather(*(self.lose(one) for name, one in self.instances.items() if name not in before))
                raise failures[0]
        self.wanted = count
        # The newest go: the oldest have the warmest caches.
        await asyncio.gather(*(self._retire(self.instances[name]) for name in serving[count:]))

    async def _add(self) -> None:
        self._numbers += 1
        name = f"i-{self._numbers:04d}"
        plan = self.plan
        if self.sizes.gpu and (cuda_devices() or not self.shared.settings.gpu_types_on_cpu):
            given = environment(self._numbers, plan.instance_type)
            containers = tuple(attrs.evolve(one, environment={**given, **one.environment}) for one in plan.containers)
            plan = attrs.evolve(plan, containers=containers)
        instance = Instance(
            name,
            plan,
            self.sizes,
            self._folder / name,
            self._logs / f"{name}.log",
            self.log_stream,
            self.shared,
            self._fetch,
        )
        await instance.start(lambda: self.crashed(instance))
        self.instances[name] = instance
        self.joined(instance)

    async def _replace(self) -> None:
        """Bring up what is missing since an instance was lost, however often it takes."""
        while not self.stopped and len(self._serving()) < self.wanted:
            try:
                await self._add()
            except HostingError as error:
                self.shared.note(f"{self.endpoint}/{self.plan.name}: a lost instance is not replaced yet: {error}")
                await self.shared.clock.sleep(self.shared.settings.restart_seconds)
        if self.stopped:
            await self.stop()  # one may have come up after the others were stopped

    def _serving(self) -> list[str]:
        return [name for name in self.instances if name not in self.draining]

    async def _retire(self, instance: Instance) -> None:
        self.draining.add(instance.name)
        self.drain(instance)
        deadline = self.shared.clock.monotonic() + self.shared.settings.invocation_limit
        while self.busy(instance) and not self.hurry and self.shared.clock.monotonic() < deadline:
            await self.shared.clock.sleep(0.05)
        await self.lose(instance)

    @abc.abstractmethod
    def drain(self, instance: Instance) -> None:
        """Send an instance no new requests."""

    @abc.abstractmethod
    def busy(self, instance: Instance) -> bool:
        """Whether requests wait for an instance or run on it."""

    async def lose(self, instance: Instance) -> None:
        """An instance goes, whatever runs on it."""
        if self.instances.pop(instance.name, None) is None:
            return
        self.draining.discard(instance.name)
        self.left(instance)
        await instance.stop()

    async def stop(self, *, drain: bool = False) -> None:
        """Stop all instances.

        Args:
            drain: Let what runs come to its end first.
        """
        self.stopped = True
        instances = list(self.instances.values())
        end = self._retire if drain else self.lose
        await asyncio.gather(*(end(one) for one in instances))
        await self.shared.offload(lambda: remove_tree(self._folder))

    async def _fetch(self, plan: ContainerPlan, number: int, directory: Path) -> None:
        """A single-model container's archive, as CreateEndpoint brings it."""
        uri = plan.model_data_url or ""
        limit = self.plan.download_timeout or self.shared.settings.download_limit
        try:
            async with asyncio.timeout(limit):
                await fetch(self.shared, uri, directory, max_bytes=self.sizes.volume_bytes, endpoint=self.endpoint)
        except TimeoutError:
            raise HostingError(
                f'Failed to download model data for container "{plan.hostname or f"container_{number + 1}"}" '
                f'from URL: "{uri}" within {limit:g} seconds.'
            ) from None
        except ArchiveTrouble as trouble:
            if trouble.kind in ("archive", "volume"):
                raise HostingError(
                    f'Failed to extract model data archive from URL "{uri}" for container '
                    f'"{plan.hostname or f"container_{number + 1}"}". Please ensure that the object located at the URL '
                    f"is a valid tar.gz archive. ({trouble.message})"
                ) from trouble
            raise HostingError(
                f'Failed to download model data for container "{plan.hostname or f"container_{number + 1}"}" '
                f'from URL: "{uri}". Please ensure that there is an object located at the URL and that the role passed '
                f"to CreateModel has permissions to download the object. ({trouble.message})"
            ) from trouble
