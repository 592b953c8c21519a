"""Upload an archive to S3 under a new key, with conditional requests: completely, or not at all."""

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

from mme_sdk._flows.effects import Do, Flow, Sleep, cleaned, finished, noting
from mme_sdk.artifacts import Archive
from mme_sdk.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from mme_sdk.registry.store import Store, StoredObject, all_or_raise, ignore_errors

__all__ = ["PART", "Package", "create", "left_upload", "stamp_of"]

PART = 16 << 20
"""Bytes of a part. Smaller archives are uploaded in one request."""
_MAX_PARTS = 10_000
_WIDTH = 8  # concurrent parts, over all models; more only share the same bandwidth
_CHUNK = 1 << 20  # bytes
_ATTEMPTS = 4

_crc32_of: Callable[[bytes, int], int] = zlib.crc32
try:  # four times faster, from the `fast` extra
    from isal import isal_zlib
except ImportError:
    pass
else:
    _crc32_of = isal_zlib.crc32


@attrs.frozen(kw_only=True)
class Package:
    """An archive on disk, ready for upload.

    Attributes:
        archive: Digests, size and framework of the archive.
        handle: An open file descriptor. Threads share it: it is read with `os.pread`. -1 if `data` is given.
        data: The archive itself, if it is small: what was checked is what is sent. None by default.
        close: Closes the file. A temporary file is removed. By default there is none.
        stamp: Size and modification time when the archive was inspected.
        content_type: Content-Type of the object. Default: that of a tar.gz.
    """

    archive: Archive
    handle: int = -1
    data: bytes | None = None
    close: Callable[[], None] = lambda: None
    stamp: tuple[int, int] = (0, 0)
    content_type: str = "application/gzip"

    def check_unchanged(self) -> None:
        """Raise InvalidInputError if the file was written to since it was inspected."""
        if stamp_of(self.handle) != self.stamp:
            raise InvalidInputError(
                "the archive changed during the upload", hint="register it when no program writes to it"
            )

    def whole(self) -> Slice | InMemory:
        """Return a file object for the archive."""
        return self.slice(0, self.archive.size) if self.data is None else InMemory(self.data)

    def slice(self, start: int, size: int) -> Slice:
        """Return a file object for a range of the archive."""
        return Slice(self.handle, start, size)


class InMemory(io.BytesIO):
    """A file object for bytes, with a length. It does not copy them.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._size = len(data)  # not from `getbuffer`, which copies

    def __len__(self) -> int:
        return self._size


class Slice(io.RawIOBase):
    """A file object for a range of a file. Many can share one descriptor, and none holds its bytes in memory.

    Args:
        handle: The file descriptor. It is not closed.
        start: Position of the first byte.
        size: Number of bytes.
    """

    def __init__(self, handle: int, start: int, size: int) -> None:
        super().__init__()
        self._handle, self._start, self._size = handle, start, size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position of the next read."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Read bytes. The result of `os.pread` is returned without a copy.

        Raises:
            InvalidInputError: The file became shorter.
            StorageError: The file cannot be read.
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
            raise InvalidInputError(
                "the archive became shorter during the upload", hint="register it when no program writes to it"
            )
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def digest(self, update: Callable[[bytes], Any]) -> None:
        """Pass all bytes to the `update` method of a digest."""
        self._at = 0
        while chunk := self.read(_CHUNK):
            update(chunk)


def stamp_of(handle: int) -> tuple[int, int]:
    """Return size and modification time of a file, to notice later that it was written to."""
    info = os.fstat(handle)
    return info.st_size, info.st_mtime_ns


def create(
    store: Store,
    target: str,
    package: Package,
    metadata: Mapping[str, str],
    progress: Callable[[int], None],
    *,
    concurrent: int,
) -> Flow[StoredObject]:
    """Create an object, unless it exists with the same content.

    Args:
        store: S3 requests for the prefix.
        target: Target model to create.
        package: The archive.
        metadata: S3 metadata.
        progress: Called with the number of bytes that were uploaded.
        concurrent: Number of archives that are uploaded at the same time.

    Returns:
        The stored object, written by this client or by another one with the same content.

    Raises:
        ConflictError: The key exists with other content.
    """
    large = package.archive.size > PART
    for attempt in range(_ATTEMPTS):
        if large or attempt:
            # A small archive needs no check before its first request: S3 refuses that if the key exists.
            found = yield from store.head(target)
            if found is not None:
                return _same(found, package.archive, target)
        try:
            if large:
                width = max(_WIDTH // concurrent, 1)
                answer = yield from _upload_parts(store, target, package, metadata, progress, width)
            else:
                answer = yield from _upload_whole(store, target, package, metadata)
                progress(package.archive.size)
            return store.stored(target, {"ContentLength": package.archive.size, "Metadata": metadata, **answer})
        except (ConflictError, NotFoundError) as error:
            # Another client was faster, or a response was lost, or another client ended the upload that both continue.
            if attempt == _ATTEMPTS - 1 or (isinstance(error, NotFoundError) and error.code != "NoSuchUpload"):
                raise
            if error.code == "ConditionalRequestConflict":
                yield Sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


def _same(found: StoredObject, archive: Archive, target: str) -> StoredObject:
    if found.content == archive.content or (found.content is None and found.version.sha256 == archive.sha256):
        return found
    raise ConflictError(
        f"{found.version.uri} exists with other content; a version never changes",
        hint="register under a new version; after an overwrite, instances could go on serving the old bytes",
        model=target,
    )


def _upload_whole(store: Store, target: str, package: Package, metadata: Mapping[str, str]) -> Flow[dict[str, Any]]:
    answer: dict[str, Any] = yield store.call(
        "put_object",
        Key=store.keys.key(target),
        Body=package.whole(),
        Metadata=dict(metadata),
        ContentType=package.content_type,
        ChecksumSHA256=base64.b64encode(bytes.fromhex(package.archive.sha256)).decode(),
        IfNoneMatch="*",
        model=target,
        **store.write_parameters(),
    )
    return answer


def _upload_parts(
    store: Store,
    target: str,
    package: Package,
    metadata: Mapping[str, str],
    progress: Callable[[int], None],
    width: int,
) -> Flow[dict[str, Any]]:
    key, size = store.keys.key(target), package.archive.size
    part = max(PART, -(-size // _MAX_PARTS))
    options = store.write_parameters()
    settings = {
        "Metadata": dict(metadata),
        "ContentType": package.content_type,
        "ChecksumAlgorithm": "CRC32",
        **options,
    }
    # An earlier upload is continued only if its bytes, metadata and settings are the same.
    identity = hashlib.sha256(repr((size, part, sorted(settings.items()))).encode()).hexdigest()
    record = f"{target}@{identity[:32]}.json"
    upload, uploaded = yield from _unfinished(store, key, record)
    resumed = upload is not None
    if upload is None:
        with noting(left_upload(store, target)):
            answer = yield store.call("create_multipart_upload", Key=key, model=target, **settings)
        upload = str(answer["UploadId"])
    starts = range(0, size, part)
    try:
        if not resumed:
            yield from store.put_record("uploads", record, {"upload_id": upload})
        parts = yield from all_or_raise(
            [
                _upload_part(
                    store,
                    key,
                    upload,
                    number,
                    (package, start, min(part, size - start)),
                    uploaded.get(number),
                    progress,
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
        # After Ctrl-C, or if S3 does not answer, this can fail. The next run then continues the upload.
        if not isinstance(error, GeneratorExit):
            left = f"multipart upload {upload} of {store.keys.prefix.join(target)}"
            remedy = "registering the same content again continues it, abort_uploads() removes it"
            yield from cleaned(_abort(store, key, upload, record), error, f"{left}; {remedy}")
        raise
    own = [store.keys.reserved("uploads", record)]
    yield from finished(lambda: ignore_errors(store.delete(own)), f"{own[0]}; abort_uploads() removes it")
    return done


def left_upload(store: Store, target: str) -> str:
    """Return the note for an interruption of CreateMultipartUpload, whose answer has the id of the upload."""
    return f"left behind: a multipart upload of {store.keys.prefix.join(target)}, perhaps; abort_uploads() removes it"


def _abort(store: Store, key: str, upload: str, record: str) -> Flow[None]:
    with suppress(NotFoundError):  # another client with the same content has ended it
        yield store.call("abort_multipart_upload", Key=key, UploadId=upload)
    yield from store.delete([store.keys.reserved("uploads", record)])


def _unfinished(store: Store, key: str, record: str) -> Flow[tuple[str | None, dict[int, Mapping[str, Any]]]]:
    """Return the upload that an earlier run left unfinished, and its parts by number."""
    found = yield from store.get_record("uploads", record)
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


def _upload_part(
    store: Store,
    key: str,
    upload: str,
    number: int,
    part: tuple[Package, int, int],
    uploaded: Mapping[str, Any] | None,
    progress: Callable[[int], None],
) -> Flow[dict[str, Any]]:
    package, start, size = part
    body = package.slice(start, size)
    checksum: str = yield Do(lambda: _crc32(body))
    if (
        uploaded is not None
        and uploaded.get("Size") == size
        and (yield Do(lambda: _has_content(uploaded, body, checksum)))
    ):
        etag = str(uploaded["ETag"])
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
        found = _crc32_of(chunk, found)

    body.digest(update)
    return base64.b64encode(found.to_bytes(4, "big")).decode()


def _has_content(uploaded: Mapping[str, Any], body: Slice, checksum: str) -> bool:
    if "ChecksumCRC32" in uploaded:
        return bool(uploaded["ChecksumCRC32"] == checksum)
    md5 = hashlib.md5(usedforsecurity=False)
    body.digest(md5.update)
    return str(uploaded.get("ETag", "")).strip('"') == md5.hexdigest()
