"""What users must not get away with: each ignored line is an error that the type checker must find. Never run."""

from __future__ import annotations

from mme_sdk import Autoscaling, Endpoint, EndpointSpec, MMEClient, ModelVersion, RetryPolicy, Timeouts
from mme_sdk.runtime import InvokeOptions


def refused(client: MMEClient, endpoint: Endpoint, version: ModelVersion) -> None:
    MMEClient("eu-west-1")  # type: ignore[call-arg]
    Timeouts(5)  # type: ignore[call-arg]
    Timeouts(read="5")  # type: ignore[arg-type]
    RetryPolicy(attempts=2)  # type: ignore[call-arg]
    client.models()  # type: ignore[call-arg]
    client.models(None)  # type: ignore[arg-type]
    version.name = "other"  # type: ignore[misc]
    client.models("s3://ml-models/prod/", stale=1)  # type: ignore[call-arg]
    client.models("s3://ml-models/prod/", staleness="1")  # type: ignore[arg-type]
    MMEClient(timeout=5)  # type: ignore[call-arg]
    client.with_options(timeout=5)  # type: ignore[call-arg]
    client.with_options(timeouts=5)  # type: ignore[arg-type]
    endpoint.invoke()  # type: ignore[call-arg]
    endpoint.invoke({}, "fraud/v3.tar.gz")  # type: ignore[call-arg]
    endpoint.invoke({}, model=3)  # type: ignore[arg-type]
    endpoint.invoke({}, idempotant=True)  # type: ignore[call-arg]
    endpoint.invoke({}, deadline="5")  # type: ignore[arg-type]
    endpoint.invoke({}, response_type=3)  # type: ignore[arg-type]
    endpoint.invoke_many([], dedline=5)  # type: ignore[call-arg]
    endpoint.invoke_frame(None, response_type=int)  # type: ignore[call-arg]
    endpoint.warm([], session_id="a")  # type: ignore[call-arg]
    endpoint.keep_warm([], rate={}, rates={}, sizes={}, capacity=1)  # type: ignore[call-arg]
    endpoint.invoke_stream({}, deadline=5)  # type: ignore[call-arg]
    endpoint.invoke_async({}, ttl=5)  # type: ignore[call-arg]
    InvokeOptions(dedline=5)  # type: ignore[call-arg]
    InvokeOptions().deadline = 5  # type: ignore[misc]
    EndpointSpec.multi_model(name="scoring")  # type: ignore[call-arg]
    Autoscaling.for_rps(min=1, max=2, rps=5, cooldown=60)  # type: ignore[call-arg]
    client.endpoints.apply(3)  # type: ignore[arg-type]
