"""Recordings: the calls of each model, minute by minute, as the callers saw them.

CloudWatch has no metrics for a single model of a multi-model endpoint. A `Recorder` counts in the caller's process
instead. Its minutes go to Parquet files, CloudWatch log lines, Prometheus or OpenTelemetry; `read_recordings` reads the
files of all processes and merges them exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.recording.emf import emf_lines
    from mme_sdk.recording.exporters import export_opentelemetry, export_prometheus
    from mme_sdk.recording.files import read_recordings
    from mme_sdk.recording.histogram import Histogram
    from mme_sdk.recording.minutes import RecordedMinute, merge
    from mme_sdk.recording.recorder import Recorder

__all__ = [
    "Histogram",
    "RecordedMinute",
    "Recorder",
    "emf_lines",
    "export_opentelemetry",
    "export_prometheus",
    "merge",
    "read_recordings",
]

_HOMES = {
    "Histogram": "recording.histogram",
    "RecordedMinute": "recording.minutes",
    "Recorder": "recording.recorder",
    "emf_lines": "recording.emf",
    "export_opentelemetry": "recording.exporters",
    "export_prometheus": "recording.exporters",
    "merge": "recording.minutes",
    "read_recordings": "recording.files",
}

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
