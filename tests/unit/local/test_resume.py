"""Test that the next host resumes the operations on endpoints of a host that was killed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.sagemaker.endpoints import Endpoints
from mme_sdk.local.control.sagemaker.resources import Resources, utc_now
from mme_sdk.local.control.settings import ControlSettings
from mme_sdk.local.control.store import Store
from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.hosting_interface import HostContext
from tests.support.local.fakes import FakeHosting

PROVISIONING, DELETION = 11.0, 22.0


class Host:
    """A control plane whose waits the test controls."""

    def __init__(self, path, *, stops_at: float | None = None) -> None:
        context = HostContext(
            data_dir=path, s3_endpoint_url="", access_key="", secret_key="", region="us-east-1", account_id="1" * 12
        )
        self.hosting = FakeHosting(context)
        self.faults = Faults()
        self.store = Store(path / "state.sqlite")
        self.resources = Resources(self.store, Account(), utc_now)
        self.stops_at = stops_at
        self.endpoints = Endpoints(
            self.resources,
            self.hosting,
            ControlSettings(provisioning=PROVISIONING, deletion=DELETION),
            self.faults,
            self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        if seconds == self.stops_at:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def describe(self, name: str = "e") -> dict:
        return self.endpoints.describe_endpoint({"EndpointName": name})

    async def until(self, *statuses: str) -> dict:
        for _ in range(1000):
            if self.describe()["EndpointStatus"] in statuses:
                return self.describe()
            await asyncio.sleep(0)
        raise AssertionError(f"stays {self.describe()['EndpointStatus']}")

    def configure(self, name: str, image: str = "python") -> None:
        self.resources.create_model({"ModelName": name, "PrimaryContainer": {"Image": image}})
        variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        self.resources.create_endpoint_config({"EndpointConfigName": name, "ProductionVariants": [variant]})


@asynccontextmanager
async def running(path, **options):
    host = Host(path, **options)
    await host.endpoints.resume()
    try:
        yield host
    finally:
        await host.endpoints.close()
        host.store.close()


async def in_service(host: Host) -> None:
    host.configure("first")
    host.endpoints.create_endpoint({"EndpointName": "e", "EndpointConfigName": "first"})
    await host.until("InService")


def test_creating_goes_on(tmp_path):
    async def story() -> None:
        async with running(tmp_path, stops_at=PROVISIONING) as host:
            host.configure("first")
            host.endpoints.create_endpoint({"EndpointName": "e", "EndpointConfigName": "first"})
            await asyncio.sleep(0)
        async with running(tmp_path) as host:
            assert (await host.until("InService"))["ProductionVariants"][0]["CurrentInstanceCount"] == 1
            assert "e" in host.hosting.running

    asyncio.run(story())


@pytest.mark.parametrize("image", ["python", "broken"])
def test_updating_serves_the_old_config_first_and_then_goes_on(tmp_path, image):
    async def story() -> None:
        async with running(tmp_path) as host:
            await in_service(host)
            host.configure("second", image)
            host.stops_at = PROVISIONING
            host.endpoints.update_endpoint({"EndpointName": "e", "EndpointConfigName": "second"})
            await asyncio.sleep(0)
        async with running(tmp_path) as host:
            assert host.hosting.log[0] == ("deploy", "e", "first")
            last = await host.until("InService")
            assert last["EndpointConfigName"] == ("second" if image == "python" else "first")
            assert ("FailureReason" in last) is (image == "broken")

    asyncio.run(story())


def test_rolling_back_ends_in_service_with_the_reason(tmp_path):
    async def story() -> None:
        async with running(tmp_path) as host:
            await in_service(host)
            host.faults.add(Fault(kind="capacity", message="No room."))
            host.endpoints.update_endpoint({"EndpointName": "e", "EndpointConfigName": "first"})
            await asyncio.sleep(0)
            host.stops_at = PROVISIONING
            await host.until("RollingBack")
        async with running(tmp_path) as host:
            last = host.describe()
            assert (last["EndpointStatus"], last["FailureReason"]) == ("InService", "No room.")
            assert [entry for entry in host.hosting.log if entry[0] == "deploy"] == [("deploy", "e", "first")]

    asyncio.run(story())


def test_deleting_goes_on(tmp_path):
    async def story() -> None:
        async with running(tmp_path) as host:
            await in_service(host)
            host.stops_at = DELETION
            host.endpoints.delete_endpoint({"EndpointName": "e"})
            await asyncio.sleep(0)
        async with running(tmp_path) as host:
            assert host.endpoints.describe_all() == []
            assert host.hosting.running == {}

    asyncio.run(story())


@pytest.mark.parametrize("status", ["InService", "UpdateRollbackFailed", "Failed"])
def test_what_rested_rests_as_it_was(tmp_path, status):
    async def story() -> None:
        async with running(tmp_path) as host:
            await in_service(host)
            host.store.put("endpoint", "e", host.store.get("endpoint", "e") | {"EndpointStatus": status})
            before = host.describe()
        async with running(tmp_path) as host:
            after = host.describe()
            assert after["EndpointStatus"] == status
            assert after["ProductionVariants"] == before["ProductionVariants"]
            assert ("e" in host.hosting.running) is (status != "Failed")

    asyncio.run(story())


def test_an_endpoint_that_does_not_come_up_again_says_why(tmp_path):
    async def story() -> None:
        async with running(tmp_path) as host:
            await in_service(host)
            document = host.store.get("endpoint", "e")
            document["Serving"]["Models"]["first"]["PrimaryContainer"]["Image"] = "broken"
            host.store.put("endpoint", "e", document)
        async with running(tmp_path) as host:
            last = host.describe()
            assert last["EndpointStatus"] == "Failed"
            assert "ping health check" in last["FailureReason"]

    asyncio.run(story())
