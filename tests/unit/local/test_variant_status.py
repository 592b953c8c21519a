"""VariantStatus in DescribeEndpoint, from the creation of an endpoint to its deletion."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mme_sdk.local.wire.errors import ApiError
from tests.unit.local.test_resume import Host


class Watched(Host):
    """A host that records the status of variants at each wait."""

    seen: list[tuple[str, Any, Any]]

    async def sleep(self, seconds: float) -> None:
        self.look()
        await asyncio.sleep(0)

    def look(self) -> None:
        described = self.describe()
        pending = described.get("PendingDeploymentSummary", {})
        now = (described["EndpointStatus"], stage(described), stage(pending))
        if now not in self.seen:
            self.seen.append(now)


def stage(described: dict[str, Any]) -> Any:
    variants = described.get("ProductionVariants", [{}])
    (status,) = variants[0].get("VariantStatus", [None])
    return None if status is None else (status["Status"], status["StartTime"].tzinfo is not None)[0]


BAKING = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        },
        "TerminationWaitInSeconds": 60,
    }
}


def test_the_status_of_a_variant_follows_each_operation(tmp_path):
    async def main() -> None:
        host = Watched(tmp_path)
        host.seen = []
        host.configure("one")
        host.configure("two")
        host.endpoints.create_endpoint({"EndpointName": "e", "EndpointConfigName": "one", "DeploymentConfig": BAKING})
        await host.until("InService")
        host.look()
        assert host.seen == [("Creating", None, "Creating"), ("InService", None, None)]

        host.seen.clear()
        host.endpoints.update_endpoint(
            {"EndpointName": "e", "EndpointConfigName": "two", "RetainDeploymentConfig": True}
        )
        await host.until("InService")
        host.look()
        assert host.seen == [("Updating", None, "Creating"), ("Updating", None, "Baking"), ("InService", None, None)]
        shares = [entry[2] for entry in host.hosting.log if entry[0] == "share"]
        assert shares == [0.1, 1.0]  # the DeploymentConfig of the creation

        host.seen.clear()
        wanted = [{"VariantName": "A", "DesiredInstanceCount": 2}]
        host.endpoints.update_weights_and_capacities({"EndpointName": "e", "DesiredWeightsAndCapacities": wanted})
        await host.until("InService")
        wanted = [{"VariantName": "A", "DesiredInstanceCount": 2}]
        host.endpoints.update_weights_and_capacities({"EndpointName": "e", "DesiredWeightsAndCapacities": wanted})
        await host.until("InService")
        host.look()
        # The second request changes nothing.
        assert host.seen == [("Updating", "Updating", None), ("Updating", None, None), ("InService", None, None)]

        host.seen.clear()
        host.endpoints.delete_endpoint({"EndpointName": "e"})
        host.look()
        assert host.seen == [("Deleting", "Deleting", None)]
        await host.endpoints.close()

    asyncio.run(main())


def test_a_rollout_that_cannot_be_is_refused_at_creation(tmp_path):
    async def main() -> None:
        host = Host(tmp_path)
        host.configure("one")
        routing = {"Type": "CANARY", "WaitIntervalInSeconds": 0}
        config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
        with pytest.raises(ApiError, match="CanarySize must be specified"):
            host.endpoints.create_endpoint(
                {"EndpointName": "e", "EndpointConfigName": "one", "DeploymentConfig": config}
            )
        assert host.endpoints.list_endpoints({})["Endpoints"] == []

    asyncio.run(main())
