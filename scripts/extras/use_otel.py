"""An invocation is reported to OpenTelemetry's API."""

from server import endpoint

from mme_sdk.runtime import otel_hook

with endpoint(hooks=[otel_hook()]) as lengths:
    lengths.invoke(b"one", model="a", content_type="text/plain")
