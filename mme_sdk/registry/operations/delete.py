"""Delete models and unfinished uploads. Clients stop invoking a version before its archive is deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime

from mme_sdk._flows.effects import Flow, Sleep, cleaned, finished, noting
from mme_sdk._validation import check_number
from mme_sdk.display.progress import Reporter
from mme_sdk.errors import (
    AccessDeniedError,
    ConflictError,
    MMEError,
    ModelNotFoundError,
    ServiceError,
)
from mme_sdk.registry.alias import Alias, previous_weights
from mme_sdk.registry.aliases import Aliases
from mme_sdk.registry.names import check_name
from mme_sdk.registry.operations import uncompressed
from mme_sdk.registry.results import AbortedUploads, ModelDeletion
from mme_sdk.registry.store import (
    DELETE_LIMIT,
    NOT_READ,
    Record,
    Store,
    all_or_raise,
    ignore_errors,
    not_deleted_error,
)
from mme_sdk.registry.tombstones import SEND_LIMIT, Tombstone, Tombstones, is_pending, new_id, tombstones_of
from mme_sdk.types.model import ModelVersion

__all__ = ["abort_uploads", "delete", "delete_versions", "prune"]

_ATTEMPTS = 6  # the waits for a deletion of another client add up to 3 s
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def delete(
    aliases: Aliases,
    name: str,
    version: str | None,
    *,
    grace: float,
    force: bool,
    dry_run: bool,
    compressed: bool = True,
    report: Reporter | None = None,
) -> Flow[ModelDeletion]:
    """Delete one version, or all versions of a name: archives, or uncompressed versions."""
    check_number("grace", grace, at_least=0)
    store = aliases.store
    if not compressed:
        versions = yield from uncompressed.versions(aliases.tombstones, name, version, deleted=True)
    elif version is None:
        check_name(name)
        versions = yield from store.all(name)
    else:
        target = store.keys.target(name, version)
        stored = yield from store.head(target)
        versions = [] if stored is None else [stored.version]
    what = str(store.keys.prefix.join(name if version is None else store.keys.target(name, version)))
    what = what if compressed else f"the model {name!r} {version or ''}".rstrip() + " in uncompressed form"
    if not versions:
        raise ModelNotFoundError(
            f"nothing was deleted: {what} does not exist", model=name, hint="list() shows the versions"
        )
    used = current_versions if compressed else _not_used
    found = yield from delete_versions(
        aliases, versions, {name}, grace=grace, force=force, dry_run=dry_run, used=used, report=report
    )
    if not found.versions:
        raise ModelNotFoundError(f"another client deleted {what} at the same time", model=name)
    return found


def current_versions(alias: Alias) -> Collection[str]:
    """Return the versions that an alias refers to."""
    return alias.weights


def _not_used(_: Alias) -> Collection[str]:
    """Return nothing: aliases refer to archives only."""
    return ()


def current_or_previous_versions(alias: Alias) -> Collection[str]:
    """Return the versions that an alias refers to now, or after a rollback."""
    return {*alias.weights, *previous_weights(alias)}


def delete_versions(
    aliases: Aliases,
    versions: list[ModelVersion],
    names: Collection[str],
    *,
    grace: float,
    force: bool,
    dry_run: bool,
    used: Callable[[Alias], Collection[str]] = current_versions,
    report: Reporter | None = None,
) -> Flow[ModelDeletion]:
    """Write tombstones, wait for the grace period, check aliases, commit the deletion, and delete the archives.

    Args:
        aliases: The aliases of the prefix.
        versions: Versions to delete.
        names: Their names.
        grace: Seconds between the tombstones and the deletion.
        force: Whether to delete versions that an alias refers to.
        dry_run: Whether only to report what would be deleted.
        used: Returns the versions that an alias needs.
        report: Reports the progress.

    Returns:
        What was deleted, without the versions that another client deleted at the same time.

    Raises:
        ConflictError: Aliases would break, or a version was registered again. Nothing is deleted.
        ServiceError: S3 refused to delete some archives. These versions can still be invoked.
    """
    store, tombstones = aliases.store, aliases.tombstones
    only = next(iter(names)) if len(names) == 1 else None

    def broken_by(existing: list[Alias], deleted: Iterable[ModelVersion]) -> tuple[str, ...]:
        gone = {(one.name, one.version) for one in deleted}
        return tuple(one.reference for one in existing if any((one.name, version) in gone for version in used(one)))

    broken = broken_by((yield from aliases.all(only)), versions) if versions else ()
    if dry_run or not versions:
        return ModelDeletion(versions=tuple(versions), broken_aliases=broken, dry_run=dry_run)
    _check_aliases(broken, force)
    stored = yield from all_or_raise([store.head(one.target_model) for one in versions], 16)
    archives = {one.target_model: head for one, head in zip(versions, stored, strict=True) if head is not None}
    versions = [one for one in versions if one.target_model in archives]
    deletion, seen = new_id(), dict[str, Tombstone | None].fromkeys(archives)
    try:
        contents = {target: head.content for target, head in archives.items()}
        record = yield from _announce(tombstones, contents, deletion)
        seen |= {target: tombstones_of(record)[target] for target in archives}
        # A deletion of another client may have ended since the archives were checked.
        deleted = [target for target, tombstone in seen.items() if tombstone is not None and not is_pending(tombstone)]
        heads = yield from all_or_raise([store.head(target) for target in deleted], 16)
        for target in (target for target, head in zip(deleted, heads, strict=True) if head is None):
            del seen[target]
        versions = [one for one in versions if one.target_model in seen]
        if report is not None:
            report(total=len(versions), doing=f"waiting for the grace period of {grace:g} s" if grace else "")
        if grace:
            yield Sleep(grace)
        archived = {(one.name, one.version) for one in versions if store.keys.files_of(one.target_model) is None}
        remaining = yield from aliases.all_without_pending(only, archived)
        _check_aliases(broken_by(remaining, versions), force)
        began = store.now()
        own = yield from tombstones.commit(seen, deletion, NOT_READ if grace else record)
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            yield from _cancel(tombstones, seen, deletion, error)
        raise
    left = (
        f"the deletion of {', '.join(own)} is not complete: clients refuse it, and its archive may exist; delete again"
    )
    with noting(left):
        yield from _delete_archives(aliases, own, seen, deletion, began)
    versions = [one for one in versions if one.target_model in own]
    if report is not None:
        report(done=len(versions), doing="")
    return ModelDeletion(versions=tuple(versions), broken_aliases=broken_by(remaining, versions))


def _announce(tombstones: Tombstones, contents: Mapping[str, str | None], deletion: str) -> Flow[Record | None]:
    """Announce a deletion, and wait for committed deletions of other clients to end."""
    record: Record | None = None
    for attempt in range(_ATTEMPTS):
        record = yield from tombstones.announce(contents, deletion)
        if all(tombstones.expires(tombstones_of(record)[target]) is None for target in contents):
            break
        yield Sleep(0.05 * 2**attempt)
    return record


def _cancel(
    tombstones: Tombstones, seen: Mapping[str, Tombstone | None], deletion: str, error: BaseException | None
) -> Flow[None]:
    """Cancel a deletion after an error. If that fails too, the error says which tombstones remain."""
    if error is not None and not isinstance(error, Exception):
        left = f"tombstones: clients refuse {', '.join(seen)} until it is registered or deleted again"
        return (yield from cleaned(tombstones.cancel(seen, deletion), error, left))
    try:
        yield from tombstones.cancel(seen, deletion)
    except MMEError as second:
        if isinstance(error, MMEError):
            left = f"clients refuse {', '.join(seen)} until it is registered or deleted again ({second.message})"
            error.hint = left if error.hint is None else f"{error.hint}; {left}"


def _delete_archives(
    aliases: Aliases, own: list[str], seen: Mapping[str, Tombstone | None], deletion: str, began: float
) -> Flow[None]:
    """Delete the archives of a committed deletion, then record that no request is in flight any more."""
    store, tombstones = aliases.store, aliases.tombstones
    kept: dict[str, Mapping[str, str]] = {}
    sent = 0
    failed: MMEError | None = None
    while sent < len(own) and failed is None:
        batch = own[sent : sent + DELETE_LIMIT]
        try:
            yield from _delete_files(store, batch, began)
        except MMEError as error:
            failed = error
            break
        try:
            _check_time(store, began)
            kept |= yield from store.try_delete(store.keys.key(target) for target in batch)
        except AccessDeniedError as error:
            kept |= {store.keys.key(target): {"Code": "AccessDenied", "Message": error.message} for target in batch}
        except MMEError as error:
            failed = error
            break
        sent += len(batch)
    refused = {target: seen[target] for target in own if store.keys.key(target) in kept}
    # Without this write, the keys can be used again only an hour later.
    gone = [target for target in own[:sent] if target not in refused]
    left = f"tombstones: {', '.join(gone)} cannot be registered again within an hour"
    yield from finished(lambda: ignore_errors(tombstones.finish(gone, deletion)), left)
    if failed is None and kept:
        failed = not_deleted_error(kept, len(own))
    elif failed is not None:
        failed.hint = f"delete again; clients refuse {', '.join(own[sent:])}, whose archives may or may not exist"
    if refused:
        yield from _cancel(tombstones, refused, deletion, failed)
    if failed is not None:
        raise failed


def _check_time(store: Store, began: float) -> None:
    if store.now() - began > SEND_LIMIT:
        raise ServiceError(f"the deletion was stopped after {SEND_LIMIT:.0f} seconds")


def _delete_files(store: Store, targets: list[str], began: float) -> Flow[None]:
    """Delete the files of uncompressed versions.

    Raises:
        ServiceError: S3 did not delete all of them. The versions keep their tombstones, because they are not complete.
    """
    for target in targets:
        folder = store.keys.files_of(target)
        if folder is None:
            continue
        keys = [str(one["Key"]) for one in (yield from store.objects(folder))]
        for start in range(0, len(keys), DELETE_LIMIT):
            _check_time(store, began)
            yield from store.delete(keys[start : start + DELETE_LIMIT])


def _check_aliases(broken: tuple[str, ...], force: bool) -> None:
    if broken and not force:
        raise ConflictError(
            f"nothing was deleted: {', '.join(broken)} would refer to a deleted version, now or after a rollback",
            model=broken[0],
            hint="point the alias at another version or remove it first; delete(…, force=True) deletes all the same",
        )


def prune(
    aliases: Aliases, keep: int, name: str | None, *, grace: float, dry_run: bool, report: Reporter | None = None
) -> Flow[ModelDeletion]:
    """Delete all but the newest versions of each name. Versions that an alias or its rollback needs are kept."""
    check_number("grace", grace, at_least=0)
    check_number("keep", keep, at_least=1, integer=True)
    if name is not None:
        check_name(name)
    existing = yield from aliases.all(name)
    used = {(one.name, version) for one in existing for version in current_or_previous_versions(one)}
    by_name: dict[str, list[ModelVersion]] = {}
    for version in (yield from aliases.store.all(name)):
        if version.version:  # an archive whose key does not follow the layout has no version
            by_name.setdefault(version.name, []).append(version)
    surplus = [
        one
        for versions in by_name.values()
        for one in sorted(versions, key=lambda one: one.created or _EPOCH, reverse=True)[keep:]
        if (one.name, one.version) not in used
    ]
    names = {one.name for one in surplus}
    return (
        yield from delete_versions(
            aliases,
            surplus,
            names,
            grace=grace,
            force=False,
            dry_run=dry_run,
            used=current_or_previous_versions,
            report=report,
        )
    )


def abort_uploads(store: Store, *, older_than: float, dry_run: bool) -> Flow[AbortedUploads]:
    """Abort multipart uploads that began at least `older_than` seconds ago, and delete their records.

    Files that an uncompressed registration of that age left are deleted, too.
    """
    check_number("older_than", older_than, at_least=0)
    limit = store.now() - older_than
    names = yield from store.record_names(
        "uploads"
    )  # read before the uploads, so that records of newer uploads are kept
    unfinished = yield from store.uploads()
    old = [(key, upload) for key, upload, begun in unfinished if begun.timestamp() <= limit]
    if not dry_run:
        for key, upload in old:
            yield store.call("abort_multipart_upload", Key=key, UploadId=upload)
        alive = {upload for _, upload, _ in unfinished} - {upload for _, upload in old}
        records = yield from all_or_raise([store.get_record("uploads", name) for name in names], 16)
        orphaned = [
            store.keys.reserved("uploads", name)
            for name, record in zip(names, records, strict=True)
            if record is not None and record.body.get("upload_id") not in alive
        ]
        yield from store.delete(orphaned)
    files = yield from uncompressed.unused_files(store, limit)
    if not dry_run:
        yield from store.delete(files)
    return AbortedUploads(keys=tuple(key for key, _ in old), files=tuple(files), dry_run=dry_run)
