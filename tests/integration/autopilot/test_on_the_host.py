"""The autopilot changes an endpoint of the embedded SageMaker while calls arrive: an afternoon's ramp, and a launch."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import attrs
import numpy as np
import pytest

from mme_sdk import EndpointSpec
from mme_sdk.autopilot import Autopilot, Bounds, Goal, Journal, Machine, Rule
from mme_sdk.cli.__main__ import main
from mme_sdk.errors import MMEError
from mme_sdk.fleet import RoutingName
from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.hosting.settings import HostingSettings
from mme_sdk.metrics import read_metrics
from mme_sdk.planning import Catalogue
from mme_sdk.planning.simulation import DISK, S3, FleetConfig, ScaleIn, ScaleOut, SingleFlight, Traffic, simulate
from tests.support.router.host_times import load_seconds

SIZE = 10 * 2**20  # bytes of each model
FIT, MODELS = 4, 14
# With "sticky", the instances on which models happen to be placed decide for the rest of the day how many are cold.
ROUTING: RoutingName = "sticky_to_memory"
SCRIPT = """
def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return [1]
"""
BEGIN = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@attrs.frozen
class Flight:
    """What happened: the calls, the changes, and what CloudWatch saw."""

    calls: list[tuple[float, int]]  # when each was sent, in minutes of the trace, and its model
    changes: list[tuple[float, int]]
    failed: list[MMEError]
    cold: float
    decisions: int
    minute: float  # seconds that a minute of the trace lasted
    loading: float  # seconds that a load into memory took, with the unloads before it
    downloading: float  # seconds that a download took


def trace(calls: int, *, minutes: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Calls over an hour: three models, from minute 15 on more and more of them, and a launch in minute 40."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.random(calls) * minutes)
    active = np.clip(3 + (at - 15.0) * 0.35, 3, MODELS - 2).astype(int)
    models = (rng.random(calls) * active).astype(np.int64)
    launched = (at > 40.0) & (rng.random(calls) < 0.3)
    models[launched] = MODELS - 1
    return at, models


def fly(tmp_path, calls: int, *, seconds: float | None, every: int = 1, cold_share: float = 0.02) -> Flight:
    """Send the calls, and step the autopilot at each minute of the trace, or at each second or third of them.

    With `seconds`, the calls arrive at their times within so many seconds. Without, each waits for the one before.
    """
    at, models = trace(calls)
    settings = HostingSettings(
        memory_bytes=FIT * SIZE,
        memory_per_model=SIZE,
        memory_per_byte=0.0,
        load_seconds=0.02,
        metrics_seconds=0.2,
        routing=ROUTING,
    )
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, wait_scale=0.001)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inference.py").write_text(SCRIPT)
    machine = Machine(
        instance_type="ml.m5.large",
        memory_bytes=FIT * SIZE,
        volume_bytes=100 * SIZE,
        vcpus=2,
        price=0.1,
        s3_latency=0.0,
    )
    seen: dict[datetime, Counter[str]] = {}
    lock, failed, changes, sent = threading.Lock(), [], [(0.0, 1)], []
    now = [0.0]  # minutes of the trace
    with LocalSageMaker(settings=settings, control=control) as host, host.client() as client:
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="flown")
        s3.close()
        registry = client.models("s3://flown/prod/")
        targets = [
            registry.register(f"m{number:02d}", tmp_path / "model", version="1").target_model
            for number in range(MODELS)
        ]
        spec = EndpointSpec.multi_model(
            name="flown", models=registry.uri, image="any:1", role="arn:aws:iam::123456789012:role/r",
            instance_type="ml.m5.large", instance_count=1,
        )  # fmt: skip
        endpoint = client.endpoints.create(spec, timeout=120)
        pilot = Autopilot(
            client, "flown", rule=Rule(goal=Goal(cold_share=cold_share), packing=1.0),
            bounds=Bounds(smallest=1, largest=5, moves_per_hour=30), machine=machine,
            catalogue=Catalogue.uniform(memory_mb=10, load_seconds=0.2, service_ms=1),
            calls=lambda _: {moment: dict(counts) for moment, counts in seen.items()},
            journal=tmp_path / "journal", apply="scale", clock=lambda: BEGIN + timedelta(minutes=now[0]),
        )  # fmt: skip

        def passed(now: float) -> float:
            return (now - begun_at) / (seconds or 1.0) * 60.0

        def call(number: int) -> None:
            with lock:
                sent.append((float(at[number]) if seconds is None else passed(time.time()), int(models[number])))
            try:
                endpoint.invoke(b"{}", model=targets[models[number]], content_type="application/json", deadline=120)
            except MMEError as error:
                failed.append(error)
            with lock:
                minute = BEGIN + timedelta(minutes=int(at[number]))
                seen.setdefault(minute, Counter())[targets[models[number]]] += 1

        def step(minute: float) -> None:
            now[0] = minute
            found = pilot.step()
            if found.count != found.before:
                changed = client.endpoints.describe("flown").modified
                in_service = minute if seconds is None or changed is None else passed(changed.timestamp())
                changes.append((in_service, found.count))

        decisions, begun, begun_at = 0, time.monotonic(), time.time()
        if seconds is None:
            for number in range(calls):
                while at[number] >= (decisions + 1) * every:
                    decisions += 1
                    step(float(decisions * every))
                call(number)
        else:
            with ThreadPoolExecutor(32) as pool:
                for number in range(calls):
                    while at[number] >= (decisions + 1) * every:
                        decisions += 1
                        pool.submit(step, float(decisions * every)).add_done_callback(lambda one: one.result())
                    threading.Event().wait(max(0.0, at[number] / 60.0 * seconds - (time.monotonic() - begun)))
                    pool.submit(call, number)
        metrics = client._aws.run(read_metrics("flown", hours=1, now=datetime.now(UTC)))
        assert metrics.hit_ratio is not None
        cloudwatch = host.boto("cloudwatch")
        took = load_seconds(cloudwatch, metrics)
        cloudwatch.close()
        pilot.close()
        endpoint.delete()
    minute, loading, downloading = 60.0, 1e-2, 1e-3
    if seconds is not None:
        minute, downloading = seconds / 60.0, metrics.downloading.mean or 0.0
        loading = took / metrics.loads.total
        print(f"{metrics.loads.total:.0f} loads seen, {downloading:.3f} s a download")
    return Flight(sorted(sent), changes, failed, 1.0 - metrics.hit_ratio, decisions, minute, loading, downloading)


def simulated(flight: Flight) -> float:
    """The cold share of the same calls and changes in the simulation, with loads as long as on the host."""
    count = MODELS
    traffic = Traffic(
        times=[minute * flight.minute for minute, _ in flight.calls], models=[model for _, model in flight.calls],
        service=np.full(len(flight.calls), 1e-3),
        disk=np.ones(count), memory=np.ones(count), load=np.full(count, flight.loading),
        download=np.full(count, flight.downloading),
    )  # fmt: skip
    events: list[ScaleIn | ScaleOut] = []
    before = 1
    for minute, number in flight.changes[1:]:
        kind = ScaleOut if number > before else ScaleIn
        events.append(kind(at=minute * flight.minute, count=abs(number - before)))
        before = number
    config = FleetConfig(instances=1, workers=64, memory_bytes=FIT, volume_bytes=10**6, routing=ROUTING)
    # A client sends one call of a model that is not known to be loaded; the others wait for its answer.
    found = simulate(traffic, config, engine="fleet", timeline=events, clients=SingleFlight(), skip=0.0)
    print(f"{np.isin(found.kinds, (DISK, S3)).sum()} loads simulated")
    return found.cold_rate


def check(flight: Flight, tmp_path) -> None:
    assert flight.failed == []
    assert max(count for _, count in flight.changes) >= 3, "the ramp needs three instances"
    assert flight.changes[1][0] > 14, "the first hour's quarter needs no more than one"
    past = Journal(tmp_path / "journal").read()
    assert len(past) == flight.decisions
    assert [one.repeat().to_dict() for one in past] == [one.to_dict() for one in past]
    assert [(one.before, one.count) for one in past if one.action in ("grow", "shrink")]


def test_an_afternoon_one_call_after_the_other_is_cold_as_simulated(tmp_path, capsys):
    flight = fly(tmp_path, 180, seconds=None, every=3)
    check(flight, tmp_path)
    predicted = simulated(flight)
    print(f"{predicted:.2%} cold simulated, {flight.cold:.2%} seen, loads {flight.loading:.3f} s, {flight.changes}")
    assert predicted == pytest.approx(flight.cold, rel=0.2)
    assert main(["autopilot", "explain", "flown", "--journal", str(tmp_path / "journal"), "--hours", "1e6",
                 "--repeat"]) == 0  # fmt: skip
    reported = capsys.readouterr().out
    assert "flown/AllTraffic: grow, 1 →" in reported
    assert "19 of 19 decisions are the same when they are repeated" in reported
    assert main(["autopilot", "explain", "flown", "--journal", str(tmp_path / "journal"), "--hours", "1e6",
                 "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)[0]["action"] == "grow"


@pytest.mark.slow
def test_an_afternoon_under_fifty_calls_a_second_fails_no_call_and_is_cold_as_simulated(tmp_path):
    # So many cold calls are allowed that there are 200 loads: fewer would differ by chance by a fifth.
    flight = fly(tmp_path, 3000, seconds=60.0, cold_share=0.3)
    check(flight, tmp_path)
    predicted = simulated(flight)
    print(f"{predicted:.2%} cold simulated, {flight.cold:.2%} seen, loads {flight.loading:.3f} s, {flight.changes}")
    assert predicted == pytest.approx(flight.cold, rel=0.2)
