"""Two clients at one endpoint, interleaved call by call: whatever serves keeps its configuration and its models."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk.aws import Aws, Flow
from mme_sdk.endpoints import Autoscaling, Endpoints, EndpointSpec, flows
from mme_sdk.endpoints.operations import orphans
from mme_sdk.errors import AccessDeniedError, ConflictError, EndpointNotFoundError, MMEError
from tests.support.endpoints.helpers import NOTHING, NoInvoker, multi, resources
from tests.support.endpoints.interleaving import Client, shuffled
from tests.support.selection import pairs

AUTOSCALED = {"autoscaling": Autoscaling(min=2, max=4)}


def applying(spec: EndpointSpec) -> Flow[Any]:
    return flows.apply(spec, deployment=None, timeout=60, now=time.monotonic, progress=False)


def creating(spec: EndpointSpec) -> Flow[Any]:
    return flows.create(spec, wait=True, timeout=60, now=time.monotonic, progress=False)


def deleting(name: str) -> Flow[Any]:
    return flows.delete(name, timeout=60, now=time.monotonic, dry_run=False, progress=False)


def generation(name: str, number: int, **changes: Any) -> EndpointSpec:
    return multi(name, environment={"GENERATION": str(number)}, **changes)


def targets(aws: Aws) -> list[str]:
    client = aws.client("application-autoscaling")
    return [
        one["ResourceId"] for one in client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    ]


def check_whole(aws: Aws, name: str) -> None:
    """Nothing at all, or an endpoint with everything that it needs."""
    there = resources(aws)
    if not there["endpoints"]:
        assert there == NOTHING
        assert targets(aws) == []
        return
    Endpoints(aws, NoInvoker).wait(name, timeout=60)
    client = aws.client("sagemaker")
    live = client.describe_endpoint(EndpointName=name)
    assert live["EndpointConfigName"] in there["configs"]
    config = client.describe_endpoint_config(EndpointConfigName=live["EndpointConfigName"])
    assert {one["ModelName"] for one in config["ProductionVariants"]} <= set(there["models"])


@pytest.fixture
def start(aws: Aws) -> Callable[[Flow[Any]], Client]:
    return lambda flow: Client(aws, flow)


def history(aws: Aws, name: str) -> None:
    """Three generations: 2 serves, 1 is kept for a rollback, 0 is gone."""
    collection = Endpoints(aws, NoInvoker)
    for number in range(3):
        collection.apply(generation(name, number), timeout=60)


def test_tidying_up_spares_what_another_client_brought_meanwhile(aws, name, start):
    history(aws, name)
    tidying = start(applying(generation(name, 3))).after("update_endpoint").before("list_endpoint_configs")
    assert start(applying(generation(name, 4))).finish().error is None
    assert tidying.finish().error is None
    check_whole(aws, name)


def test_tidying_up_spares_what_another_update_is_bringing(aws, name, start):
    history(aws, name)
    tidying = start(applying(generation(name, 3))).after("update_endpoint").before("list_endpoint_configs")
    other = start(applying(generation(name, 4))).after("update_endpoint")
    tidying.finish()
    assert other.finish().error is None
    check_whole(aws, name)


@pytest.mark.parametrize("at", ["create_endpoint_config", "update_endpoint"])
def test_what_is_tidied_away_before_an_update_could_begin_is_made_again(aws, name, start, at):
    history(aws, name)
    tidying = start(applying(generation(name, 3))).after("update_endpoint").before("list_endpoint_configs")
    other = start(applying(generation(name, 4))).before(at)
    assert tidying.finish().error is None
    assert other.finish().error is None
    assert other.result.config_name == generation(name, 4).to_requests().config_name
    check_whole(aws, name)


def test_going_back_to_a_generation_while_it_is_tidied_away(aws, name, start):
    history(aws, name)
    # Generation 1 goes once 3 has replaced 2; the other client wants it, and has seen that it is there.
    tidying = start(applying(generation(name, 3))).after("update_endpoint").before("delete_endpoint_config")
    other = start(applying(generation(name, 1))).after("update_endpoint")
    tidying.finish()
    assert other.finish().error is None
    check_whole(aws, name)


def test_a_whole_way_back_between_the_last_look_and_the_deletion(aws, name, start):
    history(aws, name)
    tidying = start(applying(generation(name, 3))).after("update_endpoint").before("delete_endpoint_config")
    assert start(applying(generation(name, 1))).finish().error is None
    assert tidying.finish().error is None
    check_whole(aws, name)
    assert Endpoints(aws, NoInvoker).plan(generation(name, 1)).action == "nothing"


@pytest.mark.parametrize("at", ["delete_endpoint_config", "delete_model"])
def test_a_whole_creation_between_the_last_look_and_the_deletion(aws, name, start, at):
    spec = generation(name, 1)
    client, requests = aws.client("sagemaker"), spec.to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**requests.config)
    going = start(deleting(name)).before(at)
    assert start(creating(spec)).finish().error is None
    result = going.finish().result
    assert "created again" in str(result)
    check_whole(aws, name)
    assert result.removed == (() if at == "delete_endpoint_config" else result.removed[:1])
    assert Endpoints(aws, NoInvoker).plan(spec).action == "nothing"


def test_a_whole_creation_while_orphans_are_removed(aws, name, start):
    spec = generation(name, 1)
    client, requests = aws.client("sagemaker"), spec.to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**requests.config)
    going = start(orphans.remove_all(Endpoints(aws, NoInvoker).orphans())).before("delete_endpoint_config")
    assert start(creating(spec)).finish().error is None
    assert going.finish().result == ()
    check_whole(aws, name)
    assert Endpoints(aws, NoInvoker).plan(spec).action == "nothing"


def test_a_whole_creation_while_a_failed_one_is_removed(aws, name, start):
    spec = generation(name, 1)
    failing = start(creating(spec)).before("create_endpoint").fail(AccessDeniedError("not allowed"))
    failing.before("delete_endpoint_config")
    assert start(creating(spec)).finish().error is None
    assert isinstance(failing.finish().error, AccessDeniedError)
    check_whole(aws, name)
    assert Endpoints(aws, NoInvoker).plan(spec).action == "nothing"


@pytest.mark.parametrize("at", ["describe_endpoint", "list_endpoint_configs"])
def test_an_endpoint_that_is_created_again_while_it_is_deleted_keeps_what_it_needs(aws, name, start, at):
    spec = generation(name, 1, **AUTOSCALED)
    Endpoints(aws, NoInvoker).apply(spec, timeout=60)
    going = start(deleting(name)).after("delete_endpoint")
    with pytest.raises(EndpointNotFoundError):
        Endpoints(aws, NoInvoker).wait(name, timeout=60)
    going.before(at)
    assert start(creating(spec)).finish().error is None
    assert going.finish().error is None
    assert "created again" in str(going.result)
    assert resources(aws)["endpoints"] == [name]
    check_whole(aws, name)
    assert targets(aws) == [f"endpoint/{name}/variant/AllTraffic"]


def test_leftovers_that_are_deleted_while_they_are_used_again(aws, name, start):
    spec = generation(name, 1)
    client, requests = aws.client("sagemaker"), spec.to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**requests.config)
    going = start(deleting(name)).before("delete_endpoint_config")
    coming = start(creating(spec)).after("create_endpoint")
    going.finish()
    assert coming.finish().error is None
    check_whole(aws, name)


@pytest.mark.parametrize("when", ["before", "after"])
def test_orphans_that_are_removed_while_they_are_used_again(aws, name, start, when):
    spec = generation(name, 1)
    client, requests = aws.client("sagemaker"), spec.to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**requests.config)
    going = start(orphans.remove_all(Endpoints(aws, NoInvoker).orphans())).before("delete_endpoint_config")
    coming = start(creating(spec)).before("create_endpoint")
    if when == "after":
        coming.step()
    assert len(going.finish().result) == (2 if when == "before" else 0)  # what is used is created again
    assert coming.finish().error is None
    check_whole(aws, name)


@pytest.mark.parametrize("at", ["create_endpoint_config", "create_endpoint"])
def test_what_is_deleted_before_a_creation_could_use_it_is_made_again(aws, name, start, at):
    coming = start(creating(generation(name, 1))).before(at)
    assert start(deleting(name)).finish().error is None
    assert coming.finish().error is None
    check_whole(aws, name)


@pytest.mark.parametrize("at", ["register_scalable_target", "put_scaling_policy"])
def test_autoscaling_that_comes_to_an_endpoint_being_deleted_is_not_left_behind(aws, name, start, at):
    coming = start(creating(generation(name, 1, **AUTOSCALED))).before(at)
    assert start(deleting(name)).finish().error is None
    assert isinstance(coming.finish().error, EndpointNotFoundError)
    assert resources(aws) == NOTHING
    assert targets(aws) == []


def test_autoscaling_that_came_after_a_deletion_looked_goes_with_the_endpoint(aws, name, start):
    coming = start(creating(generation(name, 1, **AUTOSCALED))).before("register_scalable_target")
    going = start(deleting(name)).before("delete_endpoint")
    coming.after("put_scaling_policy")
    going.finish()
    coming.finish()
    assert resources(aws) == NOTHING
    assert targets(aws) == []


@pytest.mark.parametrize("gone", ["config", "model", "both"])
def test_apply_makes_again_what_is_missing(aws, name, gone):
    spec = generation(name, 1)
    collection = Endpoints(aws, NoInvoker)
    collection.apply(spec, timeout=60)
    before = resources(aws)
    client, requests = aws.client("sagemaker"), spec.to_requests()
    if gone != "model":
        client.delete_endpoint_config(EndpointConfigName=requests.config_name)
    if gone != "config":
        client.delete_model(ModelName=requests.model_names[0])
    assert collection.plan(spec).action == "update"
    collection.apply(spec, timeout=60)
    assert resources(aws) == before
    assert collection.plan(spec).action == "nothing"


SCENES: dict[str, Callable[[str], list[Flow[Any]]]] = {
    "two updates": lambda name: [applying(generation(name, 3)), applying(generation(name, 4))],
    "an update and a way back": lambda name: [applying(generation(name, 3)), applying(generation(name, 1))],
    "the same update twice": lambda name: [applying(generation(name, 3)), applying(generation(name, 3))],
    "an update and a deletion": lambda name: [applying(generation(name, 3)), deleting(name)],
    "a creation from nothing and a deletion": lambda name: [
        creating(generation(name, 2, **AUTOSCALED)),
        deleting(name),
    ],
    "two creations and a deletion": lambda name: [
        creating(generation(name, 1)),
        creating(generation(name, 1)),
        deleting(name),
    ],
    "a creation and a deletion": lambda name: [creating(generation(name, 2, **AUTOSCALED)), deleting(name)],
}


def play(aws: Aws, name: str, scene: str, seed: int) -> None:
    if "creations" not in scene and "nothing" not in scene:
        history(aws, name)
    clients = [Client(aws, flow) for flow in SCENES[scene](name)]
    order = shuffled(seed, *clients)
    reported = (order, [(one.error, one.said) for one in clients])
    for one in clients:
        assert one.error is None or isinstance(one.error, (ConflictError, EndpointNotFoundError)), reported
        assert getattr(one.error, "__notes__", []) == [] or isinstance(one.error, ConflictError), reported
    try:
        check_whole(aws, name)
    except (AssertionError, MMEError) as error:
        raise AssertionError(reported) from error


@pytest.mark.parametrize(("scene", "seed"), pairs(SCENES, range(3)))
def test_any_order_of_two_clients_calls(aws, name, scene, seed):
    play(aws, name, scene, seed)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_orders_of_two_clients_calls(aws, name, scene, seed):
    play(aws, name, scene, seed)
