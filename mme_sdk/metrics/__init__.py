"""CloudWatch's metrics of multi-model endpoints as typed series.

`read_metrics` is a flow: `aws.run(read_metrics(…))` drives it in a thread, `await aws.arun(read_metrics(…))` on an
event loop.
"""

from mme_sdk.metrics.reading import read_metrics
from mme_sdk.metrics.series import EndpointMetrics, Series

__all__ = ["EndpointMetrics", "Series", "read_metrics"]
