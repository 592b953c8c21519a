"""Sinks of a recorder for CloudWatch (EMF log lines), Prometheus and OpenTelemetry; the last two need their extras.

A fleet has many models, so none of them makes a metric for each model: EMF carries the model as a property of the log
line, which CloudWatch Logs Insights searches; Prometheus and OpenTelemetry have the endpoint and the variant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.recording.record import Record, bucket_seconds

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

__all__ = ["EmfSink", "OtelSink", "PrometheusSink"]

_VALUES = 100  # values of a metric in a line; the specification allows no more
# name, unit of CloudWatch, value
_COUNTS: tuple[tuple[str, str, Callable[[Record], int]], ...] = (
    ("Calls", "Count", lambda one: one.calls),
    ("Errors", "Count", lambda one: one.failed),
    ("ColdCalls", "Count", lambda one: one.cold),
    ("Attempts", "Count", lambda one: one.attempts),
    ("Throttles", "Count", lambda one: one.throttles),
    ("SentBytes", "Bytes", lambda one: one.sent_bytes),
    ("ReceivedBytes", "Bytes", lambda one: one.received_bytes),
)


def _halved(latency: dict[int, int]) -> dict[int, int]:
    """Return the histogram with neighbouring buckets joined until there are at most 100; each value moves up."""
    width = 1
    while len(joined := {-(-number // width) * width for number in latency}) > _VALUES:
        width *= 2
    found = dict.fromkeys(sorted(joined), 0)
    for number, count in latency.items():
        found[-(-number // width) * width] += count
    return found


class EmfSink:
    """Writes log lines in CloudWatch's embedded metric format, one for each record.

    Metrics are by endpoint, and by endpoint and variant. The model and the tenant are properties of the line.

    Args:
        write_line: Receives each line, without its end: `logger.info` of a logger whose messages CloudWatch Logs gets
            unchanged, for example. None (the default) prints to the standard output, as AWS Lambda and the CloudWatch
            agent expect it.
        namespace: CloudWatch namespace. Default `mme_sdk`.

    Raises:
        InvalidInputError: The namespace is empty, longer than 255 characters, or begins with `AWS/`.
    """

    def __init__(self, write_line: Callable[[str], object] | None = None, *, namespace: str = "mme_sdk") -> None:
        if not 0 < len(namespace) <= 255 or namespace.startswith("AWS/"):
            raise InvalidInputError(
                f"{namespace!r} is no namespace: 1 to 255 characters, and CloudWatch reserves names with AWS/"
            )
        self._write_line = write_line
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<EmfSink to the namespace {self._namespace}>"

    def write(self, records: Sequence[Record], /) -> None:
        """Write a line for each record.

        Args:
            records: The records.
        """
        stream: TextIO = sys.stdout
        for each in records:
            line = self.line(each)
            if self._write_line is None:
                stream.write(line + "\n")
            else:
                self._write_line(line)
        if self._write_line is None:
            stream.flush()

    def line(self, record: Record) -> str:
        """Return the line of a record.

        Args:
            record: The record.
        """
        dimensions = [["Endpoint"]] + ([["Endpoint", "Variant"]] if record.variant else [])
        metrics = [{"Name": name, "Unit": unit} for name, unit, _ in _COUNTS]
        body: dict[str, Any] = {name: value(record) for name, _, value in _COUNTS}
        if record.latency:
            metrics.append({"Name": "Latency", "Unit": "Milliseconds"})
            joined = _halved(record.latency)
            body["Latency"] = {
                "Values": [round(bucket_seconds(number) * 1000, 6) for number in joined],
                "Counts": list(joined.values()),
            }
            body["Latency"] |= {
                "Min": body["Latency"]["Values"][0],
                "Max": body["Latency"]["Values"][-1],
                "Count": sum(joined.values()),
                "Sum": sum(bucket_seconds(number) * 1000 * count for number, count in joined.items()),
            }
        body |= {"Endpoint": record.endpoint, "Model": "(remainder)" if record.remainder else record.model}
        body |= {"Tenant": record.tenant, "ErrorTypes": record.errors, "ColdMilliseconds": record.cold_micros / 1000}
        if record.variant:
            body["Variant"] = record.variant
        directive = {"Namespace": self._namespace, "Dimensions": dimensions, "Metrics": metrics}
        return json.dumps({"_aws": {"Timestamp": record.minute * 1000, "CloudWatchMetrics": [directive]}} | body)


class PrometheusSink:
    """Adds the records to counters of prometheus_client, by endpoint and variant.

    Args:
        registry: Where the metrics are registered; the default registry of prometheus_client if None.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            from prometheus_client import REGISTRY, Counter
        except ImportError as error:
            raise MissingExtraError(
                "PrometheusSink needs prometheus-client", hint="pip install 'mme-sdk[prometheus]'"
            ) from error
        to = REGISTRY if registry is None else registry
        labels = ["endpoint", "variant"]
        self._counters = [
            (Counter(f"mme_recorded_{_snake(name)}", f"Recorded: {_snake(name)}", labels, registry=to), value)
            for name, _, value in _COUNTS
        ]
        self._seconds = Counter("mme_recorded_seconds", "Seconds from call to end, in total", labels, registry=to)
        self._cold = Counter("mme_recorded_cold_seconds", "Seconds of cold calls, in total", labels, registry=to)

    def write(self, records: Sequence[Record], /) -> None:
        """Add the records.

        Args:
            records: The records.
        """
        for each in records:
            labels = (each.endpoint, each.variant or "")
            for counter, value in self._counters:
                counter.labels(*labels).inc(value(each))
            self._seconds.labels(*labels).inc(each.micros / 1e6)
            self._cold.labels(*labels).inc(each.cold_micros / 1e6)


class OtelSink:
    """Adds the records to counters of OpenTelemetry, by endpoint and variant.

    Args:
        meter_provider: Receives the metrics; the global provider if None.

    Raises:
        MissingExtraError: opentelemetry-api is not installed.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        try:
            from opentelemetry import metrics
        except ImportError as error:
            raise MissingExtraError("OtelSink needs OpenTelemetry", hint="pip install 'mme-sdk[otel]'") from error
        meter = metrics.get_meter("mme_sdk", meter_provider=meter_provider)
        self._counters = [
            (meter.create_counter(f"mme.{_snake(name)}", unit="By" if unit == "Bytes" else "1"), value)
            for name, unit, value in _COUNTS
        ]
        self._seconds = meter.create_counter("mme.call.duration", unit="s")
        self._cold = meter.create_counter("mme.cold_call.duration", unit="s")

    def write(self, records: Sequence[Record], /) -> None:
        """Add the records.

        Args:
            records: The records.
        """
        for each in records:
            attributes = {"aws.sagemaker.endpoint_name": each.endpoint}
            if each.variant:
                attributes["aws.sagemaker.variant_name"] = each.variant
            for counter, value in self._counters:
                counter.add(value(each), attributes)
            self._seconds.add(each.micros / 1e6, attributes)
            self._cold.add(each.cold_micros / 1e6, attributes)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
