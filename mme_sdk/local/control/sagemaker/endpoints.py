"""Endpoints: the operations on them, and the tasks that change their status."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.local.control.sagemaker.deployment_plan import make_deployment
from mme_sdk.local.control.sagemaker.endpoint_description import capture_summary, variant_summaries
from mme_sdk.local.control.sagemaker.resources import Resources, filter_and_sort, paginate
from mme_sdk.local.control.sagemaker.rollout import make_traffic_shift
from mme_sdk.local.control.sagemaker.rules import check_rollout
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import AsyncEndpoint, Hosting, HostingError
from mme_sdk.local.wire.errors import ApiError

__all__ = ["EndpointEvent", "Endpoints"]

_log = logging.getLogger(__name__)
_IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type or after some time."
)
_INTERNAL_ERROR = "Request to service failed. If failure persists after retry, contact customer support."
_CONFIG_MEMBERS = ("EndpointConfigName", "ProductionVariants", "AsyncInferenceConfig", "DataCaptureConfig")
_INTERNAL_MEMBERS = ("Serving", "Target")  # members of a document that DescribeEndpoint does not return


@attrs.frozen
class EndpointEvent:
    """A change of the status of an endpoint.

    Attributes:
        at: Time of the change.
        endpoint: EndpointName.
        status: The new EndpointStatus, or `Deleted`.
        reason: FailureReason, or None.
    """

    at: datetime
    endpoint: str
    status: str
    reason: str | None = None


class Endpoints:
    """The endpoints of a host: a document for each endpoint, and a task for each operation in progress.

    A document has two internal members. `Serving` is a copy of the configuration, models and sizes that run. `Target`
    is a copy of those that a creation or an update in progress will run. They are copies because the originals can
    be deleted.

    Args:
        resources: Models, endpoint configurations, tags and the store.
        hosting: Runs the endpoints.
        settings: Durations.
        faults: Active faults.
        sleep: Function that waits for a number of seconds.
    """

    def __init__(
        self,
        resources: Resources,
        hosting: Hosting,
        settings: ControlSettings,
        faults: Faults,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._resources = resources
        self._store = resources.store
        self._hosting = hosting
        self._settings = settings
        self._faults = faults
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stages: dict[str, tuple[str, datetime]] = {}  # VariantStatus of the fleet that an update has created
        self.events: deque[EndpointEvent] = deque(maxlen=200)
        # ControlPlane sets these: the names of those alarms that are in ALARM, and the variants with a scalable target.
        self.alarms_in_alarm_state: Callable[[Sequence[str]], list[str]] = lambda _: []
        self.scaled_variants: Callable[[str], set[str]] = lambda _: set()
        # The host sets this: called when the instances of an endpoint have changed, or when it no longer exists.
        self.on_change: Callable[[str], None] = lambda _: None

    async def resume(self) -> None:
        """Resume the endpoints of an earlier host. Return when those that were in service are in service again."""
        await asyncio.gather(
            *(
                self._start_task(name, self._resume(name, document))
                for name, document in list(self._store.all("endpoint"))
                if document["EndpointStatus"] != "Failed"
            )
        )
        for name, document in list(self._store.all("endpoint")):
            if document["EndpointStatus"] == "Creating":
                self._start_task(name, self._create(name))
            elif document["EndpointStatus"] == "Updating":
                self._start_task(name, self._update(name))

    async def _resume(self, name: str, document: dict[str, Any]) -> None:
        if document["EndpointStatus"] == "Deleting":
            await self._delete(name)
        elif "Serving" in document:
            reason = await self._deploy(name, document["Serving"])
            if reason is not None:
                self._update_document(name, EndpointStatus="Failed", FailureReason=reason)
            elif document["EndpointStatus"] != "UpdateRollbackFailed" and "Target" not in document:
                self._set_in_service(name, document["Serving"], document.get("FailureReason"))

    async def close(self) -> None:
        """Cancel every task. The documents are unchanged, so that the next host resumes the operations."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def create_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """CreateEndpoint."""
        name = params["EndpointName"]
        self._resources.check_name_is_free("endpoint", name)
        config = self._resources.find("endpoint-config", params["EndpointConfigName"])
        arn = self._resources.account.arn("endpoint", name)
        now = self._resources.now()
        target = self._target(config)
        check_rollout(params.get("DeploymentConfig") or {}, _total_instances(target))
        self._resources.set_tags(arn, params.get("Tags"))
        document = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
            "LastDeploymentConfig": params.get("DeploymentConfig"),
            "Target": target,
        }
        self._store.put("endpoint", name, {key: value for key, value in document.items() if value is not None})
        self._record_event(name, "Creating")
        self._start_task(name, self._create(name))
        return {"EndpointArn": arn}

    def describe_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeEndpoint."""
        document = self._resources.find("endpoint", params["EndpointName"])
        shown = document.get("Serving") or document["Target"]
        answer = {key: value for key, value in document.items() if key not in _INTERNAL_MEMBERS}
        answer["EndpointConfigName"] = shown["Config"]["EndpointConfigName"]
        changed = document["LastModifiedTime"]
        if "Serving" in document:
            resizing = "Target" not in document and document["EndpointStatus"] == "Updating"
            status = "Deleting" if document["EndpointStatus"] == "Deleting" else "Updating" if resizing else None
            answer["ProductionVariants"] = variant_summaries(shown, status, changed)
            answer["AsyncInferenceConfig"] = shown["Config"].get("AsyncInferenceConfig")
            answer["DataCaptureConfig"] = capture_summary(shown["Config"])
        if "Target" in document and document["EndpointStatus"] in ("Creating", "Updating"):
            target = document["Target"]
            answer["PendingDeploymentSummary"] = {
                "EndpointConfigName": target["Config"]["EndpointConfigName"],
                "ProductionVariants": variant_summaries(
                    target, *self._stages.get(params["EndpointName"], ("Creating", changed))
                ),
                "StartTime": changed,
            }
        return answer

    def describe_all(self) -> list[dict[str, Any]]:
        """Return the response of DescribeEndpoint for every endpoint."""
        return [self.describe_endpoint({"EndpointName": name}) for name, _ in self._store.all("endpoint")]

    def list_endpoints(self, params: dict[str, Any]) -> dict[str, Any]:
        """ListEndpoints."""
        members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        summaries = [{key: document[key] for key in members} for _, document in self._store.all("endpoint")]
        return paginate(filter_and_sort(summaries, params, "EndpointName"), params, "Endpoints")

    def update_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateEndpoint."""
        name = params["EndpointName"]
        document = self._find_updatable(name)
        serving = document["Serving"]
        target = self._target(self._resources.find("endpoint-config", params["EndpointConfigName"]))
        self._check_not_autoscaled(name, serving, target)
        if params.get("RetainAllVariantProperties"):
            dropped = {one["VariantPropertyType"] for one in params.get("ExcludeRetainedVariantProperties", [])}
            for variant, size in target["Sizes"].items():
                for member in ("DesiredInstanceCount", "DesiredWeight"):
                    if member not in dropped and variant in serving["Sizes"]:
                        size[member] = serving["Sizes"][variant][member]
        elif params.get("ExcludeRetainedVariantProperties"):
            text = "ExcludeRetainedVariantProperties can only be specified when RetainAllVariantProperties is true."
            raise ApiError("ValidationException", text)
        deployment_config = params.get("DeploymentConfig")
        if deployment_config is None and params.get("RetainDeploymentConfig"):
            deployment_config = document.get("LastDeploymentConfig")
        check_rollout(deployment_config or {}, _total_instances(target))
        self._update_document(
            name, EndpointStatus="Updating", FailureReason=None, Target=target, LastDeploymentConfig=deployment_config
        )
        self._start_task(name, self._update(name))
        return {"EndpointArn": document["EndpointArn"]}

    def update_weights_and_capacities(self, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateEndpointWeightsAndCapacities."""
        name = params["EndpointName"]
        document = self._find_updatable(name)
        sizes = document["Serving"]["Sizes"]
        for wanted in params["DesiredWeightsAndCapacities"]:
            variant = wanted["VariantName"]
            if variant not in sizes:
                text = f'Could not find variant "{variant}" of endpoint "{document["EndpointArn"]}".'
                raise ApiError("ValidationException", text)
            if wanted.get("DesiredInstanceCount", 1) < self.min_instance_count(name):
                raise ApiError("ValidationException", f"DesiredInstanceCount of variant {variant} must be at least 1.")
            sizes[variant] |= {key: wanted[key] for key in ("DesiredInstanceCount", "DesiredWeight") if key in wanted}
        self._update_document(name, EndpointStatus="Updating", FailureReason=None, Serving=document["Serving"])
        self._start_task(name, self._change_sizes(name))
        return {"EndpointArn": document["EndpointArn"]}

    def delete_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteEndpoint."""
        name = params["EndpointName"]
        self._find_idle(name)
        self._update_document(name, EndpointStatus="Deleting")
        self._start_task(name, self._delete(name))
        return {}

    def instance_count(self, name: str, variant: str) -> int | None:
        """Return the desired number of instances of a variant; None if it does not run."""
        document = self._store.get("endpoint", name) or {}
        size = document.get("Serving", {}).get("Sizes", {}).get(variant)
        return None if size is None else int(size["DesiredInstanceCount"])

    def min_instance_count(self, name: str) -> int:
        """Return the smallest number of instances that a variant can have: 0 if its endpoint is asynchronous, else 1.

        Source: https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
        """
        return 1 if self.async_endpoint(name) is None else 0

    def async_endpoint(self, name: str) -> AsyncEndpoint | None:
        """Return an asynchronous endpoint; None if it does not exist, does not serve yet or is not asynchronous."""
        serving = (self._store.get("endpoint", name) or {}).get("Serving", {})
        config = serving.get("Config", {}).get("AsyncInferenceConfig")
        if config is None:
            return None
        variant, size = next(iter(serving["Sizes"].items()))
        instances = min(size["DesiredInstanceCount"], size["CurrentInstanceCount"])
        return AsyncEndpoint(config=config, variant=variant, instances=instances)

    def async_endpoints(self) -> list[str]:
        """Return the names of the asynchronous endpoints."""
        return [name for name, _ in self._store.all("endpoint") if self.async_endpoint(name) is not None]

    def set_instance_count(self, name: str, variant: str, count: int) -> bool:
        """Set the desired number of instances of a variant. Return False if the endpoint is busy."""
        document = self._store.get("endpoint", name)
        if document is None or document["EndpointStatus"] != "InService" or name in self._tasks:
            return False
        wanted = [{"VariantName": variant, "DesiredInstanceCount": count}]
        self.update_weights_and_capacities({"EndpointName": name, "DesiredWeightsAndCapacities": wanted})
        return True

    def _find_idle(self, name: str) -> dict[str, Any]:
        document = self._resources.find("endpoint", name)
        if document["EndpointStatus"] in _IN_PROGRESS:
            raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
        return document

    def _find_updatable(self, name: str) -> dict[str, Any]:
        document = self._find_idle(name)
        if "Serving" not in document or document["EndpointStatus"] == "Failed":
            text = f'Cannot update endpoint "{document["EndpointArn"]}" in status {document["EndpointStatus"]}.'
            raise ApiError("ValidationException", text)
        return document

    def _check_not_autoscaled(self, name: str, serving: dict[str, Any], target: dict[str, Any]) -> None:
        types = {one["VariantName"]: one.get("InstanceType") for one in target["Config"]["ProductionVariants"]}
        scaled = self.scaled_variants(name)
        changed = [
            one["VariantName"]
            for one in serving["Config"]["ProductionVariants"]
            if one["VariantName"] in scaled and types.get(one["VariantName"]) != one.get("InstanceType")
        ]
        if changed:
            raise ApiError(
                "ValidationException",
                f'The variant(s) "[{", ".join(changed)}]" must be deregistered as scalable targets with AWS Auto '
                "Scaling before they can be removed or have their instance type modified.",
            )

    def _target(self, config: dict[str, Any]) -> dict[str, Any]:
        return {
            "Config": {key: config[key] for key in _CONFIG_MEMBERS if key in config},
            "Models": self._resources.find_models(config),
            "Sizes": {
                variant["VariantName"]: {
                    "DesiredInstanceCount": variant.get("InitialInstanceCount", 1),
                    "DesiredWeight": variant["InitialVariantWeight"],
                }
                for variant in config["ProductionVariants"]
            },
        }

    def _update_document(self, name: str, **changes: Any) -> dict[str, Any]:
        """Change members of a document. A member that is set to None is removed."""
        changed = self._resources.find("endpoint", name) | {"LastModifiedTime": self._resources.now()} | changes
        document: dict[str, Any] = {key: value for key, value in changed.items() if value is not None}
        self._store.put("endpoint", name, document)
        if "EndpointStatus" in changes:
            self._record_event(name, changes["EndpointStatus"], document.get("FailureReason"))
        return document

    def _record_event(self, name: str, status: str, reason: str | None = None) -> None:
        self.events.append(EndpointEvent(self._resources.now(), name, status, reason))

    def _set_in_service(self, name: str, serving: dict[str, Any], reason: str | None = None) -> None:
        for size in serving["Sizes"].values():
            size |= {"CurrentInstanceCount": size["DesiredInstanceCount"], "CurrentWeight": size["DesiredWeight"]}
        self._update_document(name, EndpointStatus="InService", Serving=serving, Target=None, FailureReason=reason)
        self.on_change(name)

    def _start_task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"endpoint {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._task_done(name, done))
        return task

    def _task_done(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            # The document has the status, and the next host resumes the operation.
            _log.error(
                "the operation on endpoint %s stopped; it is resumed when the host starts again: %s", name, error
            )

    async def _run_hosting(self, name: str, work: Awaitable[None]) -> str | None:
        """Await an operation of hosting. Return the FailureReason, or None if it succeeded."""
        try:
            await work
        except HostingError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - the endpoint must not stay in progress
            _log.exception("hosting failed for endpoint %s", name)
            return _INTERNAL_ERROR
        return None

    async def _deploy(
        self, name: str, target: dict[str, Any], deployment_config: dict[str, Any] | None = None
    ) -> str | None:
        shift = make_traffic_shift(
            deployment_config or {},
            _total_instances(target),
            scale=self._settings.wait_scale,
            alarms_in_alarm_state=self.alarms_in_alarm_state,
            sleep=self._sleep,
            stage=lambda status: self._stages.update({name: (status, self._resources.now())}),
        )
        plan = make_deployment(name, target["Config"], target["Models"], target["Sizes"])
        try:
            return await self._run_hosting(name, self._hosting.deploy(plan, shift_traffic=shift))
        finally:
            self._stages.pop(name, None)

    async def _provision(self, name: str, operation: str, seconds: float) -> str | None:
        await self._sleep(seconds)
        fault = self._faults.trigger("capacity", operation=operation, endpoint=name)
        return None if fault is None else fault.message or _NO_CAPACITY

    async def _create(self, name: str) -> None:
        target = self._resources.find("endpoint", name)["Target"]
        reason = await self._provision(name, "CreateEndpoint", self._settings.provisioning)
        reason = reason or await self._deploy(name, target)
        if reason is None:
            self._set_in_service(name, target)
        else:
            self._update_document(name, EndpointStatus="Failed", FailureReason=reason)

    async def _update(self, name: str) -> None:
        document = self._resources.find("endpoint", name)
        reason = await self._provision(name, "UpdateEndpoint", self._settings.provisioning)
        reason = reason or await self._deploy(name, document["Target"], document.get("LastDeploymentConfig"))
        if reason is None:
            self._set_in_service(name, document["Target"])
        else:
            self._update_document(name, EndpointStatus="RollingBack", Target=None, FailureReason=reason)
            await self._sleep(self._settings.provisioning)
            self._set_in_service(name, document["Serving"], reason)
            if self._faults.trigger("rollback_failed", operation="UpdateEndpoint", endpoint=name) is not None:
                self._update_document(name, EndpointStatus="UpdateRollbackFailed")

    async def _change_sizes(self, name: str) -> None:
        serving = self._resources.find("endpoint", name)["Serving"]
        reason = await self._provision(name, "UpdateEndpointWeightsAndCapacities", self._settings.scaling)
        if reason is None:
            weights = {variant: size["DesiredWeight"] for variant, size in serving["Sizes"].items()}
            reason = await self._run_hosting(name, self._hosting.reweigh(name, weights))
        for variant, size in serving["Sizes"].items():
            if reason is None and size["DesiredInstanceCount"] != size["CurrentInstanceCount"]:
                work = self._hosting.scale(name, variant, size["DesiredInstanceCount"])
                reason = await self._run_hosting(name, work)
        if reason is not None:  # restore the sizes that serve
            for size in serving["Sizes"].values():
                size |= {"DesiredInstanceCount": size["CurrentInstanceCount"], "DesiredWeight": size["CurrentWeight"]}
        self._set_in_service(name, serving, reason)

    async def _delete(self, name: str) -> None:
        await self._hosting.remove(name)
        await self._sleep(self._settings.deletion)
        arn = self._resources.find("endpoint", name)["EndpointArn"]
        self._store.delete("endpoint", name)
        self._store.delete("tags", arn)
        self._record_event(name, "Deleted")
        self.on_change(name)


def _total_instances(target: dict[str, Any]) -> int:
    """Return the number of instances for the sizes of a DeploymentConfig, at least 1."""
    return max(1, sum(int(size["DesiredInstanceCount"]) for size in target["Sizes"].values()))
