"""The life of an endpoint: statuses, and the tasks that move it from one to the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mme_sdk.local.contracts import Hosting, HostingError
from mme_sdk.local.control.plan import deployment
from mme_sdk.local.control.resources import Resources, page, select
from mme_sdk.local.control.rules import containers_of
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.wire import ApiError

__all__ = ["Endpoints"]

_log = logging.getLogger(__name__)
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


class Endpoints:
    """Endpoints: documents, and one task for each that is on its way.

    Args:
        resources: Models, configurations, tags, store.
        hosting: What runs them.
        settings: How long things take.
        sleep: Waits on the event loop.
    """

    def __init__(
        self,
        resources: Resources,
        hosting: Hosting,
        settings: ControlSettings,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._resources = resources
        self._store = resources.store
        self._hosting = hosting
        self._settings = settings
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def resume(self) -> None:
        """Bring back what an earlier host was running or changing; returns when what was in service serves again."""
        waiting = []
        for name, document in list(self._store.all("endpoint")):
            match document["EndpointStatus"]:
                case "InService":
                    waiting.append(self._start(name, self._bring_up(name, provisioning=0)))
                case "Creating":
                    self._start(name, self._bring_up(name, provisioning=self._settings.provisioning))
                case "Updating" | "RollingBack":
                    # The fleet that was being built is gone with the host: serve the old one, then update again.
                    waiting.append(self._start(name, self._resume_update(name)))
                case "Deleting":
                    self._start(name, self._take_down(name))
        await asyncio.gather(*waiting)

    async def close(self) -> None:
        """Stop every task; the documents stay as they are and are resumed by the next host."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def create_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """CreateEndpoint."""
        name = params["EndpointName"]
        self._resources.refuse_existing("endpoint", name)
        config = self._resources.find("endpoint-config", params["EndpointConfigName"])
        arn = self._resources.account.arn("endpoint", name)
        now = self._resources.now()
        self._resources.tag_new(arn, params.get("Tags"))
        document = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
            "Target": self._target(config),
        }
        self._store.put("endpoint", name, document)
        self._start(name, self._bring_up(name, provisioning=self._settings.provisioning))
        return {"EndpointArn": arn}

    def describe_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeEndpoint."""
        document = self._resources.find("endpoint", params["EndpointName"])
        shown = document.get("Serving") or document["Target"]
        answer = {key: value for key, value in document.items() if key not in ("Serving", "Target")}
        answer["EndpointConfigName"] = shown["Config"]["EndpointConfigName"]
        if "Serving" in document:
            answer["ProductionVariants"] = [
                _summary(variant, shown) for variant in shown["Config"]["ProductionVariants"]
            ]
        return answer

    def list_endpoints(self, params: dict[str, Any]) -> dict[str, Any]:
        """ListEndpoints."""
        members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        summaries = [{key: document[key] for key in members} for _, document in self._store.all("endpoint")]
        return page(select(summaries, params, "EndpointName"), params, "Endpoints")

    def delete_endpoint(self, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteEndpoint."""
        name = params["EndpointName"]
        self._idle(name)
        self._set(name, EndpointStatus="Deleting")
        self._start(name, self._take_down(name))
        return {}

    def _idle(self, name: str) -> dict[str, Any]:
        document = self._resources.find("endpoint", name)
        if document["EndpointStatus"] in _BUSY:
            raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
        return document

    def _target(self, config: dict[str, Any]) -> dict[str, Any]:
        """Everything a deployment needs, kept with the endpoint: models and configurations may be deleted meanwhile."""
        return {
            "Config": {key: config[key] for key in ("EndpointConfigName", "ProductionVariants")},
            "Models": self._resources.models_of(config),
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
        document = self._resources.find("endpoint", name) | {"LastModifiedTime": self._resources.now()} | changes
        document = {key: value for key, value in document.items() if value is not None}
        self._store.put("endpoint", name, document)
        return document

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"endpoint {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._tasks.pop(name) if self._tasks.get(name) is done else None)
        return task

    async def _deploy(self, name: str, target: dict[str, Any]) -> str | None:
        """Run a target; the reason where it failed."""
        try:
            await self._hosting.deploy(deployment(name, target["Config"], target["Models"], target["Sizes"]))
        except HostingError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - the endpoint must not stay Creating for ever
            _log.exception("deploying %s failed", name)
            return "Request to service failed. If failure persists after retry, contact customer support."
        return None

    async def _bring_up(self, name: str, *, provisioning: float) -> None:
        await self._sleep(provisioning)
        document = self._resources.find("endpoint", name)
        target = document.get("Serving") or document["Target"]
        reason = await self._deploy(name, target)
        if reason is None:
            self._set(name, EndpointStatus="InService", Serving=target, Target=None, FailureReason=None)
        else:
            self._set(name, EndpointStatus="Failed", FailureReason=reason)

    async def _take_down(self, name: str) -> None:
        await self._hosting.remove(name)
        await self._sleep(self._settings.deletion)
        arn = self._resources.find("endpoint", name)["EndpointArn"]
        self._store.delete("endpoint", name)
        self._store.delete("tags", arn)

    async def _resume_update(self, name: str) -> None:
        document = self._resources.find("endpoint", name)
        reason = await self._deploy(name, document["Serving"])
        if reason is not None:
            self._set(name, EndpointStatus="Failed", FailureReason=reason)


def _summary(variant: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    size = shown["Sizes"][variant["VariantName"]]
    model = shown["Models"][variant["ModelName"]]
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [
            {"SpecifiedImage": one["Image"], "ResolvedImage": one["Image"]}
            for one in containers_of(model)
            if "Image" in one
        ],
        "CurrentWeight": size.get("CurrentWeight", size["DesiredWeight"]),
        "DesiredWeight": size["DesiredWeight"],
        "CurrentInstanceCount": size.get("CurrentInstanceCount", size["DesiredInstanceCount"]),
        "DesiredInstanceCount": size["DesiredInstanceCount"],
    }
