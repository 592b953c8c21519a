"""In-memory model of the S3 operations that the registry uses: strongly consistent, with AWS's conditional requests.

Effects of flows are performed one at a time, so that a checker chooses their order.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from mme_sdk.aws import Call
from mme_sdk.errors import ConflictError, ModelNotFoundError, NotFoundError, ServiceError

Object = tuple[bytes, tuple[tuple[str, str], ...]]


class S3Model:
    """Objects and uploads of all buckets. A search copies the model to keep a state."""

    def __init__(self, objects: dict[str, Object] | None = None, uploads: dict[str, Any] | None = None) -> None:
        self.objects: dict[str, Object] = dict(objects or {})
        self.uploads: dict[str, dict[int, bytes]] = {key: dict(parts) for key, parts in (uploads or {}).items()}

    def copy(self) -> S3Model:
        return S3Model(self.objects, self.uploads)

    def key(self) -> Any:
        uploads = tuple(sorted((key, tuple(sorted(parts.items()))) for key, parts in self.uploads.items()))
        return tuple(sorted(self.objects.items())), uploads

    def perform(self, call: Call) -> Any:
        return getattr(self, call.operation)(**call.params)

    def _etag(self, key: str) -> str:
        return f'"{hashlib.md5(self.objects[key][0]).hexdigest()}"'

    def _answer(self, key: str) -> dict[str, Any]:
        data, metadata = self.objects[key]
        return {
            "ETag": self._etag(key),
            "ContentLength": len(data),
            "Metadata": dict(metadata),
            "LastModified": datetime(2026, 1, 1, tzinfo=UTC),
        }

    def _write(self, key: str, data: bytes, metadata: Any, conditions: dict[str, Any]) -> dict[str, Any]:
        if "IfNoneMatch" in conditions and key in self.objects:
            raise ConflictError("exists", code="PreconditionFailed", status=412)
        if "IfMatch" in conditions:
            if key not in self.objects:
                raise ModelNotFoundError("nothing to match", code="NoSuchKey", status=404)
            if self._etag(key) != conditions["IfMatch"]:
                raise ConflictError("changed", code="PreconditionFailed", status=412)
        self.objects[key] = (data, tuple(sorted(metadata.items())))
        return {"ETag": self._etag(key)}

    def put_object(
        self, Bucket: str, Key: str, Body: Any, Metadata: Any = None, ContentType: str = "", **more: Any
    ) -> Any:
        more.pop("ChecksumSHA256", None)
        data = Body if isinstance(Body, bytes) else bytes(Body.read())
        if hasattr(Body, "seek"):
            Body.seek(0)
        return self._write(f"{Bucket}/{Key}", data, Metadata or {}, more)

    def get_object(self, Bucket: str, Key: str, IfNoneMatch: str | None = None) -> Any:
        key = f"{Bucket}/{Key}"
        if key not in self.objects:
            raise ModelNotFoundError("nothing there", code="NoSuchKey", status=404)
        if IfNoneMatch == self._etag(key):
            raise ServiceError("not modified", code="304", status=304)
        return {**self._answer(key), "Body": self.objects[key][0]}

    def head_object(self, Bucket: str, Key: str) -> Any:
        if f"{Bucket}/{Key}" not in self.objects:
            raise ModelNotFoundError("nothing there", code="404", status=404)
        return self._answer(f"{Bucket}/{Key}")

    def list_objects_v2(self, Bucket: str, Prefix: str, MaxKeys: int = 0) -> Any:
        found = [key for key in sorted(self.objects) if key.startswith(f"{Bucket}/{Prefix}")]
        return {
            "Contents": [
                {"Key": key.partition("/")[2], "Size": len(self.objects[key][0]), **self._answer(key)} for key in found
            ]
        }

    def list_multipart_uploads(self, Bucket: str, Prefix: str) -> Any:
        return {}

    def delete_objects(self, Bucket: str, Delete: Any) -> Any:
        for one in Delete["Objects"]:
            self.objects.pop(f"{Bucket}/{one['Key']}", None)
        return {}

    def delete_object(self, Bucket: str, Key: str, IfMatch: str) -> Any:
        key = f"{Bucket}/{Key}"
        if key not in self.objects:
            raise ModelNotFoundError("nothing to match", code="NoSuchKey", status=404)
        if self._etag(key) != IfMatch:
            raise ConflictError("changed", code="PreconditionFailed", status=412)
        del self.objects[key]
        return {}

    def copy_object(self, Bucket: str, Key: str, CopySource: Any, CopySourceIfMatch: str, **conditions: Any) -> Any:
        source = f"{CopySource['Bucket']}/{CopySource['Key']}"
        if source not in self.objects:
            raise ModelNotFoundError("no source", code="NoSuchKey", status=404)
        if self._etag(source).strip('"') != CopySourceIfMatch.strip('"'):
            raise ConflictError("source changed", code="PreconditionFailed", status=412)
        data, metadata = self.objects[source]
        return self._write(f"{Bucket}/{Key}", data, dict(metadata), conditions)

    def create_multipart_upload(self, Bucket: str, Key: str, Metadata: Any, **_: Any) -> Any:
        upload = f"{Bucket}/{Key}#{next(at for at in range(9) if f'{Bucket}/{Key}#{at}' not in self.uploads)}"
        self.uploads[upload] = {0: repr(Metadata).encode()}
        return {"UploadId": upload}

    def _upload(self, upload: str) -> dict[int, bytes]:
        if upload not in self.uploads:
            raise NotFoundError("no such upload", code="NoSuchUpload", status=404)
        return self.uploads[upload]

    def upload_part(self, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: Any, ChecksumCRC32: str) -> Any:
        Body.seek(0)
        self._upload(UploadId)[PartNumber] = bytes(Body.read())
        return {"ETag": f'"{hashlib.md5(self.uploads[UploadId][PartNumber]).hexdigest()}"'}

    def upload_part_copy(
        self, Bucket: str, Key: str, UploadId: str, PartNumber: int, CopySource: Any, CopySourceRange: str, **_: Any
    ) -> Any:
        first, last = map(int, CopySourceRange.removeprefix("bytes=").split("-"))
        data = self.objects[f"{CopySource['Bucket']}/{CopySource['Key']}"][0][first : last + 1]
        self._upload(UploadId)[PartNumber] = data
        return {"CopyPartResult": {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}}

    def list_parts(self, Bucket: str, Key: str, UploadId: str) -> Any:
        parts = self._upload(UploadId)
        return {
            "Parts": [
                {"PartNumber": number, "Size": len(data), "ETag": f'"{hashlib.md5(data).hexdigest()}"'}
                for number, data in parts.items()
                if number
            ]
        }

    def complete_multipart_upload(
        self, Bucket: str, Key: str, UploadId: str, MultipartUpload: Any, **conditions: Any
    ) -> Any:
        parts = self._upload(UploadId)
        numbers = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        metadata = eval(parts[0].decode())
        answer = self._write(f"{Bucket}/{Key}", b"".join(parts[number] for number in numbers), metadata, conditions)
        del self.uploads[UploadId]
        return answer

    def abort_multipart_upload(self, Bucket: str, Key: str, UploadId: str) -> Any:
        self._upload(UploadId)
        del self.uploads[UploadId]
        return {}
