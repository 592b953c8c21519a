"""A multi-model variant: a pure fleet decides, this module does what it says and reports how that ended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mme_sdk.artifacts.temporary import remove_tree
from mme_sdk.fleet import (
    Command,
    Discard,
    Download,
    Fail,
    Fleet,
    FleetPolicy,
    FleetSnapshot,
    Footprint,
    Load,
    Run,
    Unload,
)
from mme_sdk.local.hosting.answers import Refusal, model_error, validation_error
from mme_sdk.local.hosting.container import ContainerAway, ContainerGone, Said
from mme_sdk.local.hosting.downloads.archives import ArchiveTrouble, fetch
from mme_sdk.local.hosting.downloads.objects import Absent, StoreTrouble, split
from mme_sdk.local.hosting.instances.instance import Instance, container_gone
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.instances.variant import Variant
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import VariantPlan

__all__ = ["MultiModelVariant", "described", "model_id"]


def described(error: BaseException) -> str:
    """An unexpected error in a message: its type and text."""
    if isinstance(error, asyncio.CancelledError):
        return "it was cancelled"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def model_id(target: str) -> str:
    """The opaque id under which a container gets a model."""
    return hashlib.sha256(target.encode()).hexdigest()[:32]


class MultiModelVariant(Variant):
    """Drives a `Fleet` in real time; no decision about caches or routing is made here.

    Args:
        endpoint: EndpointName.
        plan: What to run.
        folder: Where its instances' volumes go.
        logs: Where its instances' logs go.
        shared: What all of hosting shares.
    """

    def __init__(self, endpoint: str, plan: VariantPlan, folder: Path, logs: Path, shared: Shared) -> None:
        super().__init__(endpoint, plan, folder, logs, shared)
        settings = shared.settings
        container = next(one for one in plan.containers if one.mode == "MultiModel")
        self._bucket, prefix = split(container.model_data_url or "")
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self.fleet = Fleet(
            FleetPolicy(
                memory_bytes=self.sizes.memory_bytes,
                volume_bytes=self.sizes.volume_bytes,
                loader_slots=settings.loader_slots
                if container.model_cache
                else max(settings.loader_slots, self.sizes.vcpus),
                spill_outstanding=settings.spill_outstanding,
                cache_enabled=container.model_cache,
            ),
            shared.rng,
        )
        self._requests = 0
        self._waiting: dict[str, asyncio.Future[tuple[Run | Fail, int]]] = {}
        self._footprints: dict[str, Footprint] = {}
        self._holders: dict[str, set[str]] = {}  # model -> instances that have its files, or are about to
        self._epochs: dict[str, int] = {}  # instance -> how often its container ended

    # -- instances ------------------------------------------------------------------------------------------------

    def joined(self, instance: Instance) -> None:
        """An instance came into service, empty."""
        self._epochs[instance.name] = 0
        self._perform(self.fleet.add_instance(instance.name, self._now()))

    def picture(self) -> FleetSnapshot:
        """What is loaded where."""
        return self.fleet.snapshot(self._now())

    def drain(self, instance: Instance) -> None:
        """Send an instance no new requests."""
        self._perform(self.fleet.drain(instance.name))

    def busy(self, instance: Instance) -> bool:
        """Whether requests wait for an instance or run on it."""
        return self.fleet.snapshot().instances[instance.name].outstanding > 0

    def left(self, instance: Instance) -> None:
        """An instance is gone, with everything on it."""
        for model in [model for model, holders in self._holders.items() if instance.name in holders]:
            self._forget_files(instance.name, model)
        self._perform(self.fleet.remove_instance(instance.name, self._now()))

    def crashed(self, instance: Instance) -> None:
        """A container ended: memory is empty, the volume stays."""
        if self.instances.get(instance.name) is instance:
            self._epochs[instance.name] += 1
            self._perform(self.fleet.crashed(instance.name))

    # -- requests -------------------------------------------------------------------------------------------------

    async def ask(
        self, target: str | None, /, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> Said:
        """Serve one request for a model."""
        assert target is not None
        options.pop("session", None)  # refused where the request was routed
        self._requests += 1
        request = f"r-{self._requests}"
        deadline = asyncio.get_running_loop().time() + self.shared.settings.answer_limit
        try:
            while True:
                footprint = await self._footprint(target, deadline)
                arrived = self._now()
                commands = self.fleet.arrive(request, target, footprint, arrived)
                if trace.hit is None:
                    trace.hit = bool(commands) and isinstance(commands[0], Run)
                try:
                    run = await self._outcome(request, target, commands, deadline)
                finally:
                    if not trace.hit:
                        trace.waited_seconds = (trace.waited_seconds or 0.0) + self._now() - arrived
                if run is None:
                    continue
                try:
                    return await self._run(run, target, body, headers, deadline, trace, options)
                except ContainerAway as error:
                    if asyncio.get_running_loop().time() > deadline:
                        raise model_error(500, container_gone(error), log_stream=self.log_stream) from error
                    self._perform(self.fleet.finished(request, self._now()))
        finally:
            self._perform(self.fleet.cancel(request))
            self._perform(self.fleet.finished(request, self._now()))

    async def _run(
        self,
        run: Run,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
        trace: Trace,
        options: Mapping[str, Any],
    ) -> Said:
        while True:
            instance = self.instances[run.instance]
            said = await self.run(instance, target, body, headers, trace, model_id=model_id(target), **options)
            if said.status != 507:
                return said
            again = await self._outcome(
                run.request_id, target, self.fleet.ran_out_of_memory(run.request_id), deadline, said
            )
            if again is None:
                return said
            run = again

    async def _outcome(
        self, request: str, target: str, commands: Sequence[Command], deadline: float, said: Said | None = None
    ) -> Run | None:
        """What becomes of a request: a `Run`, or None where it should arrive once more.

        Raises:
            Refusal: It cannot be served, or not in time.
        """
        waiting = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            self._perform(commands)
            if not waiting.done():
                async with asyncio.timeout_at(deadline):
                    await waiting
            outcome, epoch = waiting.result()
        except TimeoutError:
            raise Refusal(
                code="ModelNotReadyException",
                message=f"Model {target} is not ready to serve: it is still being downloaded or loaded. Try again.",
            ) from None
        finally:
            del self._waiting[request]
        if isinstance(outcome, Run):
            # Between the command and this line the container may have ended, and the model with it.
            instance = self.instances.get(outcome.instance)
            return None if instance is None or self._is_over(instance, epoch) else outcome
        if said is not None or (outcome.reason == "instance_lost" and not outcome.ran):
            return None
        raise self._refusal(outcome)

    def _refusal(self, fail: Fail) -> Refusal:
        match fail.reason:
            case "download_failed":
                return validation_error(fail.detail)
            case "load_failed":
                status, message = json.loads(fail.detail)
                return model_error(status, message, log_stream=self.log_stream)
            case "out_of_memory":
                message = f"Model {fail.model}: {fail.detail}"
                return model_error(507, message, log_stream=self.log_stream)
            case "out_of_disk":
                return model_error(507, f"Model {fail.model}: {fail.detail}", log_stream=self.log_stream)
            case "crashed":
                return model_error(500, f"Model {fail.model}: {fail.detail}", log_stream=self.log_stream)
            case "instance_lost":
                return Refusal(code="InternalFailure", message=f"The instance was lost while it ran {fail.model}.")
            case "no_instances":
                return Refusal(
                    code="ServiceUnavailable", message=f"Variant {self.plan.name} has no instance in service."
                )

    async def _footprint(self, target: str, deadline: float) -> Footprint:
        """What a model takes as far as is known; of one that no instance holds, S3 must have the archive."""
        known = self._footprints.get(target)
        held = target in self._holders
        if known is not None and held and self.shared.settings.serve_deleted:
            return known
        try:
            async with asyncio.timeout_at(deadline):
                size = max(1, await self.shared.store.size(self._bucket, self._prefix + target))
        except TimeoutError:
            raise Refusal(
                code="InternalDependencyException", message=f"S3 gave no answer about {self._prefix}{target} in time."
            ) from None
        except (Absent, StoreTrouble) as error:
            raise validation_error(self._no_download(target, str(error) or "no such object")) from error
        # Of an archive that nobody has opened its own size is all there is to go by.
        return known or Footprint(disk_bytes=size, memory_bytes=self._memory(size))

    def _memory(self, extracted: int) -> int:
        settings = self.shared.settings
        return max(1, int(extracted * settings.memory_per_byte) + settings.memory_per_model)

    def _no_download(self, target: str, why: str) -> str:
        return (
            f"Failed to download model data (bucket: {self._bucket}, key: {self._prefix}{target}). Please ensure that "
            "there is an object located at the URL and that the role passed to CreateModel has permissions to download "
            f"the model. ({why})"
        )

    # -- commands -------------------------------------------------------------------------------------------------

    def _perform(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Run() | Fail():
                    waiting = self._waiting.get(command.request_id)
                    if waiting is not None and not waiting.done():
                        epoch = self._epochs[command.instance] if isinstance(command, Run) else 0
                        waiting.set_result((command, epoch))
                case Download():
                    self._holders.setdefault(command.model, set()).add(command.instance)
                    self.shared.spawn(self._download(self.instances[command.instance], command.model))
                case Load(name, model):
                    work, failed = self._load, self._load_failed
                    self.shared.spawn(self._in_container(self.instances[name], self._epochs[name], model, work, failed))
                case Unload(name, model):
                    gone, lost = self._unload, self._unload_failed
                    self.shared.spawn(self._in_container(self.instances[name], self._epochs[name], model, gone, lost))
                case Discard():
                    self.shared.spawn(self._discard(self.instances[command.instance], command.model))

    async def _download(self, instance: Instance, model: str) -> None:
        directory = self._directory(instance, model)
        uri = f"s3://{self._bucket}/{self._prefix}{model}"
        trouble: str | None = None
        size = 0
        began = self._now()
        try:
            async with asyncio.timeout(self.shared.settings.load_limit):
                size = await fetch(
                    self.shared,
                    uri,
                    directory,
                    max_bytes=self.sizes.volume_bytes,
                    endpoint=self.endpoint,
                    model=model,
                )
        except TimeoutError:
            trouble = self._no_download(model, f"it took more than {self.shared.settings.load_limit:g} seconds")
        except ArchiveTrouble as error:
            if error.kind == "archive":
                trouble = (
                    f'Failed to extract model data archive for container from URL "{uri}". Please ensure that the '
                    f"object located at the URL is a valid tar.gz archive. ({error.message})"
                )
            else:
                trouble = self._no_download(model, error.message)
        except BaseException as error:
            # The fleet waits for a word about each download: without one, every later request burns its deadline.
            self._failed_download(instance, model, self._no_download(model, described(error)))
            raise
        took = self._now() - began
        if trouble is not None:
            self._failed_download(instance, model, trouble)
        elif self.instances.get(instance.name) is instance:
            footprint = self._footprints[model] = Footprint(disk_bytes=max(1, size), memory_bytes=self._memory(size))
            self._perform(self.fleet.downloaded(instance.name, model, footprint, self._now()))
        self.measure("ModelDownloadingTime", 1e6 * took)

    def _failed_download(self, instance: Instance, model: str, trouble: str) -> None:
        if self.instances.get(instance.name) is instance:
            self._forget_files(instance.name, model)
            self._perform(self.fleet.download_failed(instance.name, model, trouble))

    async def _in_container(self, instance: Instance, epoch: int, model: str, work: Any, failed: Any) -> None:
        """Do something in a container; if it has ended since the command came, `crashed` has answered for it.

        Args:
            instance: Whose container.
            epoch: How often it had ended when the command came.
            model: The model.
            work: What to do; returns what to report to the fleet.
            failed: Makes the report for an error that `work` lets out.
        """
        event: Any = None
        metric = "ModelLoadingTime" if work == self._load else "ModelUnloadingTime"
        began = self._now()
        try:
            await instance.up()
            if self._is_over(instance, epoch):
                return
            began = self._now()
            event = await work(instance, model)
        except BaseException as error:
            event = failed(instance.name, model, described(error))
            raise
        finally:
            # In any case: the fleet waits for a word, and without one every later request burns its deadline.
            if event is not None and not self._is_over(instance, epoch):
                self._perform(event())
        self.measure(metric, 1e6 * (self._now() - began))

    def _load_failed(self, instance: str, model: str, why: str) -> Any:
        return lambda: self.fleet.load_failed(instance, model, json.dumps([500, why]))

    def _unload_failed(self, instance: str, model: str, why: str) -> Any:
        self.shared.note(f"{instance}: {model} is taken for unloaded: {why}")
        return lambda: self.fleet.unloaded(instance, model)

    def _is_over(self, instance: Instance, epoch: int) -> bool:
        return self.instances.get(instance.name) is not instance or self._epochs[instance.name] != epoch

    async def _load(self, instance: Instance, model: str) -> Any:
        settings, fleet, name = self.shared.settings, self.fleet, instance.name
        footprint = self._footprints[model]
        pause = settings.load_seconds + settings.load_seconds_per_gb * footprint.disk_bytes / 1e9
        struck = self.shared.context.faults.trigger("slow_load", "failed_load", endpoint=self.endpoint, model=model)
        if struck is not None and struck.kind == "failed_load":
            failed = json.dumps([500, struck.message or "An injected fault."])
            return lambda: fleet.load_failed(name, model, failed)
        if struck is not None:
            pause += struck.seconds
        try:
            async with asyncio.timeout(settings.load_limit):
                if pause:
                    await self.shared.clock.sleep(pause)
                said = await instance.multi_model().load(model_id(model), self._directory(instance, model))
        except TimeoutError:
            failed = json.dumps([0, f"Loading the model took more than {settings.load_limit:g} seconds."])
        except ContainerGone as error:
            await instance.ended_soon()  # then `crashed` answers; a container that merely hung up has failed to load
            failed = json.dumps([500, container_gone(error)])
        else:
            if said.status in (200, 409):
                return lambda: fleet.loaded(name, model, self._now())
            failed = json.dumps([said.status, said.text])
            if said.status == 507:
                # Some servers keep a model listed after they had no memory for it.
                await self._unload(instance, model)
                return lambda: fleet.out_of_memory(name, model)
            return lambda: fleet.load_failed(name, model, failed)
        await self._unload(instance, model)
        return lambda: fleet.load_failed(name, model, failed)

    async def _unload(self, instance: Instance, model: str) -> Any:
        with contextlib.suppress(ContainerGone):  # then it is unloaded indeed
            said = await instance.multi_model().unload(model_id(model))
            if said.status not in (200, 404):
                self.shared.note(f"{instance.name}: unloading {model} was answered {said.status} {said.text}")
        return lambda: self.fleet.unloaded(instance.name, model)

    async def _discard(self, instance: Instance, model: str) -> None:
        folder = self._directory(instance, model).parent
        try:
            await self.shared.offload(lambda: remove_tree(folder))
        finally:
            if self.instances.get(instance.name) is instance:
                self._forget_files(instance.name, model)
                self._perform(self.fleet.discarded(instance.name, model))

    def _forget_files(self, instance: str, model: str) -> None:
        holders = self._holders[model]
        holders.discard(instance)
        if not holders:
            del self._holders[model]
            self._footprints.pop(model, None)

    @staticmethod
    def _directory(instance: Instance, model: str) -> Path:
        return instance.models / model_id(model) / "model"

    def _now(self) -> float:
        return self.shared.clock.monotonic()
