"""Two clients at one endpoint, and verbs called in an order that nobody had in mind: what serves keeps serving."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.endpoints import AsyncEndpoints, Autoscaling, Endpoints
from mme_sdk.errors import AccessDeniedError, ConflictError, EndpointFailedError, InvalidInputError
from mme_sdk.local import Fault
from tests.support.endpoints.fixtures import bound
from tests.support.endpoints.helpers import NOTHING, NoInvoker, multi, resources

AUTOSCALED = {"autoscaling": Autoscaling(min=2, max=4)}


def denied(operation: str) -> Fault:
    return Fault(kind="error", operation=operation, code="AccessDeniedException", status=400, message="not allowed")


class Overtaken(Aws):
    """Another client does something just before a call of this one."""

    at = ""
    rival: Any = None

    def send(self, call: Call) -> Any:
        if call.operation == self.at:
            self.at = ""
            self.rival()
        return super().send(call)


def test_a_creation_that_loses_leaves_the_winner_the_model_that_both_use(plane, aws, name):
    way = bound(plane, Overtaken)
    way.at, way.rival = "create_endpoint", lambda: Endpoints(aws, NoInvoker).create(multi(name, instance_count=3))
    with pytest.raises(ConflictError, match="already existing"):
        Endpoints(way, NoInvoker).create(multi(name))
    way.close()
    winner = multi(name, instance_count=3).to_requests()
    assert resources(aws) == {
        "endpoints": [name],
        "configs": [winner.config_name],
        "models": list(winner.model_names),
    }


def test_creators_of_different_sizes_at_once_share_their_model(aws, name):
    async def both() -> list[Any]:
        collection = AsyncEndpoints(aws, NoInvoker)
        specs = [multi(name, instance_count=count) for count in (1, 2, 3)]
        return await asyncio.gather(*(collection.create(spec) for spec in specs), return_exceptions=True)

    lost = [one for one in asyncio.run(both()) if isinstance(one, BaseException)]
    assert [type(one) for one in lost] == [ConflictError, ConflictError]
    assert [len(names) for names in resources(aws).values()] == [1, 1, 1]


def test_an_update_that_loses_leaves_the_winner_the_model_that_both_use(plane, aws, name):
    calm = Endpoints(aws, NoInvoker)
    calm.apply(multi(name), timeout=60)
    both = {"B": "1"}
    ours = multi(name, environment=both)
    theirs = multi(name, environment=both, instance_type="ml.c5.xlarge")

    def begun() -> None:
        requests = theirs.to_requests()
        aws.client("sagemaker").create_endpoint_config(**requests.config)
        aws.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=requests.config_name)

    way = bound(plane, Overtaken)
    way.at, way.rival = "update_endpoint", begun
    with pytest.raises(ConflictError, match="in-progress"):
        Endpoints(way, NoInvoker).apply(ours, timeout=60)
    way.close()
    assert set(theirs.to_requests().model_names) <= set(resources(aws)["models"])
    calm.wait(name, timeout=60)
    assert calm.from_endpoint(name) == theirs


def test_an_update_that_another_one_follows_at_once_was_not_rolled_back(plane, aws, name):
    calm = Endpoints(aws, NoInvoker)
    calm.apply(multi(name), timeout=60)
    ours, theirs = multi(name, environment={"A": "1"}), multi(name, environment={"A": "2"})

    class Followed(Aws):
        updated = False

        def send(self, call: Call) -> Any:
            answer = super().send(call)
            self.updated = self.updated or call.operation == "update_endpoint"
            if call.operation == "describe_endpoint" and self.updated and answer["EndpointStatus"] == "Updating":
                self.updated = False
                calm.wait(name, timeout=60)
                calm.apply(theirs, timeout=60)
            return answer

    way = bound(plane, Followed)
    with pytest.raises(ConflictError, match="another update"):
        Endpoints(way, NoInvoker).apply(ours, timeout=60)
    way.close()
    assert calm.handle(name).rollback(timeout=60).describe().config_name == ours.to_requests().config_name


def test_waiting_again_on_the_handle_of_a_creation_never_deletes_what_serves(collection, aws, plane, name):
    handle = collection.create(multi(name, **AUTOSCALED), wait=False)
    handle.wait(60)
    collection.handle(name).autoscale(None)
    plane.faults.add(denied("RegisterScalableTarget"))
    handle.wait(60)
    assert resources(aws)["endpoints"] == [name]


def test_an_endpoint_that_serves_in_a_bad_state_is_not_deleted_by_a_late_wait(plane, aws, name):
    class Mixed(Aws):
        def send(self, call: Call) -> Any:
            answer = super().send(call)
            if call.operation == "describe_endpoint":
                answer["EndpointStatus"] = "UpdateRollbackFailed"
            return answer

    way = bound(plane, Mixed)
    with pytest.raises(EndpointFailedError, match="UpdateRollbackFailed"):
        Endpoints(way, NoInvoker).create(multi(name), timeout=60)
    way.close()
    assert resources(aws)["endpoints"] == [name]


def test_scaling_out_that_finds_no_capacity_raises_with_the_reason(collection, plane, name):
    collection.apply(multi(name), timeout=60)
    plane.faults.add(Fault(kind="capacity", message="Unable to provision requested ML compute capacity"))
    with pytest.raises(EndpointFailedError, match="ML compute capacity"):
        collection.handle(name).scale(4, timeout=60)
    plane.faults.clear()
    # An old FailureReason is not the next change's.
    assert collection.handle(name).scale(3, timeout=60).describe().variants[0].desired_count == 3


def test_an_update_keeps_the_model_of_the_configuration_made_by_hand_that_it_replaced(collection, aws, name):
    client, requests = aws.client("sagemaker"), multi(name).to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**(requests.config | {"EndpointConfigName": "by-hand"}))
    client.create_endpoint(EndpointName=name, EndpointConfigName="by-hand")
    collection.wait(name, timeout=60)
    collection.apply(multi(name, environment={"A": "1"}), timeout=60)
    assert collection.handle(name).rollback("by-hand", timeout=60).describe().config_name == "by-hand"


def test_autoscaling_that_cannot_be_put_back_is_said_to_be_off(collection, plane, name):
    collection.apply(multi(name, **AUTOSCALED), timeout=60)
    plane.faults.add(denied("RegisterScalableTarget"))
    with pytest.raises(AccessDeniedError) as caught:
        collection.apply(multi(name, instance_type="ml.c5.xlarge"), timeout=60)
    assert "autoscaling of AllTraffic is detached" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("timeout", ["9", None, math.nan, 0, -1, True])
def test_impossible_timeouts_are_refused_before_anything_is_sent(collection, aws, name, timeout):
    handle = collection.handle(name)
    calls = [
        lambda: collection.apply(multi(name), timeout=timeout),
        lambda: collection.delete(name, timeout=timeout),
        lambda: collection.temporary(multi(name), timeout=timeout).__enter__(),
        lambda: handle.wait(timeout),
        lambda: handle.rollback(timeout=timeout),
        lambda: handle.scale(2, timeout=timeout),
        lambda: handle.weights({"A": 1}, timeout=timeout),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="timeout must be"):
            call()
    assert resources(aws) == NOTHING


def test_progress_that_cannot_be_told_is_refused_before_anything_is_sent(collection, aws, name):
    with pytest.raises(InvalidInputError, match="progress must be a function"):
        collection.apply(multi(name), progress="yes")
    assert resources(aws) == NOTHING


def test_an_endpoint_that_is_being_created_is_not_scaled_yet(plane, aws, name):
    class Young(Aws):
        def send(self, call: Call) -> Any:
            answer = super().send(call)
            if call.operation == "describe_endpoint":
                answer |= {"EndpointStatus": "Creating", "ProductionVariants": []}
            return answer

    Endpoints(aws, NoInvoker).apply(multi(name), timeout=60)
    way = bound(plane, Young)
    handle = Endpoints(way, NoInvoker).handle(name)
    for change in (lambda: handle.scale(3), lambda: handle.autoscale(Autoscaling(min=1, max=2))):
        with pytest.raises(ConflictError, match="is Creating and has no variants yet"):
            change()
    way.close()


def test_an_endpoint_that_goes_while_it_is_read_is_no_other_error(collection, plane, name):
    collection.apply(multi(name), timeout=60)
    gone = {"code": "ValidationException", "status": 400, "message": 'Could not find resource "arn".'}
    plane.faults.add(Fault(kind="error", operation="ListTags", **gone))
    assert "tags could not be read" in collection.describe(name).notes[0]
