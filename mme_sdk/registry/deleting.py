"""Takes models out of service in the order that an endpoint needs: first no more calls, then no more bytes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from mme_sdk.aws.flow import Flow, Sleep
from mme_sdk.errors import ConflictError, InvalidInputError, ModelNotFoundError
from mme_sdk.registry.aliases import Aliases, before
from mme_sdk.registry.names import check_name
from mme_sdk.registry.shapes import Deletion, Tidied
from mme_sdk.registry.store import Store, collected, quietly
from mme_sdk.shapes.model import ModelVersion

__all__ = ["delete", "prune", "tidy"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def delete(
    aliases: Aliases, name: str, version: str | None, *, grace: float, force: bool, dry_run: bool
) -> Flow[Deletion]:
    """Delete one version, or all of a name."""
    _check_seconds("grace", grace)
    store = aliases.store
    if version is None:
        check_name(name)
        versions = yield from store.all(name)
    else:
        target = store.keys.target(name, version)
        stored = yield from store.head(target)
        versions = [] if stored is None else [stored.version]
    if not versions:
        what = store.keys.prefix.join(name if version is None else store.keys.target(name, version))
        raise ModelNotFoundError(f"there is nothing to delete at {what}", model=name, hint="list() tells what is there")
    return (yield from remove(aliases, versions, {name}, grace=grace, force=force, dry_run=dry_run))


def remove(
    aliases: Aliases,
    versions: list[ModelVersion],
    names: Collection[str],
    *,
    grace: float,
    force: bool,
    dry_run: bool,
) -> Flow[Deletion]:
    """Tombstones, a period of grace, then the archives.

    Args:
        aliases: The aliases of the prefix.
        versions: What to delete.
        names: Names that they are of.
        grace: Seconds between the tombstones and the deletion.
        force: Whether aliases may break.
        dry_run: Only tell.

    Returns:
        What was deleted.

    Raises:
        ConflictError: Aliases would break.
    """
    store = aliases.store
    breaks = yield from _breaks(aliases, versions, names)
    found = Deletion(versions=tuple(versions), breaks=breaks, dry_run=dry_run)
    if dry_run or not versions:
        return found
    _refuse(breaks, force)
    stored = yield from collected([store.head(one.target_model) for one in versions], 16)
    contents = {
        one.target_model: None if there is None else there.content for one, there in zip(versions, stored, strict=True)
    }
    marked = yield from aliases.tombstones.add(contents)
    try:
        if grace:
            yield Sleep(grace)
        # Somebody may have pointed an alias here since; who does so later sees the tombstone.
        breaks = yield from _breaks(aliases, versions, names)
        _refuse(breaks, force)
        dead = yield from aliases.tombstones.read()
        if back := [target for target in contents if target not in dead]:
            raise ConflictError(f"{', '.join(back)} was registered again meanwhile; nothing was deleted", model=back[0])
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            yield from quietly(aliases.tombstones.remove(marked))
        raise
    yield from store.delete(store.keys.key(one.target_model) for one in versions)
    return Deletion(versions=tuple(versions), breaks=breaks)


def _breaks(aliases: Aliases, versions: Iterable[ModelVersion], names: Collection[str]) -> Flow[tuple[str, ...]]:
    gone = {(one.name, one.version) for one in versions}
    if len(names) == 1:
        there = yield from aliases.all(next(iter(names)))
    else:
        there = yield from aliases.all()
    return tuple(one.reference for one in there if any((one.name, version) in gone for version in one.weights))


def _refuse(breaks: tuple[str, ...], force: bool) -> None:
    if breaks and not force:
        raise ConflictError(
            f"{', '.join(breaks)} would mean nothing any more",
            model=breaks[0],
            hint="point the alias elsewhere first, or say force=True",
        )


def prune(aliases: Aliases, keep: int, name: str | None, *, grace: float, dry_run: bool) -> Flow[Deletion]:
    """Delete all but the newest versions of each name."""
    _check_seconds("grace", grace)
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise InvalidInputError(f"keep must be a whole number of at least 1, not {keep!r}")
    if name is not None:
        check_name(name)
    there = yield from aliases.all(name)
    used = {(one.name, version) for one in there for version in (*one.weights, *before(one))}
    by_name: dict[str, list[ModelVersion]] = {}
    for version in (yield from aliases.store.all(name)):
        if version.version:  # archives that somebody else named have no versions to count
            by_name.setdefault(version.name, []).append(version)
    surplus = [
        one
        for versions in by_name.values()
        for one in sorted(versions, key=lambda one: one.created or _EPOCH, reverse=True)[keep:]
        if (one.name, one.version) not in used
    ]
    names = {one.name for one in surplus}
    return (yield from remove(aliases, surplus, names, grace=grace, force=False, dry_run=dry_run))


def tidy(store: Store, *, older_than: float, dry_run: bool) -> Flow[Tidied]:
    """Abort uploads that were begun long ago and never finished, so that nobody pays for their parts."""
    _check_seconds("older_than", older_than)
    limit = store.now() - older_than
    places = yield from store.note_names("uploads")  # before the uploads, so that none of a newer one is taken away
    left = yield from store.uploads()
    old = [(key, upload) for key, upload, begun in left if begun.timestamp() <= limit]
    if not dry_run:
        for key, upload in old:
            yield store.call("abort_multipart_upload", Key=key, UploadId=upload)
        alive = {upload for _, upload, _ in left} - {upload for _, upload in old}
        notes = yield from collected([store.get_note("uploads", place) for place in places], 16)
        lost = [
            store.keys.reserved("uploads", place)
            for place, note in zip(places, notes, strict=True)
            if note is not None and note.body.get("upload_id") not in alive
        ]
        yield from store.delete(lost)
    return Tidied(uploads=tuple(key for key, _ in old), dry_run=dry_run)


def _check_seconds(what: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidInputError(f"{what} must be a number of seconds, not {value!r}")
