"""Uncompressed versions: register, get, list, verify.

The files of a version lie in a folder of their own, whose name contains their content. A record names the version. It
is written after the files, and deleted after them. Tombstones apply to the key of the record as they apply to an
archive: a deletion commits before it removes the first file. A version exists if its record exists and no tombstone
does; then all of its files exist.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from mme_sdk._flows.effects import Do, Flow, Kept, noting
from mme_sdk.artifacts import Archive
from mme_sdk.display.progress import Reporter
from mme_sdk.errors import ConflictError, IntegrityError, ModelNotFoundError, NotFoundError
from mme_sdk.registry.names import UNCOMPRESSED, check_name
from mme_sdk.registry.operations import upload
from mme_sdk.registry.operations.package import LayoutCheck
from mme_sdk.registry.operations.register import DIGEST, RegistryOperations
from mme_sdk.registry.operations.source_files import SourceFile, SourceFiles, open_file, prepare_files
from mme_sdk.registry.store import Store, StoredObject, all_or_raise
from mme_sdk.registry.tombstones import Tombstones
from mme_sdk.types.model import ModelVersion

__all__ = ["get", "register", "unused_files", "verify", "versions"]

_WIDTH = 8  # files at a time
_HEADS = 16  # records at a time


def register(
    operations: RegistryOperations,
    name: str,
    source: Any,
    version: str | None,
    *,
    layout: LayoutCheck,
    metadata: Mapping[str, str],
    progress: Callable[[int, int], None] = lambda _sent, _total: None,
) -> Flow[ModelVersion]:
    """Upload the files of a model, and write their record.

    Args:
        operations: Operations on the prefix.
        name: Name of the model.
        source: Directory, file, archive or estimator.
        version: The version; None derives it from the content.
        layout: What the layout must fit.
        metadata: Metadata that the caller gave.
        progress: Called with the number of bytes that were uploaded, and the size of all files.

    Returns:
        The version.
    """
    store, keys = operations.store, operations.keys
    keys.uncompressed(name, "0" * DIGEST if version is None else version)  # check the name before reading files
    with Kept() as kept:
        found: SourceFiles = yield Do(lambda: kept(prepare_files(source, layout)))
        archive = found.archive
        headers = store.metadata(archive, metadata) | {"mme-size": str(found.size)}
        chosen = archive.content[:DIGEST] if version is None else version
        target, folder = keys.uncompressed(name, chosen), keys.files(name, chosen, archive.content)
        for one in found.files:
            keys.file(folder, one.path)
        yield from operations.check_bucket()

        def create() -> Flow[StoredObject]:
            return _create(store, target, folder, found, headers, lambda sent: progress(sent, found.size))

        left = (
            f"files under {keys.prefix.join(folder)}; registering it again completes it, abort_uploads() removes them"
        )
        with noting(f"left behind: {left}"):
            stored = yield from operations.write_until_stable(target, archive.content, create)
    return _version(store, name, chosen, stored)


def _create(
    store: Store,
    target: str,
    folder: str,
    found: SourceFiles,
    headers: Mapping[str, str],
    progress: Callable[[int], None],
) -> Flow[StoredObject]:
    """Upload the files that are not there, then write the record, unless it exists with the same content."""
    content = found.archive.content
    there = yield from store.head(target)
    if there is not None and there.content != content:
        raise _other_content(store, target)
    # A record that is there does not prove that its files are: a deletion may have removed them after the record was
    # written. The caller writes the version again in that case, and the listing finds what is missing.
    for _ in range(2):
        present = yield from sizes(store, folder)
        missing = [one for one in found.files if present.get(one.path) != one.size]
        if not missing:
            break
        yield from all_or_raise([_upload(store, folder, one, progress) for one in missing], _WIDTH)
    if there is not None:
        return there
    body = {"files": {one.path: {"size": one.size, "sha256": one.sha256} for one in found.files}}
    try:
        answer = yield store.call(
            "put_object",
            Key=store.keys.key(target),
            Body=json.dumps(body, sort_keys=True).encode(),
            Metadata=dict(headers),
            ContentType="application/json",
            IfNoneMatch="*",
            model=target,
            **store.write_parameters(),
        )
    except ConflictError:
        there = yield from store.head(target)
        if there is None:
            raise
        if there.content != content:
            raise _other_content(store, target) from None
        return there
    return store.stored(target, {"Metadata": headers, **answer})


def _other_content(store: Store, target: str) -> ConflictError:
    return ConflictError(
        f"{store.keys.prefix.join(target)} exists with other content; a version never changes",
        hint="register under a new version",
        model=target,
    )


def _upload(store: Store, folder: str, one: SourceFile, progress: Callable[[int], None]) -> Flow[None]:
    archive = Archive(size=one.size, sha256=one.sha256, content=one.sha256, entries=())
    with Kept() as kept:
        package: upload.Package = yield Do(lambda: kept(open_file(one.place, archive)))
        yield from upload.create(
            store, store.keys.file(folder, one.path), package, store.metadata(archive, {}), progress, concurrent=_WIDTH
        )


def sizes(store: Store, folder: str) -> Flow[dict[str, int]]:
    """Return the size of each file in a folder, by path."""
    start = store.keys.key(folder)
    return {str(one["Key"])[len(start) :]: int(one.get("Size", 0)) for one in (yield from store.objects(folder))}


def _version(store: Store, name: str, version: str, stored: StoredObject) -> ModelVersion:
    folder = store.keys.files(name, version, stored.content or "")
    size = stored.metadata.get("mme-size")
    return attrs.evolve(
        stored.version,
        name=name,
        version=version,
        uri=f"{store.keys.prefix}{folder}",
        size=None if size is None else int(size),
        sha256=None,
        etag=None,
        compressed=False,
    )


def get(tombstones: Tombstones, name: str, version: str) -> Flow[ModelVersion]:
    """Return an uncompressed version with its metadata."""
    store = tombstones.store
    target = store.keys.uncompressed(name, version)
    stored = yield from store.head(target)
    # The tombstones are read after the record: a version without a tombstone was complete at that time.
    if stored is None or target in (yield from tombstones.read()):
        raise ModelNotFoundError(
            f"the uncompressed version {version} of {name!r} does not exist under {store.keys.prefix}",
            model=name,
            hint="list(compressed=False) shows the versions",
        )
    return _version(store, name, version, stored)


def versions(
    tombstones: Tombstones, name: str | None, version: str | None = None, *, deleted: bool = False
) -> Flow[list[ModelVersion]]:
    """Return all uncompressed versions, those of one name, or one version.

    Args:
        tombstones: The tombstones of the prefix.
        name: Name of the model; None for all models.
        version: The version; None for all versions.
        deleted: Whether to include versions whose deletion is not complete.
    """
    store = tombstones.store
    if name is not None and version is not None:
        store.keys.uncompressed(name, version)  # check both
        pairs = [(name, version)]
    else:
        names = yield from store.record_names(UNCOMPRESSED, "" if name is None else f"{check_name(name)}@")
        pairs = [(key.rpartition("@")[0], key.rpartition("@")[2].removesuffix(".json")) for key in names]
    heads = yield from all_or_raise([store.head(store.keys.uncompressed(*pair)) for pair in pairs], _HEADS)
    hidden = {} if deleted or not pairs else (yield from tombstones.read())
    return [
        _version(store, *pair, stored)
        for pair, stored in zip(pairs, heads, strict=True)
        if stored is not None and stored.version.target_model not in hidden
    ]


def verify(tombstones: Tombstones, name: str, version: str, report: Reporter | None = None) -> Flow[ModelVersion]:
    """Read all files of an uncompressed version and compare them with the record."""
    store = tombstones.store
    found = yield from get(tombstones, name, version)
    answer = yield store.call("get_object", Key=store.keys.key(found.target_model), model=found.target_model)
    text = yield Do(lambda: store.read(answer))
    expected: dict[str, Any] = json.loads(text)["files"]
    folder = found.uri.removeprefix(str(store.keys.prefix))
    present = yield from sizes(store, folder)
    if extra := sorted(set(present) - set(expected)):
        raise _damaged(found, f"has {extra[0]}, which was not registered")
    yield from all_or_raise(
        [_verify_file(store, found, folder, path, one, report) for path, one in expected.items()], _WIDTH
    )
    return found


def unused_files(store: Store, newest: float) -> Flow[list[str]]:
    """Return the keys of files that no record names, if the last one of their folder was written before a time.

    They are left by a registration that was killed, or that lost to one with other content.

    Args:
        store: S3 requests for the prefix.
        newest: Seconds since the epoch.
    """
    start = store.keys.key(store.keys.files_root)
    folders: dict[str, list[Mapping[str, Any]]] = {}
    for one in (yield from store.objects(store.keys.files_root)):
        # FOLDER@VERSION/CONTENT/…: a name may have '/', but no '@'.
        name, _, rest = str(one["Key"])[len(start) :].partition("@")
        version, content, *_ = [*rest.split("/", 2), "", ""]
        folders.setdefault(f"{name}@{version}/{content}", []).append(one)
    if not folders:
        return []
    named = {
        one.uri.removeprefix(str(store.keys.prefix)).rstrip("/")
        for one in (yield from versions(Tombstones(store), None, deleted=True))
    }
    return [
        str(one["Key"])
        for folder, objects in folders.items()
        if f"{store.keys.files_root}{folder}" not in named
        and max(one["LastModified"].timestamp() for one in objects) <= newest
        for one in objects
    ]


def _verify_file(
    store: Store,
    found: ModelVersion,
    folder: str,
    path: str,
    expected: Mapping[str, Any],
    report: Reporter | None,
) -> Flow[None]:
    try:
        answer = yield store.call("get_object", Key=store.keys.key(folder + path), model=found.target_model)
    except NotFoundError:
        raise _damaged(found, f"has no {path}") from None
    body, digest = answer["Body"], hashlib.sha256()

    def read() -> None:
        while chunk := body.read(1 << 20):
            digest.update(chunk)
            if report is not None:
                report(
                    size=len(chunk), doing=f"reading{'' if found.size is None else f' of {found.size / 1e6:.1f} MB'}"
                )

    try:
        yield Do(lambda: store.read_stream(body, read))
    finally:
        body.close()
    if digest.hexdigest() != expected["sha256"]:
        raise _damaged(found, f"has other bytes in {path} than were registered")


def _damaged(found: ModelVersion, what: str) -> IntegrityError:
    return IntegrityError(
        f"{found.uri} {what}",
        model=found.target_model,
        hint="delete it, and register the model again under another version",
    )
