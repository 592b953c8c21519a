"""Takes models out of service in the order that an endpoint needs: first no more calls, then no more bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime

from mme_sdk._effects import Flow, Sleep
from mme_sdk.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    MMEError,
    ModelNotFoundError,
    ServiceError,
)
from mme_sdk.registry.aliases import Alias, Aliases, before
from mme_sdk.registry.names import check_name
from mme_sdk.registry.results import Deletion, Tidied
from mme_sdk.registry.store import DELETE_LIMIT, UNREAD, Note, Store, collected, not_deleted, quietly
from mme_sdk.registry.tombstones import START, Tombstone, Tombstones, body_of, is_pending, new_id
from mme_sdk.types.model import ModelVersion

__all__ = ["delete", "prune", "tidy"]

_WAITS = 6  # for a deletion of another client, up to 3 s in all
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
    what = str(store.keys.prefix.join(name if version is None else store.keys.target(name, version)))
    if not versions:
        raise ModelNotFoundError(f"there is nothing to delete at {what}", model=name, hint="list() tells what is there")
    found = yield from remove(aliases, versions, {name}, grace=grace, force=force, dry_run=dry_run)
    if not found.versions:
        raise ModelNotFoundError(f"another client deleted {what} at the same time", model=name)
    return found


def meant(alias: Alias) -> Collection[str]:
    """Versions that an alias means."""
    return alias.weights


def meant_or_before(alias: Alias) -> Collection[str]:
    """Versions that an alias means, or would after a rollback."""
    return {*alias.weights, *before(alias)}


def remove(
    aliases: Aliases,
    versions: list[ModelVersion],
    names: Collection[str],
    *,
    grace: float,
    force: bool,
    dry_run: bool,
    used: Callable[[Alias], Collection[str]] = meant,
) -> Flow[Deletion]:
    """Tombstones, a period of grace, a look at aliases, the commit, then the archives.

    Args:
        aliases: The aliases of the prefix.
        versions: What to delete.
        names: Names that they are of.
        grace: Seconds between the tombstones and the deletion.
        force: Whether aliases may break.
        dry_run: Only tell.
        used: The versions that an alias needs.

    Returns:
        What was deleted; versions that another client deleted at the same time are left out.

    Raises:
        ConflictError: Aliases would break, or a version was registered again. Nothing is deleted.
        ServiceError: S3 refused to delete some archives; those versions stay in service.
    """
    store, tombstones = aliases.store, aliases.tombstones
    only = next(iter(names)) if len(names) == 1 else None

    def breaks(there: list[Alias], wanted: Iterable[ModelVersion]) -> tuple[str, ...]:
        gone = {(one.name, one.version) for one in wanted}
        return tuple(one.reference for one in there if any((one.name, version) in gone for version in used(one)))

    broken = breaks((yield from aliases.all(only)), versions) if versions else ()
    if dry_run or not versions:
        return Deletion(versions=tuple(versions), breaks=broken, dry_run=dry_run)
    _refuse(broken, force)
    stored = yield from collected([store.head(one.target_model) for one in versions], 16)
    there = {one.target_model: head for one, head in zip(versions, stored, strict=True) if head is not None}
    versions = [one for one in versions if one.target_model in there]
    me, seen = new_id(), dict[str, Tombstone | None].fromkeys(there)
    try:
        note = yield from _announced(tombstones, {target: head.content for target, head in there.items()}, me)
        seen |= {target: body_of(note)[target] for target in there}
        # A deletion of another client may have ended since the archives were looked at.
        dead = [target for target, tombstone in seen.items() if tombstone is not None and not is_pending(tombstone)]
        heads = yield from collected([store.head(target) for target in dead], 16)
        for target in (target for target, head in zip(dead, heads, strict=True) if head is None):
            del seen[target]
        versions = [one for one in versions if one.target_model in seen]
        if grace:
            yield Sleep(grace)
        linked = yield from aliases.settled(only, {(one.name, one.version) for one in versions})
        _refuse(breaks(linked, versions), force)
        began = store.now()
        mine = yield from tombstones.commit(seen, me, UNREAD if grace else note)
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            yield from _withdrawn(tombstones, seen, me, error)
        raise
    yield from _archives(aliases, mine, seen, me, began)
    versions = [one for one in versions if one.target_model in mine]
    return Deletion(versions=tuple(versions), breaks=breaks(linked, versions))


def _announced(tombstones: Tombstones, contents: Mapping[str, str | None], me: str) -> Flow[Note | None]:
    """Announce a deletion; give committed deletions of other clients time to end."""
    note: Note | None = None
    for attempt in range(_WAITS):
        note = yield from tombstones.prepare(contents, me)
        if all(tombstones.ends(body_of(note)[target]) is None for target in contents):
            break
        yield Sleep(0.05 * 2**attempt)
    return note


def _withdrawn(
    tombstones: Tombstones, seen: Mapping[str, Tombstone | None], me: str, error: BaseException | None
) -> Flow[None]:
    """Take the tombstones back; if that fails, the error says what is left."""
    try:
        yield from tombstones.withdraw(seen, me)
    except MMEError as second:
        if isinstance(error, MMEError):
            left = f"clients refuse {', '.join(seen)} until it is registered or deleted again ({second.message})"
            error.hint = left if error.hint is None else f"{error.hint}; {left}"


def _archives(
    aliases: Aliases, mine: list[str], seen: Mapping[str, Tombstone | None], me: str, began: float
) -> Flow[None]:
    """Delete the archives of a committed deletion, then say that no request is under way any more."""
    store, tombstones = aliases.store, aliases.tombstones
    kept: dict[str, Mapping[str, str]] = {}
    sent = 0
    failed: MMEError | None = None
    while sent < len(mine) and failed is None:
        batch = mine[sent : sent + DELETE_LIMIT]
        try:
            if store.now() - began > START:
                raise ServiceError(f"the deletion took more than {START:.0f} seconds and was stopped")
            kept |= yield from store.try_delete(store.keys.key(target) for target in batch)
        except AccessDeniedError as error:
            kept |= {store.keys.key(target): {"Code": "AccessDenied", "Message": error.message} for target in batch}
        except MMEError as error:
            failed = error
            break
        sent += len(batch)
    refused = {target: seen[target] for target in mine if store.keys.key(target) in kept}
    # Without this write the keys are free again an hour later.
    yield from quietly(tombstones.finish([target for target in mine[:sent] if target not in refused], me))
    if failed is None and kept:
        failed = not_deleted(kept, len(mine))
    elif failed is not None:
        failed.hint = f"clients refuse {', '.join(mine[sent:])}, whose archives may be there or not; delete again"
    if refused:
        yield from _withdrawn(tombstones, refused, me, failed)
    if failed is not None:
        raise failed


def _refuse(breaks: tuple[str, ...], force: bool) -> None:
    if breaks and not force:
        raise ConflictError(
            f"{', '.join(breaks)} would mean nothing any more, now or after a rollback",
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
    used = {(one.name, version) for one in there for version in meant_or_before(one)}
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
    return (yield from remove(aliases, surplus, names, grace=grace, force=False, dry_run=dry_run, used=meant_or_before))


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
