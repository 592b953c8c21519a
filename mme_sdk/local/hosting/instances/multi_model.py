"""A multi-model variant: executes the commands of a `Fleet` and reports their outcomes to it."""

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
from mme_sdk.local.hosting.container import ContainerConnectionError, ContainerResponse, ContainerUnreachableError
from mme_sdk.local.hosting.downloads.archives import ArchiveError, fetch
from mme_sdk.local.hosting.downloads.objects import ObjectNotFoundError, S3Error, split
from mme_sdk.local.hosting.environments import RequirementsError
from mme_sdk.local.hosting.instances.instance import Instance, connection_error_message
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.instances.variant import Variant
from mme_sdk.local.hosting.invoke_errors import InvokeError, model_error, validation_error
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import VariantPlan

__all__ = ["MultiModelVariant", "describe_error", "model_id"]

_S3_LIMIT = 60.0  # seconds for the check that the archive of a model exists


def describe_error(error: BaseException) -> str:
    """Return the type and text of an unexpected error, for a message."""
    if isinstance(error, asyncio.CancelledError):
        return "it was cancelled"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def model_id(target: str) -> str:
    """Return the id of a model in its container."""
    return hashlib.sha256(target.encode()).hexdigest()[:32]


class MultiModelVariant(Variant):
    """A variant whose `Fleet` decides about caching and routing; this class executes its commands.

    Args:
        endpoint: EndpointName.
        plan: The containers and the instances to run.
        folder: Folder for the volumes of instances.
        logs: Folder for the logs of instances.
        shared: Services that all variants share.
    """

    def __init__(self, endpoint: str, plan: VariantPlan, folder: Path, logs: Path, shared: Shared) -> None:
        super().__init__(endpoint, plan, folder, logs, shared)
        settings = shared.settings
        container = next(one for one in plan.containers if one.mode == "MultiModel")
        self._bucket, prefix = split(container.model_data_url or "")
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        slots = settings.loader_slots if container.model_cache else max(settings.loader_slots, self.capacity.vcpus)
        self.fleet = Fleet(
            FleetPolicy(
                memory_bytes=self.capacity.memory_bytes,
                volume_bytes=self.capacity.volume_bytes,
                loader_slots=slots,
                spill_outstanding=settings.spill_outstanding,
                cache_enabled=container.model_cache,
                routing=settings.routing,
            ),
            shared.rng,
        )
        self._requests = 0
        self._waiting: dict[str, asyncio.Future[tuple[Run | Fail, int]]] = {}
        self._footprints: dict[str, Footprint] = {}
        self._instances_by_model: dict[str, set[str]] = {}  # instances that have the files of a model, or download them
        self._restarts: dict[str, int] = {}  # instance -> how often its containers have ended

    # -- instances ------------------------------------------------------------------------------------------------

    def instance_added(self, instance: Instance) -> None:
        """Add an instance without models to the fleet."""
        self._restarts[instance.name] = 0
        self._perform(self.fleet.add_instance(instance.name, self._now()))

    def snapshot(self) -> FleetSnapshot:
        """Return which models are loaded on which instance."""
        return self.fleet.snapshot(self._now())

    def drain(self, instance: Instance) -> None:
        """Stop sending new requests to an instance."""
        self._perform(self.fleet.drain(instance.name))

    def busy(self, instance: Instance) -> bool:
        """Return whether requests wait for an instance or run on it."""
        return self.fleet.snapshot().instances[instance.name].outstanding > 0

    def instance_removed(self, instance: Instance) -> None:
        """Remove an instance, and the models on it, from the fleet."""
        for model in [model for model, holders in self._instances_by_model.items() if instance.name in holders]:
            self._remove_holder(instance.name, model)
        self._perform(self.fleet.remove_instance(instance.name, self._now()))

    def instance_crashed(self, instance: Instance) -> None:
        """Report to the fleet that no model is loaded any more; the files on the volume remain."""
        if self.instances.get(instance.name) is instance:
            self._restarts[instance.name] += 1
            self._perform(self.fleet.crashed(instance.name))

    # -- requests -------------------------------------------------------------------------------------------------

    async def invoke(
        self, target: str | None, /, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> ContainerResponse:
        """Serve one request for a model."""
        assert target is not None
        options.pop("session", None)  # requests with a session are rejected before routing
        self._requests += 1
        request = f"r-{self._requests}"
        deadline = asyncio.get_running_loop().time() + self.shared.settings.answer_limit
        try:
            while True:
                footprint = await self._footprint(target)
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
                except ContainerUnreachableError as error:
                    if asyncio.get_running_loop().time() > deadline:
                        raise model_error(500, connection_error_message(error), log_stream=self.log_stream) from error
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
    ) -> ContainerResponse:
        while True:
            instance = self.instances[run.instance]
            response = await self.invoke_instance(
                instance, target, body, headers, trace, model_id=model_id(target), **options
            )
            if response.status != 507:
                return response
            again = await self._outcome(
                run.request_id, target, self.fleet.ran_out_of_memory(run.request_id), deadline, response
            )
            if again is None:
                return response
            run = again

    async def _outcome(
        self,
        request: str,
        target: str,
        commands: Sequence[Command],
        deadline: float,
        response: ContainerResponse | None = None,
    ) -> Run | None:
        """Execute commands and wait until the fleet decides about the request.

        Args:
            request: Id of the request.
            target: TargetModel.
            commands: Commands of the fleet.
            deadline: Time at which the wait ends, on the clock of the event loop.
            response: The out-of-memory response of the container, if the request has run before.

        Returns:
            Where to run the request; None if it must be sent to the fleet again, or if `response` is final.

        Raises:
            InvokeError: The request cannot be served, or not in time.
        """
        waiting = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            self._perform(commands)
            if not waiting.done():
                async with asyncio.timeout_at(deadline):
                    await waiting
            outcome, restarts = waiting.result()
        except TimeoutError:
            raise InvokeError(
                code="ModelNotReadyException",
                message=f"Model {target} is not ready to serve: it is still being downloaded or loaded. Try again.",
            ) from None
        finally:
            del self._waiting[request]
        if isinstance(outcome, Run):
            # The container can have ended since the command was issued.
            instance = self.instances.get(outcome.instance)
            return None if instance is None or self._is_stale(instance, restarts) else outcome
        if response is not None or (outcome.reason == "instance_lost" and not outcome.ran):
            return None
        raise self._invoke_error(outcome)

    def _invoke_error(self, fail: Fail) -> InvokeError:
        match fail.reason:
            case "download_failed":
                return validation_error(fail.detail)
            case "load_failed":
                status, message = json.loads(fail.detail)
                if "load" not in message:  # the text of a script's error does not say when it occurred
                    message = f"Failed to load the model: {message}"
                return model_error(status, message, log_stream=self.log_stream)
            case "out_of_memory":
                message = f"Model {fail.model}: {fail.detail}"
                return model_error(507, message, log_stream=self.log_stream)
            case "out_of_disk":
                return model_error(507, f"Model {fail.model}: {fail.detail}", log_stream=self.log_stream)
            case "crashed":
                return model_error(500, f"Model {fail.model}: {fail.detail}", log_stream=self.log_stream)
            case "instance_lost":
                return InvokeError(code="InternalFailure", message=f"The instance was lost while it ran {fail.model}.")
            case "no_instances":
                return InvokeError(
                    code="ServiceUnavailable", message=f"Variant {self.plan.name} has no instance in service."
                )

    async def _footprint(self, target: str) -> Footprint:
        """Return the footprint of a model. Check that its archive exists unless an instance holds its files."""
        known = self._footprints.get(target)
        held = target in self._instances_by_model
        if known is not None and held and self.shared.settings.serve_deleted:
            return known
        try:
            async with asyncio.timeout(_S3_LIMIT):
                size = max(1, await self.shared.store.size(self._bucket, self._prefix + target, role=self.plan.role))
        except TimeoutError:
            message = f"S3 did not respond to the request for {self._prefix}{target} in time."
            raise InvokeError(code="InternalDependencyException", message=message) from None
        except (ObjectNotFoundError, S3Error) as error:
            raise validation_error(self._download_error(target, str(error) or "the object does not exist")) from error
        # Before the first extraction only the size of the archive is known.
        return known or Footprint(disk_bytes=size, memory_bytes=self._memory(size))

    def _memory(self, extracted: int) -> int:
        settings = self.shared.settings
        return max(1, int(extracted * settings.memory_per_byte) + settings.memory_per_model)

    def _download_error(self, target: str, why: str) -> str:
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
                        restarts = self._restarts[command.instance] if isinstance(command, Run) else 0
                        waiting.set_result((command, restarts))
                case Download():
                    self._instances_by_model.setdefault(command.model, set()).add(command.instance)
                    self.shared.spawn(self._download(self.instances[command.instance], command.model))
                case Load(name, model):
                    work, failed = self._load, self._load_failed
                    self.shared.spawn(
                        self._run_in_container(self.instances[name], self._restarts[name], model, work, failed)
                    )
                case Unload(name, model):
                    work, failed = self._unload, self._unload_failed
                    self.shared.spawn(
                        self._run_in_container(self.instances[name], self._restarts[name], model, work, failed)
                    )
                case Discard():
                    self.shared.spawn(self._discard(self.instances[command.instance], command.model))

    async def _download(self, instance: Instance, model: str) -> None:
        directory = self._directory(instance, model)
        uri = f"s3://{self._bucket}/{self._prefix}{model}"
        failure: str | None = None
        size = 0
        began = self._now()
        try:
            async with asyncio.timeout(self.shared.settings.load_limit):
                size = await fetch(
                    self.shared,
                    uri,
                    directory,
                    max_bytes=self.capacity.volume_bytes,
                    endpoint=self.endpoint,
                    model=model,
                    role=self.plan.role,
                )
        except TimeoutError:
            failure = self._download_error(model, f"it took more than {self.shared.settings.load_limit:g} seconds")
        except ArchiveError as error:
            if error.kind == "archive":
                failure = (
                    f'Failed to extract model data archive for container from URL "{uri}". Please ensure that the '
                    f"object located at the URL is a valid tar.gz archive. ({error.message})"
                )
            else:
                failure = self._download_error(model, error.message)
        except BaseException as error:
            # Report every outcome: otherwise the fleet waits for ever, and later requests run into their deadline.
            self._report_failed_download(instance, model, self._download_error(model, describe_error(error)))
            raise
        took = self._now() - began
        if failure is not None:
            self._report_failed_download(instance, model, failure)
        elif self.instances.get(instance.name) is instance:
            footprint = self._footprints[model] = Footprint(disk_bytes=max(1, size), memory_bytes=self._memory(size))
            self._perform(self.fleet.downloaded(instance.name, model, footprint, self._now()))
        self.measure("ModelDownloadingTime", 1e6 * took)

    def _report_failed_download(self, instance: Instance, model: str, failure: str) -> None:
        if self.instances.get(instance.name) is instance:
            self._remove_holder(instance.name, model)
            self._perform(self.fleet.download_failed(instance.name, model, failure))

    async def _run_in_container(self, instance: Instance, restarts: int, model: str, work: Any, failed: Any) -> None:
        """Run an operation in a container and report its outcome to the fleet.

        Nothing is reported if the container has ended in the meantime: `instance_crashed` has reported that.

        Args:
            instance: The instance.
            restarts: How often its containers had ended when the command was issued.
            model: The model.
            work: The operation; returns the function that reports its outcome.
            failed: Returns the function that reports an exception of `work`.
        """
        event: Any = None
        metric = "ModelLoadingTime" if work == self._load else "ModelUnloadingTime"
        began = self._now()
        try:
            await instance.wait_until_serving()
            if self._is_stale(instance, restarts):
                return
            began = self._now()
            event = await work(instance, model)
        except BaseException as error:
            event = failed(instance.name, model, describe_error(error))
            raise
        finally:
            # Report every outcome: otherwise the fleet waits for ever, and later requests run into their deadline.
            if event is not None and not self._is_stale(instance, restarts):
                self._perform(event())
        self.measure(metric, 1e6 * (self._now() - began))

    def _load_failed(self, instance: str, model: str, why: str) -> Any:
        return lambda: self.fleet.load_failed(instance, model, json.dumps([500, why]))

    def _unload_failed(self, instance: str, model: str, why: str) -> Any:
        self.shared.note(f"{instance}: {model} counts as unloaded although unloading it failed: {why}")
        return lambda: self.fleet.unloaded(instance, model)

    def _is_stale(self, instance: Instance, restarts: int) -> bool:
        return self.instances.get(instance.name) is not instance or self._restarts[instance.name] != restarts

    async def _load(self, instance: Instance, model: str) -> Any:
        settings, fleet, name = self.shared.settings, self.fleet, instance.name
        footprint = self._footprints[model]
        pause = settings.load_seconds + settings.load_seconds_per_gb * footprint.disk_bytes / 1e9
        fault = self.shared.context.faults.trigger("slow_load", "failed_load", endpoint=self.endpoint, model=model)
        if fault is not None and fault.kind == "failed_load":
            failed = json.dumps([500, fault.message or "An injected fault."])
            return lambda: fleet.load_failed(name, model, failed)
        if fault is not None:
            pause += fault.seconds
        try:
            async with asyncio.timeout(settings.load_limit):
                if pause:
                    await self.shared.clock.sleep(pause)
                response = await instance.load(model_id(model), self._directory(instance, model), model)
        except TimeoutError:
            failed = json.dumps([0, f"Loading the model took more than {settings.load_limit:g} seconds."])
        except ContainerConnectionError as error:
            await (
                instance.wait_for_crash()
            )  # if the container ended, `instance_crashed` reports that; otherwise only the load failed
            failed = json.dumps([500, connection_error_message(error)])
        except RequirementsError as error:
            failed = json.dumps([500, str(error)])
        else:
            if response.status in (200, 409):
                return lambda: fleet.loaded(name, model, self._now())
            failed = json.dumps([response.status, response.text])
            if response.status == 507:
                # Some servers keep a model listed that did not fit into memory.
                await self._unload(instance, model)
                return lambda: fleet.out_of_memory(name, model)
            return lambda: fleet.load_failed(name, model, failed)
        await self._unload(instance, model)
        return lambda: fleet.load_failed(name, model, failed)

    async def _unload(self, instance: Instance, model: str) -> Any:
        with contextlib.suppress(ContainerConnectionError):  # the container has ended, so that the model is unloaded
            response = await instance.multi_model().unload(model_id(model))
            if response.status not in (200, 404):
                self.shared.note(f"{instance.name}: unloading {model} failed with {response.status} {response.text}")
        return lambda: self.fleet.unloaded(instance.name, model)

    async def _discard(self, instance: Instance, model: str) -> None:
        folder = self._directory(instance, model).parent
        try:
            await self.shared.offload(lambda: remove_tree(folder))
        finally:
            if self.instances.get(instance.name) is instance:
                self._remove_holder(instance.name, model)
                self._perform(self.fleet.discarded(instance.name, model))

    def _remove_holder(self, instance: str, model: str) -> None:
        holders = self._instances_by_model[model]
        holders.discard(instance)
        if not holders:
            del self._instances_by_model[model]
            self._footprints.pop(model, None)

    @staticmethod
    def _directory(instance: Instance, model: str) -> Path:
        return instance.models / model_id(model) / "model"

    def _now(self) -> float:
        return self.shared.clock.monotonic()
