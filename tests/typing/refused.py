"""What users must not get away with: each ignored line is an error that the type checker must find. Never run."""

from __future__ import annotations

from mme_sdk import Autoscaling, Endpoint, EndpointSpec, MMEClient, ModelVersion, RetryPolicy, Timeouts


def refused(client: MMEClient, endpoint: Endpoint, version: ModelVersion) -> None:
    MMEClient("eu-west-1")  # type: ignore[call-arg]
    Timeouts(5)  # type: ignore[call-arg]
    Timeouts(read="5")  # type: ignore[arg-type]
    RetryPolicy(attempts=2)  # type: ignore[call-arg]
    client.models()  # type: ignore[call-arg]
    client.models(None)  # type: ignore[arg-type]
    version.name = "other"  # type: ignore[misc]
    endpoint.invoke()  # type: ignore[call-overload]
    endpoint.invoke({}, "fraud/v3.tar.gz")  # type: ignore[call-overload]
    endpoint.invoke({}, model=3)  # type: ignore[call-overload]
    EndpointSpec.multi_model(name="scoring")  # type: ignore[call-arg]
    Autoscaling.for_rps(min=1, max=2, rps=5, cooldown=60)  # type: ignore[call-arg]
    client.endpoints.apply(3)  # type: ignore[arg-type]
