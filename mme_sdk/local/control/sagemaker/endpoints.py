"""The life of an endpoint: statuses, and the tasks that move it from one to the next."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import attrs

from mme_sdk.local.control.sagemaker.deployment_plan import deployment
from mme_sdk.local.control.sagemaker.resources import Resources, filter_and_sort, paginate
from mme_sdk.local.control.sagemaker.rollout import gate
from mme_sdk.local.control.sagemaker.rules import captures_data, check_rollout, containers_of
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import Hosting, HostingError
from mme_sdk.local.wire.errors import ApiError

__all__ = ["EndpointEvent", "Endpoints"]

_log = logging.getLogger(__name__)
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type or after some time."
)
_INTERNAL = "Request to service failed. If failure persists after retry, contact customer support."
_DEPLOYED = ("EndpointConfigName", "ProductionVariants", "AsyncInferenceConfig", "DataCaptureConfig")
_KEPT = ("Serving", "Target")  # members of a document that are not shown


@attrs.frozen
class EndpointEvent:
    """An endpoint came into a status.

    Attributes:
        at: When.
        endpoint: EndpointName.
        status: EndpointStatus; `Deleted` at the end.
        reason: FailureReason.
    """

    at: datetime
    endpoint: str
    status: str
    reason: str | None = None


class Endpoints:
    """Endpoints: documents, and one task for each that is on its way.

    A document holds `Serving`, what runs (configuration, models and sizes, for they may be deleted meanwhile), and
    `Target`, what a creation or an update is bringing up.

    Args:
        resources: Models, configurations, tags, store.
        hosting: What runs them.
        settings: How long things take.
        faults: Trouble on demand.
        sleep: Waits on the event loop.
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
        self.events: deque[EndpointEvent] = deque(maxlen=200)
        # Set by the services beside: which of these alarms ring, and which variants of an endpoint are scaled.
        self.alarms_in_alarm_state: Callable[[Sequence[str]], list[str]] = lambda _: []
        self.scaled_variants: Callable[[str], set[str]] = lambda _: set()

    async def resume(self) -> None:
        """Bring back what an earlier host was running or changing; returns when what was in service serves again."""
        await asyncio.gather(
            *(
                self._start(name, self._resume(name, document))
                for name, document in list(self._store.all("endpoint"))
                if document["EndpointStatus"] != "Failed"
            )
        )
        for name, document in list(self._store.all("endpoint")):
            if document["EndpointStatus"] == "Creating":
                self._start(name, self._create(name))
            elif document["EndpointStatus"] == "Updating":
                self._start(name, self._update(name))

    async def _resume(self, name: str, document: dict[str, Any]) -> None:
        if document["EndpointStatus"] == "Deleting":
            await self._delete(name)
        elif "Serving" in document:
            reason = await self._deploy(name, document["Serving"])
            if reason is not None:
                self._set(name, EndpointStatus="Failed", FailureReason=reason)
            elif document["EndpointStatus"] != "UpdateRollbackFailed" and "Target" not in document:
                self._set_in_service(name, document["Serving"], document.get("FailureReason"))

    async def close(self) -> None:
        """Stop every task; the documents stay as they are and are resumed by the next host."""
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
        self._start(name, self._create(name))
        return {"EndpointArn": arn}

    def describe_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeEndpoint."""
        document = self._resources.find("endpoint", params["EndpointName"])
        shown = document.get("Serving") or document["Target"]
        answer = {key: value for key, value in document.items() if key not in _KEPT}
        answer["EndpointConfigName"] = shown["Config"]["EndpointConfigName"]
        if "Serving" in document:
            answer["ProductionVariants"] = _summaries(shown)
            answer["AsyncInferenceConfig"] = shown["Config"].get("AsyncInferenceConfig")
            answer["DataCaptureConfig"] = _capture(shown["Config"])
        if "Target" in document and document["EndpointStatus"] in ("Creating", "Updating"):
            target = document["Target"]
            answer["PendingDeploymentSummary"] = {
                "EndpointConfigName": target["Config"]["EndpointConfigName"],
                "ProductionVariants": _summaries(target),
                "StartTime": document["LastModifiedTime"],
            }
        return answer

    def describe_all(self) -> list[dict[str, Any]]:
        """Every endpoint, as DescribeEndpoint answers."""
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
        rollout = params.get("DeploymentConfig")
        if rollout is None and params.get("RetainDeploymentConfig"):
            rollout = document.get("LastDeploymentConfig")
        check_rollout(rollout or {}, _instances(target))
        self._set(name, EndpointStatus="Updating", FailureReason=None, Target=target, LastDeploymentConfig=rollout)
        self._start(name, self._update(name))
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
            if wanted.get("DesiredInstanceCount", 1) < 1:
                raise ApiError("ValidationException", f"DesiredInstanceCount of variant {variant} must be at least 1.")
            sizes[variant] |= {key: wanted[key] for key in ("DesiredInstanceCount", "DesiredWeight") if key in wanted}
        self._set(name, EndpointStatus="Updating", FailureReason=None, Serving=document["Serving"])
        self._start(name, self._resize(name))
        return {"EndpointArn": document["EndpointArn"]}

    def delete_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteEndpoint."""
        name = params["EndpointName"]
        self._find_idle(name)
        self._set(name, EndpointStatus="Deleting")
        self._start(name, self._delete(name))
        return {}

    def size(self, name: str, variant: str) -> int | None:
        """Desired instances of a variant; None where it does not serve."""
        document = self._store.get("endpoint", name) or {}
        size = document.get("Serving", {}).get("Sizes", {}).get(variant)
        return None if size is None else int(size["DesiredInstanceCount"])

    def async_inference(self, name: str) -> tuple[dict[str, Any], int] | None:
        """AsyncInferenceConfig of an endpoint that serves, and its instances; None where it has none."""
        serving = (self._store.get("endpoint", name) or {}).get("Serving", {})
        config = serving.get("Config", {}).get("AsyncInferenceConfig")
        if config is None:
            return None
        return config, _instances(serving)

    def resize(self, name: str, variant: str, count: int) -> bool:
        """Set the desired instances of a variant, for autoscaling; False where the endpoint is busy."""
        document = self._store.get("endpoint", name)
        if document is None or document["EndpointStatus"] != "InService" or name in self._tasks:
            return False
        wanted = [{"VariantName": variant, "DesiredInstanceCount": count}]
        self.update_weights_and_capacities({"EndpointName": name, "DesiredWeightsAndCapacities": wanted})
        return True

    def _find_idle(self, name: str) -> dict[str, Any]:
        document = self._resources.find("endpoint", name)
        if document["EndpointStatus"] in _BUSY:
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
            "Config": {key: config[key] for key in _DEPLOYED if key in config},
            "Models": self._resources.find_models(config),
            "Sizes": {
                variant["VariantName"]: {
                    "DesiredInstanceCount": variant.get("InitialInstanceCount", 1),
                    "DesiredWeight": variant["InitialVariantWeight"],
                }
                for variant in config["ProductionVariants"]
            },
        }

    def _set(self, name: str, **changes: Any) -> dict[str, Any]:
        """Change members of a document; those set to None are removed."""
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
        self._set(name, EndpointStatus="InService", Serving=serving, Target=None, FailureReason=reason)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"endpoint {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its document says what it was doing, and the next host resumes that.
            _log.error("endpoint %s stays as it is until the host is started again: %s", name, error)

    async def _run_hosting(self, name: str, work: Awaitable[None]) -> str | None:
        """Await what hosting does; the reason where it failed."""
        try:
            await work
        except HostingError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - the endpoint must not stay on its way for ever
            _log.exception("hosting failed at %s", name)
            return _INTERNAL
        return None

    async def _deploy(self, name: str, target: dict[str, Any], rollout: dict[str, Any] | None = None) -> str | None:
        shift = gate(
            rollout or {},
            _instances(target),
            scale=self._settings.wait_scale,
            alarms_in_alarm_state=self.alarms_in_alarm_state,
            sleep=self._sleep,
        )
        plan = deployment(name, target["Config"], target["Models"], target["Sizes"])
        return await self._run_hosting(name, self._hosting.deploy(plan, shift_traffic=shift))

    async def _provision(self, name: str, operation: str, seconds: float) -> str | None:
        await self._sleep(seconds)
        fault = self._faults.trigger("capacity", operation=operation, endpoint=name)
        return None if fault is None else fault.message or _CAPACITY

    async def _create(self, name: str) -> None:
        target = self._resources.find("endpoint", name)["Target"]
        reason = await self._provision(name, "CreateEndpoint", self._settings.provisioning)
        reason = reason or await self._deploy(name, target)
        if reason is None:
            self._set_in_service(name, target)
        else:
            self._set(name, EndpointStatus="Failed", FailureReason=reason)

    async def _update(self, name: str) -> None:
        document = self._resources.find("endpoint", name)
        reason = await self._provision(name, "UpdateEndpoint", self._settings.provisioning)
        reason = reason or await self._deploy(name, document["Target"], document.get("LastDeploymentConfig"))
        if reason is None:
            self._set_in_service(name, document["Target"])
        else:
            self._set(name, EndpointStatus="RollingBack", Target=None, FailureReason=reason)
            await self._sleep(self._settings.provisioning)
            self._set_in_service(name, document["Serving"], reason)
            if self._faults.trigger("rollback_failed", operation="UpdateEndpoint", endpoint=name) is not None:
                self._set(name, EndpointStatus="UpdateRollbackFailed")

    async def _resize(self, name: str) -> None:
        serving = self._resources.find("endpoint", name)["Serving"]
        reason = await self._provision(name, "UpdateEndpointWeightsAndCapacities", self._settings.scaling)
        if reason is None:
            weights = {variant: size["DesiredWeight"] for variant, size in serving["Sizes"].items()}
            reason = await self._run_hosting(name, self._hosting.reweigh(name, weights))
        for variant, size in serving["Sizes"].items():
            if reason is None and size["DesiredInstanceCount"] != size["CurrentInstanceCount"]:
                work = self._hosting.scale(name, variant, size["DesiredInstanceCount"])
                reason = await self._run_hosting(name, work)
        if reason is not None:  # back to what serves
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


def _instances(target: dict[str, Any]) -> int:
    return sum(size["DesiredInstanceCount"] for size in target["Sizes"].values())


def _capture(config: dict[str, Any]) -> dict[str, Any] | None:
    """What DescribeEndpoint says about data capture; None where the configuration says nothing."""
    given = config.get("DataCaptureConfig")
    if given is None:
        return None
    enabled = captures_data(config)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": given["InitialSamplingPercentage"],
        "DestinationS3Uri": given["DestinationS3Uri"],
        "KmsKeyId": given.get("KmsKeyId", ""),
    }


def _summaries(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [_summary(variant, shown) for variant in shown["Config"]["ProductionVariants"]]


def _summary(variant: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    size = shown["Sizes"][variant["VariantName"]]
    if "ServerlessConfig" in variant:  # it runs as one instance, which AWS would not show
        config = variant["ServerlessConfig"]
        weights = {key: size[key] for key in ("CurrentWeight", "DesiredWeight") if key in size}
        size = weights | {
            "CurrentInstanceCount": 0,
            "CurrentServerlessConfig": config,
            "DesiredServerlessConfig": config,
        }
    images = [one["Image"] for one in containers_of(shown["Models"][variant["ModelName"]]) if "Image" in one]
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image} for image in images],
        **size,
    }
