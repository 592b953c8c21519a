"""A variant whose containers each serve one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mme_sdk.local.hosting.answers import Refusal, model_error
from mme_sdk.local.hosting.container import ContainerGone, Said
from mme_sdk.local.hosting.instance import Instance, container_gone
from mme_sdk.local.hosting.variant import Variant

__all__ = ["SingleModelVariant"]


class SingleModelVariant(Variant):
    """Requests go to the instance with the fewest outstanding."""

    def joined(self, instance: Instance) -> None:
        """Nothing is cached here."""

    def left(self, instance: Instance) -> None:
        """Nothing was cached here."""

    def crashed(self, instance: Instance) -> None:
        """Requests that run find out by themselves."""

    def drain(self, instance: Instance) -> None:
        """`draining` says it already."""

    def busy(self, instance: Instance) -> bool:
        """Whether requests run on an instance."""
        return instance.outstanding > 0

    async def ask(self, _: str | None, /, body: bytes, headers: Mapping[str, str], **options: Any) -> Said:
        """Serve one request."""
        serving = [one for one in self.instances.values() if one.name not in self.draining]
        if not serving:
            raise Refusal(code="ServiceUnavailable", message=f"Variant {self.plan.name} has no instance in service.")
        least = min(one.outstanding for one in serving)
        instance = self.shared.rng.choice([one for one in serving if one.outstanding == least])
        instance.outstanding += 1
        try:
            return await instance.run(body, headers, **options)
        except ContainerGone as error:
            raise model_error(500, container_gone(error), log_stream=instance.log_stream) from error
        finally:
            instance.outstanding -= 1
