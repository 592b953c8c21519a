"""Hooks that report to OpenTelemetry and Prometheus."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from mme_sdk.errors import ModelServerError
from mme_sdk.runtime.telemetry.exporters import otel_hook, prometheus_hook
from tests.unit.runtime.test_calls import FAILED, FRAUD, NOT_READY, FakeClock, Setting


def test_prometheus_counts_what_happened() -> None:
    registry = CollectorRegistry()
    rows = [NOT_READY, {}, {"status": 500, "code": "InternalFailure"}, {}, FAILED]
    setting = Setting(rows, hooks=[prometheus_hook(registry)])
    setting.invoke()
    setting.invoke()
    with pytest.raises(ModelServerError):
        setting.invoke("other/v1.tar.gz")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"endpoint": "scoring"} | labels)

    assert value("mme_invocations_total", outcome="ok") == 2
    assert value("mme_invocations_total", outcome="ModelServerError") == 1
    assert value("mme_attempts_total") == 5
    assert value("mme_cold_starts_total") == 1
    assert value("mme_retries_total", reason="cold") == 1
    assert value("mme_retries_total", reason="faulty") == 1
    assert value("mme_invocation_seconds_count", cold="true") == 1
    assert value("mme_invocation_seconds_count", cold="unknown") == 1


def test_opentelemetry_gets_a_client_span_of_every_attempt() -> None:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces, meters = TracerProvider(), MeterProvider([reader])
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    clock = FakeClock()
    rows = [{"status": 503, "code": "ServiceUnavailable"}, {"took": 2.0}]
    setting = Setting(rows, clock=clock, hooks=[otel_hook(traces, meters, now=clock.time)])
    with traces.get_tracer("app").start_as_current_span("request") as parent:
        setting.invoke()
    first, second = exporter.get_finished_spans()[:2]
    assert first.kind is second.kind is SpanKind.CLIENT
    assert first.parent is not None
    assert first.parent.span_id == parent.get_span_context().span_id
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes is not None
    assert first.attributes["error.type"] == "ServiceUnavailable"
    assert first.attributes["http.response.status_code"] == 503
    assert second.status.status_code is StatusCode.UNSET
    assert second.attributes is not None
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["aws.sagemaker.target_model"] == FRAUD
    assert second.start_time is not None
    assert second.end_time is not None
    assert (second.end_time - second.start_time) / 1e9 == pytest.approx(2.0)
    data = reader.get_metrics_data()
    assert data is not None
    metric = data.resource_metrics[0].scope_metrics[0].metrics[0]
    assert metric.name == "http.client.request.duration"
    assert sum(point.count for point in metric.data.data_points) == 2
    assert all("aws.sagemaker.target_model" not in point.attributes for point in metric.data.data_points)
    traces.shutdown()
    meters.shutdown()
