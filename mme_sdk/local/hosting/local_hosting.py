"""`LocalHosting`: endpoints that come, answer, change and go."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mme_sdk.artifacts.temporary import remove_abandoned, remove_tree
from mme_sdk.aws.session import AsyncSystemClock
from mme_sdk.errors import InvalidInputError
from mme_sdk.local.hosting.answers import Refusal, model_error, validation_error
from mme_sdk.local.hosting.container import SOCKET, SOCKETS, Said
from mme_sdk.local.hosting.instances.multi_model import MultiModelVariant
from mme_sdk.local.hosting.instances.shared import SCRATCH, Shared
from mme_sdk.local.hosting.instances.single_model import SingleModelVariant
from mme_sdk.local.hosting.instances.variant import Variant
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
_PASSED_ON = ("content-type", "accept")
_PREFIX = "x-amzn-sagemaker-"


@attrs.define(eq=False)
class _Endpoint:
    name: str
    variants: dict[str, Variant]
    coming: dict[str, Variant] = attrs.field(factory=dict)  # the fleet that an update shifts traffic to
    share: float = 0.0  # of the traffic, to the coming fleet


class LocalHosting:
    """Runs endpoints as processes of this machine; everything happens on the event loop that first uses it.

    Args:
        context: Where S3 is, where to keep things, what stands for which image.
        clock: Time and sleep for everything that is simulated.
        rng: Randomness of routing and variants; seeded by the settings where None.

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
        self._leaving: dict[asyncio.Task[None], _Endpoint] = {}
        self._numbers = itertools.count(1)
        self._made: Shared | None = None
        # Volumes of a host that was killed are of no use: a new fleet starts cold.
        remove_tree(context.data_dir / "volumes")
        remove_abandoned(SCRATCH)
        remove_abandoned(SOCKET, SOCKETS)

    @property
    def max_payload(self) -> int:
        """The largest body of an invocation that is not asynchronous, bytes."""
        return self.settings.max_payload

    @property
    def _shared(self) -> Shared:
        if self._made is None:
            self._made = Shared(self._context, self.settings, self._clock, self._rng)
            self._made.spawn(Monitor(self._made, self._serving).run())
        return self._made

    async def deploy(self, deployment: Deployment, *, shift_traffic: TrafficShift | None = None) -> None:
        """Bring a fleet up beside the one that serves, then switch to it; returns when it is healthy.

        Args:
            deployment: What to run.
            shift_traffic: Awaited between the two, to shift the traffic step by step, where a fleet serves already.

        Raises:
            HostingError: It did not come up; whatever served before still serves.
        """
        variants = {plan.name: self._variant(deployment.endpoint, plan) for plan in deployment.variants}
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
        self._endpoints[deployment.endpoint] = _Endpoint(deployment.endpoint, variants)
        if before is not None:
            task = asyncio.create_task(self._stop(before, drain=True))
            self._leaving[task] = before
            task.add_done_callback(self._leaving.pop)

    @staticmethod
    async def _shift(endpoint: _Endpoint, coming: dict[str, Variant], shift_traffic: TrafficShift) -> None:
        def share(part: float) -> None:
            endpoint.share = part

        endpoint.coming = coming
        try:
            await shift_traffic(share)
        finally:
            endpoint.coming, endpoint.share = {}, 0.0

    def inspect(self) -> Sequence[VariantStatus]:
        """What runs now."""
        return [variant.view() for variant in self._serving()]

    def _serving(self) -> list[Variant]:
        return [
            variant
            for endpoint in self._endpoints.values()
            for variant in (*endpoint.variants.values(), *endpoint.coming.values())
        ]

    def _variant(self, endpoint: str, plan: VariantPlan) -> Variant:
        modes = [container.mode for container in plan.containers]
        if modes.count("MultiModel") > 1:
            raise HostingError(f"Variant {plan.name} has more than one multi-model container.")
        for container in plan.containers:
            if container.mode == "MultiModel" and not self._shared.command(container.image).multi_model:
                raise HostingError(
                    f"Your Ecr Image {container.image} does not contain required "
                    "com.amazonaws.sagemaker.capabilities.multi-models=true Docker label(s)."
                )
        kind = MultiModelVariant if "MultiModel" in modes else SingleModelVariant
        data = self._context.data_dir
        number = next(self._numbers)
        return kind(
            endpoint,
            plan,
            data / "volumes" / f"{endpoint}-{number}-{plan.name}",
            data / "logs" / endpoint / plan.name,
            self._shared,
        )

    async def scale(self, endpoint: str, variant: str, instance_count: int) -> None:
        """Add or remove instances of a variant.

        Raises:
            HostingError: No such endpoint or variant, or a new instance did not come up.
        """
        await self._found(endpoint, variant).scale(instance_count)

    async def reweigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Change the variants' shares of the traffic.

        Raises:
            HostingError: No such endpoint or variant.
        """
        found = [(self._found(endpoint, name), weight) for name, weight in weights.items()]
        for variant, weight in found:
            variant.weight = weight

    def variant(self, endpoint: str, variant: str) -> Variant:
        """A variant that serves, to look at.

        Raises:
            HostingError: No such endpoint or variant.
        """
        return self._found(endpoint, variant)

    def _found(self, endpoint: str, variant: str) -> Variant:
        found = self._endpoints.get(endpoint)
        if found is None or variant not in found.variants:
            raise HostingError(f"Endpoint {endpoint} runs no variant {variant}.")
        return found.variants[variant]

    async def remove(self, endpoint: str) -> None:
        """Stop everything of an endpoint; absent is fine."""
        found = self._endpoints.pop(endpoint, None)
        if found is not None:
            await self._stop(found)

    async def _stop(self, endpoint: _Endpoint, *, drain: bool = False) -> None:
        await asyncio.gather(*(variant.stop(drain=drain) for variant in endpoint.variants.values()))

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        """Answer one invocation, or say in AWS's shape why not.

        Args:
            invocation: The request.

        Returns:
            The answer.
        """
        try:
            variant = self._route(invocation)
        except Refusal as refusal:
            return refusal.answer(invocation.request_id)
        trace = Trace()
        began = self._clock.monotonic()
        try:
            headers = {
                name: value
                for name, value in invocation.headers.items()
                if name in _PASSED_ON or name.startswith(_PREFIX)
            }
            said = await variant.ask(
                invocation.headers.get(f"{_PREFIX}target-model"),
                invocation.body,
                headers,
                trace,
                container=invocation.headers.get(f"{_PREFIX}target-container-hostname"),
                session=invocation.headers.get(f"{_PREFIX}session-id"),
                stream=invocation.stream,
            )
            if said.status >= 300:
                raise model_error(said.status, said.text, log_stream=variant.log_stream)
            status: int | None = said.status
            answer = _answer(said, variant, invocation.request_id)
            if variant.plan.capture is not None and answer.chunks is None:
                self._shared.capture.capture(variant.plan.capture, variant.plan.name, invocation, answer)
        except Refusal as refusal:
            answer = refusal.answer(invocation.request_id)
            status = refusal.extra.get("OriginalStatusCode")
        _measure(variant, trace, self._clock.monotonic() - began, status)
        return answer

    def _route(self, invocation: Invocation) -> Variant:
        """The variant for a request that makes sense.

        Raises:
            Refusal: It makes none.
        """
        endpoint = self._endpoints.get(invocation.endpoint)
        if endpoint is None:
            account = self._context.account_id
            raise validation_error(f"Endpoint {invocation.endpoint} of account {account} not found.")
        limit = self.settings.max_payload if invocation.max_payload is None else invocation.max_payload
        if len(invocation.body) > limit:
            raise Refusal(
                code="ValidationError",
                status=413,
                message=f"Request body of {len(invocation.body)} bytes is larger than the limit of {limit} bytes.",
            )
        variant = self._choose(endpoint, invocation.headers.get(f"{_PREFIX}target-variant"))
        target = invocation.headers.get(f"{_PREFIX}target-model")
        if isinstance(variant, MultiModelVariant):
            if invocation.stream:
                raise validation_error(
                    f"Endpoint {endpoint.name} is a multi-model endpoint and does not support response streaming."
                )
            _check_target(target, invocation.request_id)
        elif target is not None:
            raise validation_error(
                f"Endpoint {endpoint.name} is not a multi-model endpoint and does not support target model header."
            )
        _check_container(endpoint.name, variant, invocation.headers.get(f"{_PREFIX}target-container-hostname"))
        if f"{_PREFIX}session-id" in invocation.headers and isinstance(variant, MultiModelVariant):
            raise validation_error(
                f"Endpoint {endpoint.name} is a multi-model endpoint: the embedded SageMaker has no stateful sessions "
                "(SessionId) there."
            )
        return variant

    def _choose(self, endpoint: _Endpoint, wanted: str | None) -> Variant:
        fleet = endpoint.variants
        if endpoint.coming and self._rng.random() < endpoint.share:
            fleet = endpoint.coming
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
        """Stop every process."""
        endpoints, self._endpoints = list(self._endpoints.values()), {}
        leaving = dict(self._leaving)
        for endpoint in leaving.values():
            for variant in endpoint.variants.values():
                variant.hurry = True
        await asyncio.gather(*(self._stop(one) for one in endpoints), *leaving)
        if self._made is not None:
            await self._made.close()
            self._made = None


def _check_container(endpoint: str, variant: Variant, hostname: str | None) -> None:
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


def _check_target(target: str | None, request_id: str) -> None:
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


def _answer(said: Said, variant: Variant, request_id: str) -> InvocationResponse:
    headers: dict[str, Any] = {
        "Content-Type": said.headers.get("content-type", "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": variant.plan.name,
        "x-amzn-RequestId": request_id,
    }
    headers |= {name: value for name, value in said.headers.items() if name.startswith(_PREFIX)}
    return InvocationResponse(status=200, headers=headers, body=said.body, chunks=said.chunks)


def _measure(variant: Variant, trace: Trace, took: float, status: int | None) -> None:
    """The metrics of one invocation.

    Args:
        variant: Who served it.
        trace: How it went.
        took: Seconds in all.
        status: What the container answered; 0 where it was too late, None where it was not asked.
    """
    measure = variant.measure
    measure("Invocations", 1)
    measure("InvocationsPerInstance", 1 / max(1, len(variant.instances)))
    measure("Invocation4XXErrors", int(status is not None and 400 <= status < 500))
    measure("Invocation5XXErrors", int(status is not None and status >= 500))
    measure("InvocationModelErrors", int(status is not None and not 200 <= status < 300))
    if trace.hit is not None:
        measure("ModelCacheHit", int(trace.hit))
    if trace.waited_seconds is not None:
        measure("ModelLoadingWaitTime", 1e6 * trace.waited_seconds)
    if status is not None:
        measure("ModelLatency", 1e6 * trace.model_seconds)
        measure("OverheadLatency", 1e6 * max(0.0, took - trace.model_seconds))
