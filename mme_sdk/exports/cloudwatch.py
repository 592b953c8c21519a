"""Dashboards and alarms of CloudWatch.

Source of the structure:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mme_sdk._validation import check_instance, check_number
from mme_sdk.errors import InvalidInputError
from mme_sdk.exports.panels import AWS_METRICS, PANELS, Panel, check_target

__all__ = ["alarms", "cloudwatch_dashboard"]

_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 6
_LABELS = {"count": "", "s": "seconds", "share": "share", "percent": "percent", "bytes": "bytes"}
_PERIOD = 60
_MOST_ACTIONS = 5


def cloudwatch_dashboard(
    endpoint: str,
    *,
    region: str,
    variants: Sequence[str] = ("AllTraffic",),
    panels: Sequence[Panel] = PANELS,
    period: int = 60,
) -> dict[str, Any]:
    """Return the body of a CloudWatch dashboard: one widget for each panel with a metric of CloudWatch.

    Args:
        endpoint: Name of the endpoint.
        region: AWS region of the endpoint.
        variants: Names of the production variants; each is a line. Default: `AllTraffic`.
        panels: What to show; panels without `metric` are left out. Default: `PANELS`.
        period: Length of the period of a data point, in seconds; a multiple of 60. Default: 60.

    Returns:
        The body: `json.dumps` of it is the DashboardBody of PutDashboard.

    Raises:
        InvalidInputError: An argument is not valid, or no panel has a metric of CloudWatch.

    Example:
        ```python
        body = json.dumps(cloudwatch_dashboard("scoring", region="eu-west-1"))
        boto3.client("cloudwatch").put_dashboard(DashboardName="scoring", DashboardBody=body)
        ```
    """
    names, found = check_target(endpoint, variants, panels)
    check_instance("region", region, str)
    if not region.strip():
        raise InvalidInputError("region: must be the name of an AWS region, not empty")
    check_number("period", period, at_least=60, integer=True)
    if period % 60:
        raise InvalidInputError(f"period must be a multiple of 60 seconds, not {period!r}")
    shown = [one for one in found if one.metric is not None]
    if not shown:
        raise InvalidInputError("panels: no panel has a metric of CloudWatch", hint="give Panel(metric=…)")
    widgets = []
    for place, panel in enumerate(shown):
        row, column = divmod(place, _COLUMNS)
        position = {"x": column * _WIDTH, "y": row * _HEIGHT, "width": _WIDTH, "height": _HEIGHT}
        widgets.append(
            {"type": "metric", **position, "properties": _properties(endpoint, region, names, panel, period)}
        )
    return {"widgets": widgets}


def _properties(endpoint: str, region: str, variants: tuple[str, ...], panel: Panel, period: int) -> dict[str, Any]:
    axis: dict[str, Any] = {"min": 0, "label": _LABELS[panel.unit], "showUnits": False}
    if panel.unit == "share":
        axis["max"] = 1
    properties: dict[str, Any] = {
        "title": panel.title,
        "region": region,
        "view": "timeSeries",
        "stacked": False,
        "stat": panel.statistic,
        "period": period,
        "metrics": _lines(endpoint, variants, panel),
        "yAxis": {"left": axis},
    }
    limit = panel.above if panel.above is not None else panel.below
    if limit is not None:
        side = "above" if panel.above is not None else "below"
        properties["annotations"] = {"horizontal": [{"label": "alarm", "value": limit, "fill": side}]}
    return properties


def _lines(endpoint: str, variants: tuple[str, ...], panel: Panel) -> list[list[Any]]:
    lines: list[list[Any]] = []
    for place, dimensions in enumerate(_dimensions(endpoint, variants, panel), 1):
        label = dimensions[-1]["Value"]
        metric = AWS_METRICS[str(panel.metric)]
        named = [text for one in dimensions for text in (one["Name"], one["Value"])]
        options: dict[str, Any] = {"label": label}
        if panel.scale != 1:
            options = {"id": f"m{place}", "visible": False}
            lines.append([{"expression": f"m{place} / {panel.scale:.0f}", "id": f"e{place}", "label": label}])
        lines.append([metric.namespace, panel.metric, *named, options])
    return lines


def _dimensions(endpoint: str, variants: tuple[str, ...], panel: Panel) -> list[list[dict[str, str]]]:
    whole = {"Name": "EndpointName", "Value": endpoint}
    if not AWS_METRICS[str(panel.metric)].variant:
        return [[whole]]
    return [[whole, {"Name": "VariantName", "Value": variant}] for variant in variants]


def alarms(
    endpoint: str,
    *,
    variants: Sequence[str] = ("AllTraffic",),
    panels: Sequence[Panel] = PANELS,
    actions: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return the parameters of PutMetricAlarm for each panel with a limit, and each variant.

    Args:
        endpoint: Name of the endpoint.
        variants: Names of the production variants. Default: `AllTraffic`.
        panels: What to watch; panels without `above` and `below` are left out. Default: `PANELS`.
        actions: ARNs of what to notify, such as an SNS topic; at most 5. Default: none.

    Returns:
        The parameters, one mapping for each alarm. A minute without data points does not count as a breach.

    Raises:
        InvalidInputError: An argument is not valid, or no panel has a limit.

    Example:
        ```python
        for alarm in alarms("scoring", actions=["arn:aws:sns:eu-west-1:123456789012:on-call"]):
            boto3.client("cloudwatch").put_metric_alarm(**alarm)
        ```
    """
    names, found = check_target(endpoint, variants, panels)
    if isinstance(actions, str) or not isinstance(actions, Sequence):
        raise InvalidInputError(f"actions: must be a sequence of ARNs, not {actions!r}")
    if len(actions) > _MOST_ACTIONS or not all(isinstance(one, str) and one.startswith("arn:") for one in actions):
        raise InvalidInputError(f"actions: at most {_MOST_ACTIONS} ARNs, not {list(actions)!r}")
    made = [
        _alarm(endpoint, panel, dimensions, list(actions))
        for panel in found
        if panel.above is not None or panel.below is not None
        for dimensions in _dimensions(endpoint, names, panel)
    ]
    if not made:
        raise InvalidInputError("panels: no panel has a limit", hint="give Panel(metric=…, above=…)")
    repeated = {one["AlarmName"] for one in made if [two["AlarmName"] for two in made].count(one["AlarmName"]) > 1}
    if repeated:
        raise InvalidInputError(
            f"panels: two alarms have the name {min(repeated)!r}", hint="give one limit for each metric and statistic"
        )
    return made


def _alarm(endpoint: str, panel: Panel, dimensions: list[dict[str, str]], actions: list[str]) -> dict[str, Any]:
    over = panel.above is not None
    limit = float((panel.above if over else panel.below) or 0.0)
    where = "/".join(one["Value"] for one in dimensions)
    kind = "ExtendedStatistic" if panel.statistic.startswith("p") else "Statistic"
    side, word = ("above", "Greater") if over else ("below", "Less")
    return {
        "AlarmName": f"{where}/{panel.metric}-{panel.statistic}-{side}",
        "AlarmDescription": f"{panel.title}: {side} {limit:g} for {panel.minutes} minutes. Endpoint {endpoint}.",
        "Namespace": AWS_METRICS[str(panel.metric)].namespace,
        "MetricName": panel.metric,
        "Dimensions": dimensions,
        kind: panel.statistic,
        "Period": _PERIOD,
        "EvaluationPeriods": panel.minutes,
        "DatapointsToAlarm": panel.minutes,
        "Threshold": limit * panel.scale,
        "ComparisonOperator": f"{word}ThanThreshold",
        "TreatMissingData": "notBreaching",
        **({"AlarmActions": actions} if actions else {}),
    }
