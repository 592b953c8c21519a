"""One instance: its containers, its folder, and how a request passes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import attrs

from mme_sdk.artifacts.temporary import remove_tree
from mme_sdk.local.hosting.answers import model_error
from mme_sdk.local.hosting.container import Container, ContainerGone, ContainerSpec, Said
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting_interface import ContainerPlan, HostingError, VariantPlan
from mme_sdk.local.storage.disk import make_folder

__all__ = ["Instance", "Sizes"]

_DYING = 1.0  # seconds
_CODE = "SAGEMAKER_SUBMIT_DIRECTORY"  # where the model's script is: an archive in S3, or a directory
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container {name}. Review the latency metrics for each "
    "container in Amazon CloudWatch, resolve the issue, and try again."
)


@attrs.frozen(kw_only=True)
class Sizes:
    """What one instance of a variant has.

    Attributes:
        memory_bytes: Memory for models.
        volume_bytes: Room for models on the volume.
        vcpus: vCPUs.
        gpu: Whether it has GPUs.
    """

    memory_bytes: int
    volume_bytes: int
    vcpus: int
    gpu: bool


class Instance:
    """One instance of a variant.

    Args:
        name: Its id.
        plan: The variant.
        sizes: What it has.
        folder: Where its volume is; removed when it stops.
        log: File for what its containers print.
        log_stream: ARN of its log group, for error bodies.
        shared: What all of hosting shares.
        fetch: Brings a single-model container's archive to a directory.
    """

    def __init__(
        self,
        name: str,
        plan: VariantPlan,
        sizes: Sizes,
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
        self._sizes = sizes
        self._log = log
        self.log_stream = log_stream
        self._shared = shared
        self._fetch = fetch
        self._containers: list[Container] = []
        self._scratches: list[Path] = []
        self._up = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def models(self) -> Path:
        """Where models of a multi-model container lie."""
        return self.folder / "models"

    @property
    def pids(self) -> list[int]:
        """Process ids of its containers."""
        return [pid for one in self._containers if (pid := one.pid) is not None]

    async def start(self, on_crash: Callable[[], None]) -> None:
        """Bring it up.

        Args:
            on_crash: Called when a container ended by itself, before it is restarted.

        Raises:
            HostingError: A container did not come up; nothing is left.
        """
        try:
            make_folder(self.models)
            for number, plan in enumerate(self._plan.containers):
                self._containers.append(await self._container(number, plan))
            await asyncio.gather(*(one.start() for one in self._containers))
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        self._up.set()
        self._watch = self._shared.spawn(self._keep_up(on_crash))

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
            await self._fetch(attrs.evolve(plan, model_data_url=code), number, code_dir)
            environment[_CODE] = str(code_dir)
        command = self._shared.command(plan.image)
        role = "primary container" if len(self._plan.containers) == 1 else f"container {plan.hostname or number + 1}"
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
            memory_bytes=self._sizes.memory_bytes,
            title=f"The {role} for production variant {self._plan.name}",
            startup_limit=self._plan.startup_timeout or settings.startup_limit,
            stop_seconds=settings.stop_seconds,
            code_dir=code_dir,
        )
        return Container(spec, self._shared.session, self._shared.clock)

    async def _keep_up(self, on_crash: Callable[[], None]) -> None:
        """Restart the containers whenever one of them ends."""
        shared = self._shared
        while True:
            ends = [asyncio.create_task(one.ended()) for one in self._containers]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
            self._up.clear()
            on_crash()
            while not self._up.is_set():
                await asyncio.gather(*(one.stop() for one in self._containers))
                try:
                    await asyncio.gather(*(one.start() for one in self._containers))
                except HostingError as error:
                    shared.note(f"{self.name}: {error}")
                    await shared.clock.sleep(shared.settings.restart_seconds)
                else:
                    self._up.set()

    async def up(self) -> None:
        """Wait until its containers serve."""
        await self._up.wait()

    async def ended_soon(self) -> None:
        """After a broken connection: give a container that is dying a moment to be noticed as ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DYING):
                while self._up.is_set() and self._containers:
                    await self._shared.clock.sleep(0.01)

    def multi_model(self) -> Container:
        """The container that models are loaded into.

        Raises:
            ContainerGone: The instance was stopped meanwhile.
        """
        if not self._containers:
            raise ContainerGone("the instance was stopped")
        number = next(i for i, plan in enumerate(self._plan.containers) if plan.mode == "MultiModel")
        return self._containers[number]

    async def run(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        model_id: str | None = None,
        container: str | None = None,
        stream: bool = False,
    ) -> Said:
        """Pass a request through the containers, each one's answer being the next one's input.

        Args:
            body: The payload.
            headers: Headers for the first container.
            model_id: The model to ask in the multi-model container.
            container: Ask this one alone, by its host name.
            stream: Hand out the last answer as it comes.

        Returns:
            The last answer; the first that is no success, if any.

        Raises:
            Refusal: No answer in time.
            ContainerGone: A container ended.
        """
        chosen = self._chosen(container)
        said: Said | None = None
        for place, (plan, one) in enumerate(chosen):
            last = place == len(chosen) - 1
            if said is not None:
                body = said.body
                headers = {**headers, "Content-Type": said.headers.get("content-type", "application/octet-stream")}
            path = f"/models/{model_id}/invoke" if plan.mode == "MultiModel" else "/invocations"
            if plan.mode == "MultiModel" and self._shared.command(plan.image).target_is_id:
                headers = {**headers, "x-amzn-sagemaker-target-model": model_id or ""}
            try:
                async with asyncio.timeout(self._shared.settings.invocation_limit):
                    await self._up.wait()
                    said = await one.ask("POST", path, body, headers, stream=stream and last)
            except TimeoutError:
                name = plan.hostname or "model"
                raise model_error(0, TIMED_OUT.format(name=name), log_stream=self.log_stream) from None
            if said.status >= 300:
                break
        assert said is not None
        return said

    def _chosen(self, hostname: str | None) -> Sequence[tuple[ContainerPlan, Container]]:
        pairs = list(zip(self._plan.containers, self._containers, strict=True))
        return pairs if hostname is None else [pair for pair in pairs if pair[0].hostname == hostname]

    def crash(self) -> None:
        """Kill its containers, as a fault."""
        for one in self._containers:
            one.kill()

    async def stop(self) -> None:
        """Stop its containers and delete its volume."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        self._up.clear()
        containers, self._containers = self._containers, []
        await asyncio.gather(*(one.stop() for one in containers))
        for folder in (self.folder, *self._scratches):
            await self._shared.offload(lambda folder=folder: remove_tree(folder))  # type: ignore[misc]
        self._up.set()  # whoever waits for it finds that it is gone


def container_gone(error: ContainerGone) -> str:
    """What a crash in the middle of an invocation is answered with."""
    return f"The container ended while it was answering: {error}"
