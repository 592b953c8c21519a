"""The autopilot against the services of the embedded SageMaker: a journal in S3, metric and policy, commands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from mme_sdk import EndpointSpec
from mme_sdk.autopilot import Autopilot, Bounds, Goal, Journal, Machine, Rule
from mme_sdk.cli.__main__ import main
from mme_sdk.endpoints.spec.scaling_requests import scaling_target
from mme_sdk.planning import Catalogue
from tests.support.first_hour.world import IMAGE, ROLE

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def client(local):
    s3 = local.boto("s3")
    s3.create_bucket(Bucket="piloted")
    s3.close()
    spec = EndpointSpec.multi_model(
        name="piloted", models="s3://piloted/prod/", image=IMAGE, role=ROLE, instance_type="ml.m5.large"
    )
    with local.client() as made:
        endpoint = made.endpoints.create(spec, timeout=60)
        yield made
        endpoint.autoscale(None)
        endpoint.delete()


def pilot(client, **changes) -> Autopilot:
    calls = {NOW - timedelta(minutes=age): {f"m{number}": 30 for number in range(30)} for age in range(1, 61)}
    settings = {
        "rule": Rule(goal=Goal(cold_share=0.001)),
        "bounds": Bounds(smallest=1, largest=3),
        "machine": Machine.of("ml.m5.large", price=0.1),
        "catalogue": Catalogue.uniform(memory_mb=400),
        "calls": lambda _: calls,
        "journal": "s3://piloted/journal/",
        "clock": lambda: NOW,
    }
    return Autopilot(client, "piloted", **(settings | changes))


def test_a_dry_run_changes_nothing_and_leaves_a_record_in_s3(client, local, monkeypatch, capsys):
    flown = pilot(client)
    found = flown.step()
    assert (found.action, found.before, found.count) == ("grow", 1, 3)
    assert client.endpoint("piloted").describe().variants[0].desired_count == 1
    flown.close()
    for name, value in local.environ().items():
        monkeypatch.setenv(name, value)
    assert main(["autopilot", "explain", "piloted", "--journal", "s3://piloted/journal/", "--repeat"]) == 0
    reported = capsys.readouterr().out
    assert "grow, 1 → 3" in reported
    assert "1 of 1 decisions are the same" in reported


def test_a_new_process_goes_on_where_the_journal_ends_and_reads_no_older_decision(client, local, monkeypatch):
    journal = Journal("s3://piloted/journal/", session=local.session(), endpoint_url=local.s3_endpoint_url)
    (decided,) = journal.read(endpoint="piloted")
    for age in (30, 20, 10):
        journal.add(attrs.evolve(decided, at=NOW - timedelta(minutes=age)))
    journal.add(attrs.evolve(decided, endpoint="other", at=NOW + timedelta(seconds=20)))
    names = {"endpoint": "piloted", "variant": "AllTraffic", "start": NOW - timedelta(days=1)}
    asked = []
    call = journal._place._call
    monkeypatch.setattr(journal._place, "_call", lambda name, **params: asked.append(name) or call(name, **params))
    newest = journal.last(**names, end=NOW + timedelta(minutes=1))
    assert newest is not None
    assert newest.at == NOW
    assert asked == ["list_objects_v2", "get_object"]  # neither that of the other endpoint, nor the older ones
    before = journal.last(**names, end=NOW)
    assert before is not None
    assert before.at == NOW - timedelta(minutes=10)
    assert journal.last(**names, end=NOW - timedelta(hours=1)) is None
    journal.close()
    later = pilot(client, clock=lambda: NOW + timedelta(minutes=1))
    assert later.decide().previous.at == NOW
    later.close()


def test_the_attached_policy_and_the_metric_are_there_and_go_again(client, local):
    flown = pilot(client, journal=None, apply="metric")
    flown.attach()
    scaling = client.endpoint("piloted").describe().variants[0].autoscaling
    assert scaling is not None
    assert [one["PolicyName"] for one in scaling.policies] == ["piloted-AllTraffic-autopilot"]
    flown.step()
    cloudwatch = local.boto("cloudwatch")
    values = cloudwatch.get_metric_statistics(
        Namespace="mme_sdk", MetricName="DesiredInstances", Statistics=["Maximum"], Period=60,
        Dimensions=[{"Name": "EndpointName", "Value": "piloted"}, {"Name": "VariantName", "Value": "AllTraffic"}],
        StartTime=NOW - timedelta(minutes=5), EndTime=NOW + timedelta(minutes=5),
    )["Datapoints"]  # fmt: skip
    assert [one["Maximum"] for one in values] == [3.0]
    scaling = local.boto("application-autoscaling")
    scaling.deregister_scalable_target(**scaling_target("piloted", "AllTraffic"))
    scaling.close()
    assert "it is attached again" in flown.step().reasons[0]
    described = client.endpoint("piloted").describe().variants[0].autoscaling
    (alarm,) = cloudwatch.describe_alarms(AlarmNamePrefix="mme_sdk/piloted/")["MetricAlarms"]
    assert alarm["AlarmActions"] == [one["PolicyARN"] for one in described.policies]
    flown.detach()
    assert cloudwatch.describe_alarms(AlarmNamePrefix="mme_sdk/piloted/")["MetricAlarms"] == []
    cloudwatch.close()


def test_a_model_of_last_week_is_called_early_and_one_that_is_gone_does_not_end_the_step(client, caplog):
    few = {NOW - timedelta(minutes=2): {"m0": 30}}  # an instance has space beside it
    flown = pilot(client, calls=lambda _: few, apply="metric", journal="s3://piloted/week/", learn=True, warm=20)
    at = NOW - timedelta(days=7) + timedelta(minutes=19)
    calls = {at - timedelta(minutes=2): {"gone.tar.gz": 5}}
    past = pilot(client, calls=lambda _: calls, clock=lambda: at, journal="s3://piloted/week/")
    past.step()
    past.close()
    caplog.set_level("INFO", "mme_sdk.autopilot.autopilot")
    for _ in range(2):
        assert flown.step().action == "hold"
    assert caplog.text.count("endpoint piloted: 0 models are loaded, 0 did not fit, 1 failed") == 1
    flown.close()


def test_an_alarm_and_unreadable_calls_freeze_it(client):
    missing = pilot(client, alarms=("p99-high",), journal=None).decide()
    assert (missing.action, missing.count) == ("freeze", 1)
    assert "p99-high (there is none)" in missing.reasons[-1]

    def broken(_: datetime) -> dict[datetime, dict[str, int]]:
        from mme_sdk.errors import ServiceError

        raise ServiceError("the disk is full")

    unread = pilot(client, calls=broken, journal=None).decide()
    assert unread.reasons == ("the calls could not be read: the disk is full",)


def test_commands_refuse_two_values_of_waiting_and_show_a_decision(client, local, monkeypatch, capsys, tmp_path):
    for name, value in local.environ().items():
        monkeypatch.setenv(name, value)
    common = ["autopilot", "decide", "piloted", "--largest", "3", "--cold-share", "0.01"]
    assert main([*common, "--cold-seconds", "400", "--cold-price", "1", "--recordings", str(tmp_path)]) == 64
    assert main([*common, "--cold-seconds", "400", "--shrink-by", "3", "--recordings", str(tmp_path)]) == 0
    assert "freeze, 1 → 1" in capsys.readouterr().out


def test_records_say_all_that_a_decision_was_made_from(client, tmp_path):
    flown = pilot(client, journal=tmp_path)
    first = flown.step()
    assert attrs.asdict(Journal(tmp_path).read()[0].state) == attrs.asdict(first.state)
