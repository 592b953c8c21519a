"""A variant whose containers each serve one model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import attrs

from mme_sdk.local.contracts import HostingError
from mme_sdk.local.hosting.answers import Refusal, model_error
from mme_sdk.local.hosting.container import ContainerAway, ContainerGone, Said
from mme_sdk.local.hosting.instance import Instance, container_gone
from mme_sdk.local.hosting.trace import Trace
from mme_sdk.local.hosting.variant import Variant

__all__ = ["SingleModelVariant"]


class SingleModelVariant(Variant):
    """Requests go to the instance with the fewest outstanding, or to a random one where the plan says so."""

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
        self, target: str | None, body: bytes, headers: Mapping[str, str], trace: Trace, **options: Any
    ) -> Said:
        serving = [one for one in self.instances.values() if one.name not in self.draining]
        if not serving:
            raise Refusal(code="ServiceUnavailable", message=f"Variant {self.plan.name} has no instance in service.")
        if not self.plan.random_routing:
            least = min(one.outstanding for one in serving)
            serving = [one for one in serving if one.outstanding == least]
        instance = self.shared.rng.choice(serving)
        instance.outstanding += 1
        streaming = False
        try:
            said = await self.run(instance, target, body, headers, trace, **options)
            if said.chunks is not None:
                streaming = True
                return attrs.evolve(said, chunks=self._stream(instance, said.chunks))
            return said
        finally:
            if not streaming:
                instance.outstanding -= 1

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
