"""How long the loads of an endpoint of the embedded SageMaker took, for a simulation of the same calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mme_sdk.metrics import EndpointMetrics

__all__ = ["load_seconds"]


def load_seconds(cloudwatch: Any, seen: EndpointMetrics) -> float:
    """Return the sum of the seconds of all loads, with the unloads before them, which a simulation does not time.

    Args:
        cloudwatch: boto3 client of CloudWatch.
        seen: The metrics of the endpoint.
    """
    now = datetime.now(UTC)
    names = {"EndpointName": seen.endpoint, "VariantName": seen.variant}
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker", MetricName="ModelUnloadingTime", Statistics=["Sum"], Period=60,
        Dimensions=[{"Name": name, "Value": value} for name, value in names.items()],
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(minutes=1),
    )["Datapoints"]  # fmt: skip
    loads = dict(seen.loads)
    loading = sum(value * loads.get(when, 0.0) for when, value in seen.loading)
    return loading + sum(one["Sum"] for one in points) / 1e6
