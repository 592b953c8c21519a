"""An invocation is counted by prometheus-client."""

import prometheus_client
from server import endpoint

from mme_sdk.runtime import prometheus_hook

with endpoint(hooks=[prometheus_hook()]) as lengths:
    lengths.invoke(b"one", model="a", content_type="text/plain")
assert b"lengths" in prometheus_client.generate_latest()
