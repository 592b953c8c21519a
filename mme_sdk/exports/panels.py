"""What dashboards and alarms show: one description for CloudWatch and for Grafana.

Source of AWS's metrics: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import as_int, check_instance, check_resource_name, number, one_of, optional, optional_float
from mme_sdk.errors import InvalidInputError
from mme_sdk.recording.exporters import METRICS
from mme_sdk.types.near import near_names

__all__ = ["AWS_METRICS", "PANELS", "Metric", "Panel", "check_target"]

RECORDED = tuple(name for name, *_ in METRICS)
"""Counters of the recorder: in Prometheus, `mme_recorded_NAME_total`."""
_STATISTICS = ("Average", "Sum", "Minimum", "Maximum", "SampleCount", "p50", "p90", "p95", "p99")
_UNITS = ("count", "s", "share", "percent", "bytes")


@attrs.frozen
class Metric:
    """A metric of CloudWatch.

    Attributes:
        namespace: Its namespace.
        unit: Its unit, as a panel names it.
        scale: Factor from that unit to CloudWatch's: SageMaker publishes times in microseconds.
        variant: Whether it has the dimension VariantName.
    """

    namespace: str
    unit: str
    scale: float = 1.0
    variant: bool = True


def _metrics() -> dict[str, Metric]:
    found = {}
    for name in ("Invocations", "InvocationsPerInstance", "Invocation4XXErrors", "Invocation5XXErrors"):
        found[name] = Metric("AWS/SageMaker", "count")
    found["InvocationModelErrors"] = Metric("AWS/SageMaker", "count")
    found["ModelCacheHit"] = Metric("AWS/SageMaker", "share")
    for name in ("ModelLatency", "OverheadLatency", "ModelLoadingWaitTime", "ModelDownloadingTime"):
        found[name] = Metric("AWS/SageMaker", "s", 1e6)
    for name in ("ModelLoadingTime", "ModelUnloadingTime"):
        found[name] = Metric("AWS/SageMaker", "s", 1e6)
    for name in ("ApproximateBacklogSize", "ApproximateBacklogSizePerInstance", "HasBacklogWithoutCapacity"):
        found[name] = Metric("AWS/SageMaker", "count", variant=False)
    found["LoadedModelCount"] = Metric("/aws/sagemaker/Endpoints", "count")
    for name in ("CPU", "Memory", "Disk", "GPU", "GPUMemory"):
        found[f"{name}Utilization"] = Metric("/aws/sagemaker/Endpoints", "percent")
    return found


AWS_METRICS: Mapping[str, Metric] = _metrics()


@short_tracebacks
@attrs.frozen(kw_only=True)
class Panel:
    """One panel of a dashboard, and the alarm on its metric.

    Attributes:
        title: Title.
        metric: Metric of SageMaker in CloudWatch, such as `ModelCacheHit`. Default: None, no panel in CloudWatch.
        statistic: Statistic of `metric`: `Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount`, `p50`, `p90`, `p95` or
            `p99`. Default: `Average`.
        unit: Unit of the values: `count`, `s`, `share` (0 to 1), `percent` or `bytes`. Default: `count`.
        recorded: Counter of the recorder in Prometheus, such as `calls`; the panel shows its rate. Default: None, no
            panel in Grafana.
        per: Counter of the recorder to divide by. Default: None.
        by: Label of Prometheus whose values are the lines of the panel: `model`, `variant` or `endpoint`. CloudWatch's
            lines are the variants. Default: `variant`.
        above: The alarm goes off at values over this, in the panel's unit. Default: None.
        below: The alarm goes off at values under this, in the panel's unit. Default: None.
        minutes: Minutes in a row that the alarm needs, 1 to 1440. Default: 5.
    """

    title: str
    metric: str | None = None
    statistic: str = attrs.field(default="Average", validator=one_of(*_STATISTICS))
    unit: str = attrs.field(default="count", validator=one_of(*_UNITS))
    recorded: str | None = attrs.field(default=None, validator=optional(one_of(*RECORDED)))
    per: str | None = attrs.field(default=None, validator=optional(one_of(*RECORDED)))
    by: Literal["model", "variant", "endpoint"] = attrs.field(
        default="variant", validator=one_of("model", "variant", "endpoint")
    )
    above: float | None = attrs.field(default=None, converter=optional_float, validator=optional(number()))
    below: float | None = attrs.field(default=None, converter=optional_float, validator=optional(number()))
    minutes: int = attrs.field(default=5, converter=as_int, validator=number(at_least=1, at_most=1440, integer=True))

    def __attrs_post_init__(self) -> None:
        check_instance("title", self.title, str)
        if not 1 <= len(self.title.strip()) <= 200:
            raise InvalidInputError(f"title: 1 to 200 characters, not {self.title!r}")
        if self.metric is None and self.recorded is None:
            raise InvalidInputError(f"panel {self.title!r}: give metric, recorded or both")
        if self.per is not None and self.recorded is None:
            raise InvalidInputError(f"panel {self.title!r}: per needs recorded")
        if self.above is not None and self.below is not None:
            raise InvalidInputError(f"panel {self.title!r}: give above or below, not both")
        if self.metric is None:
            if self.above is not None or self.below is not None:
                raise InvalidInputError(f"panel {self.title!r}: an alarm needs a metric of CloudWatch")
            return
        if self.metric not in AWS_METRICS:
            close = near_names(str(self.metric), sorted(AWS_METRICS), limit=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known metrics: {', '.join(sorted(AWS_METRICS))}"
            raise InvalidInputError(f"metric: SageMaker publishes no metric {self.metric!r}", hint=hint)
        expected = "count" if self.statistic == "SampleCount" else AWS_METRICS[self.metric].unit
        if self.unit != expected:
            raise InvalidInputError(
                f"unit: {self.statistic} of {self.metric} has the unit {expected!r}, not {self.unit!r}"
            )

    @property
    def scale(self) -> float:
        """Factor from the panel's unit to the unit of CloudWatch."""
        return 1.0 if self.metric is None or self.statistic == "SampleCount" else AWS_METRICS[self.metric].scale


PANELS: tuple[Panel, ...] = (
    Panel(title="Requests", metric="Invocations", statistic="Sum", recorded="calls"),
    Panel(title="Requests that fail, by SageMaker (5xx)", metric="Invocation5XXErrors", statistic="Sum", above=0),
    Panel(title="Requests that fail, by the caller (4xx)", metric="Invocation4XXErrors", statistic="Sum"),
    Panel(title="Calls that fail", recorded="errors", per="calls", unit="share", by="model"),
    Panel(title="Requests whose model is in memory", metric="ModelCacheHit", unit="share", below=0.8, minutes=15),
    Panel(title="Calls that wait for a model", recorded="cold_calls", per="calls", unit="share", by="model"),
    Panel(title="Wait for a model", metric="ModelLoadingWaitTime", unit="s", recorded="cold_seconds", per="cold_calls"),
    Panel(title="Time in the container, p95", metric="ModelLatency", statistic="p95", unit="s"),
    Panel(title="Time that SageMaker adds", metric="OverheadLatency", unit="s"),
    Panel(title="Calls by model", recorded="calls", by="model"),
    Panel(title="Requests that SageMaker throttles", recorded="throttles", by="model"),
    Panel(title="Loads", metric="ModelLoadingTime", statistic="SampleCount"),
    Panel(title="Unloads", metric="ModelUnloadingTime", statistic="SampleCount"),
    Panel(title="Models in memory per instance", metric="LoadedModelCount"),
    Panel(title="Memory", metric="MemoryUtilization", unit="percent", above=90),
    Panel(title="Disk", metric="DiskUtilization", unit="percent", above=90),
    Panel(title="CPU (100 percent is one vCPU)", metric="CPUUtilization", unit="percent"),
    Panel(title="Bytes sent", recorded="sent_bytes", unit="bytes"),
    Panel(title="Bytes received", recorded="received_bytes", unit="bytes"),
)
"""Panels of a multi-model endpoint."""


def check_target(endpoint: Any, variants: Any, panels: Any) -> tuple[tuple[str, ...], tuple[Panel, ...]]:
    """Check the arguments of a dashboard, and return the variants and the panels as tuples.

    Raises:
        InvalidInputError: An argument has the wrong type, or a name is not valid.
    """
    check_resource_name("endpoint", endpoint)
    if isinstance(variants, str):
        variants = (variants,)
    for name, value in (("variants", variants), ("panels", panels)):
        if not isinstance(value, Sequence) or not value:
            raise InvalidInputError(f"{name}: must be a sequence with at least one item, not {value!r}")
    for one in variants:
        check_resource_name("variants", one)
    for one in panels:
        check_instance("panels", one, Panel)
    return tuple(variants), tuple(panels)
