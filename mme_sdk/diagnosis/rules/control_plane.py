"""Findings about settings: a rollback, autoscaling that cannot move, variants that differ, and quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from mme_sdk import instance_types
from mme_sdk.diagnosis import commands
from mme_sdk.diagnosis.findings import Command, Evidence, Finding
from mme_sdk.diagnosis.observation import (
    ObservedEndpoint,
    ObservedPolicy,
    ObservedScaling,
    ObservedVariant,
)
from mme_sdk.diagnosis.rules.capacity import thrashing
from mme_sdk.metrics import EndpointMetrics

__all__ = ["autoscaling_cannot_move", "quota_near", "unseen_rollback", "variant_skew"]

_TRAFFIC = 60  # requests from which on a metric of requests has values
_SOME_CPU = 20.0  # percent, from which on the requests that fill an instance can be computed
_COMPARED = 200  # requests of each variant
_ERRORS, _SLOWER, _SHIFTED = 0.05, 2.0, 0.15
_NEAR = 0.9
_UNMOVED = 0.8  # of the target
_QUOTA = re.compile(r"service limit '([^']+)' is (\d+) Instances?, with current utilization of (\d+)")


def unseen_rollback(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find an endpoint that is in service with the configuration before its last update."""
    if endpoint.status not in ("InService", "UpdateRollbackFailed") or not endpoint.failure_reason:
        return
    command = commands.retry_update(endpoint)
    evidence = [
        Evidence(name="FailureReason", value=endpoint.failure_reason, source="DescribeEndpoint"),
        Evidence(name="EndpointStatus", value=endpoint.status, source="DescribeEndpoint"),
    ]
    if endpoint.config_name is not None:
        evidence.append(Evidence(name="configuration", value=endpoint.config_name, source="DescribeEndpoint"))
    if endpoint.modified is not None:
        evidence.append(Evidence(name="changed at", value=_time(endpoint.modified), source="DescribeEndpoint"))
    yield Finding(
        kind="unseen_rollback",
        severity="critical" if endpoint.status == "UpdateRollbackFailed" else "warning",
        confidence=1.0,
        subject=endpoint.name,
        summary=f"the last change of {endpoint.name} failed, and the endpoint serves with its earlier settings",
        evidence=tuple(evidence),
        remedy=f"remove the cause, then update to {endpoint.failed_config} again"
        if command is not None
        else "remove the cause, then apply the spec again",
        command=command
        or Command('client.endpoints.apply(EndpointSpec.from_yaml("spec.yaml"))', "mme endpoints apply spec.yaml"),
    )


def autoscaling_cannot_move(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find policies that track a metric without values, or a target that the variant cannot reach."""
    for variant in endpoint.variants:
        scaling, seen = variant.scaling, variant.metrics
        if scaling is None or seen is None:
            continue
        for policy in scaling.policies:
            if policy.values is None:
                continue
            if not policy.values and (seen.invocations.total >= _TRAFFIC or len(seen.model_latency)):
                yield _without_values(endpoint, variant, scaling, policy, seen)
                continue
            finding = _out_of_reach(endpoint, variant, scaling, policy, seen)
            if finding is None:
                finding = _unaware(endpoint, variant, policy)
            if finding is not None:
                yield finding


def _without_values(
    endpoint: ObservedEndpoint,
    variant: ObservedVariant,
    scaling: ObservedScaling,
    policy: ObservedPolicy,
    seen: EndpointMetrics,
) -> Finding:
    return Finding(
        kind="autoscaling_cannot_move",
        severity="warning",
        confidence=0.95,
        subject=variant.name,
        summary=f"autoscaling of variant {variant.name} cannot move: its metric, {policy.metric}, has no values",
        evidence=(
            Evidence(name="data points", value=0, source=f"CloudWatch {policy.metric}", period=endpoint.seconds),
            Evidence(
                name="requests",
                value=seen.invocations.total,
                source="CloudWatch Invocations Sum",
                period=endpoint.seconds,
            ),
            Evidence(name="target", value=policy.target, source=f"scaling policy {policy.name}"),
        ),
        remedy="track a metric that the variant publishes",
        command=commands.autoscale(endpoint, variant, _settings(variant, scaling)),
    )


def _out_of_reach(
    endpoint: ObservedEndpoint,
    variant: ObservedVariant,
    scaling: ObservedScaling,
    policy: ObservedPolicy,
    seen: EndpointMetrics,
) -> Finding | None:
    """Return a finding if the variant is full before the metric reaches its target."""
    vcpus = None if variant.instance_type is None else instance_types.vcpus(variant.instance_type)
    if vcpus is None:
        return None
    if policy.metric.endswith(" CPUUtilization"):
        most, source, certain = 100.0 * vcpus, f"{vcpus} vCPUs of {variant.instance_type}", 0.99
    elif policy.metric.endswith(" InvocationsPerInstance") and policy.values is not None:
        cpu = {at: value / vcpus for at, value in seen.cpu}
        filled = [100.0 * value / cpu[at] for at, value in policy.values if cpu.get(at, 0.0) >= _SOME_CPU]
        if len(filled) < 3:
            return None
        most, source, certain = max(filled), "CloudWatch InvocationsPerInstance and CPUUtilization", 0.8
        if policy.target < 1.2 * most:  # leaves a margin for the error of the extrapolation
            return None
    else:
        return None
    if policy.target <= most:
        return None
    reached = max(policy.values.values, default=0.0) if policy.values is not None else 0.0
    return Finding(
        kind="autoscaling_cannot_move",
        severity="warning",
        confidence=certain,
        subject=variant.name,
        summary=f"autoscaling of variant {variant.name} adds no instance: {policy.metric} cannot reach its target of "
        f"{policy.target:g}",
        evidence=(
            Evidence(name="target", value=policy.target, source=f"scaling policy {policy.name}"),
            Evidence(
                name="highest value", value=reached, source=f"CloudWatch {policy.metric}", period=endpoint.seconds
            ),
            Evidence(name="value of a full instance", value=most, source=source),
        ),
        remedy="choose a target below that, such as 60 percent of the CPU",
        command=commands.autoscale(endpoint, variant, _settings(variant, scaling)),
    )


def _unaware(endpoint: ObservedEndpoint, variant: ObservedVariant, policy: ObservedPolicy) -> Finding | None:
    """Return a finding if the memory is too small for the models, which the metric does not show."""
    small = next((one for one in thrashing(endpoint) if one.subject == variant.name), None)
    if small is None or not policy.values or max(policy.values.values) >= _UNMOVED * policy.target:
        return None
    return Finding(
        kind="autoscaling_cannot_move",
        severity="warning",
        confidence=min(0.8, small.confidence),
        subject=variant.name,
        summary=f"autoscaling of variant {variant.name} adds no instance although its memory is too small: "
        f"{policy.metric} does not come near its target of {policy.target:g}",
        evidence=(
            Evidence(name="target", value=policy.target, source=f"scaling policy {policy.name}"),
            Evidence(
                name="highest value",
                value=max(policy.values.values),
                source=f"CloudWatch {policy.metric}",
                period=endpoint.seconds,
            ),
            *small.evidence[:2],
        ),
        remedy="raise the minimum of autoscaling: no metric that it can track shows the memory that models need",
        command=small.command,
    )


def _settings(variant: ObservedVariant, scaling: ObservedScaling) -> dict[str, object]:
    """Return autoscaling on a metric that every variant of its kind publishes, with the limits that it has."""
    gpu = variant.instance_type is not None and instance_types.accelerator(variant.instance_type) == "gpu"
    metric = "gpu" if gpu else "cpu"
    if scaling.min == 0:  # only an asynchronous endpoint can have no instance
        return {"min": 0, "max": scaling.max, "target": 5.0, "metric": "backlog"}
    return {"min": scaling.min, "max": scaling.max, "target": 60.0, "metric": metric}


def variant_skew(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find variants of one endpoint that fail more, answer later, or get another share than their weight."""
    known = [one for one in endpoint.variants if one.metrics is not None]
    compared = [one for one in known if one.metrics is not None and one.metrics.invocations.total >= _COMPARED]
    if len(compared) < 2:
        return
    shares = {one.name: (_errors(one.metrics), _latency(one.metrics)) for one in compared if one.metrics is not None}
    by_errors = sorted(compared, key=lambda one: shares[one.name][0])
    best, worst = by_errors[0], by_errors[-1]
    low, high = shares[best.name][0], shares[worst.name][0]
    if high - low >= _ERRORS and high >= 3 * low:
        yield _skew(endpoint, best, worst, "errors for each request", low, high, "fails more often than")
        return
    timed = [one for one in compared if shares[one.name][1] is not None and one.instance_type == best.instance_type]
    timed.sort(key=lambda one: shares[one.name][1] or 0.0)
    if len(timed) >= 2:
        fast, slow = shares[timed[0].name][1] or 0.0, shares[timed[-1].name][1] or 0.0
        if slow >= _SLOWER * fast and slow - fast >= 0.01:
            yield _skew(endpoint, timed[0], timed[-1], "time in the container", fast, slow, "is slower than")
            return
    total = sum(one.metrics.invocations.total for one in known if one.metrics is not None)
    weight = sum(one.weight or 0.0 for one in endpoint.variants)
    if len(known) < len(endpoint.variants) or not weight or _changed(endpoint):
        return
    for one in known:
        assert one.metrics is not None
        got, wanted = one.metrics.invocations.total / total, (one.weight or 0.0) / weight
        if got - wanted >= _SHIFTED:
            yield Finding(
                kind="variant_skew",
                severity="info",
                confidence=0.7,
                subject=one.name,
                summary=f"variant {one.name} gets {got:.0%} of the requests, and its weight is {wanted:.0%}: callers "
                "name it as the target variant",
                evidence=(
                    Evidence(
                        name="share of the requests",
                        value=got,
                        source="CloudWatch Invocations Sum",
                        period=endpoint.seconds,
                    ),
                    Evidence(name="share of the weights", value=wanted, source="DescribeEndpoint"),
                ),
                remedy="leave out variant=… in the calls, or give the variant the weight that it is used with",
                command=commands.weights(endpoint, {each.name: _requests(each) / total for each in known}),
            )


def _skew(
    endpoint: ObservedEndpoint,
    best: ObservedVariant,
    worst: ObservedVariant,
    what: str,
    low: float,
    high: float,
    verb: str,
) -> Finding:
    timed = what.startswith("time")
    metric = "ModelLatency Average" if timed else "Invocation5XXErrors, InvocationModelErrors and Invocations Sum"

    def evidence(variant: ObservedVariant, value: float) -> Evidence:
        return Evidence(
            name=f"{what} of {variant.name}",
            value=value,
            unit="s" if timed else "",
            source=f"CloudWatch {metric}",
            period=endpoint.seconds,
        )

    return Finding(
        kind="variant_skew",
        severity="warning" if timed else "critical",
        confidence=0.9,
        subject=worst.name,
        summary=f"variant {worst.name} {verb} {best.name}",
        evidence=(
            evidence(worst, high),
            evidence(best, low),
            Evidence(
                name=f"requests of {worst.name}",
                value=_requests(worst),
                source="CloudWatch Invocations Sum",
                period=endpoint.seconds,
            ),
        ),
        remedy=f"send the traffic of {worst.name} to the other variants until the cause is known",
        command=commands.weights(
            endpoint,
            {one.name: 0.0 if one is worst else one.weight or 1.0 for one in endpoint.variants},
        ),
    )


def quota_near(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find variants whose instances, now or at autoscaling's maximum, come near a quota; and changes that met one."""
    met = _QUOTA.search(endpoint.failure_reason or "")
    if met is not None:
        limit, used = float(met[2]), float(met[3])
        yield Finding(
            kind="quota_near",
            severity="critical",
            confidence=1.0,
            subject=met[1],
            summary=f"a change of {endpoint.name} met the quota {met[1]!r}",
            evidence=(
                Evidence(name="quota", value=limit, source="FailureReason of DescribeEndpoint"),
                Evidence(name="in use", value=used, source="FailureReason of DescribeEndpoint"),
            ),
            remedy="have the quota raised in Service Quotas, or delete what is not used",
            command=Command("client.endpoints.orphans()", "mme endpoints orphans"),
        )
    for variant in endpoint.variants:
        quota = (endpoint.quotas or {}).get(variant.instance_type or "")
        count = variant.instance_count
        if quota is None or count is None:
            continue
        most = max(count, variant.scaling.max if variant.scaling is not None else count)
        if most <= quota and count < _NEAR * quota:
            continue
        over = most > quota
        allowed = max(1, quota)
        limits = variant.scaling
        lower: Command | None = None
        if over and limits is not None and limits.settings is not None:
            settings = {**limits.settings, "min": min(limits.min, allowed), "max": allowed}
            lower = commands.autoscale(endpoint, variant, settings)
        yield Finding(
            kind="quota_near",
            severity="warning",
            confidence=0.8,
            subject=variant.name,
            summary=f"variant {variant.name} can grow to {most} instances of {variant.instance_type}, and the quota of "
            f"the account is {quota}"
            if over
            else f"variant {variant.name} runs {count} of the {quota} instances of {variant.instance_type} that the "
            "account may have",
            evidence=(
                Evidence(name="quota", value=quota, source="quotas of the call"),
                Evidence(name="instances of this variant", value=count, source="DescribeEndpoint"),
                Evidence(name="largest number of instances", value=most, source="Application Auto Scaling"),
            ),
            remedy="have the quota raised in Service Quotas; until then, autoscaling must end at it"
            if over
            else "have the quota raised in Service Quotas before the next update: it needs a second fleet",
            command=lower or Command("client.endpoints.orphans()", "mme endpoints orphans"),
        )


def _errors(seen: EndpointMetrics) -> float:
    """Return the errors of the container for each request. The two series overlap, so the larger one counts."""
    return max(seen.errors_5xx.total, seen.model_errors.total) / max(seen.invocations.total, 1.0)


def _latency(seen: EndpointMetrics) -> float | None:
    weights = dict(seen.invocations)
    pairs = [(value, weights.get(time, 0.0)) for time, value in seen.model_latency]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None


def _requests(variant: ObservedVariant) -> float:
    return 0.0 if variant.metrics is None else variant.metrics.invocations.total


def _changed(endpoint: ObservedEndpoint) -> bool:
    return endpoint.modified is not None and endpoint.modified > endpoint.start


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
