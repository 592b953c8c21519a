"""Base class of `ModelRegistry` and `AsyncModelRegistry`: construction, background refresh, destination of a copy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

from mme_sdk._flows.cancellation import reading
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.aws import Aws, Do, Flow
from mme_sdk.display.progress import ProgressOption, Reporter, reporting
from mme_sdk.display.shown import Shown
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.registry.names import KeyLayout
from mme_sdk.registry.operations.copy import RunAtDestination
from mme_sdk.registry.operations.register import RegistryOperations
from mme_sdk.registry.resolver import Resolver
from mme_sdk.registry.store import ObjectOptions, Store
from mme_sdk.registry.tombstones import Tombstones
from mme_sdk.types.s3uri import S3Uri

__all__ = ["RegistryBase", "async_result", "operations", "result", "uploading"]

T = TypeVar("T")
_log = logging.getLogger("mme_sdk.registry")


def operations(aws: Aws, keys: KeyLayout, options: ObjectOptions | None = None) -> RegistryOperations:
    """Return the operations on one prefix, as flows.

    Args:
        aws: Access to AWS.
        keys: Layout of the keys.
        options: S3 settings of every object that is written.
    """
    return RegistryOperations(
        Store(
            keys=keys,
            options=options or ObjectOptions(),
            read=_read,
            read_stream=_read_stream,
            jitter=lambda limit: aws.rng.uniform(0, limit),
            now=aws.clock.time,
        )
    )


@short_tracebacks
class RegistryBase(Shown):
    """Models under one S3 prefix.

    Args:
        aws: Access to AWS.
        uri: The prefix.
        key: Layout of the keys below the prefix.
        options: S3 settings of every object that is written.
        staleness: Maximum age of cached aliases and tombstones, in seconds.
    """

    def __init__(
        self,
        aws: Aws,
        uri: str,
        *,
        key: str = "{name}/{version}.tar.gz",
        options: ObjectOptions | None = None,
        staleness: float = 5.0,
    ) -> None:
        self._aws = aws
        self._client: Any = None  # the one that made the registry, with which it travels to another process
        self._staleness = staleness
        self._keys = KeyLayout(S3Uri.parse(uri).as_prefix(), key)
        self._operations = operations(aws, self._keys, options)
        resolver = Resolver(
            self._operations.aliases, staleness=staleness, monotonic=aws.clock.monotonic, random=aws.rng.random
        )
        # A change through one registry of a client empties the caches of all of its registries over the prefix: after
        # a deletion, the others refuse the version at once. Registries with equal settings share one cache.
        self._resolvers: dict[Any, Resolver] = aws.shared.setdefault((Resolver, self.uri), {})
        self._resolver: Resolver = self._resolvers.setdefault((key, staleness), resolver)

    def __reduce__(self) -> tuple[Any, ...]:
        from mme_sdk.aws.travel import refuse_pickle

        if self._client is None:
            raise refuse_pickle("a registry that no client made", "take it from client.models(uri)")
        return _registry_of, (
            self._client,
            self.uri,
            {"key": self._keys.template, "options": self._operations.store.options, "staleness": self._staleness},
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it has no state of its own, and belongs to its client

    @property
    def uri(self) -> str:
        """S3 address of the prefix. It is the ModelDataUrl of the multi-model endpoint."""
        return str(self._keys.prefix)

    def _facts(self) -> dict[str, object]:
        return {"uri": self.uri, "key": self._keys.template}

    def _text(self) -> str:
        return f"<{type(self).__name__} {self.uri}>"

    @property
    def _tombstones(self) -> Tombstones:
        return self._operations.aliases.tombstones

    @staticmethod
    def _required(version: str | None) -> str:
        """Return a version that must be given, because an uncompressed version has no target model."""
        if version is None:
            raise InvalidInputError("version: give the version of an uncompressed model", hint="list(compressed=False)")
        return version

    def is_stored(self, target: str) -> bool:
        """Tell without a call whether the cache knows that a target model was not deleted.

        Invocations of target models ask this first, and `resolve` only if the answer is False.

        Args:
            target: The target model, such as `fraud/v3.tar.gz`.

        Returns:
            True if the cached deletions are recent and do not include it. False if they do, or if it is unknown.

        Example:
            ```python
            models.resolve("fraud/v3.tar.gz")  # reads the deletions
            models.is_stored("fraud/v3.tar.gz")  # True
            ```
        """
        return self._resolver.is_stored(target)

    def _reporting(
        self, progress: ProgressOption, operation: str, subject: str, unit: str = ""
    ) -> AbstractContextManager[Reporter | None]:
        return reporting(progress, operation, subject, unit=unit, now=self._aws.clock.monotonic)

    def _invalidate(self) -> None:
        for resolver in list(self._resolvers.values()):
            resolver.invalidate()

    def _refresh(self, names: tuple[str, ...]) -> None:
        """Read cached records again, in a background thread."""
        own, _ = self._resolver.claim(names)
        if not own:
            return
        flow = self._resolver.load(own)

        def work() -> None:
            try:
                self._aws.run(flow)
            except MMEError as error:
                _log.warning("the aliases of %s were not refreshed; the cached ones stay in use: %s", self.uri, error)
            finally:
                self._resolver.release(own)  # if the client was closed before the flow began

        try:
            self._aws.submit(work)
        except MMEError:
            self._resolver.release(own)  # the client is closed
            raise

    def _destination(
        self, to: str | RegistryBase, name: str | None, version: str | None
    ) -> tuple[RegistryOperations, RunAtDestination]:
        """Return the operations at the destination of a copy, and a function that runs a flow with its client."""
        if version is not None and name is None:
            raise InvalidInputError("copy: version is given without name", hint="call copy(to, name, version)")
        if isinstance(to, str):
            to = RegistryBase(self._aws, to, key=self._keys.template, options=self._operations.store.options)
        other = to._aws
        if to.uri == self.uri:
            raise InvalidInputError(
                f"copy: the destination {to.uri} is the prefix of this registry", hint="copy to another prefix"
            )

        def run_there(flow: Flow[Any]) -> Flow[Any]:
            if other is self._aws:
                return (yield from flow)
            return (yield Do(lambda: other.run(flow)))

        return to._operations, run_there


def _registry_of(client: Any, uri: str, settings: dict[str, Any]) -> Any:
    return client.models(uri, **settings)


def uploading(report: Reporter | None) -> Callable[[int, int], None]:
    """Return a function that reports the uploaded bytes of one model."""
    if report is None:
        return lambda _sent, _total: None
    report(doing="packing")
    return lambda sent, total: report(size=sent, doing=f"uploading {total / 1e6:.1f} MB")


def result(read: Future[None]) -> None:
    """Wait in this thread for a read that another caller makes."""
    read.result()


async def async_result(read: Future[None]) -> None:
    """Wait on the event loop for a read that another caller makes."""
    await asyncio.shield(asyncio.wrap_future(read))


def _read(answer: Mapping[str, Any]) -> bytes:
    def read() -> bytes:
        with answer["Body"] as body:
            data: bytes = body.read()
            return data

    return _read_stream(answer["Body"], read)


def _read_stream(body: Any, work: Callable[[], T]) -> T:
    from mme_sdk.aws.error_translation import translating

    with reading(body), translating(service="s3", operation="get_object"):
        return work()
