"""One model at a time, as flows: the registry's synchronous and asynchronous faces only run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs

from mme_sdk._effects import Do, Flow, Sleep
from mme_sdk.artifacts import Archive, inspect
from mme_sdk.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    LayoutError,
    MMEError,
    ModelNotFoundError,
)
from mme_sdk.registry.aliases import Aliases
from mme_sdk.registry.operations import upload
from mme_sdk.registry.operations.package import prepare
from mme_sdk.registry.store import UNREAD, Note, Store, StoredObject
from mme_sdk.registry.tombstones import START, Tombstones, body_of, is_pending, new_id
from mme_sdk.types.model import ModelVersion

__all__ = ["DIGEST", "Batch", "Verbs"]

T = TypeVar("T")
DIGEST = 16
"""Hex digits of a version that is taken from the content."""
_TRIES = 6  # waits for a deletion of another client add up to 3 s


@attrs.define
class Batch:
    """Versions that are registered side by side.

    Attributes:
        note: The tombstones, read before the first archive is written.
        made: Content by target model, of archives that were written or found.
    """

    note: Note | None
    made: dict[str, str | None] = attrs.field(factory=dict)


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
        batch: Batch | None = None,
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
            batch: The batch that this is part of; its author calls `settled` at the end.
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
            archive = package.archive
            notes = self.store.metadata(archive, metadata or {})
            yield from self.ready()
            target = self.keys.target(name, archive.content[:DIGEST] if version is None else version)

            def create() -> Flow[StoredObject]:
                return upload.create(self.store, target, package, notes, progress, abreast=abreast)

            # A version that is named by its content has no other content to be protected from.
            known = None if version is None else UNREAD
            if batch is None:
                stored = yield from self.establish(target, archive.content, create, known)
            else:
                stored = yield from self.written(target, archive.content, create, batch.note)
                batch.made[target] = archive.content
        finally:
            package.close()
        return stored.version

    def establish(
        self, target: str, content: str | None, create: Callable[[], Flow[T]], known: Note | None = UNREAD
    ) -> Flow[T]:
        """Write an archive until it is in service.

        An archive is in service once it was written, or found, and there is no tombstone after that. A tombstone of
        the same content is taken away, if it is still the one that was there before the archive was written.

        Args:
            target: Target model.
            content: Digest of its content.
            create: Writes the archive, or finds it there.
            known: The tombstones, where they were just read; None where nothing is known of them.

        Returns:
            What `create` returned.

        Raises:
            ConflictError: The version exists, or existed, with other content; or it is being deleted. Nothing changed.
        """
        tombstones = self.aliases.tombstones
        note = (yield from tombstones.note()) if known is UNREAD else known
        for _ in range(_TRIES):
            made = yield from self.written(target, content, create, note)
            note, again, wrong = yield from tombstones.revive({target: content}, note)
            if wrong:
                yield from self.withdraw(target)
                self.refuse_dead(target, content, body_of(note))
            if not again:
                return made
        yield from self.withdraw(target)
        raise self.unsettled(target)

    def written(self, target: str, content: str | None, create: Callable[[], Flow[T]], note: Note | None) -> Flow[T]:
        """Write an archive, or find it, unless tombstones forbid it."""
        tombstones = self.aliases.tombstones
        ends: float | None = None
        for attempt in range(_TRIES):
            self.refuse_dead(target, content, body_of(note))
            ends = tombstones.ends(body_of(note).get(target, {}))
            if ends is None:
                try:
                    return (yield from create())
                except ConflictError:
                    note = yield from tombstones.note(note)
                    if target not in body_of(note):
                        raise
                    # The key belongs to the deleted content, and what lies there was written by a client that did not
                    # know it yet.
                    self.refuse_dead(target, content, body_of(note))
                    yield from self.withdraw(target)
            yield Sleep(0.05 * 2**attempt)
            note = yield from tombstones.note(note)
        yield from self.withdraw(target)
        if ends is None:
            raise self.unsettled(target)
        until = datetime.fromtimestamp(ends, UTC)
        raise ConflictError(
            f"{self.keys.prefix.join(target)} is being deleted by another client",
            model=target,
            hint=f"try again when that has ended; if that client was killed, from {until:%Y-%m-%d %H:%M} UTC on",
        )

    def unsettled(self, target: str) -> ConflictError:
        """The error for a version that others delete and write all the time."""
        return ConflictError(
            f"{self.keys.prefix.join(target)} was deleted and written by others all the time", model=target
        )

    def settled(self, batch: Batch) -> Flow[tuple[frozenset[str], dict[str, MMEError]]]:
        """What `establish` does after the archives were written, once for a batch.

        Returns:
            Target models that have to be established one by one, and errors by target model.
        """
        note, again, wrong = yield from self.aliases.tombstones.revive(batch.made, batch.note)
        errors: dict[str, MMEError] = {}
        for target in wrong:
            yield from self.withdraw(target)
            try:
                self.refuse_dead(target, batch.made[target], body_of(note))
            except MMEError as error:
                errors[target] = error
        return again, errors

    def withdraw(self, target: str) -> Flow[None]:
        """Delete what lies under a key whose deletion is committed: an archive that came too late.

        No writer of it misses it: each looks for a tombstone after its write.
        """
        tombstones, me = self.aliases.tombstones, new_id()
        try:
            for _ in range(_TRIES):
                note, began = (yield from tombstones.note()), self.store.now()
                seen = body_of(note).get(target)
                if seen is None or is_pending(seen):
                    return
                if not (yield from tombstones.commit({target: seen}, me, note)):
                    continue
                if self.store.now() - began < START:
                    yield from self.store.delete([self.keys.key(target)])
                return (yield from tombstones.finish([target], me))
        except MMEError:
            return  # the tombstone holds, and the next client that wants the key tries again

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
            archive: Archive = yield Do(lambda: self.store.streamed(body, lambda: inspect(body)))
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
