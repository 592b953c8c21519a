"""Types of what `Endpoint.metrics` returns, for annotations. `mme_sdk.metrics` has the classes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MetricSeries", "MetricsResult"]


class MetricSeries(Protocol):
    """One metric over time; see `mme_sdk.metrics.Series`.

    Attributes:
        times: Start of each period, ascending, in UTC.
        values: One value for each time.
        unit: `s`, `count`, `share` (0 to 1) or `percent`.
        total: Sum of the values.
        mean: Mean of the values; None if there are none.
    """

    times: tuple[datetime, ...]
    values: tuple[float, ...]
    unit: str
    total: float
    mean: float | None

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[datetime, float]]: ...


class MetricsResult(Protocol):
    """Metrics of one variant of an endpoint; see `mme_sdk.metrics.EndpointMetrics` for the meaning of each series."""

    endpoint: str
    variant: str
    start: datetime
    end: datetime
    period: int
    invocations: MetricSeries
    cache_hit: MetricSeries
    model_latency: MetricSeries
    model_latency_p95: MetricSeries
    overhead: MetricSeries
    loading_wait: MetricSeries
    downloading: MetricSeries
    loading: MetricSeries
    loads: MetricSeries
    unloads: MetricSeries
    loaded_models: MetricSeries
    cpu: MetricSeries
    memory: MetricSeries
    disk: MetricSeries
    errors_4xx: MetricSeries
    errors_5xx: MetricSeries
    model_errors: MetricSeries
    hit_ratio: float | None
    rate: float

    def to_frame(self) -> pd.DataFrame:
        """Return all series as the columns of a data frame, one row for each time (needs pandas)."""
        ...
