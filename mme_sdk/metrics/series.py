"""Measured series, in seconds and shares whatever CloudWatch counts in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EndpointMetrics", "Series"]


@attrs.frozen
class Series:
    """One metric over time.

    Attributes:
        times: Start of each span, ascending, UTC.
        values: One for each time.
        unit: `s`, `count`, `share` (0 to 1) or `percent`.
    """

    times: tuple[datetime, ...] = attrs.field(repr=False)
    values: tuple[float, ...] = attrs.field(repr=False)
    unit: str = "count"

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
        """Mean of the values; None where there are none."""
        return self.total / len(self.values) if self.values else None


@attrs.frozen(kw_only=True)
class EndpointMetrics:
    """What CloudWatch knows of a variant of an endpoint.

    Attributes:
        endpoint: EndpointName.
        variant: VariantName.
        start: Start of the time that was asked for.
        end: Its end.
        period: Seconds that a point stands for.
        invocations: Requests.
        cache_hit: Share of the requests that met their model in memory.
        model_latency: Mean seconds in the container.
        model_latency_p95: 95th percentile of that.
        overhead: Mean seconds that SageMaker added.
        loading_wait: Mean seconds that requests waited for their model.
        downloading: Mean seconds of a download.
        loading: Mean seconds of a load into memory.
        loads: How many.
        unloads: How many models were taken out of memory; many of them are thrashing.
        loaded_models: Mean models in memory on an instance.
        cpu: vCPUs in use, 0 to 100 times their number.
        memory: Memory in use.
        disk: Volume in use.
        errors_4xx: Requests answered 4xx.
        errors_5xx: Requests answered 5xx.
        model_errors: Requests that the container failed.
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

    @property
    def hit_ratio(self) -> float | None:
        """Share of all requests that met their model in memory; None where nothing was measured.

        Points are weighted by their requests, where those are known.
        """
        weights = dict(self.invocations)
        known = [(value, weights.get(time, 0.0)) for time, value in self.cache_hit]
        total = sum(weight for _, weight in known)
        return sum(value * weight for value, weight in known) / total if total else self.cache_hit.mean

    @property
    def rate(self) -> float:
        """Requests per second over the whole time."""
        return self.invocations.total / max((self.end - self.start).total_seconds(), 1e-9)

    def to_frame(self) -> pd.DataFrame:
        """All series side by side, one row for each time (needs pandas)."""
        import pandas as pd

        columns = {
            field.name: pd.Series(dict(series), dtype=float)
            for field in attrs.fields(EndpointMetrics)
            if isinstance(series := getattr(self, field.name), Series)
        }
        return pd.DataFrame(columns).sort_index()
