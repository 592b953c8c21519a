"""Records as log lines in CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from mme_sdk.recording.histogram import Histogram, middle_of
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["emf_lines"]

_VALUES = 100  # values of one metric in one line
_METRICS = [
    {"Name": "Calls", "Unit": "Count"},
    {"Name": "Errors", "Unit": "Count"},
    {"Name": "ColdCalls", "Unit": "Count"},
    {"Name": "Throttles", "Unit": "Count"},
    {"Name": "SentBytes", "Unit": "Bytes"},
    {"Name": "ReceivedBytes", "Unit": "Bytes"},
]


def emf_lines(records: Iterable[RecordedMinute], *, namespace: str = "mme_sdk", models: int = 20) -> Iterator[str]:
    r"""Return log lines from which CloudWatch makes metrics, one for each minute, endpoint and variant.

    The dimensions are the endpoint and the variant: each model as a dimension would be a metric that costs money. The
    models with the most calls are in the line as a property, which CloudWatch Logs Insights can query.

    Args:
        records: The records.
        namespace: Namespace of the metrics. Default: `mme_sdk`.
        models: Number of models to list in a line. Default: 20.

    Returns:
        Lines of JSON, without a line feed.

    Example:
        ```python
        recorder = Recorder(sinks=[lambda records: print(*emf_lines(records), sep="\\n", flush=True)])
        ```
    """
    groups: dict[tuple[object, ...], list[RecordedMinute]] = {}
    for one in records:
        groups.setdefault((one.at, one.endpoint, one.variant or "none"), []).append(one)
    for (_, endpoint, variant), group in groups.items():
        latency, waits = Histogram(), Histogram()
        for one in group:
            latency, waits = latency + one.latency, waits + one.waits
        metrics = list(_METRICS)
        line: dict[str, object] = {
            "Endpoint": endpoint,
            "Variant": variant,
            "Calls": sum(one.calls for one in group),
            "Errors": sum(sum(one.errors.values()) for one in group),
            "ColdCalls": sum(one.cold for one in group),
            "Throttles": sum(one.throttles for one in group),
            "SentBytes": sum(one.sent_bytes for one in group),
            "ReceivedBytes": sum(one.received_bytes for one in group),
        }
        for name, histogram in (("Latency", latency), ("ColdWait", waits)):
            if histogram.counts:
                metrics.append({"Name": name, "Unit": "Seconds"})
                line[name] = _distribution(histogram)
        most = sorted(group, key=lambda one: one.calls, reverse=True)[:models]
        line["Models"] = {one.model or "others": one.calls for one in most}
        line["_aws"] = {
            "Timestamp": int(group[0].at.timestamp() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": namespace, "Dimensions": [["Endpoint", "Variant"], ["Endpoint"]], "Metrics": metrics}
            ],
        }
        yield json.dumps(line, separators=(",", ":"))


def _distribution(histogram: Histogram) -> dict[str, list[float]]:
    """Return values and their counts; neighbouring buckets are joined if there are too many."""
    buckets = sorted(histogram.counts.items())
    step = -(-len(buckets) // _VALUES)
    parts = [buckets[at : at + step] for at in range(0, len(buckets), step)]
    return {
        "Values": [round(middle_of(part[len(part) // 2][0]), 9) for part in parts],
        "Counts": [float(sum(count for _, count in part)) for part in parts],
    }
