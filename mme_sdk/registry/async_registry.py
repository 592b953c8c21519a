"""`AsyncModelRegistry`: the verbs, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mme_sdk.aws import Flow
from mme_sdk.errors import MMEError
from mme_sdk.registry._registry_base import Registry
from mme_sdk.registry.aliases import ANY, Alias
from mme_sdk.registry.names import check_name
from mme_sdk.registry.operations import batch as many
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.operations.batch import Watcher
from mme_sdk.registry.results import Copied, Deletion, Registration, SyncReport, Tidied
from mme_sdk.types.model import ModelVersion

__all__ = ["AsyncModelRegistry"]

T = TypeVar("T")


class AsyncModelRegistry(Registry):
    """`ModelRegistry`, awaited: the same verbs, arguments, answers and errors.

    Example:
        ```python
        models = aclient.models("s3://ml-models/prod/")
        fraud = await models.register("fraud", "build/fraud/")
        versions = [version async for version in models.list("fraud")]
        ```
    """

    async def register(
        self,
        name: str,
        source: str | Path | Any,
        version: str | None = None,
        *,
        framework: str | None = None,
        metadata: Mapping[str, str] | None = None,
        check_layout: bool = True,
    ) -> ModelVersion:
        """Pack a model and put it where endpoints find it; see `ModelRegistry.register`."""
        return await self._change(
            self._verbs.register(
                name, source, version, framework=framework, metadata=metadata, check_layout=check_layout
            )
        )

    async def register_many(
        self, models: Mapping[str, Any] | Iterable[Registration], *, progress: Watcher | bool | None = None
    ) -> list[ModelVersion]:
        """Register many models side by side; see `ModelRegistry.register_many`."""
        watcher, close = many.with_bar(progress)
        try:
            return await self._change(many.register_many(self._verbs, models, watcher))
        finally:
            close()

    async def sync(
        self,
        directory: str | Path,
        *,
        alias: str | None = None,
        delete: bool = False,
        grace: float = 0.0,
        dry_run: bool = False,
        progress: Watcher | bool | None = None,
    ) -> SyncReport:
        """Register every entry of a directory whose content is not there yet; see `ModelRegistry.sync`."""
        watcher, close = many.with_bar(progress)
        try:
            return await self._change(
                many.sync(
                    self._verbs,
                    directory,
                    alias=alias,
                    delete=delete,
                    grace=grace,
                    dry_run=dry_run,
                    watcher=watcher,
                )
            )
        finally:
            close()

    async def copy(
        self,
        to: str | Registry,
        name: str | None = None,
        version: str | None = None,
        *,
        dry_run: bool = False,
    ) -> Copied:
        """Copy versions to another prefix, bucket or region; see `ModelRegistry.copy`."""
        other, elsewhere = self._destination(to, name, version)
        return await self._aws.arun(copying.copy(self._verbs, other, elsewhere, name, version, dry_run=dry_run))

    async def get(self, name: str, version: str | None = None) -> ModelVersion:
        """One version, with its metadata; see `ModelRegistry.get`."""
        return await self._aws.arun(self._verbs.get(name, version))

    async def verify(self, name: str, version: str | None = None) -> ModelVersion:
        """Read an archive whole and compare it with what was registered; see `ModelRegistry.verify`."""
        return await self._aws.arun(self._verbs.verify(name, version))

    def list(self, name: str | None = None) -> AsyncIterator[ModelVersion]:
        """Every version that can be invoked; see `ModelRegistry.list`."""
        if name is not None:
            check_name(name)
        return self._pages(name)

    async def _pages(self, name: str | None) -> AsyncIterator[ModelVersion]:
        token = None
        dead = await self._aws.arun(self._verbs.aliases.tombstones.read())
        while True:
            versions, token = await self._aws.arun(self._verbs.store.page(name, token))
            for version in versions:
                if version.target_model not in dead:
                    yield version
            if token is None:
                return

    async def delete(
        self,
        name: str,
        version: str | None = None,
        *,
        grace: float = 0.0,
        force: bool = False,
        dry_run: bool = False,
    ) -> Deletion:
        """Delete one version, or every version of a name; see `ModelRegistry.delete`."""
        return await self._change(
            deleting.delete(self._verbs.aliases, name, version, grace=grace, force=force, dry_run=dry_run)
        )

    async def prune(self, keep: int, name: str | None = None, *, grace: float = 0.0, dry_run: bool = False) -> Deletion:
        """Delete all but the newest versions of each model; see `ModelRegistry.prune`."""
        return await self._change(deleting.prune(self._verbs.aliases, keep, name, grace=grace, dry_run=dry_run))

    async def tidy(self, *, older_than: float = 86_400.0, dry_run: bool = False) -> Tidied:
        """Abort uploads under the prefix that nobody finished; see `ModelRegistry.tidy`."""
        return await self._aws.arun(deleting.tidy(self._verbs.store, older_than=older_than, dry_run=dry_run))

    async def alias(
        self,
        name: str,
        alias: str,
        version: str | ModelVersion | Mapping[str, float],
        *,
        expected: str | ModelVersion | Mapping[str, float] | None = ANY,
    ) -> Alias:
        """Point an alias at a version, or at several with weights; see `ModelRegistry.alias`."""
        return await self._change(self._verbs.aliases.set(name, alias, version, expected))

    async def rollback(self, name: str, alias: str) -> Alias:
        """Point an alias at what it meant before; see `ModelRegistry.rollback`."""
        return await self._change(self._verbs.aliases.rollback(name, alias))

    async def unalias(self, name: str, alias: str) -> None:
        """Forget an alias and its history; see `ModelRegistry.unalias`."""
        await self._change(self._verbs.aliases.remove(name, alias))

    async def aliases(self, name: str | None = None) -> tuple[Alias, ...]:
        """All aliases, with their histories; see `ModelRegistry.aliases`."""
        return tuple(await self._aws.arun(self._verbs.aliases.all(name)))

    async def resolve(self, reference: str, *, key: str | None = None) -> ModelVersion:
        """The version behind a reference, from memory; see `ModelRegistry.resolve`."""
        while True:
            found = self._resolver.look(reference, key)
            if found.stale:
                self._refresh(found.stale)
            if found.version is not None:
                return found.version
            mine, others = self._resolver.claim(found.missing)
            failed: MMEError | None = None
            try:
                if mine:
                    await self._aws.arun(self._resolver.read(mine))
                for flight in others:
                    await asyncio.shield(asyncio.wrap_future(flight))
            except MMEError as error:
                failed = error
            known = self._resolver.last_known(reference, key)
            if known is not None:
                return known
            if failed is not None:
                raise failed

    async def _change(self, flow: Flow[T]) -> T:
        try:
            return await self._aws.arun(flow)
        finally:
            self._resolver.forget()
