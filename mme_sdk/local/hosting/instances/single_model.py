"""A variant whose containers each serve one model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.local.hosting.answers import Refusal, model_error, validation_error
from mme_sdk.local.hosting.container import ContainerAway, ContainerGone, Said
from mme_sdk.local.hosting.instances.instance import Instance, container_gone
from mme_sdk.local.hosting.instances.shared import Shared
from mme_sdk.local.hosting.instances.variant import Variant
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting_interface import HostingError, VariantPlan

__all__ = ["SingleModelVariant"]


_NEW_SESSION = "NEW_SESSION"
_SESSIONS = 10_000  # that are remembered; the oldest go


class SingleModelVariant(Variant):
    """Requests go to the instance of their session, else to the least busy or a random one, as the plan says."""

    def __init__(self, endpoint: str, plan: VariantPlan, folder: Path, logs: Path, shared: Shared) -> None:
        super().__init__(endpoint, plan, folder, logs, shared)
        self._sessions: dict[str, str] = {}  # session -> instance

    def joined(self, instance: Instance) -> None:
        """Nothing is cached here."""

    def left(self, instance: Instance) -> None:
        """Nothing was cached here."""

    def crashed(self, instance: Instance) -> None:
        """Requests that run find out by themselves."""

    def picture(self) -> None:
        """Nothing is cached here."""

    def drain(self, instance: Instance) -> None:
        """`draining` says it already."""

    def busy(self, instance: Instance) -> bool:
        """Whether requests run on an instance."""
        return instance.outstanding > 0

    async def ask(
        self, target: str | None, /, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> Said:
        """Serve one request."""
        deadline = asyncio.get_running_loop().time() + self.shared.settings.answer_limit
        while True:
            try:
                return await self._ask_one(target, body, headers, trace, **options)
            except ContainerAway as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise model_error(500, container_gone(error), log_stream=self.log_stream) from error

    async def _ask_one(
        self,
        target: str | None,
        body: bytes,
        headers: Mapping[str, str],
        trace: Trace,
        *,
        session: str | None = None,
        **options: Any,
    ) -> Said:
        limit = self.plan.max_concurrency
        if limit is not None and sum(one.outstanding for one in self.instances.values()) >= limit:
            raise Refusal(
                code="ThrottlingException",
                message=f"Rate exceeded: variant {self.plan.name} serves {limit} requests at once (MaxConcurrency).",
            )
        instance = self._instance(session)
        instance.outstanding += 1
        streaming = False
        try:
            said = await self.run(instance, target, body, headers, trace, **options)
            self._remember(instance, said)
            if said.chunks is not None:
                streaming = True
                return attrs.evolve(said, chunks=self._stream(instance, said.chunks))
            return said
        finally:
            if not streaming:
                instance.outstanding -= 1

    def _instance(self, session: str | None) -> Instance:
        serving = {one.name: one for one in self.instances.values() if one.name not in self.draining}
        if not serving:
            raise Refusal(code="ServiceUnavailable", message=f"Variant {self.plan.name} has no instance in service.")
        if session is not None and session != _NEW_SESSION:
            name = self._sessions.get(session)
            if name not in serving:
                raise validation_error(f"Session {session} (SessionId) does not exist on endpoint {self.endpoint}.")
            return serving[name]
        least = min(one.outstanding for one in serving.values())
        chosen: Instance = self.shared.rng.choice([one for one in serving.values() if one.outstanding == least])
        return chosen

    def _remember(self, instance: Instance, said: Said) -> None:
        opened = said.headers.get("x-amzn-sagemaker-new-session-id")
        if opened is not None:
            self._sessions[opened.partition(";")[0].strip()] = instance.name
            while len(self._sessions) > _SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        self._sessions.pop(said.headers.get("x-amzn-sagemaker-closed-session-id", ""), None)

    async def _stream(self, instance: Instance, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The instance is busy until its answer has come to its end."""
        try:
            async with contextlib.aclosing(chunks):
                while True:
                    async with asyncio.timeout(self.shared.settings.stream_limit):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    yield chunk
        except TimeoutError:
            raise HostingError("The model's stream stood still for too long.") from None
        except ContainerGone as error:
            raise HostingError(f"The model's stream broke off: {error}") from error
        finally:
            instance.outstanding -= 1
