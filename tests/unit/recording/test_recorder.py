"""What a recorder counts, keeps, writes and forgets."""

from __future__ import annotations

import json
import pickle
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.errors import InvalidInputError, ModelServerError, ThrottledError
from mme_sdk.planning import Workload
from mme_sdk.recording import (
    Histogram,
    RecordedMinute,
    Recorder,
    emf_lines,
    export_opentelemetry,
    export_prometheus,
    read_recordings,
)
from mme_sdk.runtime import CallCompleted, CallFailed, RetryPlanned, RuntimeInvoker
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.runtime.telemetry.hooks import AttemptMade
from tests.support.runtime.scripted import FakeClock, SyncScript

START = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)


class Wall:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.at = START.timestamp()

    def __call__(self) -> float:
        return self.at


def call(model: str | None = "acme/fraud/v1.tar.gz", **changes: Any) -> CallCompleted:
    facts: dict[str, Any] = {
        "endpoint": "scoring", "attempts": 1, "cold": False, "took": 0.010, "variant": "v", "received_bytes": 20,
        "sent_bytes": 100,
    }  # fmt: skip
    return CallCompleted(model=model, **facts | changes)


def test_calls_errors_cold_starts_and_throttles_of_a_model() -> None:
    recorder = Recorder(now=Wall())
    for event in (
        call(),
        call(took=0.020, attempts=2),
        call(cold=True, took=4.0),
        call(cold=None),
        CallFailed(endpoint="scoring", model="acme/fraud/v1.tar.gz", error=ModelServerError("it failed"), took=1.0),
        RetryPlanned(endpoint="scoring", model="acme/fraud/v1.tar.gz", reason="throttled", wait=1.0),
        RetryPlanned(endpoint="scoring", model="acme/fraud/v1.tar.gz", reason="cold", wait=1.0),
    ):
        recorder(event)
    answered, failed = sorted(recorder.minutes(), key=lambda one: one.variant or "", reverse=True)
    assert (answered.at, answered.endpoint, answered.model) == (START, "scoring", "acme/fraud/v1.tar.gz")
    assert (answered.tenant, answered.variant) == ("acme", "v")
    assert (answered.calls, answered.cold, answered.attempts) == (4, 1, 5)
    assert (answered.sent_bytes, answered.received_bytes) == (400, 80)
    assert (answered.cold_seconds, answered.warm_seconds) == (4.0, pytest.approx(0.040))
    assert answered.latency.total == 3
    assert answered.latency.quantile(1.0) == pytest.approx(0.020, rel=0.05)
    assert answered.waits.quantile(0.5) == pytest.approx(4.0, rel=0.05)
    assert (failed.calls, failed.errors, failed.throttles) == (1, {"ModelServerError": 1}, 1)


def test_an_invoker_passes_a_recorder_what_it_counts_and_nothing_else() -> None:
    seen: list[Any] = []

    class Counted(Recorder):
        def __call__(self, event: Any) -> None:
            seen.append(type(event))
            super().__call__(event)

    script = SyncScript(FakeClock(), [{"took": 0.02, "forever": True}])
    recorder = Counted(now=Wall())
    invoker = RuntimeInvoker(Aws(region="eu-west-1"), script, clock=script.clock, hooks=[recorder])
    for _ in range(5):
        invoker.invoke("scoring", b"123", "fraud/v1.tar.gz")
    (minute,) = recorder.minutes()
    assert (minute.calls, minute.sent_bytes, minute.received_bytes) == (5, 15, 5 * len('{"ok": true}'))
    assert seen == [AttemptMade, *[CallCompleted] * 5], "a warm call makes no event of its only request"


def test_the_models_and_the_remainder_add_up_to_all_calls_and_the_busiest_are_kept() -> None:
    recorder = Recorder(top=10, now=Wall())
    for number in range(2000):
        recorder(call(f"rare-{number}/v1.tar.gz"))
        for _ in range(3):
            recorder(call(f"busy-{number % 5}/v1.tar.gz"))
    minutes = recorder.minutes()
    assert sum(one.calls for one in minutes) == 8000
    assert sum(one.latency.total for one in minutes) == 8000
    assert len(minutes) <= 21
    by_model = {one.model: one.calls for one in minutes}
    assert [by_model[f"busy-{number}/v1.tar.gz"] for number in range(5)] == [1200] * 5
    assert by_model[None] > 1900


def test_a_minute_is_written_when_it_is_over_and_close_writes_the_last(tmp_path: Path) -> None:
    wall, passed = Wall(), []
    with Recorder(files=tmp_path, sinks=[passed.extend], every=3600.0, now=wall) as recorder:
        recorder(call())
        recorder.flush()
        assert read_recordings(tmp_path) == []
        wall.at += 60
        recorder(call())
        recorder.flush()
        assert [one.calls for one in read_recordings(tmp_path)] == [1]
        wall.at += 3600
        recorder(call(cold=True, took=2.0))
    assert [(one.at.hour, one.at.minute, one.calls) for one in read_recordings(tmp_path)] == [
        (10, 0, 1),
        (10, 1, 1),
        (11, 1, 1),
    ]
    assert passed == read_recordings(tmp_path)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2, "one file for each hour"
    assert [one for one in tmp_path.rglob("*") if one.name.startswith(".")] == []
    assert not any(one.name == "mme-sdk-recorder" for one in threading.enumerate())


def test_a_write_that_fails_is_made_again_and_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Wall()
    recorder = Recorder(files=tmp_path, every=3600.0, now=wall)
    recorder(call())
    wall.at += 3600
    recorder(call())
    wall.at += 60
    put, failures = recorder._files._place.put, ["2026-11-27/11"]  # type: ignore[union-attr]

    def fail_once(name: str, body: bytes) -> None:
        if failures and name.startswith(failures[0]):
            failures.pop()
            raise OSError("disk full")
        put(name, body)

    monkeypatch.setattr(recorder._files._place, "put", fail_once)  # type: ignore[union-attr]
    with pytest.raises(OSError, match="disk full"):
        recorder.flush()
    assert [one.calls for one in read_recordings(tmp_path)] == [1], "the hour before was written"
    recorder.close()
    assert [one.calls for one in read_recordings(tmp_path)] == [1, 1]


def test_a_sink_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    passed: list[RecordedMinute] = []

    def bad(_: list[RecordedMinute]) -> None:
        raise ValueError("no")

    with Recorder(sinks=[bad, passed.extend], every=3600.0, now=Wall()) as recorder:
        recorder(call())
    assert [one.calls for one in passed] == [1]
    assert "a sink failed" in caplog.text


def test_calls_of_one_batch_count_in_the_minutes_in_which_they_ended() -> None:
    wall, received = Wall(), list[RecordedMinute]()
    recorder = Recorder(now=wall, sinks=[received.extend], every=3600)
    durations = [0.0, 1e-7, 1e-6, 0.01, 0.0099, 1.0, 1.1, 59.0]
    for minute in (0, 1, 2, 1, 0):  # a clock that is set back, too
        wall.at = START.timestamp() + 60 * minute + (59.999 if minute == 1 else 0)
        for took in durations:
            recorder(call(took=took))
    recorder.close()
    assert sum(one.calls for one in received) == 5 * len(durations)
    found: dict[datetime, int] = {}
    for one in received:
        found[one.at] = found.get(one.at, 0) + one.calls
        times = one.calls // len(durations)
        assert one.latency == Histogram.of(durations * times)
    assert [found[START.replace(minute=minute)] for minute in range(3)] == [16, 16, 8]


def test_threads_lose_no_call() -> None:
    recorder = Recorder(now=Wall())
    threads = [threading.Thread(target=lambda: [recorder(call()) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.calls for one in recorder.minutes()) == 8000


def test_calls_during_writes_and_a_close_are_written_once_and_few_wait_to_be_counted() -> None:
    wall, received = Wall(), list[RecordedMinute]()
    recorder = Recorder(now=wall, sinks=[received.extend], every=3600)
    waiting: list[int] = []

    def calls() -> None:
        for number in range(5000):
            recorder(call(model=f"m/{number % 7}"))
            waiting.append(len(recorder._pending))

    threads = [threading.Thread(target=calls) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        wall.at += 20  # a minute ends now and then
        recorder.flush()
        recorder.totals()
    recorder.close()
    assert sum(one.calls for one in received) == 15_000
    assert sum(cell.calls for cell in recorder.totals().values()) == 15_000
    assert max(waiting) < 2048 + len(threads)


def test_a_pickled_recorder_arrives_empty_with_its_settings() -> None:
    recorder = Recorder(top=7)
    recorder(call())
    copy = pickle.loads(pickle.dumps(recorder))
    assert copy.minutes() == []
    assert copy._top == 7


@pytest.mark.parametrize("bad", [{"top": 0}, {"every": 0}, {"sinks": [3]}, {"files": "gs://bucket/x"}])
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Recorder(**bad)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recorder(files=tmp_path, every=3600.0, now=Wall()) as recorder:
        recorder(call())
    size = next(tmp_path.rglob("*.parquet")).stat().st_size
    monkeypatch.setattr("mme_sdk.recording.files._MOST", size)
    assert [one.calls for one in read_recordings(tmp_path)] == [1]
    monkeypatch.setattr("mme_sdk.recording.files._MOST", size - 1)
    with pytest.raises(InvalidInputError, match=r"2026-11-27/10/.*\.parquet is longer than .* bytes"):
        read_recordings(tmp_path)


def test_files_that_are_not_recordings_are_named(tmp_path: Path) -> None:
    (tmp_path / "2026-11-27" / "10").mkdir(parents=True)
    (tmp_path / "2026-11-27" / "10" / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InvalidInputError, match=r"x\.parquet"):
        read_recordings(tmp_path)
    with pytest.raises(InvalidInputError, match="not a directory"):
        read_recordings(tmp_path / "missing")
    with pytest.raises(InvalidInputError, match="time zone"):
        read_recordings(tmp_path, start=datetime(2026, 1, 1))


def test_log_lines_follow_the_embedded_metric_format() -> None:
    recorder = Recorder(now=Wall())
    for number in range(300):
        recorder(call(took=0.001 * 1.15 ** (number % 120)))
    recorder(call("other/v1.tar.gz", cold=True, took=3.0))
    (text,) = emf_lines(recorder.minutes(), models=1)
    line = json.loads(text)
    directive = line["_aws"]["CloudWatchMetrics"][0]
    assert line["_aws"]["Timestamp"] == START.timestamp() * 1000
    assert directive["Dimensions"] == [["Endpoint", "Variant"], ["Endpoint"]]
    for metric in directive["Metrics"]:
        assert metric["Name"] in line
        assert metric["Unit"] in ("Count", "Seconds", "Bytes")
    assert (line["Calls"], line["ColdCalls"], line["Models"]) == (301, 1, {"acme/fraud/v1.tar.gz": 300})
    assert len(line["Latency"]["Values"]) == len(line["Latency"]["Counts"]) <= 100
    assert sum(line["Latency"]["Counts"]) == 300
    assert "\n" not in text


def test_prometheus_reads_totals_that_never_decrease_under_a_bounded_number_of_labels() -> None:
    from prometheus_client import CollectorRegistry

    wall, registry = Wall(), CollectorRegistry()
    recorder = Recorder(now=wall)
    export_prometheus(recorder, registry, models=2)

    def read() -> dict[str, float]:
        wall.at += 60
        return {
            sample.labels["model"]: sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "mme_recorded_calls_total"
        }

    for model, count in (("a", 5), ("b", 3), ("c", 1)):
        for _ in range(count):
            recorder(call(model))
    assert read() == {"a": 5, "b": 3, "others": 1}
    for _ in range(100):
        recorder(call("c"))
    assert read() == {"a": 5, "b": 3, "others": 101}


def test_opentelemetry_reads_the_same_totals() -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    reading = pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    wall = Wall()
    recorder = Recorder(now=wall)
    export_opentelemetry(recorder, sdk.MeterProvider([reading]), models=1)
    recorder(call())
    wall.at += 60
    data = reading.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    values = {metric.name: [point.value for point in metric.data.data_points] for metric in data}
    assert 1 in values["mme.recorded.calls"]
    assert 100 in values["mme.recorded.sent_bytes"]


def test_a_workload_has_the_recorded_rates(tmp_path: Path) -> None:
    wall = Wall()
    with Recorder(files=tmp_path, every=3600.0, now=wall) as recorder:
        for minute in range(60):
            for _ in range(12):
                recorder(call("a/v1.tar.gz"))
            if minute % 2:
                recorder(call("b/v1.tar.gz"))
            wall.at += 60
    load = Workload.from_recordings(tmp_path)
    assert load.models == ("a/v1.tar.gz", "b/v1.tar.gz")
    assert load.rates.tolist() == [pytest.approx(0.2), pytest.approx(30 / 3600)]
    assert load.cv == pytest.approx(0.14, abs=0.1), "the same number of calls in each minute"
    with pytest.raises(InvalidInputError, match="no calls of models of other"):
        Workload.from_recordings(tmp_path, endpoint="other")


def test_a_late_record_never_replaces_an_earlier_file(tmp_path: Path) -> None:
    wall = Wall()
    with Recorder(files=tmp_path, every=3600.0, now=wall) as recorder:
        for hour in (0, 1, 2, 3, 0):  # the clock of the machine is set back
            wall.at = START.timestamp() + 3600 * hour
            recorder(call())
            recorder.flush(everything=True)
    assert [(one.at.hour, one.calls) for one in read_recordings(tmp_path)] == [(10, 2), (11, 1), (12, 1), (13, 1)]


def test_what_cannot_be_written_is_kept_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mme_sdk.recording.recorder._MAX_READY", 3)
    wall = Wall()
    recorder = Recorder(files=tmp_path, every=3600.0, now=wall)
    place = recorder._files._place  # type: ignore[union-attr]
    put = place.put

    def refuse(name: str, body: bytes) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(place, "put", refuse)
    for _ in range(5):
        recorder(call())
        with pytest.raises(OSError, match="disk full"):
            recorder.flush(everything=True)
        wall.at += 60
    assert "rows were dropped" in caplog.text
    monkeypatch.setattr(place, "put", put)
    recorder.close()
    assert [one.at.minute for one in read_recordings(tmp_path)] == [2, 3, 4]


def test_every_throttled_request_counts() -> None:
    throttled = {"status": 429, "code": "ThrottlingException", "message": "Rate exceeded", "forever": True}
    script, recorder = SyncScript(FakeClock(), [throttled]), Recorder(now=Wall())
    invoker = RuntimeInvoker(Aws(region="eu-west-1"), script, clock=script.clock, hooks=[recorder])
    with pytest.raises(ThrottledError):
        invoker.invoke("scoring", b"123", "fraud/v1.tar.gz", InvokeOptions(deadline=30.0))
    (minute,) = recorder.minutes()
    assert minute.throttles == len(script.sent) > 1
