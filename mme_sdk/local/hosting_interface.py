"""The seam between the control plane (what should run) and hosting (what runs)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import attrs

from mme_sdk.fleet import FleetSnapshot
from mme_sdk.local.faults import Faults

__all__ = [
    "ContainerPlan",
    "Deployment",
    "HostContext",
    "Hosting",
    "HostingError",
    "Invocation",
    "InvocationResponse",
    "TrafficShift",
    "VariantPlan",
    "VariantStatus",
]


TrafficShift: TypeAlias = Callable[[Callable[[float], None]], Awaitable[None]]
"""Awaited with a function that sends a share (0 to 1) of the traffic to the new fleet, the rest to the old one."""


class HostingError(Exception):
    """A deployment that failed; the text becomes the endpoint's FailureReason."""


@attrs.frozen(kw_only=True)
class HostContext:
    """What hosting is told when it starts: `LocalHosting(context)`, on the host's event loop.

    Attributes:
        data_dir: A folder of hosting's own; kept between runs.
        s3_endpoint_url: Where archives are downloaded from.
        access_key: For S3.
        secret_key: For S3.
        region: The region served.
        account_id: The account served, for error texts and ARNs.
        images: Program by image name, as given to `LocalSageMaker(images=…)`.
        settings: Hosting's settings, as given to `LocalSageMaker(settings=…)`; None for the defaults.
        measure: Takes a CloudWatch value: `measure(metric, endpoint, variant, value)`, cheap, from the event loop.
            Metrics are those of AWS, in their units. Of each invocation: Invocations (1), InvocationsPerInstance
            (1 / number of instances), Invocation4XXErrors, Invocation5XXErrors, InvocationModelErrors (0 or 1),
            ModelLatency, OverheadLatency (µs), ModelCacheHit (0 or 1). Where it happens: ModelLoadingWaitTime,
            ModelDownloadingTime, ModelLoadingTime, ModelUnloadingTime (µs). Of each instance once a minute:
            LoadedModelCount, CPUUtilization, MemoryUtilization, DiskUtilization (%).
        faults: Trouble on demand: hosting asks `faults.trigger("slow_load", endpoint=…, model=…)` where such things can
            happen (slow_load, failed_load, container_crash, instance_lost, s3_denied); the rest happens outside.
    """

    data_dir: Path
    s3_endpoint_url: str
    access_key: str
    secret_key: str = attrs.field(repr=False)
    region: str
    account_id: str
    images: Mapping[str, Any] = attrs.field(factory=dict)
    settings: Any = None
    measure: Callable[[str, str, str, float], None] = lambda _metric, _endpoint, _variant, _value: None
    faults: Faults = attrs.field(factory=Faults)


@attrs.frozen(kw_only=True)
class ContainerPlan:
    """One container of a model.

    Attributes:
        image: Image name as given to CreateModel.
        mode: `SingleModel` or `MultiModel`.
        model_data_url: Archive (single) or prefix (multi) in S3; None where the image needs none.
        environment: Environment variables.
        model_cache: False for `ModelCacheSetting=Disabled`.
        hostname: ContainerHostname.
    """

    image: str
    mode: Literal["SingleModel", "MultiModel"] = "SingleModel"
    model_data_url: str | None = None
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    model_cache: bool = True
    hostname: str | None = None


@attrs.frozen(kw_only=True)
class VariantPlan:
    """One production variant.

    Attributes:
        name: VariantName.
        model_name: The SageMaker model's name.
        containers: One, or several: of a serial pipeline in order, or each for requests of its own.
        direct: Whether each request names the one container that answers it; a pipeline otherwise.
        memory_bytes: Memory of a serverless variant; that of the instance type where None.
        max_concurrency: Requests that a serverless variant serves at once; None for no limit.
        capture: DataCaptureConfig where data capture is enabled; else None.
        instance_type: Such as `ml.m5.xlarge`.
        instance_count: How many instances.
        weight: Share of the traffic, relative to the other variants.
        download_timeout: ModelDataDownloadTimeoutInSeconds.
        startup_timeout: ContainerStartupHealthCheckTimeoutInSeconds.
        volume_gb: VolumeSizeInGB.
        random_routing: Whether a single-model variant takes a random instance, not the one with the fewest requests.
    """

    name: str
    model_name: str
    containers: tuple[ContainerPlan, ...]
    instance_type: str
    instance_count: int = 1
    weight: float = 1.0
    download_timeout: float | None = None
    startup_timeout: float | None = None
    volume_gb: int | None = None
    random_routing: bool = False
    direct: bool = False
    memory_bytes: int | None = None
    max_concurrency: int | None = None
    capture: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Deployment:
    """What an endpoint should run.

    Attributes:
        endpoint: EndpointName.
        config_name: EndpointConfigName.
        variants: The production variants.
    """

    endpoint: str
    config_name: str
    variants: tuple[VariantPlan, ...]


@attrs.frozen(kw_only=True)
class Invocation:
    """An InvokeEndpoint request that passed the signature check.

    Attributes:
        endpoint: EndpointName.
        body: The payload.
        headers: All request headers by lower-case name.
        request_id: The id that answers and errors carry.
        stream: InvokeEndpointWithResponseStream: a good answer comes in chunks.
        max_payload: Largest body, bytes; hosting's own limit where None. Asynchronous requests may be larger.
    """

    endpoint: str
    body: bytes
    headers: Mapping[str, str]
    request_id: str
    stream: bool = False
    max_payload: int | None = None


@attrs.frozen(kw_only=True)
class InvocationResponse:
    """What goes back over HTTP, errors in AWS's shape included.

    Attributes:
        status: HTTP status.
        headers: Response headers.
        body: The body.
        drop: Close the connection instead of answering (fault injection).
        chunks: The body as it comes, where a stream was asked for and the answer is good; `body` is empty then.
            The server reads it to its end, or closes it; it raises HostingError where the container breaks off.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    drop: bool = False
    chunks: AsyncGenerator[bytes, None] | None = None


@attrs.frozen(kw_only=True)
class VariantStatus:
    """What runs of a variant, to look at.

    Attributes:
        endpoint: EndpointName.
        variant: VariantName.
        instance_type: Such as `ml.m5.xlarge`.
        instances: Process ids of the containers, by instance.
        memory_bytes: Room for models in an instance's memory.
        volume_bytes: Room for models on an instance's volume.
        fleet: What is loaded where, and how often; None of a single-model variant.
    """

    endpoint: str
    variant: str
    instance_type: str
    instances: Mapping[str, Sequence[int]]
    memory_bytes: int
    volume_bytes: int
    fleet: FleetSnapshot | None = None


class Hosting(Protocol):
    """Runs endpoints; everything happens on one event loop."""

    @property
    def max_payload(self) -> int:
        """The largest body of an invocation that is not asynchronous, bytes."""
        ...

    async def deploy(self, deployment: Deployment, *, shift_traffic: TrafficShift | None = None) -> None:
        """Bring a fleet up beside the one that serves, then switch to it; returns when it is healthy.

        Args:
            deployment: What to run.
            shift_traffic: Where given and a fleet serves already: awaited between the two, to shift the traffic step by step.
                If it raises, the new fleet is removed, the old one gets all traffic back, and the error goes on.

        Raises:
            HostingError: It did not come up; whatever served before still serves.
        """
        ...

    async def scale(self, endpoint: str, variant: str, instance_count: int) -> None:
        """Add or remove instances of a variant."""
        ...

    async def reweigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Change the variants' shares of the traffic."""
        ...

    async def remove(self, endpoint: str) -> None:
        """Stop everything of an endpoint; absent is fine."""
        ...

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        """Answer one invocation, or say in AWS's shape why not."""
        ...

    def inspect(self) -> Sequence[VariantStatus]:
        """What runs now, on the host's event loop."""
        ...

    async def close(self) -> None:
        """Stop every process."""
        ...
