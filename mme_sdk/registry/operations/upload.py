"""Brings an archive to S3 under a key that must be new: whole, or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs

from mme_sdk._effects import Do, Flow, Sleep, cleaned
from mme_sdk.artifacts import Archive
from mme_sdk.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from mme_sdk.registry.store import Store, StoredObject, collected, quietly

__all__ = ["Package", "create", "stamp_of"]

PART = 16 << 20  # bytes; smaller archives go in one request
_MOST_PARTS = 10_000
_WIDTH = 8  # parts at a time, of all models that go side by side: more only wait for each other
_CHUNK = 1 << 20
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

    def slice(self, start: int, size: int) -> Slice:
        """Some of its bytes, to be read as they are sent."""
        return Slice(self.handle, start, size)


class Slice(io.RawIOBase):
    """A part of a file, as a file: read by position, so that many may share a descriptor and none is in memory.

    Args:
        handle: The descriptor; never closed from here.
        start: First byte.
        size: Bytes.
    """

    def __init__(self, handle: int, start: int, size: int) -> None:
        super().__init__()
        self._handle, self._start, self._size = handle, start, size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Read on; what the system gives is passed on as it is, since every copy of gigabytes costs.

        Raises:
            InvalidInputError: The file became shorter.
            StorageError: It cannot be read.
        """
        left = self._size - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        try:
            data = os.pread(self._handle, wanted, self._start + self._at)
        except OSError as error:
            raise StorageError(f"cannot read the archive: {error.strerror or error}") from error
        if not data:
            raise InvalidInputError("the archive became shorter while it was uploaded")
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read on, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def digest(self, update: Callable[[bytes], Any]) -> None:
        """Feed all of it to a digest."""
        self._at = 0
        while chunk := self.read(_CHUNK):
            update(chunk)


def stamp_of(handle: int) -> tuple[int, int]:
    """What changes when a file does."""
    info = os.fstat(handle)
    return info.st_size, info.st_mtime_ns


def create(
    store: Store,
    target: str,
    package: Package,
    metadata: Mapping[str, str],
    progress: Callable[[int], None],
    *,
    abreast: int,
) -> Flow[StoredObject]:
    """Create the object, unless it is there already with the same content.

    Args:
        store: The prefix.
        target: Target model to create.
        package: The archive.
        metadata: S3 metadata.
        progress: Told of bytes that have arrived.
        abreast: How many archives are being created side by side.

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
                answer = yield from _in_parts(store, target, package, metadata, progress, max(_WIDTH // abreast, 1))
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
    answer: dict[str, Any] = yield store.call(
        "put_object",
        Key=store.keys.key(target),
        Body=package.slice(0, package.archive.size),
        Metadata=dict(metadata),
        ContentType="application/gzip",
        ChecksumSHA256=base64.b64encode(bytes.fromhex(package.archive.sha256)).decode(),
        IfNoneMatch="*",
        model=target,
        **store.options.writing(),
    )
    return answer


def _in_parts(
    store: Store,
    target: str,
    package: Package,
    metadata: Mapping[str, str],
    progress: Callable[[int], None],
    width: int,
) -> Flow[dict[str, Any]]:
    key, size = store.keys.key(target), package.archive.size
    part = max(PART, -(-size // _MOST_PARTS))
    options = store.options.writing()
    about = {"Metadata": dict(metadata), "ContentType": "application/gzip", "ChecksumAlgorithm": "CRC32", **options}
    # Only an upload of the very same bytes with the very same metadata may be continued.
    identity = hashlib.sha256(repr((size, part, sorted(about.items()))).encode()).hexdigest()
    note = f"{target}@{identity[:32]}.json"
    upload, there = yield from _resumed(store, key, note)
    resumed = upload is not None
    if upload is None:
        answer = yield store.call("create_multipart_upload", Key=key, model=target, **about)
        upload = str(answer["UploadId"])
    starts = range(0, size, part)
    try:
        if not resumed:
            yield from store.put_note("uploads", note, {"upload_id": upload})
        parts = yield from collected(
            [
                _part(
                    store, key, upload, number, (package, start, min(part, size - start)), there.get(number), progress
                )
                for number, start in enumerate(starts, 1)
            ],
            width,
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
            left = f"multipart upload {upload} of {store.keys.prefix.join(target)}"
            undo = "registering the same bytes again continues it, tidy() removes it"
            yield from cleaned(_abort(store, key, upload, note), error, f"{left}; {undo}")
        raise
    yield from quietly(store.delete([store.keys.reserved("uploads", note)]))
    return done


def _abort(store: Store, key: str, upload: str, note: str) -> Flow[None]:
    with suppress(NotFoundError):  # another writer of the same bytes has ended it
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
    body = package.slice(start, size)
    checksum: str = yield Do(lambda: _crc32(body))
    if there is not None and there.get("Size") == size and (yield Do(lambda: _holds(there, body, checksum))):
        etag = str(there["ETag"])
    else:
        answer = yield store.call(
            "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=body, ChecksumCRC32=checksum
        )
        etag = str(answer["ETag"])
    progress(size)
    return {"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum}


def _crc32(body: Slice) -> str:
    found = 0

    def update(chunk: bytes) -> None:
        nonlocal found
        found = zlib.crc32(chunk, found)

    body.digest(update)
    return base64.b64encode(found.to_bytes(4, "big")).decode()


def _holds(there: Mapping[str, Any], body: Slice, checksum: str) -> bool:
    if "ChecksumCRC32" in there:
        return bool(there["ChecksumCRC32"] == checksum)
    md5 = hashlib.md5(usedforsecurity=False)
    body.digest(md5.update)
    return str(there.get("ETag", "")).strip('"') == md5.hexdigest()
