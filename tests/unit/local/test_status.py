"""The data of the status page: minutes, rates, errors, and what a reader without the key does not get."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mme_sdk.fleet.instance import State
from mme_sdk.fleet.records import Counters, FleetSnapshot, InstanceSnapshot, ModelSnapshot
from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.hosting_interface import VariantStatus
from mme_sdk.local.http import timelines as module
from mme_sdk.local.http.request_log import RequestLog
from mme_sdk.local.http.status import status_report, without_containers_texts
from mme_sdk.local.http.timelines import ModelRates, Timelines

NOW = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
SECRET = "could not read '4111 1111 1111 1111'"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_timeline_counts_each_metric_in_its_minute(clock: Clock) -> None:
    seen = Timelines(clock.seconds)
    for hit, wait in ((1, 0.0), (0, 2.5e6), (0, 0.5e6)):
        seen.measure("Invocations", "e", "v", 1)
        seen.measure("ModelCacheHit", "e", "v", hit)
        seen.measure("ModelLoadingWaitTime", "e", "v", wait)
    clock.now += timedelta(minutes=2)
    seen.measure("ModelLoadingTime", "e", "v", 1.5e6)
    seen.measure("ModelUnloadingTime", "e", "v", 10)
    seen.measure("Invocation4XXErrors", "e", "v", 1)
    seen.measure("Invocation5XXErrors", "e", "v", 0)
    seen.measure("CPUUtilization", "e", "v", 40)
    shown = seen.report("e", "v")
    assert shown["start"] + 59 * 60 == math.floor(clock.seconds() / 60) * 60
    now, before = (
        {name: shown[name][place] for name in shown if name not in ("start", "seconds")} for place in (-1, -3)
    )
    assert {name: value for name, value in before.items() if value} == {
        "requests": 3, "hits": 1, "misses": 2, "cold": 2, "cold_seconds": 3.0
    }  # fmt: skip
    assert {name: value for name, value in now.items() if value} == {
        "loads": 1, "load_seconds": 1.5, "evictions": 1, "errors_4xx": 1
    }  # fmt: skip


def test_a_timeline_has_one_hour_and_forgets_what_is_older(clock: Clock) -> None:
    seen = Timelines(clock.seconds)
    for _ in range(200):
        seen.measure("Invocations", "e", "v", 1)
        clock.now += timedelta(minutes=1)
    assert seen.report("e", "v")["requests"] == [1] * 59 + [0]
    assert len(seen._variants["e", "v"]) == 60
    clock.now += timedelta(hours=2)
    assert sum(seen.report("e", "v")["requests"]) == 0
    assert sum(seen.report("absent", "v")["requests"]) == 0


def test_the_variants_of_a_timeline_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_VARIANTS", 3)
    seen = Timelines(clock.seconds)
    for name in ("a", "b", "c", "a", "d"):
        seen.measure("Invocations", name, "v", 1)
    assert [sum(seen.report(name, "v")["requests"]) for name in "abcd"] == [2, 0, 1, 1]


def test_a_rate_becomes_that_of_a_steady_load_and_then_fades(clock: Clock) -> None:
    rates = ModelRates(clock.seconds)
    for _ in range(1200):
        clock.now += timedelta(seconds=1)
        rates.add("e", "a")
    assert rates.rate("e", "a") == pytest.approx(60, rel=0.02)
    clock.now += timedelta(minutes=1)
    assert rates.rate("e", "a") == pytest.approx(30, rel=0.02)
    clock.now += timedelta(hours=1)
    assert rates.rate("e", "a") == 0
    clock.now -= timedelta(days=1)  # the system's clock is set back
    assert rates.rate("e", "a") < 61


def test_the_models_of_the_rates_are_bounded_and_the_busiest_stay(clock: Clock) -> None:
    rates = ModelRates(clock.seconds, kept=10)
    for place in range(1000):
        rates.add("e", "busy")
        rates.add("e", f"once{place}")
    assert len(rates._counts) <= 10
    assert rates.rate("e", "busy") > 600


def log(clock: Clock) -> RequestLog:
    requests = RequestLog(clock)
    headers = {"x-amzn-sagemaker-target-model": "a.tar.gz"}
    for status, code, message in (
        (200, None, None),
        (424, "ModelError", SECRET),
        (400, "ValidationError", "no such model"),
        (424, "ModelError", SECRET),
        (0, "dropped", None),
        (403, "AccessDenied", "x" * 10_000),
    ):
        requests.add("InvokeEndpoint", "e", headers, status, code, 0.1, "id", message)
        clock.now += timedelta(seconds=1)
    return requests


def report(clock: Clock, requests: RequestLog) -> dict[str, Any]:
    copy = ModelSnapshot(
        state=State.ON_DISK, waiting=1, running=2, disk_bytes=3, memory_bytes=4, last_used=5.0, since=6.0
    )
    instance = InstanceSnapshot(
        id="i-1", draining=True, memory_used=7, volume_used=8, outstanding=9, loads_queued=10, loads_running=11,
        models={"a.tar.gz": copy}, counters=Counters(arrivals=4, hits=3),
    )  # fmt: skip
    fleet = FleetSnapshot(instances={"i-1": instance}, counters=Counters(arrivals=4, hits=3), instance_seconds=1.0)
    variants = [
        VariantStatus(
            endpoint="e", variant="v", instance_type="ml.m5.large", instances={"i-1": [1]}, memory_bytes=1,
            volume_bytes=1, fleet=fleet,
        ),
        VariantStatus(
            endpoint="other", variant="v", instance_type="ml.m5.large", instances={}, memory_bytes=1, volume_bytes=1
        ),
    ]  # fmt: skip
    faults = Faults()
    faults.add(Fault(kind="throttle"))
    described = {"EndpointName": "e", "EndpointStatus": "InService", "EndpointConfigName": "c"}
    return status_report([described], variants, [], requests, faults, Timelines(clock.seconds), clock.now, "eu-west-1")


def test_equal_errors_are_one_entry_with_a_count_the_newest_first(clock: Clock) -> None:
    found = log(clock).errors()
    assert [(one["status"], one["code"], one["count"]) for one in found] == [
        (403, "AccessDenied", 1), (0, "dropped", 1), (424, "ModelError", 2), (400, "ValidationError", 1)
    ]  # fmt: skip
    assert [len(one["message"] or "") for one in found] == [500, 0, len(SECRET), 13]


def test_requests_that_came_while_models_were_loaded_are_one_error_of_the_endpoint(clock: Clock) -> None:
    requests = RequestLog(clock)
    for place in range(6):
        headers = {"x-amzn-sagemaker-target-model": f"m{place}"}
        loading = (429, "ModelNotReadyException", 0.1, "id", f"Model m{place} is not ready")
        requests.add("InvokeEndpoint", f"e{place % 2}", headers, *loading)
    found = [(one["endpoint"], one["model"], one["message"], one["count"]) for one in requests.errors()]
    assert found == [("e1", None, None, 3), ("e0", None, None, 3)]


def test_a_request_that_is_refused_does_not_heat_a_model(clock: Clock) -> None:
    requests = RequestLog(clock)
    for status, model in ((403, "a"), (200, "m" * 2000)):
        requests.add("InvokeEndpoint", "e", {"x-amzn-sagemaker-target-model": model}, status, None, 0.1, "id")
    assert (requests.rate("e", "a"), requests.rate("e", "m" * 2000)) == (0.0, 0.0)
    requests.add("InvokeEndpoint", "e", {"x-amzn-sagemaker-target-model": "a"}, 200, None, 0.1, "id")
    assert requests.rate("e", "a") > 0


def test_the_report_is_json_with_models_by_instance_and_their_heat(clock: Clock) -> None:
    shown = json.loads(json.dumps(report(clock, log(clock))))
    (endpoint,) = shown["endpoints"]
    (variant,) = endpoint["variants"]
    assert variant["instances"][0]["models"] == {
        "a.tar.gz": {"state": "on_disk", "memory_bytes": 4, "disk_bytes": 3, "waiting": 1, "running": 2}
    }
    assert variant["instances"][0]["draining"] is True
    assert variant["hit_ratio"] == 0.75
    assert len(variant["timeline"]["hits"]) == 60
    assert endpoint["requests_per_minute"]["a.tar.gz"] > 1
    assert (shown["region"], "slow_load" in shown["fault_kinds"]) == ("eu-west-1", True)


def test_the_text_of_a_container_needs_the_key(clock: Clock) -> None:
    full = report(clock, log(clock))
    assert SECRET in json.dumps(full)
    shown = without_containers_texts(full)
    assert SECRET not in json.dumps(shown)
    assert "no such model" in json.dumps(shown)
    assert len(shown["errors"]) == len(full["errors"])
    assert SECRET in json.dumps(full)
