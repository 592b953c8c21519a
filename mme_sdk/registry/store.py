"""S3 requests of the registry, as flows. All operations are composed of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import attrs

from mme_sdk._flows.effects import Call, Do, Flow, Sleep, Together
from mme_sdk._version import __version__
from mme_sdk.artifacts import Archive
from mme_sdk.aws.s3.head import head_object
from mme_sdk.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ConflictError,
    InvalidInputError,
    MMEError,
    ModelNotFoundError,
    NotFoundError,
    ServiceError,
)
from mme_sdk.registry.names import KeyLayout
from mme_sdk.types.model import ModelVersion

__all__ = [
    "NOT_READ",
    "ObjectOptions",
    "Page",
    "Record",
    "Store",
    "StoredObject",
    "all_or_raise",
    "ignore_errors",
    "not_deleted_error",
]

Page: TypeAlias = "tuple[list[ModelVersion], str | None]"
_METADATA_LIMIT = 2048  # bytes; of all user-defined metadata of an object
_SWAP_ATTEMPTS = 16
NOT_READ: Any = object()  # default of `known`: the record was not read yet
DELETE_LIMIT = 1000  # keys in one DeleteObjects request


@attrs.frozen(kw_only=True)
class ObjectOptions:
    """S3 settings of every object that the registry writes.

    Attributes:
        kms_key: Id, alias or ARN of the KMS key for encryption. Default: the bucket's own setting.
        tags: Object tags, at most 10. Default: none.
        storage_class: S3 storage class, such as `STANDARD_IA`. Endpoints cannot load models from `GLACIER` and
            `DEEP_ARCHIVE`. Default: `STANDARD`.
        requester_pays: Whether this account pays for requests to a bucket of another account. Default: False.
        expected_owner: Id of the account that must own the bucket. Default: not checked.

    Example:
        ```python
        options = ObjectOptions(kms_key="alias/models", tags={"team": "risk"}, storage_class="STANDARD_IA")
        ```
    """

    kms_key: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    storage_class: str | None = None
    requester_pays: bool = False
    expected_owner: str | None = None

    def __attrs_post_init__(self) -> None:
        for what in ("kms_key", "storage_class", "expected_owner"):
            _check_header(what, getattr(self, what))
        if self.storage_class in ("GLACIER", "DEEP_ARCHIVE"):
            raise InvalidInputError(
                f"endpoints cannot load models from the storage class {self.storage_class}",
                hint="use STANDARD, STANDARD_IA or INTELLIGENT_TIERING",
            )
        if len(self.tags) > 10:
            raise InvalidInputError(f"{len(self.tags)} tags were given; S3 allows 10 tags per object")


def request_parameters(options: ObjectOptions) -> dict[str, Any]:
    """Return the parameters of every request."""
    found: dict[str, Any] = {"RequestPayer": "requester"} if options.requester_pays else {}
    return found | ({"ExpectedBucketOwner": options.expected_owner} if options.expected_owner else {})


@attrs.frozen(kw_only=True)
class StoredObject:
    """An archive in S3.

    Attributes:
        version: The version, with everything that its S3 metadata contains.
        content: Digest of the tar inside the archive; None if the registry did not write the archive.
        metadata: All S3 metadata of the object.
    """

    version: ModelVersion
    content: str | None
    metadata: Mapping[str, str]


@attrs.frozen
class Record:
    """A small JSON object that the registry keeps under `.mme/`: an alias, the tombstones, or an upload.

    Attributes:
        body: The object.
        etag: Entity tag of S3, for conditional requests.
    """

    body: dict[str, Any]
    etag: str


@attrs.frozen
class Store:
    """S3 requests for one prefix.

    Attributes:
        keys: Layout of the keys.
        options: S3 settings of objects.
        read: Reads the body of a GetObject response.
        read_stream: Calls a function that reads such a body. It translates exceptions, and Ctrl-C interrupts it.
        jitter: Draws a random wait of at most the given number of seconds.
        now: Returns the time in seconds since the epoch.
    """

    keys: KeyLayout
    options: ObjectOptions
    read: Callable[[Mapping[str, Any]], bytes]
    read_stream: Callable[[Any, Callable[[], Any]], Any]
    jitter: Callable[[float], float]
    now: Callable[[], float]

    def call(self, operation: str, *, model: str | None = None, **params: Any) -> Call:
        """Return a request to the bucket."""
        params = {"Bucket": self.keys.prefix.bucket, **request_parameters(self.options), **params}
        return Call(service="s3", operation=operation, params=params, model=model)

    def write_parameters(self) -> dict[str, Any]:
        """Return the parameters of a request that creates an archive."""
        options = self.options
        found = request_parameters(options)
        if options.kms_key:
            found |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": options.kms_key}
        if options.storage_class:
            found["StorageClass"] = options.storage_class
        if options.tags:
            from urllib.parse import urlencode

            found["Tagging"] = urlencode(options.tags)
        return found

    def check_bucket(self) -> Flow[None]:
        """Raise BucketNotFoundError if the bucket does not exist.

        Some S3 servers create a bucket at the first write, which would hide a misspelt name.
        """
        try:
            yield self.call("list_objects_v2", Prefix=self.keys.prefix.key, MaxKeys=1)
        except BucketNotFoundError as error:
            error.hint = "create the bucket, or check its name and the AWS account"
            raise
        except AccessDeniedError:
            return  # write access does not need s3:ListBucket; the first write reports a missing bucket

    def head(self, target: str) -> Flow[StoredObject | None]:
        """Return the archive of a target model; None if it does not exist."""
        try:
            request = self.call("head_object", Key=self.keys.key(target))
            answer = yield from head_object(request.params, model=target)
        except NotFoundError:
            return None
        return self.stored(target, answer)

    def stored(self, target: str, answer: Mapping[str, Any]) -> StoredObject:
        """Return the archive that a response of HeadObject or PutObject describes."""
        headers: Mapping[str, str] = answer.get("Metadata", {})
        try:
            metadata = json.loads(headers.get("mme-metadata", "{}"))
        except ValueError:
            metadata = {}
        version = self.keys.version(
            target,
            size=answer.get("ContentLength"),
            sha256=headers.get("mme-sha256"),
            etag=str(answer.get("ETag", "")).strip('"') or None,
            created=answer.get("LastModified") or _date(answer),
            framework=headers.get("mme-framework"),
            metadata=metadata,
        )
        return StoredObject(version=version, content=headers.get("mme-content"), metadata=headers)

    def page(self, name: str | None, token: str | None) -> Flow[Page]:
        """Return one page of the listing: versions, and the token of the next page."""
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        answer = yield self.call("list_objects_v2", Prefix=self.keys.listing_prefix(name), **more)
        found = (self.keys.from_listing(item, name) for item in answer.get("Contents", []))
        return [one for one in found if one is not None], answer.get("NextContinuationToken")

    def all(self, name: str | None = None) -> Flow[list[ModelVersion]]:
        """Return all versions, or those of one name."""
        found: list[ModelVersion] = []
        token = None
        while True:
            versions, token = yield from self.page(name, token)
            found += versions
            if token is None:
                return found

    def delete(self, keys: Iterable[str]) -> Flow[None]:
        """Delete objects. Keys that do not exist are ignored.

        Raises:
            ServiceError: S3 did not delete some of them.
        """
        wanted = list(keys)
        kept = yield from self.try_delete(wanted)
        if kept:
            raise not_deleted_error(kept, len(wanted))

    def try_delete(self, keys: Iterable[str]) -> Flow[dict[str, Mapping[str, str]]]:
        """Delete objects. Keys that do not exist are ignored.

        Returns:
            The error of each key that S3 did not delete.
        """
        wanted = list(keys)
        kept: dict[str, Mapping[str, str]] = {}
        for start in range(0, len(wanted), DELETE_LIMIT):
            batch = wanted[start : start + DELETE_LIMIT]
            answer = yield self.call(
                "delete_objects", Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
            kept |= {str(one.get("Key")): one for one in answer.get("Errors", [])}
        return kept

    def delete_if(self, key: str, etag: str) -> Flow[None]:
        """Delete an object if its entity tag is still `etag`.

        Raises:
            ConflictError: The object was changed or deleted.
        """
        try:
            yield self.call("delete_object", Key=key, IfMatch=etag)
        except NotFoundError as error:
            raise ConflictError(error.message) from error

    def get_record(self, kind: str, name: str, known: Record | None = None) -> Flow[Record | None]:
        """Read a record.

        Args:
            kind: Kind of the record.
            name: Name of the record.
            known: The record as it was read before, to avoid transferring it again.

        Returns:
            The record; None if it does not exist; `known` itself if it is unchanged.
        """
        key = self.keys.reserved(kind, name)
        condition: dict[str, Any] = {} if known is None else {"IfNoneMatch": known.etag}
        try:
            answer = yield self.call("get_object", Key=key, **condition)
        except ModelNotFoundError:
            return None
        except MMEError as error:
            if error.status == 304:
                return known
            raise
        text = yield Do(lambda: self.read(answer))
        try:
            body = json.loads(text)
            if not isinstance(body, dict):
                raise ValueError("it is not a JSON object")
        except (ValueError, RecursionError) as error:
            raise ServiceError(
                f"the registry record s3://{self.keys.prefix.bucket}/{key} is damaged: {error}",
                hint="another program overwrote it; restore or delete the object",
            ) from error
        return Record(body, str(answer["ETag"]))

    def put_record(self, kind: str, name: str, body: Mapping[str, Any]) -> Flow[None]:
        """Write a record unconditionally."""
        yield self._put_record(kind, name, body, {})

    def swap_record(self, kind: str, name: str, body: Mapping[str, Any], old: Record | None) -> Flow[Record]:
        """Replace a record if it was not changed since `old` was read (compare-and-swap).

        Raises:
            ConflictError: The record was changed or deleted; or an earlier attempt of this request succeeded and its
                response was lost.
        """
        condition = {"IfNoneMatch": "*"} if old is None else {"IfMatch": old.etag}
        try:
            answer = yield self._put_record(kind, name, body, condition)
        except ModelNotFoundError as error:  # AWS answers 404 to If-Match if the object does not exist
            raise ConflictError(error.message) from error
        return Record(dict(body), str(answer["ETag"]))

    def change_record(
        self,
        kind: str,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        known: Record | None = NOT_READ,
    ) -> Flow[Record | None]:
        """Read a record, change it, and write it by compare-and-swap. Repeat if another client was faster.

        Args:
            kind: Kind of the record.
            name: Name of the record.
            change: Returns the new body for the old one (None: the record does not exist); or None to change nothing.
                It is called again for each attempt.
            known: The record, if it was just read.

        Returns:
            The record after the change.

        Raises:
            ConflictError: Other clients were faster in every attempt.
        """
        for attempt in range(_SWAP_ATTEMPTS):
            old = known if known is not NOT_READ else (yield from self.get_record(kind, name))
            known = NOT_READ
            body = change(None if old is None else old.body)
            if body is None:
                return old
            try:
                return (yield from self.swap_record(kind, name, body, old))
            except ConflictError:
                if attempt == _SWAP_ATTEMPTS - 1:
                    raise
                yield self.backoff(attempt)
        raise AssertionError("unreachable")

    def backoff(self, attempt: int) -> Sleep:
        """Return the wait before the next attempt, after another client was faster."""
        return Sleep(self.jitter(0.02 * 2 ** min(attempt, 6)))

    def _put_record(self, kind: str, name: str, body: Mapping[str, Any], condition: Mapping[str, str]) -> Call:
        options = self.write_parameters()
        options.pop("StorageClass", None)
        return self.call(
            "put_object",
            Key=self.keys.reserved(kind, name),
            Body=json.dumps(body, sort_keys=True).encode(),
            ContentType="application/json",
            **condition,
            **options,
        )

    def record_names(self, kind: str, prefix: str = "") -> Flow[list[str]]:
        """Return the names of all records of a kind that begin with `prefix`."""
        folder = self.keys.reserved(kind)
        found = yield from self.objects(folder.removeprefix(self.keys.prefix.key) + prefix)
        names = [str(item["Key"])[len(folder) :] for item in found]
        return [name for name in names if name and not name.endswith("/")]

    def objects(self, folder: str) -> Flow[list[Mapping[str, Any]]]:
        """Return the entries of ListObjectsV2 for all keys that begin with a key relative to the prefix."""
        found: list[Mapping[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            answer = yield self.call("list_objects_v2", Prefix=self.keys.key(folder), **more)
            found += answer.get("Contents", [])
            if not answer.get("NextContinuationToken"):
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def uploads(self) -> Flow[list[tuple[str, str, datetime]]]:
        """Return the unfinished multipart uploads under the prefix: key, upload id and start time."""
        found: list[tuple[str, str, datetime]] = []
        more: dict[str, Any] = {}
        while True:
            answer = yield self.call("list_multipart_uploads", Prefix=self.keys.prefix.key, **more)
            found += [(one["Key"], one["UploadId"], one["Initiated"]) for one in answer.get("Uploads", [])]
            if not answer.get("IsTruncated"):
                return found
            more = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def metadata(self, archive: Archive, caller: Mapping[str, str]) -> dict[str, str]:
        """Return the S3 metadata of an archive.

        Args:
            archive: The archive.
            caller: Metadata that the caller gave.

        Raises:
            InvalidInputError: The caller's metadata is too large, or contains something other than text.
        """
        for key, value in caller.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise InvalidInputError(f"metadata {key!r}: {value!r} must be text")
        headers = {
            "mme-sha256": archive.sha256,
            "mme-content": archive.content,
            "mme-sdk": __version__,
        }
        if archive.framework:
            _check_header("framework", archive.framework)
            headers["mme-framework"] = archive.framework
        if caller:
            headers["mme-metadata"] = json.dumps(dict(caller), sort_keys=True)  # ASCII, which headers require
        size = sum(len(key) + len(value) for key, value in headers.items())
        if size > _METADATA_LIMIT:
            raise InvalidInputError(
                f"the metadata has {size} bytes; S3 allows {_METADATA_LIMIT}",
                hint="store the text elsewhere and give a reference to it",
            )
        return headers


def _check_header(what: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
        raise InvalidInputError(f"{what} must be printable ASCII text, not {value!r}")


def _date(answer: Mapping[str, Any]) -> datetime | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else None


def not_deleted_error(kept: Mapping[str, Mapping[str, str]], total: int) -> ServiceError:
    """Return the error for objects that S3 did not delete."""
    key, first = next(iter(kept.items()))
    return ServiceError(
        f"{len(kept)} of {total} objects were not deleted, first {key}: {first.get('Message') or first.get('Code')}",
        code=first.get("Code"),
        hint="grant s3:DeleteObject" if first.get("Code") == "AccessDenied" else None,
    )


def all_or_raise(flows: list[Flow[Any]], width: int) -> Flow[list[Any]]:
    """Run flows concurrently, at most `width` at a time. Raise the first error after all have ended."""
    results: list[Any] = yield Together(flows, width)
    if (error := next((one for one in results if isinstance(one, BaseException)), None)) is not None:
        raise error
    return results


def ignore_errors(flow: Flow[Any]) -> Flow[None]:
    """Run a clean-up and ignore its MMEError, so that the error before it is the one that is raised."""
    try:
        yield from flow
    except MMEError:
        return
