"""The door: `MMEClient` and `AsyncMMEClient`, with every room behind it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from mme_sdk.aws import Aws
from mme_sdk.config import ColdStart, RetryPolicy, Timeouts
from mme_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    import boto3

    from mme_sdk.endpoints import AsyncEndpoint, AsyncEndpoints, Endpoint, Endpoints
    from mme_sdk.registry import AsyncModelRegistry, ModelRegistry
    from mme_sdk.runtime import AsyncRuntimeInvoker, Codecs, Hook, Memory, RuntimeInvoker
    from mme_sdk.runtime.transport import AsyncChosenTransport, ChosenTransport

__all__ = ["AsyncMMEClient", "MMEClient"]


class Unchanged(enum.Enum):
    """The default of `with_options`: the setting stays as it is."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED


class _Settings:
    """What both clients are made of: settings, and the way to AWS."""

    def __init__(
        self,
        *,
        region: str | None = None,
        session: boto3.Session | None = None,
        endpoint_url: str | Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        cold_start: ColdStart | None = None,
        transport: str = "auto",
        memory: Memory | None = None,
        hooks: Sequence[Hook] = (),
        codecs: Codecs | None = None,
    ) -> None:
        if memory is not None and cold_start is not None:
            raise InvalidInputError("a Memory has its own ColdStart: give memory= or cold_start=, not both")
        self._settings: dict[str, Any] = {
            "region": region,
            "session": session,
            "endpoint_url": endpoint_url,
            "timeouts": timeouts or Timeouts(),
            "retry": retry or RetryPolicy(),
            "cold_start": cold_start,
            "transport": transport,
            "memory": memory,
            "hooks": tuple(hooks),
            "codecs": codecs,
        }
        self._registries: dict[str, Any] = {}
        self._aws = Aws(region=region, session=session, endpoint_url=endpoint_url, timeouts=timeouts, retry=retry)

    @property
    def region(self) -> str:
        """The AWS region.

        Raises:
            ConfigurationError: None is set anywhere.
        """
        return self._aws.region

    @property
    def timeouts(self) -> Timeouts:
        """How long to wait."""
        return self._aws.timeouts

    @cached_property
    def memory(self) -> Memory:
        """What is known of load times and loaded models: `memory.estimates` can be saved, loaded and shared."""
        from mme_sdk.runtime import Memory

        given: Memory | None = self._settings["memory"]
        return given or Memory(self._settings["cold_start"], self._settings["retry"])

    def _invoking(self) -> dict[str, Any]:
        settings = {name: self._settings[name] for name in ("hooks", "codecs")}
        return {"memory": self.memory, "stores": self._registries, **settings}

    def with_options(
        self,
        *,
        region: str | Unchanged | None = UNCHANGED,
        session: boto3.Session | Unchanged | None = UNCHANGED,
        endpoint_url: str | Mapping[str, str] | Unchanged | None = UNCHANGED,
        timeouts: Timeouts | Unchanged | None = UNCHANGED,
        retry: RetryPolicy | Unchanged | None = UNCHANGED,
        cold_start: ColdStart | Unchanged | None = UNCHANGED,
        transport: str | Unchanged = UNCHANGED,
        memory: Memory | Unchanged | None = UNCHANGED,
        hooks: Sequence[Hook] | Unchanged = UNCHANGED,
        codecs: Codecs | Unchanged | None = UNCHANGED,
    ) -> Self:
        """A new client with some settings changed; this one stays as it is.

        Args:
            region: See the class, as for all of them.
            session: A boto3 session.
            endpoint_url: Address of the services.
            timeouts: How long to wait.
            retry: When to try again.
            cold_start: How loading models are waited for.
            transport: What carries invocations.
            memory: Load times and warm models.
            hooks: Functions that are told what invocations meet.
            codecs: Payload codecs of your own.

        Returns:
            The new client, to be closed on its own.

        Example:
            >>> quick = MMEClient(region="eu-west-1").with_options(timeouts=Timeouts(deadline=5))
        """
        changes = {
            "region": region,
            "session": session,
            "endpoint_url": endpoint_url,
            "timeouts": timeouts,
            "retry": retry,
            "cold_start": cold_start,
            "transport": transport,
            "memory": memory,
            "hooks": hooks,
            "codecs": codecs,
        }
        return type(self)(
            **(self._settings | {name: value for name, value in changes.items() if value is not UNCHANGED})
        )

    def __repr__(self) -> str:
        region = self._settings["region"] or "from the environment"
        return f"<{type(self).__name__} region={region}>"


class MMEClient(_Settings):
    """Amazon SageMaker multi-model endpoints, and single-model ones beside them.

    Making a client costs nothing and calls nobody; boto3 is imported at the first call. A client is safe to share
    between threads and survives a fork.

    Args:
        region: AWS region; that of the session or the environment where None.
        session: A boto3 session; one is made from the environment where None.
        endpoint_url: Address for every service, or one per service name (`{"s3": …, "*": …}`); AWS's own, or the
            environment's `AWS_ENDPOINT_URL…`, where None.
        timeouts: How long to wait.
        retry: When to try again.
        transport: What carries invocations: `auto` for the fastest lane that honours the configuration; `fast`, `core`
            or `botocore` for that one.
        cold_start: How loading models are waited for.
        memory: Load times and warm models; hand one to several clients to share it.
        hooks: Functions that are told what invocations meet; see `mme_sdk.runtime`.
        codecs: Payload codecs of your own.

    Raises:
        InvalidInputError: Settings that exclude each other.

    Example:
        ```python
        with MMEClient(region="eu-west-1") as client:
            models = client.models("s3://ml-models/prod/")
            fraud = models.register("fraud", "build/fraud/")
            reply = client.endpoint("scoring").invoke({"amount": 12.5}, model=fraud)
        ```
    """

    def models(self, uri: str) -> ModelRegistry:
        """The models under one S3 prefix.

        Args:
            uri: The prefix, such as `s3://ml-models/prod/`: the ModelDataUrl of a multi-model endpoint.

        Returns:
            The registry; no call is made.

        Raises:
            InvalidInputError: Not an S3 address.
        """
        from mme_sdk.registry import ModelRegistry

        registry = ModelRegistry(self._aws, uri)
        known: ModelRegistry = self._registries.setdefault(registry.uri, registry)
        return known

    @cached_property
    def endpoints(self) -> Endpoints:
        """Create, find and delete endpoints."""
        from mme_sdk.endpoints import Endpoints
        from mme_sdk.metrics import read_metrics

        return Endpoints(self._aws, lambda: self._invoker, read_metrics)

    def endpoint(self, name: str) -> Endpoint:
        """A handle to an endpoint, without a call: what an application holds.

        Args:
            name: EndpointName.

        Returns:
            The handle.

        Raises:
            InvalidInputError: Not a legal endpoint name.
        """
        return self.endpoints.handle(name)

    @cached_property
    def transport(self) -> ChosenTransport:
        """What carries invocations; its `name` says which lane, its `reason` why not a faster one."""
        from mme_sdk.runtime.transport import make_transport

        return make_transport(self._aws, self._settings["transport"])

    @cached_property
    def _invoker(self) -> RuntimeInvoker:
        from mme_sdk.runtime import RuntimeInvoker

        return RuntimeInvoker(self._aws, self.transport, models=self.models, **self._invoking())

    def close(self) -> None:
        """Close every connection; idempotent."""
        if "transport" in self.__dict__:
            self.transport.close()
        self._aws.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncMMEClient(_Settings):
    """`MMEClient`, awaited: the same verbs, the same decisions.

    Example:
        ```python
        async with AsyncMMEClient(region="eu-west-1") as client:
            reply = await client.endpoint("scoring").invoke({"amount": 12.5}, model="fraud/v3.tar.gz")
        ```
    """

    def models(self, uri: str) -> AsyncModelRegistry:
        """The models under one S3 prefix; see `MMEClient.models`."""
        from mme_sdk.registry import AsyncModelRegistry

        registry = AsyncModelRegistry(self._aws, uri)
        known: AsyncModelRegistry = self._registries.setdefault(registry.uri, registry)
        return known

    @cached_property
    def endpoints(self) -> AsyncEndpoints:
        """Create, find and delete endpoints."""
        from mme_sdk.endpoints import AsyncEndpoints
        from mme_sdk.metrics import read_metrics

        return AsyncEndpoints(self._aws, lambda: self._invoker, read_metrics)

    def endpoint(self, name: str) -> AsyncEndpoint:
        """A handle to an endpoint, without a call; see `MMEClient.endpoint`."""
        return self.endpoints.handle(name)

    @cached_property
    def transport(self) -> AsyncChosenTransport:
        """What carries invocations; see `MMEClient.transport`."""
        from mme_sdk.runtime.transport import make_async_transport

        return make_async_transport(self._aws, self._settings["transport"])

    @cached_property
    def _invoker(self) -> AsyncRuntimeInvoker:
        from mme_sdk.runtime import AsyncRuntimeInvoker

        return AsyncRuntimeInvoker(self._aws, self.transport, models=self.models, **self._invoking())

    async def close(self) -> None:
        """Close every connection; idempotent."""
        if "transport" in self.__dict__:
            await self.transport.close()
        self._aws.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
