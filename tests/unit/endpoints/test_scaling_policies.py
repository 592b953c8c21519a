"""Several scaling policies of a variant, and the start from zero: attached, read back, detached, deleted together."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from mme_sdk.endpoints import (
    AsyncInference,
    Autoscaling,
    Endpoints,
    EndpointSpec,
    FromZero,
    Schedule,
    Tracking,
)
from mme_sdk.endpoints.autoscaling.backup import read_backups, to_tags
from mme_sdk.endpoints.autoscaling.scaling_calls import from_requests, read_back
from mme_sdk.endpoints.spec.scaling_requests import scaling_requests
from mme_sdk.errors import AccessDeniedError, InvalidInputError, MMEError
from tests.support.endpoints.fake import InMemory
from tests.support.endpoints.helpers import NoInvoker, single

ALARM = "mme_sdk/scoring/AllTraffic/backlog-without-capacity"
ZERO = Autoscaling(min=0, max=4, target=2, metric="backlog", from_zero=FromZero(instances=2, minutes=3, cooldown=60))
SEVERAL = Autoscaling(min=1, max=4, more=[Tracking(target=90), Tracking(metric="gpu", target=50, scale_in=False)])


def queue(scaling: Autoscaling | None, **changes: Any) -> EndpointSpec:
    spec = single("scoring", async_inference=AsyncInference(output="s3://b-b/out/"), **changes)
    return attrs.evolve(spec, variants=(attrs.evolve(spec.variants[0], autoscaling=scaling),))


def check_no_orphan(aws: InMemory) -> None:
    """Check that alarm and policy exist together, and that the alarm triggers the policy."""
    policies = {
        one["PolicyARN"]
        for target in aws.scaling.values()
        for one in target["policies"].values()
        if one["PolicyType"] == "StepScaling"
    }
    assert {action for one in aws.alarms.values() for action in one["AlarmActions"]} == policies


@pytest.fixture
def aws() -> InMemory:
    return InMemory()


@pytest.fixture
def endpoints(aws: InMemory) -> Endpoints:
    return Endpoints(aws, NoInvoker)


def test_policy_and_alarm_live_and_die_together(aws, endpoints):
    spec = queue(ZERO)
    endpoints.create(spec)
    assert list(aws.alarms) == [ALARM]
    check_no_orphan(aws)
    assert endpoints.from_endpoint("scoring").variants[0].autoscaling == ZERO
    assert endpoints.plan(spec).changes == ()

    wider = queue(attrs.evolve(ZERO, from_zero=FromZero(instances=1)))
    assert [one.field for one in endpoints.plan(wider).changes] == ["variants.AllTraffic.autoscaling.from_zero"]
    endpoints.apply(wider)
    assert aws.alarms[ALARM]["EvaluationPeriods"] == 1
    check_no_orphan(aws)

    other_type = queue(wider.variants[0].autoscaling, instance_type="ml.m5.4xlarge")
    endpoints.apply(other_type)  # detached for the update, and attached again
    assert endpoints.plan(other_type).changes == ()
    assert list(aws.alarms) == [ALARM]
    check_no_orphan(aws)

    endpoints.apply(queue(attrs.evolve(ZERO, from_zero=None), instance_type="ml.m5.4xlarge"))
    assert aws.alarms == {}
    check_no_orphan(aws)
    endpoints.handle("scoring").autoscale(ZERO)
    check_no_orphan(aws)
    assert list(aws.alarms) == [ALARM]
    endpoints.handle("scoring").autoscale(None)
    assert (aws.alarms, aws.scaling) == ({}, {})
    endpoints.handle("scoring").autoscale(ZERO)
    endpoints.delete("scoring")
    assert (aws.alarms, aws.scaling) == ({}, {})


def test_an_alarm_that_is_gone_or_triggers_another_policy_is_made_again(aws, endpoints):
    spec = queue(ZERO)
    endpoints.create(spec)
    for spoil in (lambda: aws.alarms.clear(), lambda: aws.alarms[ALARM].update(AlarmActions=["arn:other"])):
        spoil()
        assert endpoints.plan(spec).action == "change in place"
        endpoints.apply(spec)
        assert endpoints.plan(spec).changes == ()
        check_no_orphan(aws)


def test_a_deletion_that_was_interrupted_takes_the_alarm_along_later(aws, endpoints):
    endpoints.create(queue(ZERO))
    kept = dict(aws.alarms)
    endpoints.delete("scoring")
    aws.alarms = kept | {"mme_sdk/scoring-blue/AllTraffic/backlog-without-capacity": {"AlarmName": "b"}, "mine": {}}
    endpoints.delete("scoring")
    assert sorted(aws.alarms) == ["mine", "mme_sdk/scoring-blue/AllTraffic/backlog-without-capacity"]


def test_a_creation_that_fails_at_the_alarm_leaves_nothing(aws, endpoints, monkeypatch):
    def denied(params: Any) -> Any:
        raise AccessDeniedError("cloudwatch:PutMetricAlarm")

    monkeypatch.setattr(aws, "_put_metric_alarm", denied, raising=False)
    with pytest.raises(AccessDeniedError):
        endpoints.create(queue(ZERO))
    assert (aws.alarms, aws.scaling, aws.there["endpoint"]) == ({}, {}, {})


@pytest.mark.parametrize("operation", ["put_scaling_policy", "put_metric_alarm", "deregister_scalable_target"])
def test_a_failure_at_any_call_is_mended_by_the_next_run(aws, endpoints, monkeypatch, operation):
    endpoints.create(queue(None))
    real, left = aws.send, [1]

    def send(call: Any) -> Any:
        if call.operation == operation and left:
            left.pop()
            raise AccessDeniedError(operation)
        return real(call)

    monkeypatch.setattr(aws, "send", send)
    handle = endpoints.handle("scoring")
    for act in (lambda: handle.autoscale(ZERO), lambda: handle.autoscale(None)):
        try:
            act()
        except MMEError:
            act()
        check_no_orphan(aws)
    assert not left
    assert (aws.alarms, aws.scaling) == ({}, {})


def test_several_policies_are_attached_read_back_and_compared(aws, endpoints):
    spec = single("scoring", instance_type="ml.g4dn.xlarge", autoscaling=SEVERAL)
    endpoints.create(spec)
    (target,) = aws.scaling.values()
    assert list(target["policies"]) == ["scoring-AllTraffic", "scoring-AllTraffic-2", "scoring-AllTraffic-3"]
    assert endpoints.from_endpoint("scoring") == spec
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    assert "describe_alarms" not in aws.calls  # no permission for CloudWatch is needed
    fewer = attrs.evolve(SEVERAL, more=SEVERAL.more[:1])
    wanted = single("scoring", instance_type="ml.g4dn.xlarge", autoscaling=fewer)
    assert [one.field for one in endpoints.plan(wanted).changes] == ["variants.AllTraffic.autoscaling.more"]
    endpoints.apply(wanted)
    assert list(target["policies"]) == ["scoring-AllTraffic", "scoring-AllTraffic-2"]
    assert endpoints.plan(wanted).changes == ()
    del target["policies"]["scoring-AllTraffic"]
    assert endpoints.from_endpoint("scoring").variants[0].autoscaling is None  # no spec makes this
    endpoints.apply(wanted)
    assert endpoints.plan(wanted).changes == ()


def test_a_backup_in_tags_keeps_every_policy_and_the_alarm():
    scaling = attrs.evolve(ZERO, more=(Tracking(metric="cpu"),))
    attached = from_requests("A", scaling_requests("e", "A", "ml.m5.large", scaling), "ml.m5.large")
    (back,) = read_backups({one["Key"]: one["Value"] for one in to_tags([attached])}).values()
    assert read_back("e", "ml.m5.large", back) == scaling
    bigger = read_back("e", "ml.m5.4xlarge", back.rescaled("ml.m5.4xlarge"))
    assert bigger == scaling


def zero(**changes: Any) -> EndpointSpec:
    return queue(attrs.evolve(ZERO, **changes))


REFUSED = {
    "only asynchronous endpoints can have min 0": lambda: single("a", autoscaling=Autoscaling(
        min=0, max=2, from_zero=FromZero())),
    "only asynchronous endpoints publish ApproximateBacklogSizePerInstance": lambda: single(
        "a", autoscaling=Autoscaling(min=1, max=2, more=[Tracking(metric="backlog", target=1)])
    ),
    "asynchronous endpoints do not publish InvocationsPerInstance": lambda: zero(more=[Tracking(target=9)]),
    "from_zero: the variant never has 0 instances": lambda: Autoscaling(min=1, max=2, from_zero=FromZero()),
    "from_zero: 5 instances are more than max 4": lambda: zero(from_zero=FromZero(instances=5)),
    "more: each policy of a variant needs another metric": lambda: Autoscaling(min=1, max=2, more=[Tracking()]),
    "more: at most 9 further policies, not 10": lambda: Autoscaling(
        min=1, max=2, more=[Tracking(target=1, metric={"MetricName": f"m{n}"}) for n in range(10)]
    ),
    "an item of more must be of type Tracking": lambda: Autoscaling(min=1, max=2, more=[{"target": 3}]),
    "target: required for this metric": lambda: Tracking(metric="backlog"),
    "target: 101 is over 100 percent of gpu": lambda: Tracking(metric="gpu", target=101),
    "metric: 'ram' is not one of": lambda: Tracking(metric="ram", target=1),
    "metric: must be a name or a CustomizedMetricSpecification mapping, not 3": lambda: Tracking(metric=3, target=1),
    "minutes must be a whole number at least 1 and at most 1440, not 0": lambda: FromZero(minutes=0),
    "cpu and gpu have no value without an instance": lambda: queue(
        Autoscaling(min=0, max=2, more=[Tracking(metric="gpu")]), instance_type="ml.g4dn.xlarge"
    ),
}  # fmt: skip
REFUSED["ml.c6i.large has no GPU to track"] = lambda: single(
    "a", autoscaling=Autoscaling(min=1, max=2, more=[Tracking(metric="gpu")])
)


@pytest.mark.parametrize("reason", REFUSED)
def test_a_policy_that_never_scales_is_refused_by_name(reason):
    with pytest.raises(InvalidInputError) as caught:
        REFUSED[reason]()
    assert reason in caught.value.message


def test_cpu_scales_from_zero_with_a_policy_that_starts_the_first_instance():
    assert queue(Autoscaling(min=0, max=2, from_zero=FromZero())).variants[0].autoscaling.metric == "cpu"
    night = Schedule(name="night", when="cron(0 20 * * ? *)", min=0)
    assert queue(Autoscaling(min=1, max=2, from_zero=FromZero(), schedule=[night]))
    with pytest.raises(InvalidInputError, match="cpu has no value without an instance"):
        queue(Autoscaling(min=0, max=2))
