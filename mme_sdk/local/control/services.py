"""The services of the control plane and their operations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.autoscaling.scaler import Scaler
from mme_sdk.local.control.autoscaling.service import AutoScaling
from mme_sdk.local.control.cloudwatch import CloudWatch
from mme_sdk.local.control.dashboards import Dashboards
from mme_sdk.local.control.iam.authorizer import Authorizer
from mme_sdk.local.control.iam.service import Iam
from mme_sdk.local.control.iam.without_policies import IamWithoutPolicies
from mme_sdk.local.control.kms import Kms
from mme_sdk.local.control.logs.service import Logs
from mme_sdk.local.control.logs.streams import LogStreams
from mme_sdk.local.control.metrics import Metrics
from mme_sdk.local.control.sagemaker.endpoints import Endpoints
from mme_sdk.local.control.sagemaker.resources import Resources
from mme_sdk.local.control.sagemaker.search import Search
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.control.store import Store
from mme_sdk.local.control.sts import Sts
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting_interface import Hosting

__all__ = ["ControlPlane", "Service"]

_log = logging.getLogger(__name__)
_LOG_SECONDS = 1.0  # precision of the times of log events


class Service(Protocol):
    """A service of the control plane."""

    @property
    def service(self) -> str:
        """Botocore's name of the service."""
        ...

    @property
    def operations(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]]:
        """Function of each operation, from parameters to the response. An operation that takes long is a coroutine."""
        ...


class _SageMaker:
    service = "sagemaker"

    def __init__(self, resources: Resources, endpoints: Endpoints, authorizer: Authorizer | None) -> None:
        def create_model(params: dict[str, Any]) -> dict[str, Any]:
            if authorizer is not None:
                authorizer.check_can_be_assumed(params.get("ExecutionRoleArn", ""))
            return resources.create_model(params)

        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "AddTags": resources.add_tags,
            "CreateEndpoint": endpoints.create_endpoint,
            "CreateEndpointConfig": resources.create_endpoint_config,
            "CreateModel": create_model,
            "DeleteEndpoint": endpoints.delete_endpoint,
            "DeleteEndpointConfig": resources.delete_endpoint_config,
            "DeleteModel": resources.delete_model,
            "DeleteTags": resources.delete_tags,
            "DescribeEndpoint": endpoints.describe_endpoint,
            "DescribeEndpointConfig": resources.describe_endpoint_config,
            "DescribeModel": resources.describe_model,
            "ListEndpointConfigs": resources.list_endpoint_configs,
            "ListEndpoints": endpoints.list_endpoints,
            "ListModels": resources.list_models,
            "ListTags": resources.list_tags,
            "Search": Search(resources, endpoints).search,
            "UpdateEndpoint": endpoints.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": endpoints.update_weights_and_capacities,
        }


class ControlPlane:
    """SageMaker, CloudWatch and its logs, Application Auto Scaling, IAM, KMS and STS over one store.

    Args:
        store: Holds the documents.
        account: The account of the resources.
        hosting: Runs the endpoints.
        metrics: The metrics of CloudWatch.
        settings: Durations.
        faults: Active faults.
        now: Function that returns the current time.
        multi_model: Function that returns whether an image has the label of multi-model containers.
        sleep: Function that waits for a number of seconds.
        logs: Folder with the output of the containers. Default None: there are no logs.
        authorizer: Evaluates policies. Default None: every action is allowed.
    """

    def __init__(
        self,
        store: Store,
        account: Account,
        hosting: Hosting,
        metrics: Metrics,
        settings: ControlSettings,
        faults: Faults,
        now: Callable[[], datetime],
        multi_model: Callable[[str], bool] = lambda _image: True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        logs: Path | None = None,
        authorizer: Authorizer | None = None,
    ) -> None:
        resources = Resources(store, account, now, multi_model)
        self.endpoints = Endpoints(resources, hosting, settings, faults, sleep)
        alarms = Alarms(metrics, store, account, now, settings.minute)
        autoscaling = AutoScaling(
            store, account, alarms, now, self.endpoints.instance_count, self.endpoints.min_instance_count
        )
        self.endpoints.alarms_in_alarm_state = alarms.in_alarm_state
        self.endpoints.scaled_variants = autoscaling.scaled_variants
        self._scaler = Scaler(
            store,
            autoscaling,
            alarms,
            now,
            settings.minute,
            self.endpoints.instance_count,
            self.endpoints.set_instance_count,
        )
        self._log_streams = LogStreams(logs, now)
        self.services: tuple[Service, ...] = (
            _SageMaker(resources, self.endpoints, authorizer),
            CloudWatch(metrics, alarms, Dashboards(store, account, now), now),
            autoscaling,
            IamWithoutPolicies(account) if authorizer is None else Iam(authorizer, account),
            Kms(store, account),
            Logs(self._log_streams, account),
            Sts(account, authorizer),
        )
        self._minute = settings.minute
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Resume the endpoints of an earlier host, and start to evaluate alarms and schedules and to observe logs."""
        await self.endpoints.resume()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._repeat(self._scaler.run_once, self._minute), name="autoscaling"),
            loop.create_task(self._repeat(self._log_streams.observe, _LOG_SECONDS), name="logs"),
        ]

    async def close(self) -> None:
        """Stop every task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.endpoints.close()

    async def _repeat(self, run: Callable[[], object], seconds: float) -> None:
        while True:
            await self._sleep(seconds)
            try:
                run()
            except Exception:  # noqa: BLE001 - an unexpected error must not end the task; it is logged
                _log.exception("a periodic task failed")
