"""What an autopilot publishes, and what Application Auto Scaling makes of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from mme_sdk import MMEClient
from mme_sdk._flows.effects import Call, Interpreter
from mme_sdk.autopilot import (
    Autopilot,
    Bounds,
    Decision,
    Journal,
    Observed,
    State,
    decide,
    learned_floor,
    learned_schedule,
)
from mme_sdk.autopilot.publishing import attach, detach, find_lost, publish
from mme_sdk.endpoints import Schedule
from mme_sdk.endpoints.autoscaling import scaling_calls
from mme_sdk.endpoints.autoscaling.backup import read_backups, to_tags
from mme_sdk.endpoints.spec.scaling_requests import scaling_target
from mme_sdk.errors import AccessDeniedError, EndpointNotFoundError, InvalidInputError, MMEError, ThrottledError
from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.autoscaling.scaler import Scaler
from mme_sdk.local.control.autoscaling.service import AutoScaling
from mme_sdk.local.control.cloudwatch import CloudWatch
from mme_sdk.local.control.dashboards import Dashboards
from mme_sdk.local.control.metrics import Metrics
from mme_sdk.local.control.store import Store
from tests.unit.autopilot.test_rule import BOUNDS, CATALOGUE, MACHINE, NOW, RULE, demand, many


class World:
    """Application Auto Scaling and CloudWatch of the embedded SageMaker, with a clock that the test advances."""

    def __init__(self, path) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        self.count, self.status = 4, "InService"
        self.store = Store(path / "state.sqlite")
        metrics, account = Metrics(), Account()
        self.alarms = Alarms(metrics, self.store, account, self.now)
        self.autoscaling = AutoScaling(self.store, account, self.alarms, self.now, self.size)
        dashboards = Dashboards(self.store, account, self.now)
        self.cloudwatch = CloudWatch(metrics, self.alarms, dashboards, self.now)
        self.failing: dict[str, MMEError] = {}
        self.scaler = Scaler(self.store, self.autoscaling, self.alarms, self.now, 60.0, self.size, self.resize)

    def now(self) -> datetime:
        return self.time

    def size(self, endpoint: str, variant: str) -> int | None:
        return self.count if (endpoint, variant) == ("e", "AllTraffic") else None

    def resize(self, endpoint: str, variant: str, count: int) -> bool:
        self.count = count
        return True

    def run(self, flow) -> Any:
        """Answer the calls of a flow."""
        return Interpreter({Call: self.send}).run(flow)

    def send(self, call: Call) -> Any:
        if call.operation in self.failing:
            raise self.failing[call.operation]
        if call.operation == "describe_endpoint":
            arn = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/e"
            variant = {"VariantName": "AllTraffic", "DesiredInstanceCount": self.count, "CurrentWeight": 1.0}
            times = dict.fromkeys(("CreationTime", "LastModifiedTime"), self.time)
            names = {"EndpointName": "e", "EndpointArn": arn, "EndpointConfigName": "c", "EndpointStatus": self.status}
            return {**names, **times, "ProductionVariants": [variant]}
        name = "".join(part.title() for part in call.operation.split("_"))
        service = self.cloudwatch if call.service == "cloudwatch" else self.autoscaling
        answer = service.operations[name](dict(call.params))
        return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer

    def minutes(self, number: int, wanted: int | None) -> int:
        for _ in range(number):
            if wanted is not None:
                self.run(publish(attrs.evolve(decision(), at=self.time, count=wanted, action="hold")))
            self.time += timedelta(minutes=1)
            self.scaler.run_once()
        return self.count


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.store.close()


def decision(count: int = 4, state: State | None = None, at: datetime = NOW) -> Decision:
    return decide(
        demand(many(60, 0.1), at=at), Observed(count=count), state, rule=RULE, bounds=BOUNDS, machine=MACHINE,
        endpoint="e",
    )  # fmt: skip


def test_the_step_policy_sets_exactly_the_number_that_is_published(world):
    world.run(attach("e", "AllTraffic", Bounds(smallest=2, largest=9)))
    assert world.minutes(3, wanted=7) == 7
    assert world.minutes(3, wanted=7) == 7  # a value that is there already changes nothing
    assert world.minutes(3, wanted=6) == 6
    assert world.minutes(3, wanted=2) == 2
    assert world.minutes(3, wanted=9) == 9
    assert world.minutes(3, wanted=30) == 9


def test_without_a_metric_the_endpoint_keeps_its_size(world):
    world.run(attach("e", "AllTraffic", Bounds(smallest=2, largest=9)))
    assert world.minutes(3, wanted=7) == 7
    world.count = 5  # a person changes it
    assert world.minutes(30, wanted=None) == 5


def test_a_decision_to_freeze_publishes_nothing(world):
    frozen = decide(
        demand(many(60, 0.1)), Observed(count=4, status="Updating"), rule=RULE, bounds=BOUNDS, machine=MACHINE
    )
    assert list(publish(frozen)) == []


def test_detaching_leaves_the_size_and_other_policies(world):
    world.run(attach("e", "AllTraffic", Bounds(smallest=2, largest=9)))
    world.minutes(3, wanted=7)
    world.run(detach("e", "AllTraffic"))
    assert world.minutes(5, wanted=3) == 7
    assert list(world.store.all("scaling-policy")) == []
    assert list(world.store.all("alarm")) == []


def test_limits_of_another_week_do_not_stay(world):
    def limits(hour: int) -> tuple[Schedule, ...]:
        at = datetime(2026, 3, 2, hour, 30, tzinfo=UTC)
        return learned_schedule([attrs.evolve(decision(), at=at, wanted=6)], bounds)

    def names() -> set[str]:
        return {action["ScheduledActionName"] for _, action in world.store.all("scheduled-action")}

    bounds = Bounds(smallest=2, largest=9)
    world.run(attach("e", "AllTraffic", bounds, [Schedule(name="mine", when="cron(0 8 ? * MON *)", min=3)]))
    world.run(attach("e", "AllTraffic", bounds, limits(8)))
    world.run(attach("e", "AllTraffic", bounds, limits(14)))
    assert names() == {"mine", *(one.name for one in limits(14))}
    world.run(attach("e", "AllTraffic", bounds))
    assert names() == {"mine", *(one.name for one in limits(14))}
    world.run(detach("e", "AllTraffic"))
    assert names() == {"mine"}


def test_more_numbers_than_steps_are_refused():
    with pytest.raises(InvalidInputError, match="at most 20 steps"):
        list(attach("e", "AllTraffic", Bounds(smallest=2, largest=22)))


def test_learned_limits_are_those_of_each_hour_a_week_earlier_and_come_early(world):
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    hours = {0: 3, 7: 3, 8: 6, 9: 6, 17: 4}
    week = [
        attrs.evolve(decision(), at=monday + timedelta(hours=hour, minutes=minute), wanted=wanted + minute // 50)
        for hour, wanted in hours.items()
        for minute in (10, 30, 55)
    ]
    found = learned_schedule(week, Bounds(smallest=2, largest=5))
    assert [(one.name, one.when, one.min) for one in found[:6]] == [
        ("autopilot-SUN-2345", "cron(45 23 ? * SUN *)", 3),
        ("autopilot-MON-0045", "cron(45 0 ? * MON *)", 2),
        ("autopilot-MON-0645", "cron(45 6 ? * MON *)", 3),
        ("autopilot-MON-0745", "cron(45 7 ? * MON *)", 5),
        ("autopilot-MON-0945", "cron(45 9 ? * MON *)", 2),
        ("autopilot-MON-1645", "cron(45 16 ? * MON *)", 4),
    ]
    assert learned_schedule([], BOUNDS) == ()
    world.run(attach("e", "AllTraffic", Bounds(smallest=2, largest=9), found))
    assert len(list(world.store.all("scheduled-action"))) == len(found)
    assert learned_floor(week, monday + timedelta(days=7, hours=7, minutes=45)) == 6
    assert learned_floor(week, monday + timedelta(days=7, hours=3)) == 0


def test_a_journal_gives_back_the_decisions_of_an_endpoint_in_order_of_time(tmp_path):
    journal = Journal(tmp_path / "journal")
    times = [NOW + timedelta(hours=hour) for hour in (0, 13, 1)]
    for at in times:
        journal.add(decision(at=at))
    journal.add(attrs.evolve(decision(), endpoint="other"))
    found = journal.read(endpoint="e")
    assert [one.at for one in found] == sorted(times)
    assert [one.repeat().to_dict() for one in found] == [one.to_dict() for one in found]
    assert [one.at for one in journal.read(endpoint="e", start=times[2], end=times[1])] == [times[2]]
    newest = [journal.last(endpoint="e", variant="AllTraffic", start=NOW, end=end) for end in (times[1], times[0])]
    assert [one and one.at for one in newest] == [times[2], None]
    assert [path.name for path in sorted((tmp_path / "journal").iterdir())] == ["2026-03-04.jsonl", "2026-03-05.jsonl"]


def test_a_record_that_was_cut_off_is_left_out_and_spoils_no_other(tmp_path):
    journal = Journal(tmp_path)
    journal.add(decision())
    file = tmp_path / "2026-03-04.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    assert len(journal.read()) == 1
    journal.add(decision(at=NOW + timedelta(minutes=1)))
    assert len(journal.read()) == 2
    file.write_bytes(b"hello\n" + whole)
    with pytest.raises(InvalidInputError, match=r"2026-03-04\.jsonl, line 1 is not JSON"):
        journal.read()


def test_a_journal_elsewhere_is_refused():
    with pytest.raises(InvalidInputError, match="neither an s3:// prefix nor a directory"):
        Journal("https://example.com/x")


def pilot(world: World, **changes: Any) -> Autopilot:
    """An autopilot whose AWS is the world."""
    times = [world.time - timedelta(minutes=age) for age in range(1, 61)]
    settings: dict[str, Any] = {
        "rule": RULE, "bounds": Bounds(smallest=2, largest=9), "machine": MACHINE, "catalogue": CATALOGUE,
        "calls": lambda _: {at: {f"m{number}": 30 for number in range(60)} for at in times}, "apply": "metric",
        "clock": world.now, "sleep": lambda _: None,
    }  # fmt: skip
    made = Autopilot(MMEClient(region="eu-west-1"), "e", **(settings | changes))
    made._aws = world  # type: ignore[assignment]
    return made


def update(world: World) -> None:
    """Do what an update of the variants demands: deregister the target. Policies and scheduled actions go with it."""
    target = scaling_target("e", "AllTraffic")
    world.send(Call(service="application-autoscaling", operation="deregister_scalable_target", params=target))


def test_what_an_update_detached_is_attached_again_and_the_decision_says_so(world, tmp_path):
    flown = pilot(world, journal=tmp_path / "journal")
    hour = datetime(2029, 12, 31, 14, 30, tzinfo=UTC)
    for minute in range(3):
        flown._journal.add(attrs.evolve(decision(), at=hour + timedelta(minutes=minute), wanted=6))
    flown.attach(schedule=True)
    assert flown.step().observed.detached is None
    limits = sorted(action["ScheduledActionName"] for _, action in world.store.all("scheduled-action"))
    assert limits
    update(world)
    assert list(world.store.all("scaling-policy")) == []
    world.status = "Updating"
    frozen = flown.step()
    assert (frozen.action, list(world.store.all("scaling-policy"))) == ("freeze", [])
    world.status = "InService"
    reported = flown.decide()
    assert reported.reasons[0] == (
        "the step policy is not attached any more, for example because of an update: it is attached again"
    )
    assert list(world.store.all("scaling-policy")) == []  # decide() changes nothing
    again = pilot(world, journal=tmp_path / "journal")  # another process, as a scheduled job is
    found = again.step()
    assert found.reasons[0] == reported.reasons[0]
    assert found.repeat().to_dict() == found.to_dict()
    assert sorted(action["ScheduledActionName"] for _, action in world.store.all("scheduled-action")) == limits
    assert again.step().observed.detached is None
    assert world.minutes(3, wanted=7) == 7  # the alarm triggers the new policy
    again.detach()
    assert again.step().observed.detached is None
    assert list(world.store.all("scaling-policy")) == []  # what was detached on purpose stays so


def test_an_alarm_that_triggers_an_old_policy_is_found_after_a_process_was_killed_between_the_two(world):
    flown = pilot(world)
    flown.attach()
    update(world)
    world.failing["put_metric_alarm"] = ThrottledError("Rate exceeded")
    with pytest.raises(ThrottledError):
        flown.step()
    world.failing.clear()
    assert len(list(world.store.all("scaling-policy"))) == 1
    assert (
        world.run(find_lost("e", "AllTraffic")).what == "the alarm triggers a step policy that does not exist any more"
    )
    flown.step()
    assert world.run(find_lost("e", "AllTraffic")) is None


def test_autoscaling_that_the_sdk_attaches_again_has_an_alarm_of_its_new_policy(world):
    world.run(attach("e", "AllTraffic", Bounds(smallest=2, largest=9)))
    attached = world.run(scaling_calls.read("e", ["AllTraffic"]))["AllTraffic"]
    (saved,) = read_backups({one["Key"]: one["Value"] for one in to_tags([attached])}).values()
    world.run(scaling_calls.detach("e", [attached]))
    assert list(world.store.all("alarm")) == []
    world.run(scaling_calls.attach_all("e", [saved]))
    assert world.minutes(3, wanted=7) == 7
    assert world.run(find_lost("e", "AllTraffic")) is None


def test_alarms_and_policies_that_cannot_be_read_do_not_end_it(world, caplog):
    flown = pilot(world, alarms=("p99-high",))
    world.failing["describe_alarms"] = ThrottledError("Rate exceeded")
    found = flown.step()
    assert (found.action, found.reasons) == ("freeze", ("the alarms could not be read: Rate exceeded",))
    flown = pilot(world)
    world.failing["describe_alarms"] = AccessDeniedError("no")
    assert flown.step().action == "grow"
    assert "whether the step policy of endpoint e is still attached is not known" in caplog.text


def test_a_run_goes_on_after_an_error_that_passes_and_ends_after_one_that_lasts(world):
    flown = pilot(world)
    world.failing["put_metric_data"] = ThrottledError("Rate exceeded")
    tries: list[float] = []

    def sleep(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 4:
            world.failing.clear()

    flown._sleep = sleep
    found = list(flown.run(every=60, times=6))
    assert (len(found), len(tries)) == (2, 5)
    world.failing["put_metric_data"] = ThrottledError("Rate exceeded")
    flown._sleep = tries.append
    with pytest.raises(ThrottledError):
        list(flown.run(times=1))
    tries.clear()
    with pytest.raises(ThrottledError):
        list(flown.run(times=50))
    assert len(tries) == 9
    tries.clear()
    world.failing["put_metric_data"] = AccessDeniedError("no")
    with pytest.raises(AccessDeniedError):
        list(flown.run())
    assert tries == []


def test_an_endpoint_that_is_deleted_during_a_step_leaves_nothing_behind(world, monkeypatch):
    flown = pilot(world)
    flown.attach()
    update(world)
    assert flown.decide().observed.detached is not None
    decided = flown._decide

    def deleted_meanwhile() -> Any:
        found = decided()
        world.status = "Deleting"
        return found

    monkeypatch.setattr(flown, "_decide", deleted_meanwhile)
    with pytest.raises(EndpointNotFoundError, match="endpoint e was deleted by another client"):
        list(flown.run())
    assert [*world.store.all("alarm"), *world.store.all("scaling-policy"), *world.store.all("scalable-target")] == []
