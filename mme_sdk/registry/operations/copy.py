"""From prefix to prefix, bucket to bucket, region to region: S3 moves the bytes, not this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mme_sdk._cancellation import attach_partial
from mme_sdk._effects import Flow, Together, cleaned
from mme_sdk.errors import BatchError, ConflictError, MMEError, ModelNotFoundError
from mme_sdk.registry.names import check_name
from mme_sdk.registry.operations.single import Batch, Verbs
from mme_sdk.registry.results import Copied
from mme_sdk.registry.store import Store, StoredObject, collected
from mme_sdk.types.model import ModelVersion

__all__ = ["AT_ONCE", "copy"]

AT_ONCE = 5 << 30  # bytes; what CopyObject takes in one request
_PART = 512 << 20
_WIDTH = 16

Elsewhere = Callable[[Flow[Any]], Flow[Any]]
"""Runs a flow with the credentials and region of the destination."""


def copy(
    source: Verbs, to: Verbs, elsewhere: Elsewhere, name: str | None, version: str | None, *, dry_run: bool
) -> Flow[Copied]:
    """Copy versions, server-side."""
    if version is None:
        if name is not None:
            check_name(name)
        there = yield from source.store.all(name)
        dead = yield from source.aliases.tombstones.read()
        wanted = [one for one in there if one.target_model not in dead]
        if name is not None and not wanted:
            raise ModelNotFoundError(f"there is no model {name!r} under {source.keys.prefix}", model=name)
    else:
        assert name is not None
        wanted = [(yield from source.get(name, version))]
        if wanted[0].target_model in (yield from source.aliases.tombstones.read()):
            raise ModelNotFoundError(f"{wanted[0].uri} was deleted, or is being deleted", model=wanted[0].target_model)
    yield from elsewhere(to.ready())
    batch = Batch((yield from elsewhere(to.aliases.tombstones.note())))
    done: list[ModelVersion] = []

    def noted(one: ModelVersion) -> Flow[tuple[bool, ModelVersion]]:
        result = yield from _one(source.store, to, elsewhere, one, batch, dry_run)
        if result[0] and not dry_run:
            done.append(result[1])
        return result

    try:
        results = yield Together([noted(one) for one in wanted], _WIDTH)
    except BaseException as stop:
        attach_partial(stop, tuple(done))
        raise
    if not dry_run:
        again, refused = yield from elsewhere(to.settled(batch))
        for at, one in enumerate(wanted):
            target = to.keys.target(one.name, one.version)
            if target in refused:
                results[at] = refused[target]
            elif target in again:
                (results[at],) = yield Together([_one(source.store, to, elsewhere, one, None, dry_run)])
    errors: dict[str, MMEError] = {}
    new: list[ModelVersion] = []
    same: list[ModelVersion] = []
    for one, result in zip(wanted, results, strict=True):
        if isinstance(result, MMEError):
            errors[one.target_model] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            (new if result[0] else same).append(result[1])
    if errors:
        first = next(iter(errors))
        raise BatchError(
            f"{len(errors)} of {len(wanted)} models were not copied; {first}: {errors[first].message}",
            hint="see .errors; copying again repeats nothing that is done",
            errors=errors,
            done=tuple(new),
        )
    return Copied(versions=tuple(new), unchanged=tuple(same), dry_run=dry_run)


def _one(
    source: Store, to: Verbs, elsewhere: Elsewhere, model: ModelVersion, batch: Batch | None, dry_run: bool
) -> Flow[tuple[bool, ModelVersion]]:
    stored = yield from source.head(model.target_model)
    if stored is None:
        raise ModelNotFoundError(f"{model.uri} is gone", model=model.target_model)
    # An archive that somebody else named keeps its key; ours follow the layout of the destination.
    target = to.keys.target(model.name, model.version)

    def create() -> Flow[tuple[bool, ModelVersion]]:
        return _created(source, to.store, stored, target, dry_run)

    if batch is None:
        flow = to.establish(target, stored.content, create)
    else:
        flow = to.written(target, stored.content, create, batch.note)
    made: tuple[bool, ModelVersion] = yield from elsewhere(flow)
    if batch is not None:
        batch.made[target] = stored.content
    return made


def _created(
    source: Store, to: Store, stored: StoredObject, target: str, dry_run: bool
) -> Flow[tuple[bool, ModelVersion]]:
    """Copy one archive, or find it at the destination: whether it was copied, and the version there."""
    found = yield from to.head(target)
    if found is None and not dry_run:
        whole = (stored.version.size or 0) <= AT_ONCE
        try:
            yield from (_at_once if whole else _in_parts)(source, to, stored, target)
        except ConflictError:
            found = yield from to.head(target)
            if found is None:
                raise
    if found is not None:
        if not _equal(found, stored):
            raise ConflictError(f"{found.version.uri} exists with other content; a version never changes", model=target)
        return False, found.version
    return True, to.keys.version(
        target,
        size=stored.version.size,
        sha256=stored.version.sha256,
        framework=stored.version.framework,
        metadata=stored.version.metadata,
    )


def _equal(one: StoredObject, other: StoredObject) -> bool:
    if one.content is not None and other.content is not None:
        return one.content == other.content
    return one.version.etag == other.version.etag and one.version.size == other.version.size


def _at_once(source: Store, to: Store, stored: StoredObject, target: str) -> Flow[None]:
    options, etag = to.options.writing(), stored.version.etag
    yield to.call(
        "copy_object",
        Key=to.keys.key(target),
        CopySource=_from(source, stored.version),
        IfNoneMatch="*",
        model=target,
        **({"CopySourceIfMatch": etag} if etag else {}),
        **({"TaggingDirective": "REPLACE"} if "Tagging" in options else {}),
        **options,
    )


def _in_parts(source: Store, to: Store, stored: StoredObject, target: str) -> Flow[None]:
    key, size = to.keys.key(target), stored.version.size or 0
    answer = yield to.call(
        "create_multipart_upload",
        Key=key,
        Metadata=dict(stored.notes),
        ContentType="application/gzip",
        model=target,
        **to.options.writing(),
    )
    upload = str(answer["UploadId"])
    try:
        parts = yield from collected(
            [
                _part(source, to, stored, key, upload, number, start)
                for number, start in enumerate(range(0, size, _PART), 1)
            ],
            8,
        )
        yield to.call(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            IfNoneMatch="*",
            model=target,
        )
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            left = f"multipart upload {upload} of {to.keys.prefix.join(target)}; tidy() removes it"
            yield from cleaned(_abort(to, key, upload), error, left)
        raise


def _abort(to: Store, key: str, upload: str) -> Flow[None]:
    yield to.call("abort_multipart_upload", Key=key, UploadId=upload)


def _part(
    source: Store, to: Store, stored: StoredObject, key: str, upload: str, number: int, start: int
) -> Flow[dict[str, Any]]:
    end = min(start + _PART, stored.version.size or 0) - 1
    answer = yield to.call(
        "upload_part_copy",
        Key=key,
        UploadId=upload,
        PartNumber=number,
        CopySource=_from(source, stored.version),
        CopySourceRange=f"bytes={start}-{end}",
        **({"CopySourceIfMatch": stored.version.etag} if stored.version.etag else {}),
    )
    return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}


def _from(source: Store, model: ModelVersion) -> dict[str, str]:
    return {"Bucket": source.keys.prefix.bucket, "Key": source.keys.key(model.target_model)}
