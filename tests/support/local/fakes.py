"""Hosting without containers, for tests of the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import contextmanager, suppress

from mme_sdk.local.hosting_interface import (
    Deployment,
    HostContext,
    HostingError,
    Invocation,
    InvocationResponse,
    TrafficShift,
    VariantStatus,
)


class FakeHosting:
    """Records the calls. A deployment of an image named `broken…` fails."""

    max_payload = 25 * 1024 * 1024

    def __init__(self, context: HostContext) -> None:
        self.context = context
        self.running: dict[str, Deployment] = {}
        self.log: list[tuple] = []
        self._held: asyncio.Event | None = None
        self._silent = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # not created by a host
            self._loop = None

    @contextmanager
    def held(self):
        """Delay the end of deployments and scaling until the end of the block."""
        released = self._held = asyncio.Event()
        try:
            yield
        finally:
            self._held = None
            if self._loop is None:
                released.set()
            else:
                with suppress(RuntimeError):  # the host is stopped
                    self._loop.call_soon_threadsafe(released.set)

    @contextmanager
    def silent(self):
        """Answer no invocation that starts in the block."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    async def _wait(self) -> None:
        held = self._held
        if held is not None:
            await held.wait()

    async def deploy(self, deployment: Deployment, *, shift_traffic: TrafficShift | None = None) -> None:
        self.log.append(("deploy", deployment.endpoint, deployment.config_name))
        for variant in deployment.variants:
            for container in variant.containers:
                if container.image.startswith("broken"):
                    text = f"The primary container for production variant {variant.name} did not pass the ping health"
                    raise HostingError(f"{text} check.")
        if shift_traffic is not None and deployment.endpoint in self.running:
            await shift_traffic(lambda share: self.log.append(("share", deployment.endpoint, share)))
        await self._wait()
        self.running[deployment.endpoint] = deployment

    async def scale(self, endpoint: str, variant: str, instance_count: int) -> None:
        self.log.append(("scale", endpoint, variant, instance_count))
        await self._wait()

    async def reweigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        self.log.append(("reweigh", endpoint, dict(weights)))

    async def remove(self, endpoint: str) -> None:
        self.log.append(("remove", endpoint))
        self.running.pop(endpoint, None)

    async def invoke(self, invocation: Invocation) -> InvocationResponse:
        if self._silent:
            await asyncio.Event().wait()
        if invocation.endpoint not in self.running:
            text = f"Endpoint {invocation.endpoint} of account 123456789012 not found."
            return InvocationResponse(
                status=400,
                headers={"x-amzn-ErrorType": "ValidationError", "Content-Type": "application/json"},
                body=b'{"Code":"ValidationError","Message":"%s"}' % text.encode(),
            )
        if invocation.stream:
            return InvocationResponse(
                status=200, headers={"Content-Type": "text/x"}, body=b"", chunks=self._chunks(invocation)
            )
        return InvocationResponse(
            status=200,
            headers={
                "Content-Type": invocation.headers.get("content-type", ""),
                "x-Amzn-Invoked-Production-Variant": "A",
            },
            body=invocation.body,
        )

    async def _chunks(self, invocation: Invocation):
        for part in invocation.body.split():
            if part == b"break":
                raise HostingError("The container broke off.")
            yield part

    def inspect(self):
        return [
            VariantStatus(
                endpoint=deployment.endpoint,
                variant=variant.name,
                instance_type=variant.instance_type,
                instances={},
                memory_bytes=1,
                volume_bytes=1,
            )
            for deployment in self.running.values()
            for variant in deployment.variants
        ]

    async def close(self) -> None:
        self.log.append(("close",))
