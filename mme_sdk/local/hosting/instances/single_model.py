"""A variant of single-model containers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.local.hosting.container import ContainerConnectionError, ContainerResponse, ContainerUnreachableError
from mme_sdk.local.hosting.instances.instance import Instance, connection_error_message
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.instances.variant import Variant
from mme_sdk.local.hosting.invoke_errors import InvokeError, model_error, validation_error
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import HostingError, VariantPlan

__all__ = ["SingleModelVariant"]


_NEW_SESSION = "NEW_SESSION"
_SESSIONS = 10_000  # remembered sessions; the oldest are dropped


class SingleModelVariant(Variant):
    """A variant that sends a request to the instance of its session, else to one by its routing strategy."""

    def __init__(self, endpoint: str, plan: VariantPlan, folder: Path, logs: Path, shared: Shared) -> None:
        super().__init__(endpoint, plan, folder, logs, shared)
        self._sessions: dict[str, str] = {}  # session -> instance

    def instance_added(self, instance: Instance) -> None:
        """Do nothing: the variant has no model cache."""

    def instance_removed(self, instance: Instance) -> None:
        """Do nothing: the variant has no model cache."""

    def instance_crashed(self, instance: Instance) -> None:
        """Do nothing: running requests fail with a broken connection."""

    def snapshot(self) -> None:
        """Return None: the variant has no model cache."""

    def drain(self, instance: Instance) -> None:
        """Do nothing: requests are not sent to instances in `draining`."""

    def busy(self, instance: Instance) -> bool:
        """Return whether requests run on an instance."""
        return instance.outstanding > 0

    async def invoke(
        self, target: str | None, /, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> ContainerResponse:
        """Serve one request."""
        deadline = asyncio.get_running_loop().time() + self.shared.settings.answer_limit
        while True:
            try:
                return await self._invoke_once(target, body, headers, trace, **options)
            except ContainerUnreachableError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise model_error(500, connection_error_message(error), log_stream=self.log_stream) from error

    async def _invoke_once(
        self,
        target: str | None,
        body: bytes,
        headers: Mapping[str, str],
        trace: Trace,
        *,
        session: str | None = None,
        **options: Any,
    ) -> ContainerResponse:
        limit = self.plan.max_concurrency
        if limit is not None and sum(one.outstanding for one in self.instances.values()) >= limit:
            raise InvokeError(
                code="ThrottlingException",
                message=f"Rate exceeded: variant {self.plan.name} serves {limit} requests at once (MaxConcurrency).",
            )
        instance = self._instance(session)
        instance.outstanding += 1
        streaming = False
        try:
            response = await self.invoke_instance(instance, target, body, headers, trace, **options)
            self._record_session(instance, response)
            if response.chunks is not None:
                streaming = True
                return attrs.evolve(response, chunks=self._stream(instance, response.chunks))
            return response
        finally:
            if not streaming:
                instance.outstanding -= 1

    def _instance(self, session: str | None) -> Instance:
        serving = {one.name: one for one in self.instances.values() if one.name not in self.draining}
        if not serving:
            raise InvokeError(
                code="ServiceUnavailable", message=f"Variant {self.plan.name} has no instance in service."
            )
        if session is not None and session != _NEW_SESSION:
            name = self._sessions.get(session)
            if name not in serving:
                raise validation_error(f"Session {session} (SessionId) does not exist on endpoint {self.endpoint}.")
            return serving[name]
        choices = list(serving.values())
        if not self.plan.random_routing:
            least = min(one.outstanding for one in choices)
            choices = [one for one in choices if one.outstanding == least]
        return self.shared.rng.choice(choices)

    def _record_session(self, instance: Instance, response: ContainerResponse) -> None:
        opened = response.headers.get("x-amzn-sagemaker-new-session-id")
        if opened is not None:
            self._sessions[opened.partition(";")[0].strip()] = instance.name
            while len(self._sessions) > _SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        self._sessions.pop(response.headers.get("x-amzn-sagemaker-closed-session-id", ""), None)

    async def _stream(self, instance: Instance, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Pass chunks on; the request counts as outstanding until the stream ends."""
        try:
            async with contextlib.aclosing(chunks):
                while True:
                    async with asyncio.timeout(self.shared.settings.stream_limit):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    yield chunk
        except TimeoutError:
            raise HostingError(f"The model sent no chunk for {self.shared.settings.stream_limit:g} seconds.") from None
        except ContainerConnectionError as error:
            raise HostingError(f"The model's response stream was interrupted: {error}") from error
        finally:
            instance.outstanding -= 1
