"""One instance: its containers, its folder, and the requests to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import attrs

from mme_sdk.artifacts.temporary import remove_tree
from mme_sdk.local.containers import Command
from mme_sdk.local.containers.requirements import SUBMITTED
from mme_sdk.local.hosting.container import Container, ContainerConnectionError, ContainerResponse, ContainerSpec
from mme_sdk.local.hosting.environments import RequirementsError
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.invoke_errors import model_error
from mme_sdk.local.hosting_interface import ContainerPlan, HostingError, VariantPlan
from mme_sdk.local.storage.disk import make_folder

__all__ = ["Instance", "InstanceCapacity"]

_EXIT_WAIT = 1.0  # seconds from a broken connection to the exit of the container
_CODE = SUBMITTED  # an archive in S3, or a directory, that contains the model's script
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container {name}. Review the latency metrics for each "
    "container in Amazon CloudWatch, resolve the issue, and try again."
)


@attrs.frozen(kw_only=True)
class InstanceCapacity:
    """The capacity of each instance of a variant.

    Attributes:
        memory_bytes: Memory for models, in bytes.
        volume_bytes: Volume space for models, in bytes.
        vcpus: Number of vCPUs.
        gpu: Whether the instance has GPUs.
    """

    memory_bytes: int
    volume_bytes: int
    vcpus: int
    gpu: bool


class Instance:
    """One instance of a variant.

    Args:
        name: Id of the instance.
        plan: The variant.
        capacity: Memory, volume and processors of the instance.
        folder: Folder of the volume; removed when the instance stops.
        log: File for the output of the containers.
        log_stream: ARN of the log group, for error responses.
        shared: Services that all variants share.
        fetch: Downloads the archive of a single-model container into a directory.
    """

    def __init__(
        self,
        name: str,
        plan: VariantPlan,
        capacity: InstanceCapacity,
        folder: Path,
        log: Path,
        log_stream: str,
        shared: Shared,
        fetch: Callable[[ContainerPlan, int, Path], Awaitable[None]],
    ) -> None:
        self.name = name
        self.folder = folder
        self.outstanding = 0
        self._plan = plan
        self._capacity = capacity
        self._log = log
        self.log_stream = log_stream
        self._shared = shared
        self._fetch = fetch
        self._containers: list[Container] = []
        self._scratches: list[Path] = []
        self._serving = asyncio.Event()
        self._restarter: asyncio.Task[None] | None = None

    @property
    def models(self) -> Path:
        """Folder that contains the models of a multi-model container."""
        return self.folder / "models"

    @property
    def pids(self) -> list[int]:
        """Process ids of the containers."""
        return [pid for one in self._containers if (pid := one.pid) is not None]

    async def start(self, on_crash: Callable[[], None]) -> None:
        """Start the containers, and restart them whenever one ends.

        Args:
            on_crash: Called when a container has ended, before the containers are restarted.

        Raises:
            HostingError: A container did not become healthy. Processes and files are removed.
        """
        try:
            make_folder(self.models)
            for number, plan in enumerate(self._plan.containers):
                self._containers.append(await self._container(number, plan))
            await asyncio.gather(*(one.start() for one in self._containers))
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        self._serving.set()
        self._restarter = self._shared.spawn(self._restart_when_ended(on_crash))

    async def _container(self, number: int, plan: ContainerPlan) -> Container:
        single = plan.mode == "SingleModel"
        model_dir = self.folder / f"model-{number}" / "model"
        if single and plan.model_data_url is not None:
            await self._fetch(plan, number, model_dir)
        elif single:
            make_folder(model_dir)
        environment = dict(plan.environment)
        code, code_dir = environment.get(_CODE, ""), None
        if code.startswith("s3://"):
            code_dir = self.folder / f"code-{number}" / "code"
            await self._fetch(attrs.evolve(plan, model_data_url=code, uncompressed=False), number, code_dir)
            environment[_CODE] = str(code_dir)
        command = self._shared.command(plan.image)
        role = "primary container" if len(self._plan.containers) == 1 else f"container {plan.hostname or number + 1}"
        title = f"The {role} for production variant {self._plan.name}"
        if single:
            try:
                await self._install(command, model_dir, environment)
            except RequirementsError as error:
                raise HostingError(f"{title} cannot be started: {error}") from error
        settings = self._shared.settings
        scratch = self._shared.scratch()
        self._scratches.append(scratch)
        spec = ContainerSpec(
            command=command,
            environment=environment,
            model_dir=model_dir if single else None,
            work_dir=self.folder / f"work-{number}",
            scratch=scratch,
            models=model_dir.parent if single else self.models,
            hidden=self._shared.context.data_dir.parent,
            isolate=settings.isolate,
            readable=settings.readable,
            log=self._log,
            memory_bytes=self._capacity.memory_bytes,
            title=title,
            startup_limit=self._plan.startup_timeout or settings.startup_limit,
            code_dir=code_dir,
            environments=self._shared.environments.folder if settings.install_requirements else None,
        )
        return Container(spec, self._shared.session, self._shared.clock)

    async def _restart_when_ended(self, on_crash: Callable[[], None]) -> None:
        """Restart all containers whenever one of them ends."""
        shared = self._shared
        while True:
            ends = [asyncio.create_task(one.wait_for_exit()) for one in self._containers]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
            self._serving.clear()
            on_crash()
            while not self._serving.is_set():
                await asyncio.gather(*(one.stop() for one in self._containers))
                try:
                    await asyncio.gather(*(one.start() for one in self._containers))
                except HostingError as error:
                    shared.note(f"{self.name}: {error}")
                    await shared.clock.sleep(shared.settings.restart_seconds)
                else:
                    self._serving.set()

    async def wait_until_serving(self) -> None:
        """Wait until the containers are healthy, or the instance is stopped."""
        await self._serving.wait()

    async def wait_for_crash(self) -> None:
        """After a broken connection, wait up to a second until the exit of the container is noticed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_WAIT):
                while self._serving.is_set() and self._containers:
                    await self._shared.clock.sleep(0.01)

    def multi_model(self) -> Container:
        """Return the multi-model container.

        Raises:
            ContainerConnectionError: The instance is stopped.
        """
        if not self._containers:
            raise ContainerConnectionError("the instance was stopped")
        number = next(i for i, plan in enumerate(self._plan.containers) if plan.mode == "MultiModel")
        return self._containers[number]

    async def load(self, model_id: str, directory: Path, target_model: str) -> ContainerResponse:
        """Load a model into the multi-model container.

        Args:
            model_id: Id of the model in the container.
            directory: The extracted archive, the only folder in the folder above it.
            target_model: TargetModel of the request, for the log.

        Raises:
            ContainerConnectionError: The instance is stopped, or the container ended.
            RequirementsError: The packages of the model cannot be installed.
        """
        container = self.multi_model()
        await self._install(container.command, directory, container.environment)
        if container.command.model_repository and (directory / "config.pbtxt").exists():
            directory = directory.parent  # Triton's image does the same for the paths of SageMaker
        return await container.load(model_id, directory, target_model)

    async def _install(self, command: Command, directory: Path, environment: Mapping[str, str]) -> None:
        """Install the packages of a model if the settings say so."""
        if self._shared.settings.install_requirements and command.requirements_for is not None:
            await self._shared.environments.prepare(
                directory, command.requirements_for, self._log, submitted=environment.get(_CODE, "")
            )

    async def invoke(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        model_id: str | None = None,
        container: str | None = None,
        stream: bool = False,
    ) -> ContainerResponse:
        """Send a request through the containers; the response of each one is the request of the next one.

        Args:
            body: Request body.
            headers: Request headers for the first container.
            model_id: Id of the model in the multi-model container.
            container: ContainerHostname of the only container to invoke; None for the whole pipeline.
            stream: Whether to stream the last response.

        Returns:
            The first error response; the last response if all succeed.

        Raises:
            InvokeError: A container did not respond in time.
            ContainerConnectionError: A container ended.
        """
        selected = self._selected_containers(container)
        response: ContainerResponse | None = None
        for index, (plan, one) in enumerate(selected):
            last = index == len(selected) - 1
            if response is not None:
                body = response.body
                headers = {**headers, "content-type": response.headers.get("content-type", "application/octet-stream")}
            path = f"/models/{model_id}/invoke" if plan.mode == "MultiModel" else "/invocations"
            if plan.mode == "MultiModel" and one.command.target_is_id:
                headers = {**headers, "x-amzn-sagemaker-target-model": model_id or ""}
            try:
                async with asyncio.timeout(self._shared.settings.invocation_limit):
                    await self._serving.wait()
                    response = await one.invoke(path, body, headers, stream=stream and last)
            except TimeoutError:
                name = plan.hostname or "model"
                raise model_error(0, TIMED_OUT.format(name=name), log_stream=self.log_stream) from None
            if response.status >= 300:
                break
        assert response is not None
        return response

    def _selected_containers(self, hostname: str | None) -> Sequence[tuple[ContainerPlan, Container]]:
        pairs = list(zip(self._plan.containers, self._containers, strict=True))
        return pairs if hostname is None else [pair for pair in pairs if pair[0].hostname == hostname]

    def crash(self) -> None:
        """Kill the containers, which simulates a crash."""
        for one in self._containers:
            one.kill()

    async def stop(self) -> None:
        """Stop the containers and delete the volume."""
        restarter, self._restarter = self._restarter, None
        if restarter is not None:
            restarter.cancel()
            await asyncio.gather(restarter, return_exceptions=True)
        self._serving.clear()
        containers, self._containers = self._containers, []
        await asyncio.gather(*(one.stop(self._shared.grace) for one in containers))
        for folder in (self.folder, *self._scratches):
            await self._shared.offload(lambda folder=folder: remove_tree(folder))  # type: ignore[misc]
        self._serving.set()  # wake the requests that wait for the instance; they find it stopped


def connection_error_message(error: ContainerConnectionError) -> str:
    """Return the error text for a container that ended during an invocation."""
    return f"The container ended during the invocation: {error}"
