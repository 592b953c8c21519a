"""Copy models to another prefix, bucket or region. S3 copies the bytes; they do not pass through this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mme_sdk._flows.cancellation import attach_partial
from mme_sdk._flows.effects import Flow, Together, cleaned, noting
from mme_sdk.display.progress import Reporter
from mme_sdk.errors import BatchError, ConflictError, MMEError, ModelNotFoundError
from mme_sdk.registry.names import check_name
from mme_sdk.registry.operations.register import Batch, RegistryOperations
from mme_sdk.registry.operations.upload import left_upload
from mme_sdk.registry.results import CopyReport
from mme_sdk.registry.store import Store, StoredObject, all_or_raise
from mme_sdk.types.model import ModelVersion

__all__ = ["SINGLE_REQUEST_LIMIT", "copy"]

SINGLE_REQUEST_LIMIT = 5 << 30
"""Largest object that CopyObject copies in one request, in bytes."""
_PART = 512 << 20  # bytes
_WIDTH = 16
_WINDOW = 1000  # versions for which flows are in memory

RunAtDestination = Callable[[Flow[Any]], Flow[Any]]
"""Runs a flow with the credentials and the region of the destination."""


def copy(
    source: RegistryOperations,
    to: RegistryOperations,
    run_there: RunAtDestination,
    name: str | None,
    version: str | None,
    *,
    dry_run: bool,
    report: Reporter | None = None,
) -> Flow[CopyReport]:
    """Copy versions. An exception that interrupts it carries the versions that are copied as `partial`."""
    if version is None:
        if name is not None:
            check_name(name)
        listed = yield from source.store.all(name)
        tombstones = yield from source.aliases.tombstones.read()
        wanted = [one for one in listed if one.target_model not in tombstones]
        if name is not None and not wanted:
            raise ModelNotFoundError(
                f"the model {name!r} does not exist under {source.keys.prefix}",
                model=name,
                hint="list() shows the models",
            )
    else:
        assert name is not None
        wanted = [(yield from source.get(name, version))]
        if wanted[0].target_model in (yield from source.aliases.tombstones.read()):
            raise ModelNotFoundError(f"{wanted[0].uri} was deleted or is being deleted", model=wanted[0].target_model)
    yield from run_there(to.check_bucket())
    batch = Batch((yield from run_there(to.aliases.tombstones.record())))
    done: list[ModelVersion] = []

    def copy_and_count(one: ModelVersion) -> Flow[tuple[bool, ModelVersion]]:
        try:
            result = yield from _copy_version(source.store, to, run_there, one, batch, dry_run)
        except Exception:
            if report is not None:
                report(model=one.target_model, done=1, failed=1)
            raise
        if report is not None:
            report(model=one.target_model, done=1, size=(one.size or 0) if result[0] else 0)
        if result[0] and not dry_run:
            done.append(result[1])
        return result

    if report is not None:
        report(total=len(wanted))
    errors: dict[str, MMEError] = {}
    copied: list[ModelVersion] = []
    unchanged: list[ModelVersion] = []
    for start in range(0, len(wanted), _WINDOW):
        window = wanted[start : start + _WINDOW]
        try:
            results = yield Together([copy_and_count(one) for one in window], _WIDTH)
        except BaseException as stop:
            unusable = yield from run_there(to.interrupt_batch(batch, stop))
            attach_partial(stop, tuple(one for one in done if one.target_model not in unusable))
            raise
        if not dry_run:
            again, refused = yield from run_there(to.finish_batch(batch))
            for at, one in enumerate(window):
                target = to.keys.target(one.name, one.version)
                if target in refused:
                    results[at] = refused[target]
                elif target in again:
                    (results[at],) = yield Together([_copy_version(source.store, to, run_there, one, None, dry_run)])
        for one, result in zip(window, results, strict=True):
            if isinstance(result, MMEError):
                errors[one.target_model] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                (copied if result[0] else unchanged).append(result[1])
    if errors:
        first = next(iter(errors))
        raise BatchError(
            f"{len(errors)} of {len(wanted)} models were not copied; {first}: {errors[first].message}",
            hint="see .errors for each error; calling it again skips the models that are done",
            errors=errors,
            done=tuple(copied),
        )
    return CopyReport(copied=tuple(copied), unchanged=tuple(unchanged), dry_run=dry_run)


def _copy_version(
    source: Store,
    to: RegistryOperations,
    run_there: RunAtDestination,
    model: ModelVersion,
    batch: Batch | None,
    dry_run: bool,
) -> Flow[tuple[bool, ModelVersion]]:
    """Copy one version. Return whether it was copied, and the version at the destination."""
    stored = yield from source.head(model.target_model)
    if stored is None:
        raise ModelNotFoundError(f"{model.uri} was removed during the copy", model=model.target_model)
    # An archive whose key does not follow the layout keeps its key; others follow the layout of the destination.
    target = to.keys.target(model.name, model.version)

    def create() -> Flow[tuple[bool, ModelVersion]]:
        return _create(source, to.store, stored, target, dry_run)

    if batch is None:
        flow = to.write_until_stable(target, stored.content, create)
    else:
        flow = to.write_in_batch(target, stored.content, create, batch)
    created: tuple[bool, ModelVersion] = yield from run_there(flow)
    return created


def _create(
    source: Store, to: Store, stored: StoredObject, target: str, dry_run: bool
) -> Flow[tuple[bool, ModelVersion]]:
    found = yield from to.head(target)
    if found is None and not dry_run:
        small = (stored.version.size or 0) <= SINGLE_REQUEST_LIMIT
        try:
            yield from (_copy_whole if small else _copy_in_parts)(source, to, stored, target)
        except ConflictError:
            found = yield from to.head(target)
            if found is None:
                raise
    if found is not None:
        if not _equal(found, stored):
            raise ConflictError(
                f"{found.version.uri} exists with other content; a version never changes",
                model=target,
                hint="register the content under a new version and copy that",
            )
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


def _copy_whole(source: Store, to: Store, stored: StoredObject, target: str) -> Flow[None]:
    options, etag = to.write_parameters(), stored.version.etag
    yield to.call(
        "copy_object",
        Key=to.keys.key(target),
        CopySource=_copy_source(source, stored.version),
        IfNoneMatch="*",
        model=target,
        **({"CopySourceIfMatch": etag} if etag else {}),
        **({"TaggingDirective": "REPLACE"} if "Tagging" in options else {}),
        **options,
    )


def _copy_in_parts(source: Store, to: Store, stored: StoredObject, target: str) -> Flow[None]:
    key, size = to.keys.key(target), stored.version.size or 0
    with noting(left_upload(to, target)):
        answer = yield to.call(
            "create_multipart_upload",
            Key=key,
            Metadata=dict(stored.metadata),
            ContentType="application/gzip",
            model=target,
            **to.write_parameters(),
        )
    upload = str(answer["UploadId"])
    try:
        parts = yield from all_or_raise(
            [
                _copy_part(source, to, stored, key, upload, number, start)
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
            left = f"multipart upload {upload} of {to.keys.prefix.join(target)}; abort_uploads() removes it"
            yield from cleaned(_abort(to, key, upload), error, left)
        raise


def _abort(to: Store, key: str, upload: str) -> Flow[None]:
    yield to.call("abort_multipart_upload", Key=key, UploadId=upload)


def _copy_part(
    source: Store, to: Store, stored: StoredObject, key: str, upload: str, number: int, start: int
) -> Flow[dict[str, Any]]:
    end = min(start + _PART, stored.version.size or 0) - 1
    answer = yield to.call(
        "upload_part_copy",
        Key=key,
        UploadId=upload,
        PartNumber=number,
        CopySource=_copy_source(source, stored.version),
        CopySourceRange=f"bytes={start}-{end}",
        **({"CopySourceIfMatch": stored.version.etag} if stored.version.etag else {}),
    )
    return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}


def _copy_source(source: Store, model: ModelVersion) -> dict[str, str]:
    return {"Bucket": source.keys.prefix.bucket, "Key": source.keys.key(model.target_model)}
