"""Operations on one model: register, get, verify. The registry classes only run these flows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs

from mme_sdk._flows.effects import Do, Flow, Kept, Sleep, cleaned, noting
from mme_sdk.artifacts import Archive, inspect
from mme_sdk.display.progress import Reporter
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
from mme_sdk.registry.operations.package import LayoutCheck, prepare
from mme_sdk.registry.store import NOT_READ, Record, Store, StoredObject
from mme_sdk.registry.tombstones import SEND_LIMIT, Tombstone, Tombstones, is_pending, new_id, tombstones_of
from mme_sdk.types.model import ModelVersion

__all__ = ["DIGEST", "Batch", "RegistryOperations"]

T = TypeVar("T")
DIGEST = 16
"""Number of hex digits in a version that is derived from the content."""
_DEFAULT = LayoutCheck()
_ATTEMPTS = 6  # the waits for a deletion of another client add up to 3 s


@attrs.define
class Batch:
    """Versions that are written concurrently.

    Attributes:
        tombstones: The tombstones, read before the first archive is written.
        contents: Content digest by target model, of archives that were written or found.
    """

    tombstones: Record | None
    contents: dict[str, str | None] = attrs.field(factory=dict)


class RegistryOperations:
    """Operations on one prefix.

    Args:
        store: S3 requests for the prefix.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = store.keys
        self.aliases = Aliases(store, Tombstones(store))
        self._bucket_checked = False

    def check_bucket(self) -> Flow[None]:
        """Raise BucketNotFoundError if the bucket does not exist. Only the first call sends a request."""
        if not self._bucket_checked:
            yield from self.store.check_bucket()
            self._bucket_checked = True

    def register(
        self,
        name: str,
        source: Any,
        version: str | None,
        *,
        layout: LayoutCheck = _DEFAULT,
        metadata: Mapping[str, str] | None = None,
        batch: Batch | None = None,
        progress: Callable[[int, int], None] = lambda _sent, _total: None,
        concurrent: int = 1,
    ) -> Flow[ModelVersion]:
        """Pack a model and create a version.

        Args:
            name: Name of the model.
            source: Directory, file, archive or estimator.
            version: The version; None derives it from the content.
            layout: What the layout must fit.
            metadata: Metadata that the caller gave.
            batch: The batch that the model belongs to. Its caller calls `finish_batch` at the end.
            progress: Called with the number of bytes that were uploaded, and the size of the archive.
            concurrent: Number of large models that are registered at the same time.

        Returns:
            The version.
        """
        if version == "":
            raise InvalidInputError("the version is empty", hint="leave it out to derive it from the content")
        self.keys.target(name, "0" * DIGEST if version is None else version)  # check the name before packing
        with Kept() as kept:
            package: upload.Package = yield Do(lambda: kept(prepare(source, layout)))
            archive = package.archive
            headers = self.store.metadata(archive, metadata or {})
            yield from self.check_bucket()
            target = self.keys.target(name, archive.content[:DIGEST] if version is None else version)

            def create() -> Flow[StoredObject]:
                def sent(size: int) -> None:
                    progress(size, archive.size)

                return upload.create(self.store, target, package, headers, sent, concurrent=concurrent)

            # A version that is derived from its content cannot have had other content: tombstones need not be read.
            known = None if version is None else NOT_READ
            if batch is None:
                stored = yield from self.write_until_stable(target, archive.content, create, known)
            else:
                stored = yield from self.write_in_batch(target, archive.content, create, batch)
        return stored.version

    def write_until_stable(
        self, target: str, content: str | None, create: Callable[[], Flow[T]], known: Record | None = NOT_READ
    ) -> Flow[T]:
        """Write an archive, and write it again until no concurrent deletion can remove it.

        The archive can be invoked if it was written or found, and no tombstone exists after that. A tombstone of the
        same content is removed if it is the one from before the archive was written.

        Args:
            target: Target model.
            content: Digest of its content.
            create: Writes the archive, or finds it.
            known: The tombstones, if they were just read; None if they are not known.

        Returns:
            What `create` returned.

        Raises:
            ConflictError: The version has or had other content, or is being deleted. Nothing was changed.
        """
        tombstones = self.aliases.tombstones
        record = (yield from tombstones.record()) if known is NOT_READ else known
        try:
            for _ in range(_ATTEMPTS):
                created = yield from self.write(target, content, create, record)
                record, again, other_content = yield from tombstones.remove({target: content}, record)
                if other_content:
                    yield from self.delete_late_archive(target)
                    self.check_content(target, content, tombstones_of(record))
                if not again:
                    return created
            yield from self.delete_late_archive(target)
        except (Exception, GeneratorExit):
            raise
        except BaseException as stop:
            yield from cleaned(self._note_unfinished(target, stop), stop, self._unfinished(target))
            raise
        raise self._contention_error(target)

    def _note_unfinished(self, target: str, stop: BaseException) -> Flow[None]:
        if target in tombstones_of((yield from self.aliases.tombstones.record())):
            stop.add_note(self._unfinished(target))

    def _unfinished(self, target: str) -> str:
        return f"{self.keys.prefix.join(target)} may be stored without being usable; registering it again completes it"

    def write_in_batch(self, target: str, content: str | None, create: Callable[[], Flow[T]], batch: Batch) -> Flow[T]:
        """Write an archive of a batch; see `write`."""
        deleted = target in tombstones_of(batch.tombstones)
        with noting(self._unfinished(target)) if deleted else nullcontext():
            created = yield from self.write(target, content, create, batch.tombstones)
        batch.contents[target] = content
        return created

    def write(self, target: str, content: str | None, create: Callable[[], Flow[T]], record: Record | None) -> Flow[T]:
        """Write an archive, or find it, unless tombstones forbid it.

        Args:
            target: Target model.
            content: Digest of its content.
            create: Writes the archive, or finds it.
            record: The tombstones; None if they are not known.

        Returns:
            What `create` returned.

        Raises:
            ConflictError: The version has or had other content, or is being deleted.
        """
        tombstones = self.aliases.tombstones
        expires: float | None = None
        for attempt in range(_ATTEMPTS):
            self.check_content(target, content, tombstones_of(record))
            expires = tombstones.expires(tombstones_of(record).get(target, {}))
            if expires is None:
                try:
                    return (yield from create())
                except ConflictError:
                    record = yield from tombstones.record(record)
                    if target not in tombstones_of(record):
                        raise
                    # The key belongs to the deleted content. A client that had not seen the tombstone wrote the
                    # archive that is there.
                    self.check_content(target, content, tombstones_of(record))
                    yield from self.delete_late_archive(target)
            yield Sleep(0.05 * 2**attempt)
            record = yield from tombstones.record(record)
        yield from self.delete_late_archive(target)
        if expires is None:
            raise self._contention_error(target)
        until = datetime.fromtimestamp(expires, UTC)
        raise ConflictError(
            f"another client is deleting {self.keys.prefix.join(target)}",
            model=target,
            hint=f"try again when it is done; if that client was killed, try again after {until:%Y-%m-%d %H:%M} UTC",
        )

    def _contention_error(self, target: str) -> ConflictError:
        return ConflictError(
            f"other clients kept deleting and writing {self.keys.prefix.join(target)}; it was not registered",
            model=target,
            hint="try again later",
        )

    def finish_batch(self, batch: Batch) -> Flow[tuple[frozenset[str], dict[str, MMEError]]]:
        """Remove the tombstones of a batch whose archives were written: the end of `write_until_stable`, for all.

        The batch is empty afterwards, and can be used for further archives.

        Returns:
            Target models that must be written again one by one, and errors by target model.
        """
        record, again, other_content = yield from self.aliases.tombstones.remove(batch.contents, batch.tombstones)
        errors: dict[str, MMEError] = {}
        for target in other_content:
            yield from self.delete_late_archive(target)
            try:
                self.check_content(target, batch.contents[target], tombstones_of(record))
            except MMEError as error:
                errors[target] = error
        batch.tombstones, batch.contents = record, {}
        return again, errors

    def interrupt_batch(self, batch: Batch, stop: BaseException) -> Flow[frozenset[str]]:
        """Finish a batch after an interruption, so that the versions which it has written are usable.

        Returns:
            Target models that are not usable all the same.
        """
        deleted = frozenset(batch.contents).intersection(tombstones_of(batch.tombstones))
        if isinstance(stop, (Exception, GeneratorExit)) or not deleted:
            return frozenset()
        left = f"{', '.join(sorted(deleted))}, not usable; registering it again completes it"
        yield from cleaned(self.finish_batch(batch), stop, left)
        return deleted.intersection(batch.contents, tombstones_of(batch.tombstones))

    def delete_late_archive(self, target: str) -> Flow[None]:
        """Delete an archive that was written after the deletion of its key was committed.

        The client that wrote it notices: every writer reads the tombstones after its write.
        """
        tombstones, deletion = self.aliases.tombstones, new_id()
        try:
            for _ in range(_ATTEMPTS):
                record, began = (yield from tombstones.record()), self.store.now()
                seen = tombstones_of(record).get(target)
                if seen is None or is_pending(seen):
                    return
                if not (yield from tombstones.commit({target: seen}, deletion, record)):
                    continue
                if self.store.now() - began < SEND_LIMIT:
                    yield from self.store.delete([self.keys.key(target)])
                return (yield from tombstones.finish([target], deletion))
        except MMEError:
            return  # the tombstone stays, and the next client that registers the version tries again

    def check_content(self, target: str, content: str | None, tombstones: Mapping[str, Tombstone]) -> None:
        """Raise ConflictError if the key was deleted and had other content: instances may still hold the old bytes."""
        if target in tombstones and (content is None or tombstones[target].get("content") != content):
            raise ConflictError(
                f"{self.keys.prefix.join(target)} was deleted and had other content",
                model=target,
                hint="register under a new version; instances may still hold the old bytes of this one",
            )

    def get(self, name: str, version: str | None) -> Flow[ModelVersion]:
        """Return a version with its metadata."""
        return (yield from self._stored(name, version)).version

    def _stored(self, name: str, version: str | None) -> Flow[StoredObject]:
        target = self.keys.target(name, version or "")
        stored = yield from self.store.head(target)
        if stored is None:
            hint = "list() shows the versions"
            if version is None:
                hint += f"; get({name!r}, version) returns one of them"
            if version and (yield from self.store.head(self.keys.uncompressed(name, version))) is not None:
                hint = "it exists in uncompressed form: get, list, verify and delete take compressed=False"
            raise ModelNotFoundError(
                f"the version {self.keys.prefix.join(target)} does not exist", model=target, hint=hint
            )
        return stored

    def verify(self, name: str, version: str | None, report: Reporter | None = None) -> Flow[ModelVersion]:
        """Read a whole archive and compare it with what was registered."""
        stored = yield from self._stored(name, version)
        found = stored.version
        condition = {"IfMatch": f'"{found.etag}"'} if found.etag else {}
        answer = yield self.store.call(
            "get_object", Key=self.keys.key(found.target_model), model=found.target_model, **condition
        )
        body = answer["Body"]
        try:
            source: Any = body if report is None else _Counted(body, report, found.size)
            archive: Archive = yield Do(lambda: self.store.read_stream(body, lambda: inspect(source)))
        except LayoutError as error:
            raise IntegrityError(
                f"{found.uri} is not a valid archive: {error.message}", model=found.target_model
            ) from error
        finally:
            body.close()
        expected = {"size": found.size, "sha256": found.sha256, "content": stored.content}
        for what, value in expected.items():
            if value is not None and value != getattr(archive, what):
                raise IntegrityError(
                    f"{found.uri} has the {what} {getattr(archive, what)}, but was registered with {value}",
                    model=found.target_model,
                    hint="delete it, and register the model again under another version",
                )
        return found


class _Counted:
    """A stream whose reads are reported."""

    def __init__(self, body: Any, report: Reporter, total: int | None) -> None:
        self._body, self._report, self._total = body, report, total

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._body.read(size)
        of = "" if self._total is None else f" of {self._total / 1e6:.1f} MB"
        self._report(size=len(data), doing=f"reading{of}")
        return data
