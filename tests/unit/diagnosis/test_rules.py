"""Rules over observed values that need no simulation: each finds its fault, and nothing without it or without data."""

from __future__ import annotations

import ast
from datetime import datetime, timedelta
from typing import Any, get_args

import attrs
import numpy as np
import pytest

from mme_sdk.diagnosis import (
    Diagnosis,
    Finding,
    FindingKind,
    ObservedAlias,
    ObservedEndpoint,
    ObservedPolicy,
    ObservedRegistry,
    ObservedScaling,
    ObservedVariant,
    diagnose,
)
from mme_sdk.diagnosis.findings import KINDS
from mme_sdk.metrics import EndpointMetrics, Series
from mme_sdk.recording import RecordedMinute
from tests.support.diagnosis.simulated import START, URI, fleet, observed, target, traffic_of

HOUR = 3600.0
CPU, REQUESTS = "/aws/sagemaker/Endpoints CPUUtilization", "AWS/SageMaker InvocationsPerInstance"


@pytest.fixture(scope="module")
def well() -> ObservedEndpoint:
    """Two instances that serve 20 models for an hour, with nothing wrong."""
    traffic = traffic_of(np.random.default_rng(1), np.ones(20), calls=2600, seconds=1.3 * HOUR, service=4.0)
    return observed(traffic, fleet(2, 30), HOUR, warm=0.3 * HOUR)


def with_variant(seen: ObservedEndpoint, **changes: Any) -> ObservedEndpoint:
    return attrs.evolve(seen, variants=(attrs.evolve(seen.variants[0], **changes),))


def metrics(seen: ObservedEndpoint) -> EndpointMetrics:
    found = seen.variants[0].metrics
    assert found is not None
    return found


def one(found: Diagnosis, kind: FindingKind) -> Finding:
    assert [each.kind for each in found] == [kind], repr(found)
    (finding,) = found
    if finding.command is not None:
        ast.parse(finding.command.python)
        assert (finding.command.shell is None) == (kind == "throttling")  # the retries of a client have no command line
    return finding


def scaled(seen: ObservedEndpoint, metric: str, goal: float, values: Series | None, **more: Any) -> ObservedEndpoint:
    policy = ObservedPolicy(name="track", metric=metric, target=goal, values=values)
    given = {"min": 2, "max": 6, "settings": {"min": 2, "max": 6, "target": goal}} | more
    return with_variant(seen, scaling=ObservedScaling(policies=(policy,), **given))


def test_a_healthy_endpoint_has_no_finding(well: ObservedEndpoint) -> None:
    found = diagnose(well)
    assert found.findings == ()
    assert found.missing == ()
    assert bool(found)
    assert repr(found) == "0 findings about endpoint scoring in the 1 h until 2026-03-02 01:00 UTC"


@pytest.mark.parametrize("status", ["InService", "UpdateRollbackFailed"])
def test_a_rollback_is_found(well: ObservedEndpoint, status: str) -> None:
    failed = attrs.evolve(well, status=status, failure_reason="Unable to provision", failed_config="scoring-2")
    finding = one(diagnose(failed), "unseen_rollback")
    assert finding.command is not None
    assert finding.command.python == 'client.endpoint("scoring").rollback(to="scoring-2")'
    assert finding.command.shell == "mme endpoints rollback scoring --to scoring-2"
    assert {each.name: each.value for each in finding.evidence}["FailureReason"] == "Unable to provision"
    unknown = one(diagnose(attrs.evolve(failed, failed_config=None)), "unseen_rollback")
    assert unknown.command is not None
    assert "apply" in unknown.command.python


@pytest.mark.parametrize("status", ["Updating", "Failed", "RollingBack"])
def test_a_failure_that_nobody_can_overlook_is_not_a_rollback(well: ObservedEndpoint, status: str) -> None:
    assert diagnose(attrs.evolve(well, status=status, failure_reason="x")).of("unseen_rollback") == ()


def test_a_quota_that_a_change_met_is_found(well: ObservedEndpoint) -> None:
    text = (
        "ResourceLimitExceeded: The account-level service limit 'ml.m5.xlarge for endpoint usage' is 4 Instances, with "
        "current utilization of 3 Instances and a request delta of 2 Instances."
    )
    (finding,) = diagnose(attrs.evolve(well, failure_reason=text)).of("quota_near")
    assert [(each.name, each.value) for each in finding.evidence] == [("quota", 4.0), ("in use", 3.0)]
    assert finding.subject == "ml.m5.xlarge for endpoint usage"


def test_quotas_are_compared_with_instances_and_with_the_limits_of_autoscaling(well: ObservedEndpoint) -> None:
    def near(quota: int, **limits: Any) -> tuple[Finding, ...]:
        seen = attrs.evolve(well, quotas={"ml.m5.xlarge": quota})
        return diagnose(scaled(seen, CPU, 240.0, metrics(well).cpu, **limits) if limits else seen).of("quota_near")

    assert near(3) == ()
    assert "runs 2 of the 2 instances" in near(2)[0].summary
    assert near(6, min=2, max=6) == ()
    (over,) = near(4, min=2, max=6)
    assert over.command is not None
    assert "Autoscaling(min=2, max=4" in over.command.python
    assert diagnose(attrs.evolve(well, quotas={"ml.c5.large": 1})).findings == ()


def test_a_policy_whose_metric_has_no_values_is_found(well: ObservedEndpoint) -> None:
    finding = one(diagnose(scaled(well, REQUESTS, 600.0, Series((), ()))), "autoscaling_cannot_move")
    assert finding.command is not None
    assert finding.command.python == (
        'client.endpoint("scoring").autoscale(Autoscaling(min=2, max=6, target=60.0, metric="cpu"), '
        'variant="AllTraffic")'
    )
    assert diagnose(scaled(well, REQUESTS, 600.0, None)).findings == ()  # it could not be read
    quiet = attrs.evolve(metrics(well), invocations=Series((), ()), model_latency=Series((), ()))
    idle = scaled(with_variant(well, metrics=quiet), REQUESTS, 600.0, Series((), ()))
    assert diagnose(idle).of("autoscaling_cannot_move") == ()  # without requests, no metric of them has values


def test_an_asynchronous_endpoint_that_tracks_invocations_is_found(well: ObservedEndpoint) -> None:
    """It publishes no Invocations: only the latency shows that it has traffic."""
    queued = with_variant(well, metrics=attrs.evolve(metrics(well), invocations=Series((), ())))
    seen = scaled(queued, REQUESTS, 600.0, Series((), ()), min=0, max=4)
    finding = one(diagnose(seen), "autoscaling_cannot_move")
    assert finding.command is not None
    assert 'Autoscaling(min=0, max=4, target=5.0, metric="backlog")' in finding.command.python


def test_targets_that_a_full_instance_does_not_reach_are_found(well: ObservedEndpoint) -> None:
    cpu = metrics(well).cpu
    assert diagnose(scaled(well, CPU, 240.0, cpu)).findings == ()
    over = one(diagnose(scaled(well, CPU, 401.0, cpu)), "autoscaling_cannot_move")
    assert over.confidence > 0.9
    requests = metrics(well).invocations
    each = attrs.evolve(requests, values=tuple(value / 2 for value in requests.values))
    # 4 s of one of four vCPUs for each request: a full instance serves 60 a minute.
    assert diagnose(scaled(well, REQUESTS, 50.0, each)).findings == ()
    finding = one(diagnose(scaled(well, REQUESTS, 300.0, each)), "autoscaling_cannot_move")
    full = next(one.value for one in finding.evidence if one.name == "value of a full instance")
    assert full == pytest.approx(60, rel=0.5)
    blind = attrs.evolve(metrics(well), cpu=Series((), ()))
    assert diagnose(scaled(with_variant(well, metrics=blind), REQUESTS, 300.0, each)).findings == ()


def two_variants(well: ObservedEndpoint, **green: Any) -> ObservedEndpoint:
    variant = attrs.evolve(well.variants[0], name="blue", weight=1.0)
    other = attrs.evolve(variant, name="green", metrics=attrs.evolve(metrics(well), **green))
    return attrs.evolve(well, variants=(variant, other))


def test_variants_that_differ_are_found(well: ObservedEndpoint) -> None:
    seen = metrics(well)
    assert diagnose(two_variants(well)).findings == ()
    failing = attrs.evolve(seen.invocations, values=tuple(0.1 * value for value in seen.invocations.values))
    finding = one(diagnose(two_variants(well, errors_5xx=failing)), "variant_skew")
    assert (finding.subject, finding.severity) == ("green", "critical")
    assert finding.command is not None
    assert finding.command.python == 'client.endpoint("scoring").weights({"blue": 1.0, "green": 0.0})'
    slow = attrs.evolve(seen.model_latency, values=tuple(3 * value for value in seen.model_latency.values))
    assert "slower" in one(diagnose(two_variants(well, model_latency=slow)), "variant_skew").summary
    few = attrs.evolve(seen.invocations, values=tuple(0.3 * value for value in seen.invocations.values))
    assert "weight" in one(diagnose(two_variants(well, invocations=few)), "variant_skew").summary
    shifted = attrs.evolve(two_variants(well, invocations=few), modified=START + timedelta(minutes=5))
    assert diagnose(shifted).findings == ()  # the weights have changed in this time


def renamed(well: ObservedEndpoint, old: str, new: str, since: datetime) -> tuple[RecordedMinute, ...]:
    return tuple(
        attrs.evolve(each, model=new) if each.model == old and each.at >= since else each for each in well.minutes or ()
    )


def registry(well: ObservedEndpoint) -> ObservedRegistry:
    assert well.registry is not None
    return well.registry


def moved(well: ObservedEndpoint, since: datetime) -> ObservedRegistry:
    """The registry, in which the alias of the first model has moved from v2 to v3."""
    name = "tenant-000"
    found = registry(well)
    aliases = (
        ObservedAlias(name=name, alias="live", versions=("v3",), since=since, before=("v2",)),
        *found.aliases[1:],
    )
    return attrs.evolve(found, aliases=aliases, versions={**found.versions, f"{name}/v3.tar.gz": (name, "v3", START)})


def test_an_old_version_that_is_still_called_is_found(well: ObservedEndpoint) -> None:
    since = START + timedelta(minutes=10)
    finding = one(diagnose(attrs.evolve(well, registry=moved(well, since))), "old_version_called")
    assert finding.subject == target(0)
    assert "by tenant-000" in finding.summary
    assert finding.command is not None
    assert finding.command.python == 'client.endpoint("scoring").invoke(payload, model="tenant-000@live")'
    late = START + timedelta(minutes=50)  # too short ago to be sure
    assert diagnose(attrs.evolve(well, registry=moved(well, late))).findings == ()
    obedient = renamed(well, target(0), "tenant-000/v3.tar.gz", since)
    assert diagnose(attrs.evolve(well, registry=moved(well, since), minutes=obedient)).findings == ()
    older = ObservedAlias(name="tenant-000", alias="audit", versions=("v2",), since=START - timedelta(days=9))
    both = attrs.evolve(moved(well, since), aliases=(*moved(well, since).aliases, older))
    assert diagnose(attrs.evolve(well, registry=both)).findings == ()  # another alias refers to it


def test_a_deleted_model_that_is_still_called_is_found(well: ObservedEndpoint) -> None:
    known = registry(well)
    old = "tenant-000/v1.tar.gz"
    minutes = renamed(well, target(0), old, START)
    at = START + timedelta(minutes=20)
    deleted = attrs.evolve(known, deleted={old: at})
    finding = one(diagnose(attrs.evolve(well, registry=deleted, minutes=minutes)), "deleted_model_called")
    assert (finding.subject, finding.severity) == (old, "warning")  # a loaded copy still answers
    assert finding.command is not None
    assert "tenant-000@live" in finding.command.python
    gone = attrs.evolve(known, versions={key: each for key, each in known.versions.items() if key != old})
    assert one(diagnose(attrs.evolve(well, registry=gone, minutes=minutes)), "deleted_model_called").confidence < 0.9
    before = tuple(each for each in minutes if each.at < at - timedelta(minutes=5))
    assert diagnose(attrs.evolve(well, registry=deleted, minutes=before)).of("deleted_model_called") == ()
    assert diagnose(attrs.evolve(well, registry=None, minutes=minutes)).of("deleted_model_called") == ()


def test_an_alias_to_a_version_that_does_not_exist_is_found(well: ObservedEndpoint) -> None:
    known = registry(well)
    without = {key: each for key, each in known.versions.items() if key != target(0)}
    finding = one(diagnose(attrs.evolve(well, registry=attrs.evolve(known, versions=without))), "stale_alias")
    assert finding.subject == "tenant-000@live"
    assert finding.command is not None
    assert finding.command.python == f'client.models("{URI}").rollback("tenant-000", "live")'
    tombstone = attrs.evolve(known, deleted={target(0): START})
    assert one(diagnose(attrs.evolve(well, registry=tombstone)), "stale_alias").command == finding.command
    first = (attrs.evolve(known.aliases[0], before=()), *known.aliases[1:])
    newest = one(
        diagnose(attrs.evolve(well, registry=attrs.evolve(known, versions=without, aliases=first))), "stale_alias"
    )
    assert newest.command is not None
    assert newest.command.python == f'client.models("{URI}").alias("tenant-000", "live", "v1")'
    nothing = {key: each for key, each in without.items() if each[0] != "tenant-000"}
    last = one(diagnose(attrs.evolve(well, registry=attrs.evolve(known, versions=nothing))), "stale_alias")
    assert last.command is not None
    assert "unalias" in last.command.python


def test_an_alias_that_is_behind_for_long_is_found(well: ObservedEndpoint) -> None:
    known = registry(well)

    def uploaded(at: datetime) -> ObservedEndpoint:
        versions = {key: each for key, each in known.versions.items() if each[0] != "tenant-000"}
        versions[target(0)] = ("tenant-000", "v2", START - timedelta(days=99))
        versions["tenant-000/v3.tar.gz"] = ("tenant-000", "v3", at)
        return attrs.evolve(well, registry=attrs.evolve(known, versions=versions))

    old = attrs.evolve(known.aliases[0], since=START - timedelta(days=90))
    known = attrs.evolve(known, aliases=(old, *known.aliases[1:]))
    finding = one(diagnose(uploaded(START - timedelta(days=60))), "stale_alias")
    assert (finding.severity, finding.confidence) == ("info", 0.5)
    assert diagnose(uploaded(START - timedelta(days=2))).findings == ()


def test_aliases_of_keys_with_another_template_are_not_called_stale(well: ObservedEndpoint) -> None:
    known = registry(well)
    keys = {f"tenant-{number:03}-v2.tar.gz": (f"tenant-{number:03}-v2.tar.gz", "", START) for number in range(20)}
    found = diagnose(attrs.evolve(well, registry=attrs.evolve(known, versions=keys), minutes=()))
    assert found.findings == ()
    assert any("give key=" in each and "tenant-000@live" in each for each in found.missing)


def test_a_long_diagnosis_is_shown_in_short(well: ObservedEndpoint) -> None:
    known = registry(well)
    aliases = tuple(attrs.evolve(known.aliases[0], alias=f"a{number}", versions=("v9",)) for number in range(30))
    found = diagnose(attrs.evolve(well, registry=attrs.evolve(known, aliases=aliases)))
    assert len(found) == 30
    assert "… 10 more" in repr(found)


def failing(well: ObservedEndpoint, since: datetime, error: str) -> ObservedEndpoint:
    minutes = tuple(
        attrs.evolve(each, errors={error: each.calls}) if each.model == target(0) and each.at >= since else each
        for each in well.minutes or ()
    )
    return attrs.evolve(well, minutes=minutes)


@pytest.mark.parametrize("error", ["ModelServerError", "ModelNotReadyError", "ModelNotFoundError"])
def test_a_model_that_fails_is_found(well: ObservedEndpoint, error: str) -> None:
    finding = one(diagnose(failing(well, START, error)), "failing_model")
    assert (finding.subject, finding.confidence) == (target(0), 0.95)
    assert finding.command is not None
    assert finding.command.python == f'client.models("{URI}").rollback("tenant-000", "live")'
    later = one(diagnose(failing(well, START + timedelta(minutes=30), error)), "failing_model")
    assert later.confidence < 0.95
    blind = one(diagnose(attrs.evolve(failing(well, START, "ModelServerError"), registry=None)), "failing_model")
    assert blind.command is not None
    assert "logs" in blind.command.python


def test_a_model_that_may_still_be_loading_does_not_fail(well: ObservedEndpoint) -> None:
    late = START + timedelta(minutes=55)
    assert diagnose(failing(well, late, "ModelNotReadyError")).findings == ()
    one(diagnose(failing(well, late, "ModelServerError")), "failing_model")


def test_what_callers_do_wrong_is_not_a_failing_model(well: ObservedEndpoint) -> None:
    assert diagnose(failing(well, START, "ModelInputError")).findings == ()
    assert diagnose(failing(well, START, "ThrottledError")).of("failing_model") == ()


def test_throttling_names_the_tenant_with_most_calls(well: ObservedEndpoint) -> None:
    minutes = tuple(
        attrs.evolve(each, throttles=each.calls, calls=20 * each.calls if each.model == target(3) else each.calls)
        for each in well.minutes or ()
    )
    finding = one(diagnose(attrs.evolve(well, minutes=minutes)), "throttling")
    assert (finding.subject, finding.severity) == ("tenant-003", "warning")
    lost = (attrs.evolve(minutes[0], errors={"ThrottledError": 1}), *minutes[1:])
    assert one(diagnose(attrs.evolve(well, minutes=lost)), "throttling").severity == "critical"


def test_nothing_is_found_in_nothing() -> None:
    end = START + timedelta(hours=24)
    empty = ObservedEndpoint(name="scoring", status="InService", start=START, end=end, missing=("metrics: denied",))
    found = diagnose(attrs.evolve(empty, variants=(ObservedVariant(name="AllTraffic", instance_count=9),)))
    assert found.findings == ()
    assert found.missing[0] == "metrics: denied"
    assert any("no recordings" in each for each in found.missing)
    assert "not known: metrics: denied" in repr(found)


def test_findings_are_shown_in_a_terminal_and_in_a_notebook(well: ObservedEndpoint) -> None:
    worse = attrs.evolve(
        well,
        status="InService",
        failure_reason="<script>",
        failed_config="scoring-2",
        registry=attrs.evolve(registry(well), deleted={target(0): START}),
    )
    found = diagnose(worse)
    assert [each.severity for each in found] == ["critical", "warning"]
    text, page = repr(found), found._repr_html_()
    assert "shell     mme endpoints rollback scoring --to scoring-2" in text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "critical" in found.findings[0]._repr_html_()
    assert [each.kind for each in found.of("stale_alias")] == ["stale_alias"]
    assert len(found) == 2


def test_every_kind_is_ordered_and_documented() -> None:
    assert sorted(KINDS) == sorted(get_args(FindingKind))


def test_commands_are_quoted(well: ObservedEndpoint) -> None:
    name = "it's a $(model) / \u00e9"
    known = attrs.evolve(
        registry(well),
        key="{name}/{version}/model.tar.gz",
        versions={},
        aliases=(ObservedAlias(name=name, alias="live", versions=("v1",), since=START),),
    )
    (finding,) = diagnose(attrs.evolve(well, registry=known, minutes=())).findings
    assert finding.command is not None
    call = ast.parse(finding.command.python, mode="eval").body
    assert isinstance(call, ast.Call)
    assert [each.value for each in call.args if isinstance(each, ast.Constant)] == [name, "live"]
    assert 'key="{name}/{version}/model.tar.gz"' in finding.command.python
    known = attrs.evolve(known, versions={"x": (name, "v0", START)})
    (finding,) = diagnose(attrs.evolve(well, registry=known, minutes=())).findings
    assert finding.command is not None
    assert finding.command.shell is not None
    assert finding.command.shell.endswith("--key '{name}/{version}/model.tar.gz'")
