"""A creation whose handle is lost is completed from the endpoint's tags, by whichever client comes next."""

from __future__ import annotations

from typing import Any

import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.endpoints import AsyncInference, Autoscaling, Endpoints, Serverless, flows
from mme_sdk.endpoints.operations.create import begin
from mme_sdk.errors import AccessDeniedError, ConflictError, EndpointFailedError, EndpointNotFoundError
from mme_sdk.local import Fault
from tests.support.endpoints.fixtures import bound
from tests.support.endpoints.helpers import NOTHING, NoInvoker, multi, resources, single
from tests.support.endpoints.hosting import PING
from tests.support.endpoints.interleaving import Client, shuffled
from tests.support.selection import pairs

AUTOSCALED = {"autoscaling": Autoscaling(min=2, max=4), "tags": {"team": "a"}}
NOT_ALLOWED = {"kind": "error", "code": "AccessDeniedException", "status": 400, "message": "not allowed here"}


def lost(aws: Aws, spec: Any) -> None:
    """Begin a creation and drop its handle."""
    aws.run(begin(spec, now=aws.clock.monotonic))


def settled(aws: Aws, name: str) -> str:
    """Wait with boto3 alone, so that nothing completes the creation."""
    client = aws.client("sagemaker")
    while (status := client.describe_endpoint(EndpointName=name)["EndpointStatus"]) == "Creating":
        aws.clock.sleep(1)
    return str(status)


def tags_of(aws: Aws, name: str) -> dict[str, str]:
    client = aws.client("sagemaker")
    arn = client.describe_endpoint(EndpointName=name)["EndpointArn"]
    return {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}


def limits(aws: Aws, name: str) -> list[tuple[int, int, int]]:
    """The scaling limits of the endpoint, with the number of policies."""
    client = aws.client("application-autoscaling")
    where = {"ServiceNamespace": "sagemaker", "ResourceId": f"endpoint/{name}/variant/AllTraffic"}
    targets = client.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[where["ResourceId"]])
    policies = client.describe_scaling_policies(**where)["ScalingPolicies"]
    return [(one["MinCapacity"], one["MaxCapacity"], len(policies)) for one in targets["ScalableTargets"]]


def completed(aws: Aws, name: str) -> bool:
    return limits(aws, name) == [(2, 4, 1)] and tags_of(aws, name) == {"team": "a"}


WAYS = {
    "create": lambda collection, spec: collection.create(spec, timeout=60),
    "create and wait": lambda collection, spec: collection.create(spec, wait=False).wait(60),
    "apply": lambda collection, spec: collection.apply(spec, timeout=60),
    "get and wait": lambda collection, spec: collection.get(spec.name).wait(60),
    "wait of the collection": lambda collection, spec: collection.wait(spec.name, timeout=60),
    "handle": lambda collection, spec: collection.handle(spec.name).wait(60),
}


@pytest.mark.parametrize(("how", "when"), pairs(WAYS, ["Creating", "InService"]))
def test_the_next_client_attaches_the_autoscaling(collection, aws, name, how, when):
    spec = multi(name, **AUTOSCALED)
    lost(aws, spec)
    if when == "InService":
        assert settled(aws, name) == "InService"
    assert limits(aws, name) == []
    handle = WAYS[how](collection, spec)
    assert handle.describe().variants[0].autoscaling.max == 4
    assert completed(aws, name)
    assert collection.plan(spec).action == "nothing"


@pytest.mark.parametrize(("how", "when"), pairs(sorted(set(WAYS) - {"apply"}), ["Creating", "Failed"]))
def test_the_next_client_removes_a_failed_creation(collection, aws, name, how, when):
    spec = multi(name, image="broken:1", **AUTOSCALED)
    lost(aws, spec)
    if when == "Failed":
        assert settled(aws, name) == "Failed"
    with pytest.raises(EndpointFailedError) as caught:
        WAYS[how](collection, spec)
    assert caught.value.reason == PING
    assert getattr(caught.value, "__notes__", []) == []
    assert resources(aws) == NOTHING
    if when == "Failed" and how.startswith("create"):
        assert "it is removed now: create it again" in caught.value.hint


def test_an_apply_replaces_a_failed_creation(collection, aws, name):
    lost(aws, multi(name, image="broken:1", **AUTOSCALED))
    assert settled(aws, name) == "Failed"
    collection.apply(multi(name, **AUTOSCALED), timeout=60)
    assert completed(aws, name)
    assert [len(names) for names in resources(aws).values()] == [1, 1, 1]


def test_an_apply_of_another_spec_does_not_wait_for_a_creation(plane, aws, name):
    class Young(Aws):
        def send(self, call: Call) -> Any:
            answer = super().send(call)
            return answer | {"EndpointStatus": "Creating"} if call.operation == "describe_endpoint" else answer

    Endpoints(aws, NoInvoker).create(multi(name), timeout=60)
    way = bound(plane, Young)
    with pytest.raises(ConflictError, match="is Creating and cannot be changed until that has ended"):
        Endpoints(way, NoInvoker).apply(multi(name, environment={"A": "1"}), timeout=60)
    way.close()


def test_a_failed_creation_takes_only_what_was_made_for_its_endpoint(collection, aws, name):
    by_hand = multi(f"{name}-other").to_requests().models[0]
    aws.client("sagemaker").create_model(**by_hand)
    lost(aws, multi(name, image="broken:1"))
    with pytest.raises(EndpointFailedError):
        collection.get(name).wait(60)
    assert resources(aws) == NOTHING | {"models": [by_hand["ModelName"]]}


def test_a_failed_endpoint_of_another_tool_is_not_removed_by_a_wait(collection, aws, name):
    client = aws.client("sagemaker")
    for _, operation, params in multi(name, image="broken:1").to_requests().calls:
        getattr(client, operation)(**params)
    with pytest.raises(EndpointFailedError):
        collection.get(name).wait(60)
    assert resources(aws)["endpoints"] == [name]


def test_a_wait_changes_nothing_of_a_complete_endpoint(plane, aws, name):
    class ReadOnly(Aws):
        def send(self, call: Call) -> Any:
            assert call.operation.startswith(("describe_", "list_")), call
            return super().send(call)

    Endpoints(aws, NoInvoker).create(multi(name, **AUTOSCALED), timeout=60)
    aws.client("application-autoscaling").deregister_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{name}/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    way = bound(plane, ReadOnly)
    Endpoints(way, NoInvoker).get(name).wait(60)
    way.close()
    assert limits(aws, name) == []


@pytest.mark.parametrize("denied", ["RegisterScalableTarget", "PutScalingPolicy", "DescribeScalableTargets"])
def test_a_wait_that_cannot_attach_says_so_and_leaves_it_to_the_next_one(collection, aws, plane, name, denied):
    spec = multi(name, **AUTOSCALED)
    handle = collection.create(spec, wait=False)
    plane.faults.add(Fault(**NOT_ALLOWED, operation=denied))
    for _ in range(2):
        with pytest.raises(AccessDeniedError):
            handle.wait(60)
        assert resources(aws)["endpoints"] == [name]
    plane.faults.clear()
    handle.wait(60)
    assert completed(aws, name)


def test_a_create_that_cannot_attach_removes_everything(collection, aws, plane, name):
    plane.faults.add(Fault(**NOT_ALLOWED, operation="PutScalingPolicy"))
    with pytest.raises(AccessDeniedError):
        collection.create(multi(name, **AUTOSCALED), timeout=60)
    plane.faults.clear()
    assert (resources(aws), limits(aws, name)) == (NOTHING, [])


def test_a_create_of_what_exists_that_cannot_attach_removes_nothing(collection, aws, plane, name):
    spec = multi(name, **AUTOSCALED)
    lost(aws, spec)
    plane.faults.add(Fault(**NOT_ALLOWED, operation="PutScalingPolicy"))
    with pytest.raises(AccessDeniedError):
        collection.create(spec, timeout=60)
    plane.faults.clear()
    assert resources(aws)["endpoints"] == [name]
    collection.create(spec, timeout=60)
    assert completed(aws, name)


def test_autoscaling_of_an_earlier_endpoint_of_the_name_is_replaced(collection, aws, name):
    collection.create(multi(name, autoscaling=Autoscaling(min=2, max=9)), timeout=60)
    aws.client("sagemaker").delete_endpoint(EndpointName=name)
    while name in resources(aws)["endpoints"]:
        aws.clock.sleep(1)
    assert limits(aws, name) == [(2, 9, 1)]
    lost(aws, multi(name, **AUTOSCALED))
    collection.get(name).wait(60)
    assert completed(aws, name)


def test_autoscaling_that_was_detached_on_purpose_stays_detached(collection, aws, name):
    handle = collection.create(multi(name, **AUTOSCALED), timeout=60)
    handle.autoscale(None)
    handle.wait(60)
    collection.get(name).wait(60)
    assert limits(aws, name) == []


def test_an_endpoint_with_fifty_tags_is_created_and_completed_by_create_alone(collection, aws, name):
    spec = multi(name, autoscaling=Autoscaling(min=2, max=4), tags={f"tag{number}": "x" for number in range(50)})
    lost(aws, spec)
    assert tags_of(aws, name) == spec.tags
    collection.get(name).wait(60)
    assert limits(aws, name) == []
    collection.create(spec, timeout=60)
    assert limits(aws, name) == [(2, 4, 1)]


def finishing(aws: Aws, spec: Any, way: str) -> Any:
    now = aws.clock.monotonic
    if way == "create":
        return flows.create(spec, wait=True, timeout=60, now=now, progress=False)
    if way == "apply":
        return flows.apply(spec, deployment=None, timeout=60, now=now, progress=False)
    return flows.wait(spec.name, None, timeout=60, now=now, progress=False)


@pytest.mark.parametrize(("seed", "image"), pairs(range(6), ["works:1", "broken:1"]))
def test_two_clients_complete_a_creation_at_once(aws, name, image, seed):
    spec = multi(name, image=image, **AUTOSCALED)
    lost(aws, spec)
    settled(aws, name)
    ways = [("wait", "wait"), ("wait", "create"), ("create", "create")][seed % 3]
    clients = [Client(aws, finishing(aws, spec, way)) for way in ways]
    order = shuffled(seed, *clients)
    if image == "works:1":
        assert [client.error for client in clients] == [None, None], order
        assert completed(aws, name), order
    else:
        assert all(client.error is not None for client in clients), order
        assert resources(aws) == NOTHING, order


def test_the_clean_up_of_a_failed_creation_spares_a_new_endpoint_of_its_name(aws, name):
    broken, works = multi(name, image="broken:1"), multi(name)
    lost(aws, broken)
    assert settled(aws, name) == "Failed"
    slow = Client(aws, finishing(aws, broken, "wait")).after("delete_endpoint_config")
    Endpoints(aws, NoInvoker).apply(works, timeout=60)
    slow.finish()
    assert isinstance(slow.error, EndpointFailedError)
    live = aws.client("sagemaker").describe_endpoint(EndpointName=name)
    assert live["EndpointStatus"] == "InService"
    assert resources(aws)["configs"] == [works.to_requests().config_name]


CALLS = {
    "works:1": [
        "create_model",
        "create_endpoint_config",
        "create_endpoint",
        "register_scalable_target",
        "put_scaling_policy",
        "delete_tags",
    ],
    "broken:1": ["create_endpoint", "delete_endpoint", "delete_endpoint_config", "delete_model"],
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("image", "call"), [(image, call) for image, calls in CALLS.items() for call in calls])
def test_a_client_that_stops_at_any_call_leaves_no_orphan(aws, name, image, call, when):
    spec = multi(name, image=image, **AUTOSCALED)
    stopped = Client(aws, finishing(aws, spec, "create"))
    getattr(stopped, when)(call)
    assert not stopped.done
    collection = Endpoints(aws, NoInvoker)
    if image == "works:1":
        collection.create(spec, timeout=60)
        assert completed(aws, name)
        collection.delete(name, timeout=60)
    elif not resources(aws)["endpoints"]:
        with pytest.raises(EndpointFailedError):
            collection.create(spec, timeout=60)
    elif call != "delete_endpoint" or when == "before":
        with pytest.raises(EndpointFailedError):
            collection.get(name).wait(60)
    while resources(aws)["endpoints"]:
        aws.clock.sleep(1)
    assert (resources(aws), limits(aws, name)) == (NOTHING, [])


KINDS: dict[str, Any] = {
    "multi-model": lambda name, image: multi(name, image=image, **AUTOSCALED),
    "single-model": lambda name, image: single(name, image=image),
    "serverless": lambda name, image: single(name, image=image, instance_type=None, serverless=Serverless()),
    "asynchronous": lambda name, image: single(
        name,
        image=image,
        async_inference=AsyncInference(output="s3://ml-models/answers/"),
        autoscaling=Autoscaling(min=1, max=3),
    ),
}


def create_then_wait(aws: Aws, spec: Any) -> Any:
    now = aws.clock.monotonic
    _, creation = yield from flows.create(spec, wait=False, timeout=60, now=now, progress=False)
    yield from flows.wait(spec.name, creation, timeout=60, now=now, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["create", "apply", "get and wait"])
@pytest.mark.parametrize("image", ["works:1", "broken:1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_stops_between_create_and_wait_leaves_nothing_behind(aws, name, kind, image, how):
    collection = Endpoints(aws, NoInvoker)
    steps, over = 0, False
    while not over:
        each = f"{name}-{steps}"
        spec = KINDS[kind](each, image)
        stopped = Client(aws, create_then_wait(aws, spec))
        for _ in range(steps):
            if not stopped.done:
                stopped.step()
        over, steps = stopped.done, steps + 1
        way = WAYS[how if each in resources(aws)["endpoints"] else "create"]
        if image == "works:1":
            way(collection, spec)
            assert tags_of(aws, each) == spec.tags, stopped.next
            assert collection.plan(spec).action == "nothing", stopped.next
            collection.delete(each, timeout=60)
        else:
            # ConflictError: the client was stopped while the failed endpoint was being deleted.
            with pytest.raises((EndpointFailedError, EndpointNotFoundError, ConflictError)):
                way(collection, spec)
        while resources(aws)["endpoints"]:
            aws.clock.sleep(1)
        assert resources(aws) == NOTHING, stopped.next
