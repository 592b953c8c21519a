"""Findings about the traffic of single models and tenants: a hot model, a spilling model, and throttling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import attrs

from mme_sdk import instance_types
from mme_sdk.diagnosis import commands
from mme_sdk.diagnosis.findings import Command, Cost, Evidence, Finding
from mme_sdk.diagnosis.observation import ObservedEndpoint, ObservedVariant
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["hot_model", "spilling_model", "throttling"]

_MINUTES = 8  # of traffic that show how latency depends on it
_FEW_CALLS = 50  # in the busy minutes, and in the quiet ones
_SLOWER, _BUSIER = 2.0, 1.5
_SHARE = 0.4  # of the busy time that one model must have to be the cause
_OUTSTANDING = 2.0  # requests at a time in the busiest minute
_COPIES, _IN_USE = 3, 3  # further copies; answers in a minute of a model that is in use
_THRASHING = 0.7  # hit ratio under which models in use are unloaded
_THROTTLED = 0.01  # throttled requests for each call
_FEW_THROTTLES = 10


@attrs.define
class _Minute:
    """The calls of one model in one minute, of all tenants."""

    calls: int = 0
    cold: int = 0
    warm: int = 0
    warm_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def warm_enough(self) -> bool:
        """Whether the model was in memory, and calls came often enough to keep it there."""
        return self.cold == 0 and self.warm >= _IN_USE


def hot_model(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find models whose latency rises with their own traffic."""
    for variant, minutes in _by_variant(endpoint):
        models = _by_model(minutes)
        busy_seconds = {at: sum(one[at].seconds for one in models.values() if at in one) for at in _times(models)}
        for target, found in models.items():
            ordered = sorted((one for one in found.items() if one[1].warm), key=lambda one: one[1].calls)
            if len(ordered) < _MINUTES:
                continue
            quiet = [one for _, one in ordered[: len(ordered) // 2]]
            busiest = ordered[-(len(ordered) // 4) :]
            busy = [one for _, one in busiest]
            slow, fast = _latency(busy), _latency(quiet)
            if slow is None or fast is None or slow < _SLOWER * fast:
                continue
            often, seldom = (sum(one.calls for one in some) / len(some) for some in (busy, quiet))
            if often < _BUSIER * seldom:
                continue
            share = sum(one.seconds for one in busy) / max(sum(busy_seconds[at] for at, _ in busiest), 1e-9)
            if share < _SHARE:
                continue
            evidence = [
                _recorded("latency in its busiest quarter of the minutes", slow, "s", endpoint),
                _recorded("latency in its quieter half of the minutes", fast, "s", endpoint),
                _recorded("calls per minute when busy", often, "", endpoint),
                _recorded("calls per minute when quiet", seldom, "", endpoint),
                _recorded("share of the time of all models when busy", share, "", endpoint),
            ]
            cpu = _cpu_at(variant, [at for at, _ in busiest])
            if cpu is not None:
                evidence.append(
                    Evidence(
                        name="CPU in these minutes",
                        value=cpu,
                        unit="percent of all vCPUs",
                        source="CloudWatch CPUUtilization Average",
                        period=60.0 * len(busiest),
                    )
                )
            yield Finding(
                kind="hot_model",
                severity="warning",
                confidence=0.9 if cpu is not None and cpu > 60 else 0.75,
                subject=target,
                summary=f"model {target} takes {slow / fast:.1f} times as long when it is busy, and it is what keeps "
                f"variant {variant.name} busy then",
                evidence=tuple(evidence),
                cost=Cost(
                    value=sum(one.warm_seconds for one in busy) - fast * sum(one.warm for one in busy),
                    unit="seconds waited",
                    source="the latency beyond that of quiet minutes, of each call in the busy ones",
                ),
                remedy="create an endpoint for this model, and let its callers use it; the other models keep theirs",
                command=commands.dedicated(endpoint, variant, target, own_name(endpoint.name, target)),
            )


def spilling_model(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find a model that is cold again and again while it is in use: SageMaker loads further copies of it."""
    for variant, minutes in _by_variant(endpoint):
        seen, count = variant.metrics, variant.instance_count
        if count is None or count < 2 or not variant.cached or not endpoint.multi_model:
            continue
        if seen is not None and seen.hit_ratio is not None and seen.hit_ratio < _THRASHING:
            continue  # any model is unloaded then
        models = _by_model(minutes)
        again = {target: len(_copies(found)) for target, found in models.items()}
        target = max(sorted(again), key=lambda one: again[one], default=None)
        # Each instance can load a model once without any trouble.
        if target is None or again[target] < max(_COPIES, count):
            continue
        second = max((times for one, times in again.items() if one != target), default=0)
        if again[target] < 3 * second:
            continue  # the memory is too small for all of them
        found = models[target]
        peak = max(one.seconds for one in found.values()) / 60.0
        if peak < _OUTSTANDING:
            continue
        times = _copies(found)
        waited = sum(one.cold_seconds for one in minutes if one.model == target and one.at in times)
        yield Finding(
            kind="spilling_model",
            severity="warning",
            confidence=0.8,
            subject=target,
            summary=f"model {target} has so many requests at a time that SageMaker loads further copies of it, and its "
            f"callers waited for {len(times)} of them although it was in use",
            evidence=(
                _recorded("times that it was cold while it was in use", len(times), "", endpoint),
                _recorded("requests at a time in its busiest minute", peak, "", endpoint),
                _recorded("times that the next model was", second, "", endpoint),
                Evidence(name="instances", value=count, source="DescribeEndpoint"),
            ),
            cost=Cost(value=waited, unit="cold seconds", source="recordings, of the minutes with further copies"),
            remedy="create an endpoint for this model, and let its callers use it; then its copies take no memory from "
            "other models",
            command=commands.dedicated(endpoint, variant, target, own_name(endpoint.name, target)),
        )


def _copies(minutes: dict[datetime, _Minute]) -> list[datetime]:
    """Return the minutes in which a model was cold although it had been answered in each of the two minutes before."""
    one, two = timedelta(minutes=1), timedelta(minutes=2)
    return [
        at
        for at, found in sorted(minutes.items())
        if found.cold and all(before in minutes and minutes[before].warm_enough for before in (at - one, at - two))
    ]


def throttling(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find throttled requests, and the tenant that sends most of them."""
    minutes = endpoint.minutes or ()
    throttles, calls = sum(one.throttles for one in minutes), sum(one.calls for one in minutes)
    if throttles < max(_FEW_THROTTLES, _THROTTLED * calls):
        return
    sent: dict[str, int] = {}
    refused: dict[str, int] = {}
    for one in minutes:
        tenant = one.tenant if one.tenant is not None else one.model or "callers that are not known"
        sent[tenant] = sent.get(tenant, 0) + one.calls
        refused[tenant] = refused.get(tenant, 0) + one.throttles
    first = max(sorted(sent), key=lambda one: sent[one])
    lost = sum(one.errors.get("ThrottledError", 0) for one in minutes)
    share = sent[first] / max(calls, 1)
    yield Finding(
        kind="throttling",
        severity="critical" if lost else "warning",
        confidence=0.95,
        subject=first,
        summary=f"{throttles} requests were throttled, and {share:.0%} of the calls come from {first}",
        evidence=(
            _recorded("throttled requests", throttles, "", endpoint),
            _recorded("calls", calls, "", endpoint),
            _recorded("calls that failed by throttling", lost, "", endpoint),
            _recorded(f"calls of {first}", sent[first], "", endpoint),
            _recorded(f"throttled requests of {first}", refused[first], "", endpoint),
        ),
        remedy=f"let the clients of {first} repeat throttled requests later and seldom, or have the quota of "
        "InvokeEndpoint raised in Service Quotas",
        command=Command(
            "client = client.with_options(retry=RetryPolicy(throttle_base=5, throttle_cap=60))",
        ),
    )


def own_name(endpoint: str, target: str) -> str:
    """Return a name for an endpoint that serves one model of another endpoint."""
    model = re.sub(r"[^a-zA-Z0-9]+", "-", target.removesuffix(".tar.gz")).strip("-")
    return f"{endpoint[: max(1, 62 - len(model))].rstrip('-')}-{model}"[:63].rstrip("-")


def _by_variant(endpoint: ObservedEndpoint) -> Iterator[tuple[ObservedVariant, list[RecordedMinute]]]:
    """Yield the variants with their minutes. Those of an unknown variant belong to the only one."""
    only = len(endpoint.variants) == 1
    for variant in endpoint.variants:
        names = (None, variant.name) if only else (variant.name,)
        minutes = [one for one in endpoint.minutes or () if one.variant in names]
        if minutes:
            yield variant, minutes


def _by_model(minutes: Iterable[RecordedMinute]) -> dict[str, dict[datetime, _Minute]]:
    found: dict[str, dict[datetime, _Minute]] = {}
    for one in minutes:
        if one.model is None:
            continue
        of_model = found.setdefault(one.model, {})
        minute = of_model.get(one.at)
        if minute is None:
            minute = of_model[one.at] = _Minute()
        minute.calls += one.calls
        minute.cold += one.cold
        minute.warm += max(0, one.calls - one.cold - sum(one.errors.values()))
        minute.warm_seconds += one.warm_seconds
        minute.seconds += one.warm_seconds + one.cold_seconds
    return found


def _times(models: dict[str, dict[datetime, _Minute]]) -> set[datetime]:
    return {at for found in models.values() for at in found}


def _latency(minutes: list[_Minute]) -> float | None:
    """Return the mean latency of warm calls; None if there are few."""
    warm = sum(one.warm for one in minutes)
    return sum(one.warm_seconds for one in minutes) / warm if warm >= _FEW_CALLS else None


def _cpu_at(variant: ObservedVariant, times: list[datetime]) -> float | None:
    vcpus = None if variant.instance_type is None else instance_types.vcpus(variant.instance_type)
    if variant.metrics is None or vcpus is None:
        return None
    wanted = {at.timestamp() // 60 for at in times}
    values = [value for at, value in variant.metrics.cpu if at.timestamp() // 60 in wanted]
    return sum(values) / len(values) / vcpus if values else None


def _recorded(name: str, value: float, unit: str, endpoint: ObservedEndpoint) -> Evidence:
    return Evidence(name=name, value=value, unit=unit, source="recordings", period=endpoint.seconds)
