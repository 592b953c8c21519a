"""Findings about the number of instances: thrashing, loads that wait for loads, and instances that are not needed."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mme_sdk import instance_types
from mme_sdk.diagnosis import commands
from mme_sdk.diagnosis.findings import Cost, Evidence, Finding
from mme_sdk.diagnosis.observation import ObservedEndpoint, ObservedVariant
from mme_sdk.diagnosis.working_set import best_hit_ratio, instances_for
from mme_sdk.metrics import EndpointMetrics, Series

__all__ = ["loader_slots", "oversized_fleet", "thrashing"]

HOURS_PER_MONTH = 730.0
_FEW_UNLOADS = 10
_UNLOADS = 0.03  # unloads for each request
_GOOD_HITS = 0.9
_GAIN = 0.05  # by which more memory must raise the hit ratio
_FEW_LOADS = 8
_QUEUED = 2.0  # times the load itself that a request waits
_LOADING = 0.7  # of a minute in which an instance loads, at least one model at a time
_CPU, _MEMORY = 50.0, 75.0  # percent that fewer instances may use in their busiest minutes
_SURE = 24 * 3600.0  # seconds of data that show the daily peak
_ENOUGH = 6 * 3600.0


def thrashing(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find variants that unload and reload the models in use."""
    for variant in endpoint.variants:
        seen = variant.metrics
        if seen is None or not variant.cached or not endpoint.multi_model:
            continue
        requests, unloads, hits = seen.invocations.total, seen.unloads.total, seen.hit_ratio
        if hits is None or hits >= _GOOD_HITS or unloads < max(_FEW_UNLOADS, _UNLOADS * requests):
            continue
        evidence = [
            _cloudwatch("unloads", unloads, "ModelUnloadingTime SampleCount", seen),
            _cloudwatch("hit ratio", hits, "ModelCacheHit Average", seen),
            _cloudwatch("loads", seen.loads.total, "ModelLoadingTime SampleCount", seen),
            _cloudwatch("requests", requests, "Invocations Sum", seen),
        ]
        count, wanted, confidence = variant.instance_count, None, 0.6
        per_instance = max(seen.loaded_models.values, default=0.0)
        if count is not None:
            wanted = count + 1
        if per_instance:
            evidence.append(
                _cloudwatch("models in memory of an instance, at most", per_instance, "LoadedModelCount Average", seen)
            )
        calls = calls_by_model(endpoint, variant)
        if calls and per_instance and count is not None:
            wanted, could = instances_for(calls, endpoint.seconds, per_instance, count)
            if could < hits + _GAIN:
                continue  # most models are called once or rarely: no memory gives more hits
            gives = best_hit_ratio(calls, endpoint.seconds, per_instance * count)
            evidence += [
                _computed("models in use", len(calls), endpoint),
                _computed(f"hit ratio that the memory of {count} can give", gives, endpoint),
                _computed(f"hit ratio that the memory of {wanted} can give", could, endpoint),
            ]
            confidence = 0.95
        waited = _waited(endpoint, variant, seen)
        yield Finding(
            kind="thrashing",
            severity="critical" if hits < 0.7 else "warning",
            confidence=confidence,
            subject=variant.name,
            summary=f"variant {variant.name} unloads models that are in use: {unloads:.0f} unloads, and only "
            f"{hits:.0%} of the requests found their model in memory",
            evidence=tuple(evidence),
            cost=waited,
            remedy=_more_memory(variant, wanted),
            command=None if wanted is None else commands.resize(endpoint, variant, wanted, replace=True),
        )


def _more_memory(variant: ObservedVariant, wanted: int | None) -> str:
    """Return what ends thrashing. Added instances alone do not, if evicted models return to their files."""
    many = "more" if wanted is None else str(wanted)
    if variant.scaling is None:
        start, then = f"run {many} new instances in place of all", ""
    else:
        start, then = f"run {many} instances", f", and scale({wanted or 'n'}, replace=True) replaces all"
    return (
        f"{start}, so that the models in use fit into their memory together. AWS does not document where an evicted "
        "model goes. If it goes to any instance, added instances suffice. If it returns to the instance that has its "
        f"files, added instances stay nearly empty{then}"
    )


def loader_slots(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find variants whose requests wait longer for their turn to load than for the load."""
    for variant in endpoint.variants:
        seen = variant.metrics
        if seen is None or not endpoint.multi_model or seen.loads.total < _FEW_LOADS:
            continue
        misses = _misses(seen)
        waited, load = _mean(seen.loading_wait, misses), _mean(seen.loading, dict(seen.loads))
        download = _mean(seen.downloading, dict(seen.loads)) or 0.0
        if waited is None or load is None:
            continue
        work = load + download
        if waited < _QUEUED * work or waited - work < 0.5:
            continue
        count, together = variant.instance_count, _mean(seen.loads, dict(seen.loads)) or 0.0
        each = together / (count or 1)
        if each * work < _LOADING * 60.0 and each * work < waited:
            continue  # the loads of a minute are too few to wait for each other
        wanted = None if count is None else min(4 * count, max(count + 1, math.ceil(count * waited / (2 * work))))
        lost = (waited - work) * sum(misses.values())
        yield Finding(
            kind="loader_slots",
            severity="warning",
            confidence=0.85 if seen.downloading else 0.75,
            subject=variant.name,
            summary=f"loads of variant {variant.name} wait for other loads: a cold request waits {waited:.3g} s, and "
            f"its model needs {work:.3g} s",
            evidence=(
                _cloudwatch("wait of a cold request", waited, "ModelLoadingWaitTime Average", seen, "s"),
                _cloudwatch("load", load, "ModelLoadingTime Average", seen, "s"),
                _cloudwatch("download", download, "ModelDownloadingTime Average", seen, "s"),
                _cloudwatch("loads", seen.loads.total, "ModelLoadingTime SampleCount", seen),
            ),
            cost=Cost(
                value=lost, unit="cold seconds", source="the wait beyond download and load, of each cold request"
            ),
            remedy=(f"run {wanted} instances: " if wanted is not None else "run more instances: ")
            + "each brings loader slots of its own; or warm the models before their first requests, with "
            "endpoint.warm(…)",
            command=None if wanted is None else commands.resize(endpoint, variant, wanted),
        )


def oversized_fleet(endpoint: ObservedEndpoint) -> Iterator[Finding]:
    """Find variants that fewer instances would serve; two instances are kept, as AWS recommends."""
    for variant in endpoint.variants:
        seen, count = variant.metrics, variant.instance_count
        vcpus = None if variant.instance_type is None else instance_types.vcpus(variant.instance_type)
        if seen is None or count is None or count <= 2 or vcpus is None:
            continue
        if variant.scaling is not None and variant.scaling.min < count:
            continue  # autoscaling removes them by itself
        covered = len(seen.cpu) * seen.period  # CloudWatch has the CPU of minutes without requests too
        if covered < min(_ENOUGH, endpoint.seconds * 0.8) or endpoint.seconds < _ENOUGH:
            continue
        if not seen.invocations or not seen.cpu or not seen.memory or seen.unloads.total > 0:
            continue
        cpu, memory = _high(seen.cpu) / vcpus, _high(seen.memory)
        needed = max(2, math.ceil(count * cpu / _CPU), math.ceil(count * memory / _MEMORY))
        if needed >= count or (seen.hit_ratio is not None and seen.hit_ratio < _GOOD_HITS):
            continue
        if seen.errors_5xx.total > 0.01 * seen.invocations.total:
            continue  # it may be idle because it fails
        yield Finding(
            kind="oversized_fleet",
            severity="info",
            confidence=0.9 if endpoint.seconds >= 7 * _SURE else 0.7 if endpoint.seconds >= _SURE else 0.5,
            subject=variant.name,
            summary=f"variant {variant.name} runs {count} instances, and {needed} would serve its busiest minutes",
            evidence=(
                _cloudwatch(
                    "CPU in the busiest 5 % of the minutes", cpu, "CPUUtilization", seen, "percent of all vCPUs"
                ),
                _cloudwatch("memory in the busiest 5 % of the minutes", memory, "MemoryUtilization", seen, "percent"),
                _cloudwatch("unloads", seen.unloads.total, "ModelUnloadingTime SampleCount", seen),
                _now("instances", count),
            ),
            cost=monthly(endpoint, variant, count - needed),
            remedy=f"run {needed} instances",
            command=commands.resize(endpoint, variant, needed),
        )


def monthly(endpoint: ObservedEndpoint, variant: ObservedVariant, count: int) -> Cost | None:
    """Return what instances of a variant cost in a month; None if the price is not known."""
    price = (endpoint.prices or {}).get(variant.instance_type or "")
    if price is None:
        return None
    value = price * HOURS_PER_MONTH * count
    source = f"{count} of {variant.instance_type} at {price:g} {endpoint.currency} an hour, 730 hours"
    return Cost(value=value, unit=f"{endpoint.currency} per month", source=source)


def calls_by_model(endpoint: ObservedEndpoint, variant: ObservedVariant) -> list[int]:
    """Return the number of calls of each model of a variant; none unless all of them are recorded."""
    found: dict[str, int] = {}
    for one in endpoint.minutes or ():
        if one.variant == variant.name or (one.variant is None and len(endpoint.variants) == 1):
            if one.model is None:
                return []
            found[one.model] = found.get(one.model, 0) + one.calls
    return list(found.values())


def _waited(endpoint: ObservedEndpoint, variant: ObservedVariant, seen: EndpointMetrics) -> Cost | None:
    misses = _misses(seen)
    waited = _mean(seen.loading_wait, misses)
    if waited is not None:
        source = "CloudWatch ModelLoadingWaitTime Average, times the requests that missed"
        return Cost(value=waited * sum(misses.values()), unit="cold seconds", source=source)
    minutes = [one for one in endpoint.minutes or () if one.variant in (None, variant.name)]
    if not any(one.cold for one in minutes):
        return None
    return Cost(value=sum(one.cold_seconds for one in minutes), unit="cold seconds", source="recordings")


def _misses(seen: EndpointMetrics) -> dict[object, float]:
    """Return the number of requests whose model was not in memory, by time."""
    requests = dict(seen.invocations)
    return {time: requests.get(time, 0.0) * (1.0 - hit) for time, hit in seen.cache_hit}


def _mean(series: Series, weights: object) -> float | None:
    """Return the mean of a series weighted by counts; None if there are no counts."""
    assert isinstance(weights, dict)
    pairs = [(value, weights.get(time, 0.0)) for time, value in series]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total > 0 else None


def _high(series: Series) -> float:
    """Return the 95th percentile of a series that is not empty."""
    ordered = sorted(series.values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _cloudwatch(name: str, value: float, metric: str, seen: EndpointMetrics, unit: str = "") -> Evidence:
    seconds = (seen.end - seen.start).total_seconds()
    return Evidence(name=name, value=value, unit=unit, source=f"CloudWatch {metric}", period=seconds)


def _computed(name: str, value: float, endpoint: ObservedEndpoint) -> Evidence:
    return Evidence(name=name, value=value, source="recordings", period=endpoint.seconds)


def _now(name: str, value: float) -> Evidence:
    return Evidence(name=name, value=value, source="DescribeEndpoint")
