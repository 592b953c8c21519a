"""Time series of metrics. Times are in seconds and shares from 0 to 1, independent of CloudWatch's units."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from mme_sdk.display import html
from mme_sdk.display.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EndpointMetrics", "Series"]

_UNITS = {"s": " s", "percent": "%", "count": ""}


@attrs.frozen(repr=False)
class Series(Shown):
    """Time series of one metric.

    Attributes:
        times: Start of each period, ascending, in UTC.
        values: Value of each period.
        unit: Unit of the values: `s`, `count` (the default), `share` (0 to 1) or `percent`.
    """

    times: tuple[datetime, ...] = attrs.field(repr=False)
    values: tuple[float, ...] = attrs.field(repr=False)
    unit: str = "count"

    def _text(self) -> str:
        return f"<Series of {len(self)} values: {self._range() or 'empty'}>"

    def _html(self) -> str:
        return html.facts("Series", {"values": len(self), "range": self._range(), "": html.lines(self.values)})

    def _range(self) -> str:
        if not self.values:
            return ""
        low, high = self._in_unit(min(self.values)), self._in_unit(max(self.values))
        return low if low == high else f"{low} to {high}"

    def _in_unit(self, value: float) -> str:
        if self.unit == "share":
            return f"{value:.1%}"
        return f"{value:.3g}{_UNITS.get(self.unit, f' {self.unit}')}"

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[datetime, float]]:
        return iter(zip(self.times, self.values, strict=True))

    @property
    def total(self) -> float:
        """Sum of the values."""
        return sum(self.values)

    @property
    def mean(self) -> float | None:
        """Mean of the values; None if the series is empty."""
        return self.total / len(self.values) if self.values else None


@attrs.frozen(kw_only=True, repr=False)
class EndpointMetrics(Shown):
    """CloudWatch metrics of a variant of an endpoint.

    Attributes:
        endpoint: Name of the endpoint.
        variant: Name of the production variant.
        start: Start of the time range, in UTC.
        end: End of the time range, in UTC.
        period: Length of the period of a data point, in seconds.
        invocations: Number of requests (Invocations).
        cache_hit: Share of requests whose model was in memory, 0 to 1 (ModelCacheHit).
        model_latency: Mean time in the container, in seconds (ModelLatency).
        model_latency_p95: 95th percentile of the time in the container, in seconds.
        overhead: Mean time that SageMaker adds, in seconds (OverheadLatency).
        loading_wait: Mean time that a request waits for its model, in seconds (ModelLoadingWaitTime).
        downloading: Mean time of a download from S3, in seconds (ModelDownloadingTime).
        loading: Mean time of a load into memory, in seconds (ModelLoadingTime).
        loads: Number of loads.
        unloads: Number of models that were unloaded. A high number means that the memory is too small.
        loaded_models: Mean number of models in memory per instance (LoadedModelCount).
        cpu: CPU utilization, 0 to 100 percent times the number of vCPUs.
        memory: Memory utilization, in percent.
        disk: Disk utilization, in percent.
        errors_4xx: Number of responses with a 4xx status.
        errors_5xx: Number of responses with a 5xx status.
        model_errors: Number of requests that the container did not answer with a 2xx status (InvocationModelErrors).
    """

    endpoint: str
    variant: str
    start: datetime
    end: datetime
    period: int
    invocations: Series
    cache_hit: Series
    model_latency: Series
    model_latency_p95: Series
    overhead: Series
    loading_wait: Series
    downloading: Series
    loading: Series
    loads: Series
    unloads: Series
    loaded_models: Series
    cpu: Series
    memory: Series
    disk: Series
    errors_4xx: Series
    errors_5xx: Series
    model_errors: Series

    def _series(self) -> dict[str, Series]:
        found = {field.name: getattr(self, field.name) for field in attrs.fields(EndpointMetrics)}
        return {name: value for name, value in found.items() if isinstance(value, Series)}

    def _heading(self) -> str:
        hours = (self.end - self.start).total_seconds() / 3600
        return f"{self.endpoint}, variant {self.variant}, {hours:.3g} h until {html.plain(self.end)}"

    def _text(self) -> str:
        empty = [name for name, series in self._series().items() if not series]
        hit = "no hit ratio" if self.hit_ratio is None else f"hit ratio {self.hit_ratio:.1%}"
        text = f"<EndpointMetrics of {self._heading()}:\n {self.invocations.total:g} invocations, {hit}"
        return f"{text}, {len(empty)} series without data>" if empty else f"{text}>"

    def _html(self) -> str:
        rows = [
            {
                "metric": name.replace("_", " "),
                "last": series._in_unit(series.values[-1]),
                "range": series._range(),
                "": html.lines(series.values),
            }
            for name, series in self._series().items()
            if series.values
        ]
        empty = [name.replace("_", " ") for name, series in self._series().items() if not series.values]
        table = html.table(f"Metrics of {self._heading()}", rows)
        return f"{table}<p>Without data: {html.escape(', '.join(empty))}</p>" if empty else table

    @property
    def hit_ratio(self) -> float | None:
        """Share of all requests whose model was in memory, 0 to 1; None without data points.

        Data points are weighted by their number of requests, if it is known.
        """
        weights = dict(self.invocations)
        known = [(value, weights.get(time, 0.0)) for time, value in self.cache_hit]
        total = sum(weight for _, weight in known)
        return sum(value * weight for value, weight in known) / total if total else self.cache_hit.mean

    @property
    def rate(self) -> float:
        """Requests per second over the time range."""
        return self.invocations.total / max((self.end - self.start).total_seconds(), 1e-9)

    def to_frame(self) -> pd.DataFrame:
        """Return all series as a data frame: a row for each time, a column for each metric. It needs pandas.

        Returns:
            The data frame, indexed by time.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        columns = {
            field.name: pd.Series(dict(series), dtype=float)
            for field in attrs.fields(EndpointMetrics)
            if isinstance(series := getattr(self, field.name), Series)
        }
        return pd.DataFrame(columns).sort_index()
