"""What the registry does, as flows: its synchronous and asynchronous faces only run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from mme_sdk.aws.flow import Do, Flow
from mme_sdk.errors import ModelNotFoundError
from mme_sdk.registry import upload
from mme_sdk.registry.package import prepare
from mme_sdk.registry.store import Store
from mme_sdk.shapes.model import ModelVersion

__all__ = ["Deletion", "Verbs"]

_DIGEST = 16  # hex digits of a version that is taken from the content


@attrs.frozen(kw_only=True)
class Deletion:
    """What was deleted, or would be.

    Attributes:
        versions: The versions.
        dry_run: Whether they are still there.
    """

    versions: tuple[ModelVersion, ...]
    dry_run: bool = False


class Verbs:
    """The registry's verbs over one prefix.

    Args:
        store: The prefix.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = store.keys
        self._ready = False

    def ready(self) -> Flow[None]:
        """Make sure, once, that there is a bucket."""
        if not self._ready:
            yield from self.store.ready()
            self._ready = True

    def register(
        self,
        name: str,
        source: Any,
        version: str | None,
        *,
        framework: str | None = None,
        metadata: Mapping[str, str] | None = None,
        check_layout: bool = True,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Flow[ModelVersion]:
        """Pack and create a version."""
        self.keys.target(name, version or "0" * _DIGEST)  # refuses a bad name before anything is packed
        package: upload.Package = yield Do(lambda: prepare(source, framework=framework, check_layout=check_layout))
        try:
            notes = self.store.metadata(package.archive, metadata or {})
            yield from self.ready()
            target = self.keys.target(name, version or package.archive.content[:_DIGEST])
            stored = yield from upload.create(self.store, target, package, notes, progress)
        finally:
            package.close()
        return stored.version

    def get(self, name: str, version: str | None) -> Flow[ModelVersion]:
        """One version, with its metadata."""
        target = self.keys.target(name, version or "")
        stored = yield from self.store.head(target)
        if stored is None:
            raise ModelNotFoundError(
                f"there is no {self.keys.prefix.join(target)}", model=target, hint="list() tells what is there"
            )
        return stored.version

    def delete(self, name: str, version: str | None, *, dry_run: bool) -> Flow[Deletion]:
        """Delete one version, or all of a name."""
        if version is None:
            versions = yield from self.store.all(name)
            if not versions:
                raise ModelNotFoundError(f"there is no model {name!r} under {self.keys.prefix}", model=name)
        else:
            versions = [(yield from self.get(name, version))]
        if not dry_run:
            yield from self.store.delete(self.keys.key(one.target_model) for one in versions)
        return Deletion(versions=tuple(versions), dry_run=dry_run)
