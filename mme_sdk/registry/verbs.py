"""One model at a time, as flows: the registry's synchronous and asynchronous faces only run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mme_sdk.artifacts import Archive, inspect
from mme_sdk.aws.flow import Do, Flow
from mme_sdk.errors import ConflictError, IntegrityError, InvalidInputError, LayoutError, ModelNotFoundError
from mme_sdk.registry import upload
from mme_sdk.registry.aliases import Aliases
from mme_sdk.registry.package import prepare
from mme_sdk.registry.store import Store, StoredObject
from mme_sdk.registry.tombstones import Tombstones
from mme_sdk.shapes.model import ModelVersion

__all__ = ["DIGEST", "Verbs"]

DIGEST = 16
"""Hex digits of a version that is taken from the content."""


class Verbs:
    """The registry's verbs over one prefix.

    Args:
        store: The prefix.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = store.keys
        self.aliases = Aliases(store, Tombstones(store))
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
        dead: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] = lambda _: None,
        abreast: int = 1,
    ) -> Flow[ModelVersion]:
        """Pack and create a version.

        Args:
            name: The model's name.
            source: What to pack.
            version: The version; taken from the content where None.
            framework: Framework whose layout is checked.
            metadata: The caller's metadata.
            check_layout: Whether it is checked.
            dead: Tombstones, where they were just read.
            progress: Told of bytes that have arrived.
            abreast: How many large models are registered side by side.

        Returns:
            The version.
        """
        if version == "":
            raise InvalidInputError("an empty version", hint="leave it out, and it is taken from the content")
        self.keys.target(name, "0" * DIGEST if version is None else version)  # before anything is packed
        package: upload.Package = yield Do(lambda: prepare(source, framework=framework, check_layout=check_layout))
        try:
            notes = self.store.metadata(package.archive, metadata or {})
            yield from self.ready()
            if dead is None:
                dead = yield from self.aliases.tombstones.read()
            target = self.keys.target(name, package.archive.content[:DIGEST] if version is None else version)
            self.refuse_dead(target, package.archive.content, dead)
            stored = yield from upload.create(self.store, target, package, notes, progress, abreast=abreast)
        finally:
            package.close()
        if target in dead:
            yield from self.aliases.tombstones.remove([target])
        return stored.version

    def refuse_dead(self, target: str, content: str | None, dead: Mapping[str, Any]) -> None:
        """Refuse other bytes under a key that was deleted: instances may hold the old ones.

        Raises:
            ConflictError: The key had other content.
        """
        if target in dead and (content is None or dead[target].get("content") != content):
            raise ConflictError(
                f"{self.keys.prefix.join(target)} was deleted, and had other content",
                model=target,
                hint="register under a new version; instances may still hold the old bytes under this one",
            )

    def get(self, name: str, version: str | None) -> Flow[ModelVersion]:
        """One version, with its metadata."""
        return (yield from self._stored(name, version)).version

    def _stored(self, name: str, version: str | None) -> Flow[StoredObject]:
        target = self.keys.target(name, version or "")
        stored = yield from self.store.head(target)
        if stored is None:
            raise ModelNotFoundError(
                f"there is no {self.keys.prefix.join(target)}", model=target, hint="list() tells what is there"
            )
        return stored

    def verify(self, name: str, version: str | None) -> Flow[ModelVersion]:
        """Read an archive whole and compare it with what was registered."""
        stored = yield from self._stored(name, version)
        found = stored.version
        condition = {"IfMatch": f'"{found.etag}"'} if found.etag else {}
        answer = yield self.store.call(
            "get_object", Key=self.keys.key(found.target_model), model=found.target_model, **condition
        )
        body = answer["Body"]
        try:
            archive: Archive = yield Do(lambda: self.store.streamed(lambda: inspect(body)))
        except LayoutError as error:
            raise IntegrityError(
                f"{found.uri} is no sound archive: {error.message}", model=found.target_model
            ) from error
        finally:
            body.close()
        said = {"size": found.size, "sha256": found.sha256, "content": stored.content}
        for what, value in said.items():
            if value is not None and value != getattr(archive, what):
                raise IntegrityError(
                    f"{found.uri} has {what} {getattr(archive, what)}, but {value} was registered",
                    model=found.target_model,
                    hint="delete it and register it again under another version",
                )
        return found
