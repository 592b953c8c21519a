"""CloudWatch metrics of multi-model endpoints as typed time series.

`endpoint.metrics()` returns them. It runs the flow `read_metrics`, which `aws.run(…)` runs in a thread and
`await aws.arun(…)` on an event loop.
"""

from mme_sdk.metrics.reading import read_metrics
from mme_sdk.metrics.series import EndpointMetrics, Series

__all__ = ["EndpointMetrics", "Series", "read_metrics"]
