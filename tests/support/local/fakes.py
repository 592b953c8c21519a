"""Hosting that runs nothing, for tests of the control plane alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import contextmanager, suppress

from mme_sdk.local.contracts import (
    Deployment,
    Gate,
    HostContext,
    HostingError,
    Invocation,
    InvocationAnswer,
    VariantView,
)


class FakeHosting:
    """Remembers what it was told; fails to deploy images that are named `broken…`."""

    max_payload = 25 * 1024 * 1024

    def __init__(self, context: HostContext) -> None:
        self.context = context
        self.running: dict[str, Deployment] = {}
        self.log: list[tuple] = []
        self._changing = threading.Lock()
        self._is_held = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._silent = False

    @contextmanager
    def held(self):
        """Deployments and scaling do not end before this block does."""
        self._is_held = True
        try:
            yield
        finally:
            with self._changing:
                self._is_held = False
                waiting, self._waiting = self._waiting, []
            for loop, released in waiting:
                with suppress(RuntimeError):  # the host was closed
                    loop.call_soon_threadsafe(released.set)

    @contextmanager
    def silent(self):
        """Invocations are not answered before their caller gives up."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    async def _wait(self) -> None:
        released = asyncio.Event()
        with self._changing:
            if not self._is_held:
                return
            self._waiting.append((asyncio.get_running_loop(), released))
        await released.wait()

    async def deploy(self, deployment: Deployment, *, gate: Gate | None = None) -> None:
        self.log.append(("deploy", deployment.endpoint, deployment.config_name))
        for variant in deployment.variants:
            for container in variant.containers:
                if container.image.startswith("broken"):
                    text = f"The primary container for production variant {variant.name} did not pass the ping health"
                    raise HostingError(f"{text} check.")
        if gate is not None and deployment.endpoint in self.running:
            await gate(lambda share: self.log.append(("share", deployment.endpoint, share)))
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

    async def invoke(self, invocation: Invocation) -> InvocationAnswer:
        if self._silent:
            await asyncio.Event().wait()
        if invocation.endpoint not in self.running:
            text = f"Endpoint {invocation.endpoint} of account 123456789012 not found."
            return InvocationAnswer(
                status=400,
                headers={"x-amzn-ErrorType": "ValidationError", "Content-Type": "application/json"},
                body=b'{"Code":"ValidationError","Message":"%s"}' % text.encode(),
            )
        if invocation.stream:
            return InvocationAnswer(
                status=200, headers={"Content-Type": "text/x"}, body=b"", chunks=self._chunks(invocation)
            )
        return InvocationAnswer(
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
            VariantView(
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
