"""The handle of one endpoint: what an application holds and calls."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mme_sdk.endpoints.creating import Creation
from mme_sdk.endpoints.deleting import Deletion
from mme_sdk.endpoints.description import EndpointDescription
from mme_sdk.endpoints.waiting import ProgressCallback
from mme_sdk.shapes import ModelVersion, Reply

if TYPE_CHECKING:
    from mme_sdk.endpoints.rooms import AsyncEndpoints, Endpoints

__all__ = ["AsyncEndpoint", "Endpoint"]

T = TypeVar("T")


class _Handle:
    """What both handles know without a call; nothing changes after it is set, but the last description."""

    __slots__ = ("_creation", "_seen", "name")

    def __init__(self, name: str, *, seen: EndpointDescription | None = None, creation: Creation | None = None) -> None:
        self.name = name
        self._seen = seen
        self._creation = creation

    @property
    def prefix(self) -> str | None:
        """The S3 prefix of a multi-model endpoint, where it is known already."""
        if self._creation is not None and self._creation.spec.mode == "MultiModel":
            return self._creation.spec.model_data
        return self._seen.model_data if self._seen is not None and self._seen.mode == "MultiModel" else None

    def _facts(self) -> dict[str, str]:
        """Six facts, as far as they are known: name, status, mode, models, instances, configuration."""
        seen, creation = self._seen, self._creation
        facts = {"name": self.name, "status": "?", "mode": "?", "models": "?", "instances": "?", "config": "?"}
        if creation is not None:
            spec = creation.spec
            facts |= {
                "status": "Creating",
                "mode": spec.mode,
                "models": spec.model_data or "none",
                "instances": ", ".join(
                    f"{one.instance_count} x {one.instance_type}" if one.instance_type else "serverless"
                    for one in spec.variants
                ),
                "config": spec.to_requests().config_name,
            }
        if seen is not None:
            facts["status"] = seen.status
            facts["config"] = seen.config_name or facts["config"]
            facts["mode"] = seen.mode or facts["mode"]
            facts["models"] = seen.model_data or facts["models"]
            if any(one.instance_type for one in seen.variants):
                facts["instances"] = ", ".join(
                    f"{one.instance_count} x {one.instance_type or 'serverless'}" for one in seen.variants
                )
        return facts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        options.setdefault("prefix", self.prefix)
        return options


class Endpoint(_Handle):
    """An endpoint: cheap to make, to copy and to share between threads; making one calls nothing.

    Attributes:
        name: EndpointName.

    Example:
        ```python
        endpoint = client.endpoint("scoring")
        reply = endpoint.invoke({"amount": 12.5}, model="fraud/v3.tar.gz", deadline=30)
        ```
    """

    __slots__ = ("_endpoints",)

    def __init__(
        self,
        endpoints: Endpoints,
        name: str,
        *,
        seen: EndpointDescription | None = None,
        creation: Creation | None = None,
    ) -> None:
        super().__init__(name, seen=seen, creation=creation)
        self._endpoints = endpoints

    @overload
    def invoke(
        self, data: Any, *, model: str | ModelVersion | None = None, response_type: type[T], **options: Any
    ) -> Reply[T]: ...

    @overload
    def invoke(
        self, data: Any, *, model: str | ModelVersion | None = None, response_type: None = None, **options: Any
    ) -> Reply[Any]: ...

    def invoke(self, data: Any, *, model: str | ModelVersion | None = None, **options: Any) -> Reply[Any]:
        """Invoke a model.

        Args:
            data: The payload.
            model: Target model of a multi-model endpoint.
            **options: Those of `Invoker.invoke`: content_type, accept, deadline, response_type, target_variant,
                inference_id, custom_attributes, idempotent.

        Returns:
            The answer.

        Raises:
            MMEError: No answer; the kind says why.
        """
        return self._endpoints.invoker.invoke(self.name, data, model=model, **self._options(options))

    def describe(self) -> EndpointDescription:
        """Read the endpoint, its configuration, models, autoscaling and tags.

        Raises:
            EndpointNotFoundError: It is not there.
        """
        self._seen = self._endpoints.describe(self.name)
        return self._seen

    def wait(self, timeout: float = 1800, *, progress: ProgressCallback | bool = False) -> Endpoint:
        """Wait until it is in service; after `create`, this also attaches autoscaling, or cleans up a failure.

        Args:
            timeout: Seconds to wait at most.
            progress: Called at every look, or True for a progress bar.

        Returns:
            The handle, with what was seen.

        Raises:
            EndpointFailedError: It failed; says why. What its creation had made is removed.
            WaitTimeoutError: The time is over; carries the statuses seen.
        """
        return self._endpoints.wait_for(self, timeout=timeout, progress=progress)

    def delete(self, *, dry_run: bool = False, timeout: float = 900) -> Deletion:
        """Delete it and everything that belongs to it; see `Endpoints.delete`."""
        return self._endpoints.delete(self.name, dry_run=dry_run, timeout=timeout)


class AsyncEndpoint(_Handle):
    """`Endpoint`, awaited.

    Attributes:
        name: EndpointName.
    """

    __slots__ = ("_endpoints",)

    def __init__(
        self,
        endpoints: AsyncEndpoints,
        name: str,
        *,
        seen: EndpointDescription | None = None,
        creation: Creation | None = None,
    ) -> None:
        super().__init__(name, seen=seen, creation=creation)
        self._endpoints = endpoints

    @overload
    async def invoke(
        self, data: Any, *, model: str | ModelVersion | None = None, response_type: type[T], **options: Any
    ) -> Reply[T]: ...

    @overload
    async def invoke(
        self, data: Any, *, model: str | ModelVersion | None = None, response_type: None = None, **options: Any
    ) -> Reply[Any]: ...

    async def invoke(self, data: Any, *, model: str | ModelVersion | None = None, **options: Any) -> Reply[Any]:
        """Invoke a model; see `Endpoint.invoke`."""
        return await self._endpoints.invoker.invoke(self.name, data, model=model, **self._options(options))

    async def describe(self) -> EndpointDescription:
        """Read the endpoint, its configuration, models, autoscaling and tags; see `Endpoint.describe`."""
        self._seen = await self._endpoints.describe(self.name)
        return self._seen

    async def wait(self, timeout: float = 1800, *, progress: ProgressCallback | bool = False) -> AsyncEndpoint:
        """Wait until it is in service; see `Endpoint.wait`."""
        return await self._endpoints.wait_for(self, timeout=timeout, progress=progress)

    async def delete(self, *, dry_run: bool = False, timeout: float = 900) -> Deletion:
        """Delete it and everything that belongs to it; see `Endpoints.delete`."""
        return await self._endpoints.delete(self.name, dry_run=dry_run, timeout=timeout)
