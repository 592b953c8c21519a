"""Hooks that export events to OpenTelemetry and Prometheus; each needs its extra."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import MissingExtraError
from mme_sdk.runtime.telemetry.hooks import (
    AttemptMade,
    CallCompleted,
    CallFailed,
    ColdStartSeen,
    Event,
    Hook,
    RetryPlanned,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

__all__ = ["otel_hook", "prometheus_hook"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 240, 360)


def otel_hook(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> Hook:
    """Return a hook that exports to OpenTelemetry.

    It creates a client span for every attempt, as a child of the current span, and records the metric
    `http.client.request.duration`. Both follow OpenTelemetry's conventions for HTTP clients.

    Args:
        tracer_provider: Receives the spans; the global provider if None.
        meter_provider: Receives the metric; the global provider if None.
        now: Returns seconds since the epoch; `time.time` by default.

    Returns:
        The hook.

    Raises:
        MissingExtraError: opentelemetry-api is not installed.

    Example:
        >>> from mme_sdk import MMEClient
        >>> client = MMEClient(region="eu-west-1", hooks=[otel_hook()])
    """
    try:
        from opentelemetry import metrics, trace
    except ImportError as error:
        raise MissingExtraError("otel_hook() needs OpenTelemetry", hint="pip install 'mme-sdk[otel]'") from error
    tracer = trace.get_tracer("mme_sdk", tracer_provider=tracer_provider)
    duration = metrics.get_meter("mme_sdk", meter_provider=meter_provider).create_histogram(
        "http.client.request.duration", unit="s", description="Duration of HTTP client requests"
    )

    def hook(event: Event) -> None:
        if not isinstance(event, AttemptMade):
            return
        attempt, ended = event.attempt, now()
        attributes: dict[str, Any] = {
            "http.request.method": "POST",
            "rpc.system": "aws-api",
            "rpc.service": "SageMaker Runtime",
            "rpc.method": "InvokeEndpoint",
            "aws.sagemaker.endpoint_name": event.endpoint,
        }
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        failed = attempt.status is None or attempt.status >= 400
        if failed:
            attributes["error.type"] = attempt.code or str(attempt.status)
        duration.record(attempt.took, attributes)
        if event.model is not None:
            attributes["aws.sagemaker.target_model"] = event.model  # on spans only: a fleet has many models
        attributes["http.request.body.size"] = event.sent_bytes
        if event.number > 1:
            attributes["http.request.resend_count"] = event.number - 1
        span = tracer.start_span(
            "POST",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=int((ended - attempt.took) * 1e9),
        )
        if failed:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end_time=int(ended * 1e9))

    return hook


def prometheus_hook(registry: CollectorRegistry | None = None) -> Hook:
    """Return a hook that exports to Prometheus.

    Its metrics are `mme_invocations` by outcome, `mme_invocation_seconds`, `mme_attempts`, `mme_cold_starts`, and
    `mme_retries` by reason.

    Args:
        registry: Where to register the metrics; the default registry of prometheus_client if None.

    Returns:
        The hook. Create one for each registry.

    Raises:
        MissingExtraError: prometheus-client is not installed.

    Example:
        >>> from mme_sdk import MMEClient
        >>> client = MMEClient(region="eu-west-1", hooks=[prometheus_hook()])
    """
    try:
        from prometheus_client import REGISTRY, Counter, Histogram
    except ImportError as error:
        raise MissingExtraError(
            "prometheus_hook() needs prometheus-client", hint="pip install 'mme-sdk[prometheus]'"
        ) from error
    to = REGISTRY if registry is None else registry
    # The model is not a label: each model would add a time series to every metric.
    calls = Counter("mme_invocations", "Invocations by outcome", ["endpoint", "outcome"], registry=to)
    seconds = Histogram(
        "mme_invocation_seconds", "Seconds from call to end", ["endpoint", "cold"], registry=to, buckets=_SECONDS
    )
    attempts = Counter("mme_attempts", "Requests sent", ["endpoint"], registry=to)
    cold = Counter("mme_cold_starts", "Calls that found the model loading", ["endpoint"], registry=to)
    retries = Counter("mme_retries", "Requests sent again, by reason", ["endpoint", "reason"], registry=to)

    def hook(event: Event) -> None:
        match event:
            case AttemptMade(endpoint=endpoint):
                attempts.labels(endpoint).inc()
            case ColdStartSeen(endpoint=endpoint):
                cold.labels(endpoint).inc()
            case RetryPlanned(endpoint=endpoint, reason=reason):
                retries.labels(endpoint, reason).inc()
            case CallCompleted(endpoint=endpoint, took=took, cold=was_cold):
                calls.labels(endpoint, "ok").inc()
                seconds.labels(endpoint, "unknown" if was_cold is None else str(was_cold).lower()).observe(took)
            case CallFailed(endpoint=endpoint, error=error):
                calls.labels(endpoint, type(error).__name__).inc()

    return hook
