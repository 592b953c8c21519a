"""Autoscaling that an update takes off comes back, wherever the client that took it off stops for good."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.endpoints import Endpoints, flows
from mme_sdk.endpoints.autoscaling.backup import is_missing, read_backups, write
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.errors import ServiceError, WaitTimeoutError
from mme_sdk.local import Fault
from tests.support.endpoints.helpers import NoInvoker, multi
from tests.support.endpoints.interleaving import Client
from tests.support.selection import pairs

VALUE = re.compile(r"[\w\s.:/=+@-]{0,256}")  # what SageMaker takes as a tag's value


def others_scaling(aws: Aws, name: str) -> dict[str, Any]:
    """A scalable target as no spec says it: two step policies and a scheduled action."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    client = aws.client("application-autoscaling")
    client.register_scalable_target(**target, MinCapacity=2, MaxCapacity=7)
    for direction in (1, -1):
        steps = {"ScalingAdjustment": direction, "MetricIntervalLowerBound": 0.0}
        client.put_scaling_policy(
            **target,
            PolicyName=f"step {direction}",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [steps]},
        )
    client.put_scheduled_action(
        **target,
        ScheduledActionName="morning",
        Schedule="cron(0 6 * * ? *)",
        StartTime=datetime(2027, 1, 1, tzinfo=UTC),
        ScalableTargetAction={"MinCapacity": 4},
    )
    return target


def attached(aws: Aws, target: dict[str, Any]) -> dict[str, Any]:
    """What is attached, without what differs each time it is put there."""
    client = aws.client("application-autoscaling")
    where = {"ServiceNamespace": "sagemaker", "ResourceId": target["ResourceId"]}
    limits = client.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[target["ResourceId"]])
    policies = client.describe_scaling_policies(**where)["ScalingPolicies"]
    actions = client.describe_scheduled_actions(**where)["ScheduledActions"]
    return {
        "limits": [(one["MinCapacity"], one["MaxCapacity"]) for one in limits["ScalableTargets"]],
        "policies": {one["PolicyName"]: one["StepScalingPolicyConfiguration"] for one in policies},
        "actions": {one["ScheduledActionName"]: (one["Schedule"], one["StartTime"]) for one in actions},
    }


def tags_of(aws: Aws, name: str) -> dict[str, str]:
    client = aws.client("sagemaker")
    arn = client.describe_endpoint(EndpointName=name)["EndpointArn"]
    return {one["Key"]: one["Value"] for one in client.list_tags(ResourceArn=arn)["Tags"]}


def applying(spec: Any) -> Any:
    return flows.apply(spec, deployment=None, timeout=60, now=time.monotonic, progress=False)


@pytest.fixture
def before(aws: Aws, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    Endpoints(aws, NoInvoker).apply(multi(name, tags={"team": "a"}), timeout=60)
    target = others_scaling(aws, name)
    return target, attached(aws, target)


LARGER = {"instance_type": "ml.c5.xlarge", "tags": {"team": "a"}}


def test_an_update_leaves_no_trace_of_what_it_took_off_and_put_back(aws, name, before):
    Endpoints(aws, NoInvoker).apply(multi(name, **LARGER), timeout=60)
    assert attached(aws, before[0]) == before[1]
    assert tags_of(aws, name) == {"team": "a"}


CALLS = [
    "add_tags",
    "deregister_scalable_target",
    "update_endpoint",
    "register_scalable_target",
    "put_scaling_policy",
    "put_scheduled_action",
]


@pytest.mark.parametrize(("last", "then"), pairs(CALLS, ["the same", "another type", "back"]))
def test_whoever_updates_next_puts_back_what_was_taken_off(aws, name, before, last, then):
    Client(aws, applying(multi(name, **LARGER))).after(last)  # and does nothing ever after
    collection = Endpoints(aws, NoInvoker)
    collection.wait(name, timeout=60)
    assert all(len(key) <= 128 and VALUE.fullmatch(value) for key, value in tags_of(aws, name).items())
    assert collection.from_endpoint(name).tags == {"team": "a"}
    spec = multi(name, **(LARGER | {"instance_type": {"another type": "ml.m5.4xlarge"}.get(then, "ml.c5.xlarge")}))
    if then == "back":
        spec = multi(name, tags={"team": "a"})
    assert collection.plan(spec).action != "nothing" or attached(aws, before[0]) == before[1]
    collection.apply(spec, timeout=60)
    assert attached(aws, before[0]) == before[1]
    assert tags_of(aws, name) == {"team": "a"}
    assert collection.plan(spec).action == "nothing"


def test_a_rollback_puts_back_what_was_taken_off(aws, name, before):
    Client(aws, applying(multi(name, **LARGER))).after("update_endpoint")
    collection = Endpoints(aws, NoInvoker)
    collection.wait(name, timeout=60)
    collection.handle(name).rollback(timeout=60)
    assert attached(aws, before[0]) == before[1]
    assert tags_of(aws, name) == {"team": "a"}


def test_the_instance_count_that_autoscaling_reached_outlives_it(aws, name, before):
    collection = Endpoints(aws, NoInvoker)
    collection.handle(name).scale(5, timeout=60)
    Client(aws, applying(multi(name, **LARGER))).after("update_endpoint")
    collection.wait(name, timeout=60)
    assert collection.apply(multi(name, **LARGER), timeout=60).describe().variants[0].desired_count == 5


def test_a_wait_that_times_out_leaves_it_to_the_next_apply(collection, aws, name, before):
    with pytest.raises(WaitTimeoutError) as caught:
        collection.apply(multi(name, **LARGER), timeout=0.001)
    assert "until the next endpoints.apply() attaches it" in caught.value.__notes__[0]
    collection.wait(name, timeout=60)
    collection.apply(multi(name, **LARGER), timeout=60)
    assert attached(aws, before[0]) == before[1]


def test_what_the_user_decides_meanwhile_holds(collection, aws, name, before):
    Client(aws, applying(multi(name, **LARGER))).after("update_endpoint")
    collection.wait(name, timeout=60)
    collection.handle(name).autoscale(None)
    assert tags_of(aws, name) == {"team": "a"}
    collection.apply(multi(name, **LARGER), timeout=60)
    assert attached(aws, before[0])["limits"] == []


def test_what_others_attached_meanwhile_holds(aws, name, before):
    Client(aws, applying(multi(name, **LARGER))).after("update_endpoint")
    collection = Endpoints(aws, NoInvoker)
    collection.wait(name, timeout=60)
    client = aws.client("application-autoscaling")
    client.register_scalable_target(**before[0], MinCapacity=1, MaxCapacity=3)
    policy = {"AdjustmentType": "ExactCapacity", "StepAdjustments": [{"ScalingAdjustment": 3}]}
    client.put_scaling_policy(
        **before[0], PolicyName="new", PolicyType="StepScaling", StepScalingPolicyConfiguration=policy
    )
    theirs = attached(aws, before[0])
    collection.apply(multi(name, **LARGER), timeout=60)
    assert attached(aws, before[0]) == theirs
    assert tags_of(aws, name) == {"team": "a"}


def test_whoever_may_not_tag_updates_all_the_same(collection, aws, plane, name, before):
    for operation in ("AddTags", "DeleteTags"):
        plane.faults.add(
            Fault(kind="error", operation=operation, code="AccessDeniedException", status=400, message="no")
        )
    collection.apply(multi(name, **LARGER), timeout=60)
    assert attached(aws, before[0]) == before[1]


def test_a_wait_that_times_out_without_a_note_says_who_must_attach_again(collection, plane, name, before):
    plane.faults.add(Fault(kind="error", operation="AddTags", code="ResourceLimitExceeded", status=400, message="50"))
    with pytest.raises(WaitTimeoutError) as caught:
        collection.apply(multi(name, **LARGER), timeout=0.001)
    assert "is detached until endpoint.autoscale() attaches it" in caught.value.__notes__[0]


def test_an_endpoint_whose_tags_fail_keeps_its_autoscaling(collection, aws, plane, name, before):
    plane.faults.add(Fault(kind="error", operation="AddTags"))
    with pytest.raises(ServiceError):
        collection.apply(multi(name, **LARGER), timeout=60)
    plane.faults.clear()
    assert attached(aws, before[0]) == before[1]
    assert collection.plan(multi(name, tags={"team": "a"})).action == "nothing"


def note(*policies: str, **target: Any) -> dict[str, str]:
    """The tags that `remember` sends."""
    one = Attached(variant="A", target=target, policies=tuple({"PolicyName": name} for name in policies))
    call = next(write("scoring", "arn", [one]))
    return {tag["Key"]: tag["Value"] for tag in call.params["Tags"]}


def test_a_shorter_note_over_a_longer_one_is_read_as_the_shorter():
    long = note(*(f"{number * 7919:x}" for number in range(300)))
    assert len(long) > 2
    assert [one["PolicyName"] for one in read_backups(long | note("short"))["A"].policies] == ["short"]


@pytest.mark.parametrize("junk", ["", "AAAA", "not base64", "eNoDAAAAAAE=", "eJyrBQAAfgB8"])
def test_tags_that_say_nothing_are_no_autoscaling(junk):
    assert read_backups({"mme_sdk:autoscaling:A:0": junk, "mme_sdk:autoscaling:A": "x", "team": "a"}) == {}


def test_what_is_there_in_part_is_not_back_yet():
    def with_policies(*names: str) -> Attached:
        return Attached(variant="A", target={}, policies=tuple({"PolicyName": name} for name in names))

    parked = with_policies("a", "b")
    assert is_missing(None, parked)
    assert is_missing(with_policies(), parked)
    assert is_missing(with_policies("a"), parked)
    assert not is_missing(with_policies("a", "b"), parked)
    assert not is_missing(with_policies("c"), parked)
