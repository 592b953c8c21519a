"""Sinks: lines that CloudWatch accepts as metrics, and counters of Prometheus and OpenTelemetry."""

from __future__ import annotations

import json
import sys

import pytest

from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.recording import EmfSink, OtelSink, ParquetSink, PrometheusSink, Record, Recorder
from tests.unit.recording.test_recorder import Time, completed, failed


def test_an_emf_line_meets_the_specification() -> None:
    lines: list[str] = []
    recorder = Recorder([EmfSink(lines.append, namespace="shop")], now=Time(), flush_every=None)
    for step in range(400):
        recorder(completed(took=0.001 * 1.02**step))
    recorder.flush()
    (line,) = map(json.loads, lines)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert line["_aws"]["Timestamp"] == 6_000_000
    assert directive["Namespace"] == "shop"
    assert directive["Dimensions"] == [["Endpoint"], ["Endpoint", "Variant"]]
    for each in directive["Dimensions"]:
        assert all(isinstance(line[name], str) and line[name] for name in each)
    assert "Model" not in str(directive)  # a dimension by model would make a metric for each
    for metric in directive["Metrics"]:
        assert metric["Name"] in line
    latency = line["Latency"]
    assert len(latency["Values"]) == len(latency["Counts"]) <= 100
    assert sum(latency["Counts"]) == 400 == line["Calls"] == latency["Count"]
    assert len(lines[0].encode()) < 256 * 1024


def test_a_record_of_failed_calls_has_no_latency_and_no_variant() -> None:
    recorder = Recorder(now=Time())
    recorder(failed())
    line = json.loads(EmfSink(print).line(recorder.recordings().records[0]))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Endpoint"]]
    assert "Latency" not in line
    assert line["ErrorTypes"] == {"ThrottledError": 1}


def test_emf_goes_to_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    EmfSink().write([Record(minute=60, endpoint="shop", calls=2)])
    assert json.loads(capsys.readouterr().out)["Calls"] == 2


@pytest.mark.parametrize("wrong", ["", "AWS/SageMaker", "x" * 256])
def test_a_namespace_that_cloudwatch_refuses_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidInputError):
        EmfSink(namespace=wrong)


def test_prometheus_counts_by_endpoint_and_variant_only() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    recorder = Recorder([PrometheusSink(registry)], now=Time(), flush_every=None)
    for number in range(500):
        recorder(completed(f"m{number}", took=0.5))
    recorder.flush()
    recorder(completed(cold=True, took=2.0))
    recorder.flush()
    labels = {"endpoint": "shop", "variant": "AllTraffic"}
    assert registry.get_sample_value("mme_recorded_calls_total", labels) == 501
    assert registry.get_sample_value("mme_recorded_cold_seconds_total", labels) == 2.0
    assert registry.get_sample_value("mme_recorded_sent_bytes_total", labels) == 2505
    assert sum(len(family.samples) for family in registry.collect()) == 18


def test_opentelemetry_counts_by_endpoint_and_variant_only() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    recorder = Recorder([OtelSink(MeterProvider([reader]))], now=Time(), flush_every=None)
    for number in range(10):
        recorder(completed(f"m{number}", took=0.5))
    recorder.flush()
    data = reader.get_metrics_data()
    assert data is not None
    found = {each.name: each.data.data_points for each in data.resource_metrics[0].scope_metrics[0].metrics}
    (calls,) = found["mme.calls"]
    assert calls.value == 10
    assert set(calls.attributes) == {"aws.sagemaker.endpoint_name", "aws.sagemaker.variant_name"}
    assert found["mme.call.duration"][0].value == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("package", "make", "extra"),
    [
        ("prometheus_client", PrometheusSink, "prometheus"),
        ("opentelemetry", OtelSink, "otel"),
        ("pyarrow", lambda: ParquetSink("x"), "pandas"),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str, make, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        make()
    assert f"mme-sdk[{extra}]" in str(caught.value.hint)
