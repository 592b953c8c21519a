"""What `ModelRegistry` and `AsyncModelRegistry` have in common: everything but the waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mme_sdk._cancellation import reading
from mme_sdk.aws import Aws, Do, Flow
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.registry.names import Keys
from mme_sdk.registry.operations.copy import Elsewhere
from mme_sdk.registry.operations.single import Verbs
from mme_sdk.registry.resolver import Resolver
from mme_sdk.registry.store import ObjectOptions, Store
from mme_sdk.types.s3uri import S3Uri

__all__ = ["Registry"]

T = TypeVar("T")
_log = logging.getLogger("mme_sdk.registry")


class Registry:
    """One prefix, and the verbs over it."""

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
        self._keys = Keys(S3Uri.parse(uri).as_prefix(), key)
        store = Store(
            keys=self._keys,
            options=options or ObjectOptions(),
            read=_read,
            streamed=_streamed,
            jitter=lambda limit: aws.rng.uniform(0, limit),
            now=aws.clock.time,
        )
        self._verbs = Verbs(store)
        resolver = Resolver(
            self._verbs.aliases, staleness=staleness, monotonic=aws.clock.monotonic, draw=aws.rng.random
        )
        # One memory for all registries over a prefix, so that what one deletes no other of this client invokes.
        self._resolver: Resolver = aws.shared.setdefault((Resolver, self.uri, key, staleness), resolver)

    @property
    def uri(self) -> str:
        """The prefix: the ModelDataUrl of a multi-model endpoint."""
        return str(self._keys.prefix)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uri}>"

    def _refresh(self, places: tuple[str, ...]) -> None:
        """Read places again, in a thread that nobody waits for."""
        mine, _ = self._resolver.claim(places)
        if not mine:
            return
        flow = self._resolver.read(mine)

        def work() -> None:
            try:
                self._aws.run(flow)
            except MMEError as error:
                _log.warning("aliases of %s could not be read again; the last known hold: %s", self.uri, error)

        try:
            self._aws.submit(work)
        except MMEError:
            self._resolver.abandon(mine)  # the client was closed
            raise

    def _destination(self, to: str | Registry, name: str | None, version: str | None) -> tuple[Verbs, Elsewhere]:
        if version is not None and name is None:
            raise InvalidInputError("a version without a name: copy(to, name, version)")
        if isinstance(to, str):
            to = Registry(self._aws, to, key=self._keys.template, options=self._verbs.store.options)
        other = to._aws
        if to.uri == self.uri:
            raise InvalidInputError(f"{to.uri} is this very prefix")

        def elsewhere(flow: Flow[Any]) -> Flow[Any]:
            if other is self._aws:
                return (yield from flow)
            return (yield Do(lambda: other.run(flow)))

        return to._verbs, elsewhere


def _read(answer: Mapping[str, Any]) -> bytes:
    def read() -> bytes:
        with answer["Body"] as body:
            data: bytes = body.read()
            return data

    return _streamed(answer["Body"], read)


def _streamed(body: Any, work: Callable[[], T]) -> T:
    from mme_sdk.aws.error_translation import translating

    with reading(body), translating(service="s3", operation="get_object"):
        return work()
