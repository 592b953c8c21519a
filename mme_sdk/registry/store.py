"""Single requests to S3, as flows: what every verb of the registry is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import attrs

from mme_sdk._effects import Call, Do, Flow, Sleep, Together
from mme_sdk._version import __version__
from mme_sdk.artifacts import Archive
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
from mme_sdk.registry.names import Keys
from mme_sdk.types.model import ModelVersion

__all__ = ["UNREAD", "Note", "ObjectOptions", "Page", "Store", "StoredObject"]

Page: TypeAlias = "tuple[list[ModelVersion], str | None]"
_METADATA_LIMIT = 2048  # bytes of all user-defined metadata of an object
_SWAPS = 16
UNREAD: Any = object()
"""In the place of a note that was not read yet."""
DELETE_LIMIT = 1000  # keys of one DeleteObjects


@attrs.frozen(kw_only=True)
class ObjectOptions:
    """What S3 is told about every object that the registry writes.

    Attributes:
        kms_key: Id, alias or ARN of the KMS key that encrypts; the bucket's own setting where None.
        tags: Object tags.
        storage_class: S3 storage class, such as `STANDARD_IA`; archive classes cannot be loaded by an endpoint.
        requester_pays: Whether this account pays for requests to somebody else's bucket.
        expected_owner: Account that must own the bucket.
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
            raise InvalidInputError(f"an endpoint cannot load a model from storage class {self.storage_class}")
        if len(self.tags) > 10:
            raise InvalidInputError(f"{len(self.tags)} tags; S3 allows 10 on an object")

    def common(self) -> dict[str, Any]:
        """Parameters of every request."""
        found: dict[str, Any] = {"RequestPayer": "requester"} if self.requester_pays else {}
        return found | ({"ExpectedBucketOwner": self.expected_owner} if self.expected_owner else {})

    def writing(self) -> dict[str, Any]:
        """Parameters of a request that creates an archive."""
        found = self.common()
        if self.kms_key:
            found |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key}
        if self.storage_class:
            found["StorageClass"] = self.storage_class
        if self.tags:
            from urllib.parse import urlencode

            found["Tagging"] = urlencode(self.tags)
        return found


@attrs.frozen(kw_only=True)
class StoredObject:
    """What S3 says about an archive.

    Attributes:
        version: The archive, with everything that its metadata tells.
        content: Digest of the tar inside; None where the registry did not write it.
        notes: All of its S3 metadata.
    """

    version: ModelVersion
    content: str | None
    notes: Mapping[str, str]


@attrs.frozen
class Note:
    """A small JSON object of ours, as it was read.

    Attributes:
        body: The object.
        etag: S3's entity tag, to swap it.
    """

    body: dict[str, Any]
    etag: str


@attrs.frozen
class Store:
    """One prefix.

    Attributes:
        keys: Its layout.
        options: What is told with every request.
        read: Reads the body of a GetObject answer.
        streamed: Runs work that reads such a body, with our own errors in the place of boto's; Ctrl-C ends it.
        jitter: Draws a wait of at most so many seconds.
        now: Seconds since the epoch.
    """

    keys: Keys
    options: ObjectOptions
    read: Callable[[Mapping[str, Any]], bytes]
    streamed: Callable[[Any, Callable[[], Any]], Any]
    jitter: Callable[[float], float]
    now: Callable[[], float]

    def call(self, operation: str, *, model: str | None = None, **params: Any) -> Call:
        """A request about this bucket."""
        params = {"Bucket": self.keys.prefix.bucket, **self.options.common(), **params}
        return Call(service="s3", operation=operation, params=params, model=model)

    def ready(self) -> Flow[None]:
        """Make sure that there is a bucket.

        Some S3 servers make one at the first write, which would hide a typing error.
        """
        try:
            yield self.call("list_objects_v2", Prefix=self.keys.prefix.key, MaxKeys=1)
        except BucketNotFoundError as error:
            error.hint = "create it first, or check the name and the account"
            raise
        except AccessDeniedError:
            return  # who may only write need not be able to list; S3 itself tells at the first write

    def head(self, target: str) -> Flow[StoredObject | None]:
        """What is stored under a target model; None where nothing is."""
        try:
            answer = yield self.call("head_object", Key=self.keys.key(target), model=target)
        except NotFoundError:
            return None
        return self.stored(target, answer)

    def stored(self, target: str, answer: Mapping[str, Any]) -> StoredObject:
        """What an answer of S3 says about an archive."""
        notes: Mapping[str, str] = answer.get("Metadata", {})
        try:
            metadata = json.loads(notes.get("mme-metadata", "{}"))
        except ValueError:
            metadata = {}
        version = self.keys.version(
            target,
            size=answer.get("ContentLength"),
            sha256=notes.get("mme-sha256"),
            etag=str(answer.get("ETag", "")).strip('"') or None,
            created=answer.get("LastModified") or _date(answer),
            framework=notes.get("mme-framework"),
            metadata=metadata,
        )
        return StoredObject(version=version, content=notes.get("mme-content"), notes=notes)

    def page(self, name: str | None, token: str | None) -> Flow[Page]:
        """One page of the listing: versions, and the token of the next page."""
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        answer = yield self.call("list_objects_v2", Prefix=self.keys.starts(name), **more)
        found = (self.keys.listed(item, name) for item in answer.get("Contents", []))
        return [one for one in found if one is not None], answer.get("NextContinuationToken")

    def all(self, name: str | None = None) -> Flow[list[ModelVersion]]:
        """Every version, for verbs that must see all of them."""
        found: list[ModelVersion] = []
        token = None
        while True:
            versions, token = yield from self.page(name, token)
            found += versions
            if token is None:
                return found

    def delete(self, keys: Iterable[str]) -> Flow[None]:
        """Delete objects; absent ones are fine.

        Raises:
            ServiceError: S3 kept some of them.
        """
        wanted = list(keys)
        kept = yield from self.try_delete(wanted)
        if kept:
            raise not_deleted(kept, len(wanted))

    def try_delete(self, keys: Iterable[str]) -> Flow[dict[str, Mapping[str, str]]]:
        """Delete objects; absent ones are fine.

        Returns:
            What S3 said about each key that it kept.
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
        """Delete an object that still is what was read.

        Raises:
            ConflictError: It is something else, or gone.
        """
        try:
            yield self.call("delete_object", Key=key, IfMatch=etag)
        except NotFoundError as error:
            raise ConflictError(error.message) from error

    def get_note(self, kind: str, name: str, known: Note | None = None) -> Flow[Note | None]:
        """A note of ours; None where there is none, `known` itself where that is still what is stored."""
        key = self.keys.reserved(kind, name)
        unless: dict[str, Any] = {} if known is None else {"IfNoneMatch": known.etag}
        try:
            answer = yield self.call("get_object", Key=key, **unless)
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
                raise ValueError("no object")
        except ValueError as error:
            raise ServiceError(
                f"s3://{self.keys.prefix.bucket}/{key} is damaged: {error}", hint="it was not written by this SDK"
            ) from error
        return Note(body, str(answer["ETag"]))

    def put_note(self, kind: str, name: str, body: Mapping[str, Any]) -> Flow[None]:
        """Write a note, whatever was there."""
        yield self._put_note(kind, name, body, {})

    def swap_note(self, kind: str, name: str, body: Mapping[str, Any], old: Note | None) -> Flow[Note]:
        """Write a note in the place of the one that was read.

        Raises:
            ConflictError: Somebody else wrote or deleted it since; or an answer was lost, and we did.
        """
        condition = {"IfNoneMatch": "*"} if old is None else {"IfMatch": old.etag}
        try:
            answer = yield self._put_note(kind, name, body, condition)
        except ModelNotFoundError as error:  # what AWS answers where there is nothing that could match
            raise ConflictError(error.message) from error
        return Note(dict(body), str(answer["ETag"]))

    def change_note(
        self,
        kind: str,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        known: Note | None = UNREAD,
    ) -> Flow[Note | None]:
        """Read, change, write; again with what others wrote meanwhile, so that no change is lost.

        Args:
            kind: Kind of the note.
            name: Its name.
            change: From the old body, None where there is none, to the new; None leaves it alone. May be called again.
            known: The note, where it was just read.

        Returns:
            The note as it is now.
        """
        for attempt in range(_SWAPS):
            old = known if known is not UNREAD else (yield from self.get_note(kind, name))
            known = UNREAD
            body = change(None if old is None else old.body)
            if body is None:
                return old
            try:
                return (yield from self.swap_note(kind, name, body, old))
            except ConflictError:
                if attempt == _SWAPS - 1:
                    raise
                yield self.pause(attempt)
        raise AssertionError("unreachable")

    def pause(self, attempt: int) -> Sleep:
        """A wait before the next attempt, after others were faster."""
        return Sleep(self.jitter(0.02 * 2 ** min(attempt, 6)))

    def _put_note(self, kind: str, name: str, body: Mapping[str, Any], condition: Mapping[str, str]) -> Call:
        options = self.options.writing()
        options.pop("StorageClass", None)
        return self.call(
            "put_object",
            Key=self.keys.reserved(kind, name),
            Body=json.dumps(body, sort_keys=True).encode(),
            ContentType="application/json",
            **condition,
            **options,
        )

    def note_names(self, kind: str, starts: str = "") -> Flow[list[str]]:
        """Names of all notes of a kind that begin so."""
        prefix = self.keys.reserved(kind)
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            answer = yield self.call("list_objects_v2", Prefix=prefix + starts, **more)
            found += [str(item["Key"])[len(prefix) :] for item in answer.get("Contents", [])]
            if not answer.get("NextContinuationToken"):
                return [name for name in found if name and not name.endswith("/")]
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def uploads(self) -> Flow[list[tuple[str, str, datetime]]]:
        """Multipart uploads under the prefix that are not finished: key, id, begin."""
        found: list[tuple[str, str, datetime]] = []
        more: dict[str, Any] = {}
        while True:
            answer = yield self.call("list_multipart_uploads", Prefix=self.keys.prefix.key, **more)
            found += [(one["Key"], one["UploadId"], one["Initiated"]) for one in answer.get("Uploads", [])]
            if not answer.get("IsTruncated"):
                return found
            more = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def metadata(self, archive: Archive, caller: Mapping[str, str]) -> dict[str, str]:
        """What travels with an archive as S3 metadata.

        Raises:
            InvalidInputError: The caller's metadata is too large, or no text.
        """
        for key, value in caller.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise InvalidInputError(f"metadata {key!r}: {value!r} must be text")
        notes = {
            "mme-sha256": archive.sha256,
            "mme-content": archive.content,
            "mme-sdk": __version__,
        }
        if archive.framework:
            _check_header("framework", archive.framework)
            notes["mme-framework"] = archive.framework
        if caller:
            notes["mme-metadata"] = json.dumps(dict(caller), sort_keys=True)  # ASCII, as headers must be
        size = sum(len(key) + len(value) for key, value in notes.items())
        if size > _METADATA_LIMIT:
            raise InvalidInputError(f"metadata of {size} bytes; S3 allows {_METADATA_LIMIT}", hint="keep a reference")
        return notes


def _check_header(what: str, value: Any) -> None:
    """Refuse what no header can carry."""
    if value is not None and not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
        raise InvalidInputError(f"{what} must be printable ASCII text, not {value!r}")


def _date(answer: Mapping[str, Any]) -> datetime | None:
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(said) if said else None


def not_deleted(kept: Mapping[str, Mapping[str, str]], of: int) -> ServiceError:
    """The error for objects that S3 kept."""
    key, first = next(iter(kept.items()))
    return ServiceError(
        f"{len(kept)} of {of} objects were not deleted, first {key}: {first.get('Message') or first.get('Code')}",
        code=first.get("Code"),
        hint="grant s3:DeleteObject" if first.get("Code") == "AccessDenied" else None,
    )


def collected(flows: list[Flow[Any]], width: int) -> Flow[list[Any]]:
    """Run flows side by side; raises the first error once all have ended."""
    results: list[Any] = yield Together(flows, width)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def quietly(flow: Flow[Any]) -> Flow[None]:
    """Clean up without hiding the error that made it necessary."""
    try:
        yield from flow
    except MMEError:
        return
