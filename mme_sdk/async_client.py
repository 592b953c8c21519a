"""`AsyncMMEClient`: the entry point of applications that run on an event loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from mme_sdk._client_base import ClientBase, Registries, read_metrics
from mme_sdk._tracebacks import short_tracebacks

if TYPE_CHECKING:
    from mme_sdk.endpoints import AsyncEndpoint, AsyncEndpoints
    from mme_sdk.registry import AsyncModelRegistry
    from mme_sdk.registry.store import ObjectOptions
    from mme_sdk.router import AsyncRouter, Cell
    from mme_sdk.runtime import AsyncRuntimeInvoker
    from mme_sdk.runtime.transport import AsyncSelectedTransport

__all__ = ["AsyncMMEClient"]


@short_tracebacks
class AsyncMMEClient(
    ClientBase["AsyncSelectedTransport", "AsyncModelRegistry", "AsyncEndpoints", "AsyncRuntimeInvoker"]
):
    """Asynchronous client for Amazon SageMaker endpoints, multi-model and single-model, and for models in S3.

    Making a client makes no call and no connection; the first call that needs boto3 imports it. A client survives a
    fork, and is safe to share.

    Args:
        region: AWS region. None means the region of the session or the environment.
        session: A boto3 session. None makes one from the environment.
        endpoint_url: Address for every service, or one for each service name (`{"s3": "http://…", "*": "http://…"}`).
            None means AWS's addresses, or those of the environment's `AWS_ENDPOINT_URL…`.
        timeouts: Connect and read time-outs, and the default deadline, in seconds. None means `Timeouts()`: 5, 70 and
            360 s.
        retry: Retry policy. None means `RetryPolicy()`.
        cold_start: Settings of cold starts. None means `ColdStart()`. It excludes `memory`.
        transport: How requests are sent. `auto`, the default, uses `fast` if it supports the configuration, else
            `botocore`. `fast` is the SDK's connection pool; `core` is another name for it. `botocore` sends through
            botocore.
        memory: Load times and loaded models. Pass one memory to several clients to share it. None makes a new one.
        hooks: Functions that receive the events of invocations; see `mme_sdk.runtime`. Default none.
        codecs: Codecs of payloads. None means the built-in ones.

    Raises:
        InvalidInputError: `memory` and `cold_start` are both given.

    Example:
        ```python
        async with AsyncMMEClient(region="eu-west-1") as client:
            models = client.models("s3://ml-models/prod/")
            fraud = await models.register("fraud", "build/fraud/")
            reply = await client.endpoint("scoring").invoke({"amount": 12.5}, model=fraud)
        ```
    """

    def models(
        self,
        uri: str,
        *,
        key: str | None = None,
        options: ObjectOptions | None = None,
        staleness: float | None = None,
    ) -> AsyncModelRegistry:
        """Return the registry of the models under one S3 prefix. Makes no call.

        Calls with the same settings return the same registry. Of several registries of a prefix, the one with the
        shortest staleness resolves `name@alias` in this client's invocations; registries with equal staleness share
        one cache of aliases.

        Args:
            uri: The prefix, such as `s3://ml-models/prod/`: the ModelDataUrl of a multi-model endpoint.
            key: Layout of the keys below the prefix, with `{name}` and `{version}`. None means the layout that this
                client already uses for the prefix, or else `{name}/{version}.tar.gz`.
            options: KMS key, tags and storage class of objects that are written. None means the options of the first
                registry of the prefix, or else those of the bucket.
            staleness: Seconds that a change of an alias, or a deletion, by another process may remain unnoticed. None
                means the staleness of the first registry of the prefix, or else 5.

        Returns:
            The registry.

        Raises:
            InvalidInputError: The address or a setting is invalid, or this client uses the prefix with another `key`.

        Example:
            ```python
            models = client.models("s3://ml-models/prod/", options=ObjectOptions(kms_key="alias/ml"), staleness=1)
            ```
        """
        return self._registries.get().get(self._aws, uri, key=key, options=options, staleness=staleness, client=self)

    @property
    def endpoints(self) -> AsyncEndpoints:
        """Create, find, change and delete endpoints."""
        return self._endpoints.get()

    def endpoint(self, name: str) -> AsyncEndpoint:
        """Return a handle of an endpoint. Makes no call. Applications keep the handle and call it.

        Args:
            name: Name of the endpoint.

        Returns:
            The handle.

        Raises:
            InvalidInputError: The name is not a valid endpoint name.

        Example:
            ```python
            reply = await client.endpoint("scoring").invoke({"amount": 12.5}, model="fraud@live")
            ```
        """
        return self.endpoints.handle(name)

    def router(
        self,
        name: str,
        *,
        cells: Iterable[str | Cell] = (),
        table: str | None = None,
        key: str = "{name}/{version}.tar.gz",
        staleness: float = 5.0,
    ) -> AsyncRouter:
        """Return one name over several endpoints, its cells. Makes no call. Applications keep the router and call it.

        It has the methods of an endpoint that invoke. Each model has one cell; if a cell fails, the others take its
        calls.

        Args:
            name: Name of the router, and of its route table. Letters, digits and hyphens.
            cells: The cells, or names of endpoints. They may be left out if the route table exists, which has
                precedence over them.
            table: S3 prefix under which the route table is kept, such as `s3://ml-models/prod/`. It is needed to
                evacuate, admit and rebalance cells. None: there is none, and the cells are always these. Default None.
            key: Layout of the models' keys, as for `models`: all versions of a name have the same cell. Default
                `{name}/{version}.tar.gz`.
            staleness: Seconds that a change of the route table by another process may remain unnoticed. Default 5.

        Returns:
            The router.

        Raises:
            InvalidInputError: An argument is invalid, or neither cells nor a table are given.

        Example:
            ```python
            router = client.router("scoring", cells=["scoring-a", "scoring-b"], table="s3://ml-models/prod/")
            reply = await router.invoke({"amount": 12.5}, model="fraud@live")
            ```
        """
        from mme_sdk.router import AsyncRouter

        return AsyncRouter(self, name, cells=cells, table=table, key=key, staleness=staleness)

    @property
    def transport(self) -> AsyncSelectedTransport:
        """The transport of invocations. `name` is the transport in use; `reason` says why `auto` did not use `fast`."""
        return self._transport.get()

    def _make_transport(self) -> AsyncSelectedTransport:
        from mme_sdk.runtime.transport import make_async_transport

        return make_async_transport(self._aws, self._settings.transport)

    def _make_registries(self) -> Registries[AsyncModelRegistry]:
        return Registries(_registry_class)

    def _make_endpoints(self) -> AsyncEndpoints:
        from mme_sdk.endpoints import AsyncEndpoints

        made = AsyncEndpoints(self._aws, self._invoker.get, read_metrics)
        made._context.client = self
        return made

    def _make_invoker(self) -> AsyncRuntimeInvoker:
        from mme_sdk.runtime import AsyncRuntimeInvoker

        self._check_open()
        settings = self._settings
        return AsyncRuntimeInvoker(
            self._aws,
            self.transport,
            timeouts=settings.timeouts,
            retry=settings.retry,
            codecs=settings.codecs,
            models=self.models,
            stores=self._registries.get().stores,
            memory=self.memory,
            hooks=settings.hooks,
            owns_transport=False,
        )

    async def close(self) -> None:
        """End this client's invocations and close its connections. Idempotent.

        A client that `with_options` made leaves open what it shares. Closing a client that others share parts with
        closes these parts for all of them.
        """
        self._closed = True
        invoker = self._invoker.made
        if invoker is not None:
            await invoker.close()
        transport = self._transport.made
        if self._owns_transport and transport is not None:
            await transport.close()
        if self._owns_aws:
            self._aws.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def _registry_class() -> type[AsyncModelRegistry]:
    from mme_sdk.registry import AsyncModelRegistry

    return AsyncModelRegistry
