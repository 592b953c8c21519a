"""`LocalHosting`: deploys, updates, invokes and removes endpoints."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.artifacts.temporary import remove_abandoned, remove_tree
from mme_sdk.aws.session import AsyncSystemClock
from mme_sdk.errors import InvalidInputError
from mme_sdk.local.hosting.container import SOCKET, SOCKETS, ContainerResponse
from mme_sdk.local.hosting.instances.multi_model import MultiModelVariant
from mme_sdk.local.hosting.instances.shared import SCRATCH, Shared
from mme_sdk.local.hosting.instances.single_model import SingleModelVariant
from mme_sdk.local.hosting.instances.variant import Variant
from mme_sdk.local.hosting.invoke_errors import InvokeError, model_error, validation_error
from mme_sdk.local.hosting.monitor import Monitor
from mme_sdk.local.hosting.settings import HostingSettings
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import (
    Deployment,
    HostContext,
    HostingError,
    Invocation,
    InvocationResponse,
    TrafficShift,
    VariantPlan,
    VariantStatus,
)
from mme_sdk.protocols import AsyncClock

__all__ = ["LocalHosting"]

_TARGET = re.compile(r"\S[\x20-\x7e]*")
_FORWARDED_HEADERS = ("content-type", "accept")
_PREFIX = "x-amzn-sagemaker-"
_ASYNC_PAYLOAD = 1 << 30  # the largest body of an asynchronous request, in bytes


@attrs.define(eq=False)
class _Endpoint:
    name: str
    variants: dict[str, Variant]
    incoming: dict[str, Variant] = attrs.field(factory=dict)  # the fleet that an update shifts traffic to
    share: float = 0.0  # share of the traffic that the incoming fleet gets
    asynchronous: bool = False


class LocalHosting:
    """The data plane: runs endpoints as processes of this machine. All calls run on one event loop.

    Args:
        context: Address of S3, data directory, images and settings.
        clock: Clock for simulated delays and pauses; the system clock if None.
        rng: Random number generator for routing; seeded by `HostingSettings.seed` if None.

    Example:
        >>> hosting = LocalHosting(context)  # doctest: +SKIP
        >>> await hosting.deploy(deployment)  # doctest: +SKIP
    """

    def __init__(
        self, context: HostContext, *, clock: AsyncClock | None = None, rng: random.Random | None = None
    ) -> None:
        settings = context.settings if context.settings is not None else HostingSettings()
        if not isinstance(settings, HostingSettings):
            raise InvalidInputError(f"settings must be HostingSettings, not {type(settings).__name__}")
        self.settings = settings
        self._context = context
        self._clock = clock or AsyncSystemClock()
        self._rng = rng or random.Random(settings.seed)
        self._endpoints: dict[str, _Endpoint] = {}
        self._draining: dict[asyncio.Task[None], _Endpoint] = {}
        self._numbers = itertools.count(1)
        self._shared_services: Shared | None = None
        # Delete what a killed host left behind: a new fleet starts without models.
        remove_tree(context.data_dir / "volumes")
        remove_abandoned(SCRATCH)
        remove_abandoned(SOCKET, SOCKETS)

    @property
    def max_payload(self) -> int:
        """The largest body of a synchronous invocation, in bytes."""
        return self.settings.max_payload

    @property
    def _shared(self) -> Shared:
        if self._shared_services is None:
            self._shared_services = Shared(self._context, self.settings, self._clock, self._rng)
            self._shared_services.spawn(Monitor(self._shared_services, self._serving).run())
        return self._shared_services

    async def deploy(self, deployment: Deployment, *, shift_traffic: TrafficShift | None = None) -> None:
        """Start a fleet beside the serving one, and switch to it when it is healthy.

        Args:
            deployment: The variants to run.
            shift_traffic: Awaited before the switch, to shift the traffic step by step. Not called for a new endpoint.

        Raises:
            HostingError: The new fleet did not become healthy. The old fleet continues to serve.
        """
        variants = {plan.name: self._variant(deployment, plan) for plan in deployment.variants}
        try:
            results = await asyncio.gather(*(one.start() for one in variants.values()), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            before = self._endpoints.get(deployment.endpoint)
            if before is not None and shift_traffic is not None:
                await self._shift(before, variants, shift_traffic)
        except BaseException:
            await asyncio.shield(asyncio.gather(*(one.stop() for one in variants.values())))
            raise
        self._endpoints[deployment.endpoint] = _Endpoint(
            deployment.endpoint, variants, asynchronous=deployment.asynchronous
        )
        if before is not None:
            task = asyncio.create_task(self._stop(before, drain=True))
            self._draining[task] = before
            task.add_done_callback(self._draining.pop)

    @staticmethod
    async def _shift(endpoint: _Endpoint, incoming: dict[str, Variant], shift_traffic: TrafficShift) -> None:
        def share(part: float) -> None:
            endpoint.share = part

        endpoint.incoming = incoming
        try:
            await shift_traffic(share)
        finally:
            endpoint.incoming, endpoint.share = {}, 0.0

    def inspect(self) -> Sequence[VariantStatus]:
        """Return the state of all running variants."""
        return [variant.view() for variant in self._serving()]

    def _serving(self) -> list[Variant]:
        return [
            variant
            for endpoint in self._endpoints.values()
            for variant in (*endpoint.variants.values(), *endpoint.incoming.values())
        ]

    def _variant(self, deployment: Deployment, plan: VariantPlan) -> Variant:
        endpoint = deployment.endpoint
        modes = [container.mode for container in plan.containers]
        if modes.count("MultiModel") > 1:
            raise HostingError(f"Variant {plan.name} has more than one multi-model container.")
        for container in plan.containers:
            if container.mode == "MultiModel" and not self._shared.command(container.image).multi_model:
                raise HostingError(
                    f"Your Ecr Image {container.image} does not contain required "
                    "com.amazonaws.sagemaker.capabilities.multi-models=true Docker label(s)."
                )
        # SageMaker tells the container how large a body can be; the servers of AWS's toolkits read it.
        limit = _ASYNC_PAYLOAD if deployment.asynchronous else min(self.settings.max_payload, _ASYNC_PAYLOAD)
        given = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": str(math.ceil(limit / 2**20))}
        containers = tuple(attrs.evolve(one, environment={**given, **one.environment}) for one in plan.containers)
        plan = attrs.evolve(plan, containers=containers)
        kind = MultiModelVariant if "MultiModel" in modes else SingleModelVariant
        data = self._context.data_dir
        number = next(self._numbers)
        return kind(
            endpoint,
            plan,
            data / "volumes" / f"{endpoint}-{number}-{plan.name}",
            self._context.logs / endpoint / plan.name,
            self._shared,
        )

    async def scale(self, endpoint: str, variant: str, instance_count: int) -> None:
        """Add or remove instances of a variant.

        Args:
            endpoint: EndpointName.
            variant: VariantName.
            instance_count: The new number of instances.

        Raises:
            HostingError: The endpoint or variant does not exist, or a new instance did not become healthy.
        """
        await self._find_variant(endpoint, variant).scale(instance_count)

    async def reweigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Change the weights of variants.

        Args:
            endpoint: EndpointName.
            weights: New weight by VariantName.

        Raises:
            HostingError: The endpoint or a variant does not exist.
        """
        found = [(self._find_variant(endpoint, name), weight) for name, weight in weights.items()]
        for variant, weight in found:
            variant.weight = weight

    def variant(self, endpoint: str, variant: str) -> Variant:
        """Return a serving variant.

        Args:
            endpoint: EndpointName.
            variant: VariantName.

        Raises:
            HostingError: The endpoint or variant does not exist.
        """
        return self._find_variant(endpoint, variant)

    def _find_variant(self, endpoint: str, variant: str) -> Variant:
        found = self._endpoints.get(endpoint)
        if found is None or variant not in found.variants:
            raise HostingError(f"Endpoint {endpoint} has no running variant {variant}.")
        return found.variants[variant]

    async def remove(self, endpoint: str) -> None:
        """Stop all instances of an endpoint. Do nothing if it does not exist."""
        found = self._endpoints.pop(endpoint, None)
        if found is not None:
            await self._stop(found)

    async def _stop(self, endpoint: _Endpoint, *, drain: bool = False) -> None:
        await asyncio.gather(*(variant.stop(drain=drain) for variant in endpoint.variants.values()))

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        """Serve one invocation.

        Args:
            invocation: The request.

        Returns:
            The response; an error response of AWS if the request fails.
        """
        try:
            variant = self._route(invocation)
        except InvokeError as error:
            return error.response(invocation.request_id)
        trace = Trace()
        began = self._clock.monotonic()
        try:
            headers = {
                name: value
                for name, value in invocation.headers.items()
                if name in _FORWARDED_HEADERS or name.startswith(_PREFIX)
            }
            response = await variant.invoke(
                invocation.headers.get(f"{_PREFIX}target-model"),
                invocation.body,
                headers,
                trace,
                container=invocation.headers.get(f"{_PREFIX}target-container-hostname"),
                session=invocation.headers.get(f"{_PREFIX}session-id"),
                stream=invocation.stream,
            )
            if response.status >= 300:
                raise model_error(response.status, response.text, log_stream=variant.log_stream)
            status: int | None = response.status
            answer = _response(response, variant, invocation.request_id)
            if variant.plan.capture is not None and answer.chunks is None:
                self._shared.capture.capture(variant.plan.capture, variant.plan.name, invocation, answer)
        except InvokeError as error:
            if error.code == "ModelError":
                error.extra["LogFiles"] = str(self._context.logs / invocation.endpoint / variant.plan.name)
            answer = error.response(invocation.request_id)
            status = error.extra.get("OriginalStatusCode")
        if invocation.asynchronous:
            _measure_asynchronous(variant, trace, status)
        else:
            _measure(variant, trace, self._clock.monotonic() - began, status)
        return answer

    def _route(self, invocation: Invocation) -> Variant:
        """Check a request and return the variant that serves it.

        Raises:
            InvokeError: The request is not valid.
        """
        endpoint = self._endpoints.get(invocation.endpoint)
        if endpoint is None:
            account = self._context.account_id
            raise validation_error(f"Endpoint {invocation.endpoint} of account {account} not found.")
        if endpoint.asynchronous and not invocation.asynchronous:
            raise validation_error(
                f"Endpoint {endpoint.name} is an asynchronous inference endpoint: it can only be invoked with "
                "InvokeEndpointAsync."
            )
        limit = self.settings.max_payload if invocation.max_payload is None else invocation.max_payload
        if len(invocation.body) > limit:
            raise InvokeError(
                code="ValidationError",
                status=413,
                message=f"Request body of {len(invocation.body)} bytes is larger than the limit of {limit} bytes.",
            )
        variant = self._choose_variant(endpoint, invocation.headers.get(f"{_PREFIX}target-variant"))
        target = invocation.headers.get(f"{_PREFIX}target-model")
        if isinstance(variant, MultiModelVariant):
            if invocation.stream:
                raise validation_error(
                    f"Endpoint {endpoint.name} is a multi-model endpoint and does not support response streaming."
                )
            _check_target_model(target, invocation.request_id)
        elif target is not None:
            raise validation_error(
                f"Endpoint {endpoint.name} is not a multi-model endpoint and does not support target model header."
            )
        _check_target_container(endpoint.name, variant, invocation.headers.get(f"{_PREFIX}target-container-hostname"))
        if f"{_PREFIX}session-id" in invocation.headers and isinstance(variant, MultiModelVariant):
            raise validation_error(
                f"Endpoint {endpoint.name} is a multi-model endpoint: the embedded SageMaker has no stateful sessions "
                "(SessionId) there."
            )
        return variant

    def _choose_variant(self, endpoint: _Endpoint, wanted: str | None) -> Variant:
        fleet = endpoint.variants
        if endpoint.incoming and self._rng.random() < endpoint.share:
            fleet = endpoint.incoming
        variants = list(fleet.values())
        if wanted is not None:
            if wanted not in fleet:
                raise validation_error(f"Variant {wanted} not found for Endpoint {endpoint.name}.")
            return fleet[wanted]
        if len(variants) == 1:
            return variants[0]
        weights = [variant.weight for variant in variants]
        if not any(weights):
            raise validation_error(f"Endpoint {endpoint.name} has no variant with a weight above 0.")
        return self._rng.choices(variants, weights)[0]

    async def close(self) -> None:
        """Stop all processes."""
        endpoints, self._endpoints = list(self._endpoints.values()), {}
        draining = dict(self._draining)
        if self._shared_services is not None:
            self._shared_services.closing.set()
        for endpoint in draining.values():
            for variant in endpoint.variants.values():
                variant.skip_drain = True
        await asyncio.gather(*(self._stop(one) for one in endpoints), *draining)
        if self._shared_services is not None:
            await self._shared_services.close()
            self._shared_services = None


def _check_target_container(endpoint: str, variant: Variant, hostname: str | None) -> None:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/multi-container-direct.html
    if not variant.plan.direct:
        if hostname is not None:
            raise validation_error(
                f"Endpoint {endpoint} is not configured for direct invocation and does not support "
                f"TargetContainerHostname, which is {hostname}."
            )
    elif hostname is None:
        raise validation_error(
            f"Endpoint {endpoint} is configured for direct invocation: TargetContainerHostname must be specified."
        )
    elif hostname not in [one.hostname for one in variant.plan.containers]:
        raise validation_error(f"Endpoint {endpoint} has no container with TargetContainerHostname {hostname}.")


def _check_target_model(target: str | None, request_id: str) -> None:
    if target is None:
        raise validation_error(
            f"Request {request_id} is missing a target model header, which is required for multi-model endpoints."
        )
    if not 1 <= len(target) <= 1024:
        raise validation_error(f"Target model must have between 1 and 1024 characters, not {len(target)}.")
    parts = target.split("/")
    if not _TARGET.fullmatch(target) or target.startswith("/") or ".." in parts or "." in parts:
        raise validation_error(
            f"Invalid target model {target!r}: it must be the key of an archive relative to the model data prefix."
        )


def _response(response: ContainerResponse, variant: Variant, request_id: str) -> InvocationResponse:
    headers: dict[str, Any] = {
        "Content-Type": response.headers.get("content-type", "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": variant.plan.name,
        "x-amzn-RequestId": request_id,
    }
    headers |= {name: value for name, value in response.headers.items() if name.startswith(_PREFIX)}
    return InvocationResponse(status=200, headers=headers, body=response.body, chunks=response.chunks)


def _measure(variant: Variant, trace: Trace, took: float, status: int | None) -> None:
    """Record the CloudWatch metrics of one invocation.

    Args:
        variant: The variant that served it.
        trace: Measurements of the invocation.
        took: Total time, in seconds.
        status: HTTP status of the container; 0 if it did not respond in time, None if it got no request.
    """
    measure = variant.measure
    measure("Invocations", 1)
    measure("InvocationsPerInstance", 1 / max(1, len(variant.instances)))
    _measure_errors(variant, status)
    measure("InvocationModelErrors", int(status is not None and not 200 <= status < 300))
    if trace.hit is not None:
        measure("ModelCacheHit", int(trace.hit))
    if trace.waited_seconds is not None:
        measure("ModelLoadingWaitTime", 1e6 * trace.waited_seconds)
    if status is not None:
        measure("ModelLatency", 1e6 * trace.model_seconds)
        measure("OverheadLatency", 1e6 * max(0.0, took - trace.model_seconds))


def _measure_errors(variant: Variant, status: int | None) -> None:
    variant.measure("Invocation4XXErrors", int(status is not None and 400 <= status < 500))
    variant.measure("Invocation5XXErrors", int(status is not None and status >= 500))


def _measure_asynchronous(variant: Variant, trace: Trace, status: int | None) -> None:
    """Record the only metrics of an invocation that AWS publishes for asynchronous endpoints.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
    """
    _measure_errors(variant, status)
    if status is not None:
        variant.measure("ModelLatency", 1e6 * trace.model_seconds)
