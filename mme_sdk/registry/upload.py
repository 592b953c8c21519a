"""Brings an archive to S3 under a key that must be new: whole, or not at all."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from mme_sdk.artifacts import Archive
from mme_sdk.aws.flow import Do, Flow, Sleep
from mme_sdk.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from mme_sdk.registry.store import Store, StoredObject, collected, quietly

__all__ = ["Package", "create", "stamp_of"]

PART = 16 << 20  # bytes; smaller archives go in one request
_MOST_PARTS = 10_000
_WIDTH = 4  # parts at a time
_TRIES = 4


@attrs.frozen(kw_only=True)
class Package:
    """An archive on disk, ready to go.

    Attributes:
        handle: An open file descriptor; read by position, so that threads may share it.
        archive: What it holds.
        close: Removes it, if it is temporary.
        stamp: Its size and time when it was inspected.
    """

    handle: int
    archive: Archive
    close: Callable[[], None]
    stamp: tuple[int, int]

    def check_unchanged(self) -> None:
        """Refuse to finish if somebody wrote to the file since it was inspected.

        Raises:
            InvalidInputError: Somebody did.
        """
        if stamp_of(self.handle) != self.stamp:
            raise InvalidInputError("the archive changed while it was uploaded", hint="register when nobody writes it")

    def read(self, start: int, size: int) -> bytes:
        """Some of its bytes.

        Raises:
            InvalidInputError: The file became shorter.
            StorageError: It cannot be read.
        """
        pieces = []
        try:
            while size and (piece := os.pread(self.handle, size, start)):
                pieces.append(piece)
                start, size = start + len(piece), size - len(piece)
        except OSError as error:
            raise StorageError(f"cannot read the archive: {error.strerror or error}") from error
        if size:
            raise InvalidInputError("the archive became shorter while it was uploaded")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def stamp_of(handle: int) -> tuple[int, int]:
    """What changes when a file does."""
    info = os.fstat(handle)
    return info.st_size, info.st_mtime_ns


def create(
    store: Store, target: str, package: Package, metadata: Mapping[str, str], progress: Callable[[int], None]
) -> Flow[StoredObject]:
    """Create the object, unless it is there already with the same content.

    Args:
        store: The prefix.
        target: Target model to create.
        package: The archive.
        metadata: S3 metadata.
        progress: Told of bytes that have arrived.

    Returns:
        What is stored now, by us or by somebody who was faster with the same content.

    Raises:
        ConflictError: The key holds something else.
    """
    large = package.archive.size > PART
    for attempt in range(_TRIES):
        if large or attempt:
            # A small archive is simply sent: S3 refuses it if the key is taken.
            found = yield from store.head(target)
            if found is not None:
                return _same(found, package.archive, target)
        try:
            if large:
                answer = yield from _in_parts(store, target, package, metadata, progress)
            else:
                answer = yield from _at_once(store, target, package, metadata)
                progress(package.archive.size)
            return store.stored(target, {"ContentLength": package.archive.size, "Metadata": metadata, **answer})
        except (ConflictError, NotFoundError) as error:
            # Somebody was faster, or an answer to us was lost, or another writer ended the upload we shared.
            if attempt == _TRIES - 1 or (isinstance(error, NotFoundError) and error.code != "NoSuchUpload"):
                raise
            if error.code == "ConditionalRequestConflict":
                yield Sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


def _same(found: StoredObject, archive: Archive, target: str) -> StoredObject:
    if found.content == archive.content or (found.content is None and found.version.sha256 == archive.sha256):
        return found
    raise ConflictError(
        f"{found.version.uri} exists with other content; a version never changes",
        hint="register under a new version; overwriting would go on serving the old bytes",
        model=target,
    )


def _at_once(store: Store, target: str, package: Package, metadata: Mapping[str, str]) -> Flow[dict[str, Any]]:
    body = yield Do(lambda: package.read(0, package.archive.size))
    answer: dict[str, Any] = yield store.call(
        "put_object",
        Key=store.keys.key(target),
        Body=body,
        Metadata=dict(metadata),
        ContentType="application/gzip",
        ChecksumSHA256=base64.b64encode(bytes.fromhex(package.archive.sha256)).decode(),
        IfNoneMatch="*",
        model=target,
        **store.options.writing(),
    )
    return answer


def _in_parts(
    store: Store, target: str, package: Package, metadata: Mapping[str, str], progress: Callable[[int], None]
) -> Flow[dict[str, Any]]:
    key, size = store.keys.key(target), package.archive.size
    part = max(PART, -(-size // _MOST_PARTS))
    options = store.options.writing()
    about = {"Metadata": dict(metadata), "ContentType": "application/gzip", "ChecksumAlgorithm": "CRC32", **options}
    # Only an upload of the very same bytes with the very same metadata may be continued.
    identity = hashlib.sha256(repr((size, part, sorted(about.items()))).encode()).hexdigest()
    note = f"{target}@{identity[:32]}.json"
    upload, there = yield from _resumed(store, key, note)
    if upload is None:
        answer = yield store.call("create_multipart_upload", Key=key, model=target, **about)
        upload = str(answer["UploadId"])
        yield from store.put_note("uploads", note, {"upload_id": upload})
    starts = range(0, size, part)
    try:
        parts = yield from collected(
            [
                _part(
                    store, key, upload, number, (package, start, min(part, size - start)), there.get(number), progress
                )
                for number, start in enumerate(starts, 1)
            ],
            _WIDTH,
        )
        yield Do(package.check_unchanged)
        done: dict[str, Any] = yield store.call(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            IfNoneMatch="*",
            model=target,
        )
    except BaseException as error:
        # After Ctrl-C, or with S3 gone, as much as still works; what is left is continued by the next run.
        if not isinstance(error, GeneratorExit):
            yield from quietly(_abort(store, key, upload, note))
        raise
    yield from quietly(store.delete([store.keys.reserved("uploads", note)]))
    return done


def _abort(store: Store, key: str, upload: str, note: str) -> Flow[None]:
    yield store.call("abort_multipart_upload", Key=key, UploadId=upload)
    yield from store.delete([store.keys.reserved("uploads", note)])


def _resumed(store: Store, key: str, note: str) -> Flow[tuple[str | None, dict[int, Mapping[str, Any]]]]:
    """The upload that an earlier run left, and its parts by number."""
    found = yield from store.get_note("uploads", note)
    if found is None:
        return None, {}
    upload = str(found.body.get("upload_id"))
    parts: dict[int, Mapping[str, Any]] = {}
    more: dict[str, Any] = {}
    try:
        while True:
            answer = yield store.call("list_parts", Key=key, UploadId=upload, **more)
            parts |= {one["PartNumber"]: one for one in answer.get("Parts", [])}
            if not answer.get("IsTruncated"):
                return upload, parts
            more = {"PartNumberMarker": answer["NextPartNumberMarker"]}
    except NotFoundError:
        return None, {}


def _part(
    store: Store,
    key: str,
    upload: str,
    number: int,
    where: tuple[Package, int, int],
    there: Mapping[str, Any] | None,
    progress: Callable[[int], None],
) -> Flow[dict[str, Any]]:
    package, start, size = where
    data: bytes = yield Do(lambda: package.read(start, size))
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    if there is not None and _holds(there, data, checksum):
        etag = str(there["ETag"])
    else:
        answer = yield store.call(
            "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data, ChecksumCRC32=checksum
        )
        etag = str(answer["ETag"])
    progress(size)
    return {"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum}


def _holds(there: Mapping[str, Any], data: bytes, checksum: str) -> bool:
    if there.get("Size") != len(data):
        return False
    if "ChecksumCRC32" in there:
        return bool(there["ChecksumCRC32"] == checksum)
    return str(there.get("ETag", "")).strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
