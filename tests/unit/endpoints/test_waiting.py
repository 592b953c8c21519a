"""Waiting, driven by hand: a clock that stands still, and the statuses that SageMaker might show."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import pytest

from mme_sdk.aws import Call, Sleep
from mme_sdk.display.progress import Progress, reporting
from mme_sdk.endpoints import Rolling
from mme_sdk.endpoints.operations.scale import set_weights
from mme_sdk.endpoints.operations.wait import until_gone, until_settled, waiting_for
from mme_sdk.endpoints.spec.deployment_choice import pick
from mme_sdk.endpoints.state.description import parse_endpoint
from mme_sdk.errors import (
    ConflictError,
    EndpointFailedError,
    EndpointNotFoundError,
    InvalidInputError,
    ServiceError,
    WaitTimeoutError,
)
from tests.support.endpoints.helpers import multi, single

ABSENT = EndpointNotFoundError('Could not find endpoint "arn".')


def described(status: str, **more: Any) -> dict[str, Any]:
    return {
        "EndpointName": "scoring",
        "EndpointArn": "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/scoring",
        "EndpointStatus": status,
        "EndpointConfigName": "new",
        "CreationTime": datetime.datetime.now(tz=datetime.UTC),
        **more,
    }


class Watcher:
    """Drives a flow with answers to come, on a clock that only sleeping moves."""

    def __init__(self, answers: Iterable[Any]) -> None:
        self.answers = list(answers)
        self.now = 0.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def drive(self, flow: Any) -> Any:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                effect = flow.throw(error) if error else flow.send(value)
            except StopIteration as stop:
                return stop.value
            value = error = None
            if isinstance(effect, Sleep):
                self.now += effect.seconds
                self.sleeps.append(effect.seconds)
                continue
            assert isinstance(effect, Call)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, BaseException):
                error = answer
            else:
                value = described(answer) if isinstance(answer, str) else answer


def settle(answers: list[Any], timeout: float = 900, **options: Any) -> tuple[Any, Watcher]:
    watcher = Watcher(answers)
    return watcher.drive(until_settled("scoring", timeout=timeout, now=watcher, **options)), watcher


def test_looks_are_tight_at_first_and_back_off():
    _, watcher = settle(["Creating"] * 30 + ["InService"])
    assert watcher.sleeps[0] == 0.2
    assert watcher.sleeps == sorted(watcher.sleeps)
    assert watcher.sleeps[-1] == 15
    assert sum(watcher.sleeps[:8]) < 10


def test_the_last_look_is_at_the_deadline():
    watcher = Watcher(["Creating"])
    with pytest.raises(WaitTimeoutError, match=r"not InService after 60 s \(seen: Creating\)"):
        watcher.drive(until_settled("scoring", timeout=60, now=watcher))
    assert watcher.now == 60


@pytest.mark.parametrize("status", ["Failed", "OutOfService", "UpdateRollbackFailed"])
def test_every_bad_end_ends_the_wait(status):
    with pytest.raises(EndpointFailedError, match=f"ended as {status}") as caught:
        settle(["Creating", described(status, FailureReason="no collection")])
    assert caught.value.reason == "no collection"
    assert [seen for _, seen in caught.value.history] == ["Creating", status]
    assert "eu-west-1.console.aws.amazon.com" in caught.value.hint
    assert "client.endpoint('scoring').logs()" in caught.value.hint


def test_a_status_that_nobody_knows_yet_is_waited_through_and_told():
    seen, _ = settle(["Creating", "Levitating", "InService"])
    assert seen.status == "InService"


def test_a_new_endpoint_may_not_show_at_once():
    seen, watcher = settle([ABSENT, ABSENT, "Creating", "InService"], just_created=True)
    assert seen.status == "InService"
    with pytest.raises(EndpointNotFoundError):
        settle([ABSENT, "InService"])
    with pytest.raises(EndpointNotFoundError):
        settle([ABSENT], just_created=True)
    with pytest.raises(EndpointNotFoundError):
        settle(["Creating", ABSENT], just_created=True)
    assert watcher.now < 1


@pytest.mark.parametrize(
    ("answers", "succeeds"),
    [
        (["Updating", described("InService")], True),
        ([described("InService", EndpointConfigName="old")] * 5 + ["Updating", "InService"], True),
        (["Updating", described("InService", EndpointConfigName="old")], False),
        (["Updating", "RollingBack", described("InService", EndpointConfigName="old", FailureReason="x")], False),
        ([described("InService", EndpointConfigName="old", FailureReason="x")], False),
        (["Updating", described("InService", FailureReason="x")], False),
        (["Updating", described("InService", FailureReason="from before")], True),
        ([described("InService", EndpointConfigName="old", FailureReason="from before")], False),
    ],
)
def test_an_update_that_was_rolled_back_is_told_from_one_that_holds(answers, succeeds):
    options = {"wanted_config": "new", "reason_before": "from before"}
    if succeeds:
        assert settle(answers, **options)[0].config_name == "new"
    else:
        with pytest.raises(EndpointFailedError, match="the update was rolled back"):
            settle(answers, **options)


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ('Failed to download model data for container "c"', "s3:ListBucket"),
        ("Failed to extract model data archive", "tar.gz"),
        ("The primary container did not pass the ping health check.", "startup_timeout"),
        ("Unable to provision requested ML compute capacity", "another instance type"),
        ("Alarm scoring-5xx went off", "metric"),
        ("whatever", "read the logs of the containers; logs"),
    ],
)
def test_reasons_come_with_what_to_do(reason, advice):
    with pytest.raises(EndpointFailedError) as caught:
        settle([described("Failed", FailureReason=reason)])
    assert advice in caught.value.hint


def test_deletion_is_waited_for_to_the_end():
    watcher = Watcher(["Deleting", "Deleting", ABSENT])
    history = watcher.drive(until_gone("scoring", timeout=60, now=watcher))
    assert history == ((0.0, "Deleting"),)
    watcher = Watcher(["Deleting"])
    with pytest.raises(WaitTimeoutError, match="not deleted after 60 s"):
        watcher.drive(until_gone("scoring", timeout=60, now=watcher))


@pytest.mark.parametrize("timeout", [0, -1, True, "60", float("nan")])
def test_timeouts_are_seconds_over_zero(timeout):
    with pytest.raises(InvalidInputError, match="timeout"):
        settle(["InService"], timeout=timeout)


def test_an_answer_that_is_none_is_said_so():
    with pytest.raises(ServiceError, match=r"the answer is not valid \(EndpointStatus: Field required\)"):
        settle([{"EndpointName": "scoring"}])


def test_the_logs_are_linked_in_every_partition():
    hosts = {"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn"}
    for partition, host in hosts.items():
        arn = f"arn:{partition}:sagemaker:somewhere-1:123456789012:endpoint/scoring"
        with pytest.raises(EndpointFailedError) as caught:
            settle([described("Failed", EndpointArn=arn)])
        assert f"https://somewhere-1.{host}/cloudwatch" in caught.value.hint


def staged(*stages: str, running: int = 0, wanted: int = 2, status: str = "Creating") -> dict[str, Any]:
    variant = {
        "VariantName": "v",
        "CurrentInstanceCount": running,
        "DesiredInstanceCount": wanted,
        "VariantStatus": [{"Status": stage} for stage in stages],
    }
    return described(status, ProductionVariants=[variant])


@pytest.mark.parametrize(
    ("answer", "doing"),
    [
        (described("Creating"), "provisioning"),
        (staged(), "provisioning 0 of 2 instances"),
        (staged("Creating", running=1), "provisioning 1 of 2 instances"),
        (staged("Updating", "Baking", status="Updating"), "baking: watching the alarms of the new fleet"),
        (staged("ActivatingTraffic", status="Updating"), "activating traffic"),
        (staged(running=4, wanted=2, status="Updating"), "updating"),
        (described("RollingBack"), "rolling back"),
        (described("Deleting"), "deleting"),
        (described("InService"), "InService"),
        (described("Hibernating"), "Hibernating"),
    ],
)
def test_a_wait_says_what_it_waits_for(answer, doing):
    assert waiting_for(parse_endpoint(answer)) == doing


def test_the_progress_of_a_wait():
    reported: list[Progress] = []
    watcher = Watcher(["Creating", staged(running=1), "InService"])
    with reporting(reported.append, "create", "scoring", timeout=900, now=watcher) as report:
        watcher.drive(until_settled("scoring", timeout=900, now=watcher, progress=report))
    assert [(one.status, one.doing) for one in reported] == [
        ("Creating", "provisioning"),
        ("Creating", "provisioning 1 of 2 instances"),
        ("InService", "InService"),
    ]
    assert [round(one.elapsed, 2) for one in reported] == [0, 0.2, 0.48]
    assert {(one.operation, one.subject, one.timeout) for one in reported} == {("create", "scoring", 900)}


def test_scarce_accelerators_are_replaced_batch_by_batch():
    def gpu(count, **more):
        return multi("a", instance_type="ml.g5.xlarge", instance_count=count, **more)

    assert pick(gpu(4), gpu(4, environment={"A": "1"})) == Rolling()
    assert pick(gpu(1), gpu(1, environment={"A": "1"})) is None
    assert pick(multi("a"), multi("a", environment={"A": "1"})) is None
    assert pick(single("a", instance_type="ml.g5.xlarge", instance_count=4), gpu(4)) is None
    assert pick(None, gpu(4)) is None


def variant(name: str, status: str | None) -> dict[str, Any]:
    since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return {"VariantName": name} | ({"VariantStatus": [{"Status": status, "StartTime": since}]} if status else {})


def test_progress_says_what_happens_to_each_variant():
    reported: list[Progress] = []
    answers = [
        described("Creating", PendingDeploymentSummary={"ProductionVariants": [variant("A", "Creating")]}),
        described(
            "Updating",
            ProductionVariants=[variant("A", None), variant("B", "Deleting")],
            PendingDeploymentSummary={"EndpointConfigName": "new", "ProductionVariants": [variant("A", "Baking")]},
        ),
        described("Updating", ProductionVariants=[variant("A", "AWS adds this")]),
        described("InService", ProductionVariants=[variant("A", None)]),
    ]
    watcher = Watcher(answers)
    with reporting(reported.append, "create", "scoring", now=watcher) as report:
        found = watcher.drive(until_settled("scoring", timeout=900, now=watcher, progress=report))
    assert [one.doing for one in reported] == [
        "provisioning",
        "baking: watching the alarms of the new fleet (B Deleting, A Baking)",
        "updating (A AWS adds this)",
        "InService",
    ]
    assert found.stages == {}
    assert found.variants[0].stage is None


def test_a_wait_that_times_out_names_the_stages():
    busy = described("Updating", PendingDeploymentSummary={"ProductionVariants": [variant("A", "Baking")]})
    with pytest.raises(WaitTimeoutError, match=r"seen: Updating; variants: A Baking"):
        settle([busy], timeout=1)


def test_the_weights_of_an_endpoint_that_is_being_created_cannot_be_set() -> None:
    watcher = Watcher([described("Creating")])
    with pytest.raises(ConflictError, match="endpoint scoring is Creating and has no variants yet"):
        watcher.drive(set_weights("scoring", {"AllTraffic": 1.0}, timeout=60, now=watcher, progress=None))
