"""From prefix to prefix, bucket to bucket, region to region: S3 moves the bytes, not this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mme_sdk.aws.flow import Flow, Together
from mme_sdk.errors import BatchError, ConflictError, MMEError, ModelNotFoundError
from mme_sdk.registry.names import check_name
from mme_sdk.registry.shapes import Copied
from mme_sdk.registry.store import Store, StoredObject, collected, quietly
from mme_sdk.registry.verbs import Verbs
from mme_sdk.shapes.model import ModelVersion

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
        wanted = yield from source.store.all(name)
        if name is not None and not wanted:
            raise ModelNotFoundError(f"there is no model {name!r} under {source.keys.prefix}", model=name)
    else:
        assert name is not None
        wanted = [(yield from source.get(name, version))]
    yield from elsewhere(to.ready())
    dead = yield from elsewhere(to.aliases.tombstones.read())
    flows = [_one(source.store, to, elsewhere, one, dead, dry_run) for one in wanted]
    results = yield Together(flows, _WIDTH)
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
    source: Store, to: Verbs, elsewhere: Elsewhere, model: ModelVersion, dead: Any, dry_run: bool
) -> Flow[tuple[bool, ModelVersion]]:
    stored = yield from source.head(model.target_model)
    if stored is None:
        raise ModelNotFoundError(f"{model.uri} is gone", model=model.target_model)
    # An archive that somebody else named keeps its key; ours follow the layout of the destination.
    target = to.keys.target(model.name, model.version)
    to.refuse_dead(target, stored.content, dead)
    found = yield from elsewhere(to.store.head(target))
    if found is not None:
        if not _equal(found, stored):
            raise ConflictError(f"{found.version.uri} exists with other content; a version never changes", model=target)
        return False, found.version
    if not dry_run:
        whole = (stored.version.size or 0) <= AT_ONCE
        work = _at_once(source, to.store, model, target) if whole else _in_parts(source, to.store, stored, target)
        try:
            yield from elsewhere(work)
        except ConflictError:
            found = yield from elsewhere(to.store.head(target))
            if found is None or not _equal(found, stored):
                raise
            return False, found.version
        if target in dead:
            yield from elsewhere(to.aliases.tombstones.remove([target]))
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


def _at_once(source: Store, to: Store, model: ModelVersion, target: str) -> Flow[None]:
    options = to.options.writing()
    yield to.call(
        "copy_object",
        Key=to.keys.key(target),
        CopySource=_from(source, model),
        IfNoneMatch="*",
        model=target,
        **({"CopySourceIfMatch": model.etag} if model.etag else {}),
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
            yield from quietly(_abort(to, key, upload))
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
