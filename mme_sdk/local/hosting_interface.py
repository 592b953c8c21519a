"""The interface of hosting, which runs endpoints, for the control plane and the HTTP server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import attrs

from mme_sdk.fleet import FleetSnapshot
from mme_sdk.local.faults import Faults

__all__ = [
    "AsyncEndpoint",
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
"""Moves the traffic of an update. Its argument is a function that sets the share (0 to 1) of the new fleet."""


class HostingError(Exception):
    """Raised when hosting cannot deploy or change an endpoint; the text becomes the FailureReason."""


@attrs.frozen(kw_only=True)
class HostContext:
    """The values that hosting gets when it is created on the host's event loop: `LocalHosting(context)`.

    Attributes:
        data_dir: Folder that only hosting uses. It is kept between runs.
        s3_endpoint_url: URL of the S3 that holds the model archives.
        archives_url: URL of the same S3 for reading archives, without the checks of the S3 listener. Default:
            `s3_endpoint_url`.
        access_key: Access key for S3.
        secret_key: Secret key for S3.
        region: AWS region of the host.
        account_id: AWS account id of the host, for error texts and ARNs.
        images: Program by image name, as given to `LocalSageMaker(images=…)`.
        settings: Settings as given to `LocalSageMaker(settings=…)`; None for the defaults.
        measure: Function that records a CloudWatch value: `measure(metric, endpoint, variant, value)`. Call it on the
            event loop. A metric of the whole endpoint has the variant None. Metrics and units are those of AWS. For
            each invocation: Invocations (1), InvocationsPerInstance (1 / number of instances), Invocation4XXErrors,
            Invocation5XXErrors, InvocationModelErrors (0 or 1), ModelLatency, OverheadLatency (µs), ModelCacheHit (0 or
            1). For each invocation of an asynchronous endpoint: Invocation4XXErrors, Invocation5XXErrors and
            ModelLatency only. For each load or unload: ModelLoadingWaitTime, ModelDownloadingTime, ModelLoadingTime,
            ModelUnloadingTime (µs). For each instance once a minute: LoadedModelCount, CPUUtilization,
            MemoryUtilization, DiskUtilization (%).
        role_allows: Function that returns whether the policies of an execution role allow an action:
            `role_allows(role_arn, action, resource_arn, condition_keys)`. Default: every action is allowed.
        faults: Active faults. Hosting calls `faults.trigger("slow_load", endpoint=…, model=…)` where slow_load,
            failed_load, container_crash, instance_lost and s3_denied can occur. The other kinds occur outside hosting.
    """

    data_dir: Path
    s3_endpoint_url: str
    access_key: str
    secret_key: str = attrs.field(repr=False)
    region: str
    account_id: str
    archives_url: str = attrs.field(default=attrs.Factory(lambda self: self.s3_endpoint_url, takes_self=True))
    images: Mapping[str, Any] = attrs.field(factory=dict)
    settings: Any = None
    measure: Callable[[str, str, str | None, float], None] = lambda _metric, _endpoint, _variant, _value: None
    role_allows: Callable[[str, str, str, Mapping[str, list[str]]], bool] = lambda _role, _action, _resource, _keys: (
        True
    )
    faults: Faults = attrs.field(factory=Faults)

    @property
    def logs(self) -> Path:
        """Folder for the output of the containers, in files `<endpoint>/<variant>/<instance>.log`.

        CloudWatch Logs returns them as log streams.
        """
        return self.data_dir / "logs"


@attrs.frozen(kw_only=True)
class ContainerPlan:
    """One container of a model.

    Attributes:
        image: Image name as given to CreateModel.
        mode: `SingleModel` or `MultiModel`.
        model_data_url: S3 URI of the archive (SingleModel) or of the prefix (MultiModel); None for an image without
            model data.
        uncompressed: Whether the URI of a SingleModel container names an object that is copied as it is, or a prefix
            that ends with `/` and whose objects are copied.
        environment: Environment variables.
        model_cache: False if `ModelCacheSetting` is `Disabled`.
        hostname: ContainerHostname.
    """

    image: str
    mode: Literal["SingleModel", "MultiModel"] = "SingleModel"
    model_data_url: str | None = None
    uncompressed: bool = False
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    model_cache: bool = True
    hostname: str | None = None


@attrs.frozen(kw_only=True)
class VariantPlan:
    """One production variant.

    Attributes:
        name: VariantName.
        model_name: The SageMaker model's name.
        role: ARN of the execution role of the model; None if it is not known.
        containers: The containers of the model, in the order of a serial pipeline.
        direct: Whether each request names the container that answers it (InferenceExecutionConfig `Direct`). Otherwise
            the containers form a pipeline.
        memory_bytes: Memory of a serverless variant in bytes; None to use that of the instance type.
        max_concurrency: Largest number of concurrent requests of a serverless variant; None for no limit.
        capture: DataCaptureConfig if data capture is enabled, else None.
        instance_type: Instance type, such as `ml.m5.xlarge`.
        instance_count: Number of instances.
        weight: Share of the traffic, relative to the weights of the other variants.
        download_timeout: ModelDataDownloadTimeoutInSeconds.
        startup_timeout: ContainerStartupHealthCheckTimeoutInSeconds.
        volume_gb: VolumeSizeInGB.
        random_routing: Whether a single-model variant selects a random instance (routing strategy `RANDOM`, the
            default). Otherwise it selects the instance with the fewest outstanding requests.
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
    role: str | None = None


@attrs.frozen(kw_only=True)
class Deployment:
    """The variants that an endpoint should run.

    Attributes:
        endpoint: EndpointName.
        config_name: EndpointConfigName.
        variants: The production variants.
        asynchronous: Whether the endpoint takes asynchronous requests only (AsyncInferenceConfig).
    """

    endpoint: str
    config_name: str
    variants: tuple[VariantPlan, ...]
    asynchronous: bool = False


@attrs.frozen(kw_only=True)
class AsyncEndpoint:
    """An endpoint with an AsyncInferenceConfig.

    Attributes:
        config: AsyncInferenceConfig.
        variant: VariantName of its only variant.
        instances: Number of instances that take requests, 0 or more.
    """

    config: Mapping[str, Any]
    variant: str
    instances: int

    @property
    def max_concurrency(self) -> int:
        """MaxConcurrentInvocationsPerInstance; 4 if the configuration has none."""
        return int(self.config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", 4))


@attrs.frozen(kw_only=True)
class Invocation:
    """An InvokeEndpoint request with a valid signature.

    Attributes:
        endpoint: EndpointName.
        body: The payload.
        headers: All request headers by lower-case name.
        request_id: The id that the response or error contains.
        stream: Whether the operation is InvokeEndpointWithResponseStream. A successful response then has `chunks`.
        max_payload: Largest body in bytes; None for `Hosting.max_payload`. An asynchronous request may be larger.
        asynchronous: Whether the request was in the queue of InvokeEndpointAsync.
    """

    endpoint: str
    body: bytes
    headers: Mapping[str, str]
    request_id: str
    stream: bool = False
    max_payload: int | None = None
    asynchronous: bool = False


@attrs.frozen(kw_only=True)
class InvocationResponse:
    """The HTTP response to an invocation. An error has the format of AWS.

    Attributes:
        status: HTTP status.
        headers: Response headers.
        body: The body.
        drop: Whether the server closes the connection without a response (fault injection).
        chunks: The parts of the body of a successful streamed response; `body` is then empty. The server reads them to
            the end or closes the generator. The generator raises HostingError if the container stops in the middle.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    drop: bool = False
    chunks: AsyncGenerator[bytes, None] | None = None


@attrs.frozen(kw_only=True)
class VariantStatus:
    """The state of a running variant, for the status page.

    Attributes:
        endpoint: EndpointName.
        variant: VariantName.
        instance_type: Instance type, such as `ml.m5.xlarge`.
        instances: Process ids of the containers, by instance.
        memory_bytes: Bytes of an instance's memory that models can use.
        volume_bytes: Bytes of an instance's volume that models can use.
        fleet: Loaded models and counters of each instance; None for a single-model variant.
    """

    endpoint: str
    variant: str
    instance_type: str
    instances: Mapping[str, Sequence[int]]
    memory_bytes: int
    volume_bytes: int
    fleet: FleetSnapshot | None = None


class Hosting(Protocol):
    """Runs endpoints. Call the methods on one event loop."""

    @property
    def max_payload(self) -> int:
        """The largest body of a synchronous invocation in bytes."""
        ...

    async def deploy(self, deployment: Deployment, *, shift_traffic: TrafficShift | None = None) -> None:
        """Start the instances of a deployment, wait until they are healthy, and send them the endpoint's traffic.

        Args:
            deployment: The variants to run.
            shift_traffic: Called before the new fleet replaces one that serves, to move the traffic step by step. If it
                raises, the old fleet gets all traffic again, the new fleet is removed, and the exception is raised.

        Raises:
            HostingError: The new fleet did not start. A fleet that served before still serves.
        """
        ...

    async def scale(self, endpoint: str, variant: str, instance_count: int) -> None:
        """Set the number of instances of a variant.

        Raises:
            HostingError: The variant does not exist, or a new instance did not start.
        """
        ...

    async def reweigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Set the weights of variants.

        Raises:
            HostingError: A variant does not exist.
        """
        ...

    async def remove(self, endpoint: str) -> None:
        """Stop all instances of an endpoint. Does nothing if the endpoint does not exist."""
        ...

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        """Return the response to an invocation; an error response has the format of AWS."""
        ...

    def inspect(self) -> Sequence[VariantStatus]:
        """Return the state of every variant that runs."""
        ...

    async def close(self) -> None:
        """Stop all instances."""
        ...
