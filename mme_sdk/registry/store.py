"""Single requests to S3, as flows: what every verb of the registry is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import attrs

from mme_sdk._version import __version__
from mme_sdk.artifacts import Archive
from mme_sdk.aws.flow import Call, Do, Flow, Together
from mme_sdk.errors import (
    BucketNotFoundError,
    InvalidInputError,
    MMEError,
    ModelNotFoundError,
    NotFoundError,
    ServiceError,
)
from mme_sdk.registry.names import Keys
from mme_sdk.shapes.model import ModelVersion

__all__ = ["ObjectOptions", "Page", "Store", "StoredObject"]

Page: TypeAlias = "tuple[list[ModelVersion], str | None]"
_METADATA_LIMIT = 2048  # bytes of all user-defined metadata of an object
_DELETE_LIMIT = 1000  # keys of one DeleteObjects


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
    """

    version: ModelVersion
    content: str | None


@attrs.frozen
class Store:
    """One prefix.

    Attributes:
        keys: Its layout.
        options: What is told with every request.
        streams: Opens an object's bytes, outside of flows.
    """

    keys: Keys
    options: ObjectOptions
    read: Callable[[dict[str, Any]], bytes]

    def call(self, operation: str, *, model: str | None = None, replay: bool = True, **params: Any) -> Call:
        """A request about this bucket."""
        params = {"Bucket": self.keys.prefix.bucket, **self.options.common(), **params}
        return Call(service="s3", operation=operation, params=params, model=model, replay=replay)

    def ready(self) -> Flow[None]:
        """Make sure that there is a bucket.

        Some S3 servers make one at the first write, which would hide a typing error.
        """
        try:
            yield self.call("head_bucket")
        except BucketNotFoundError:
            raise
        except NotFoundError as error:
            raise BucketNotFoundError(
                f"there is no bucket {self.keys.prefix.bucket}",
                hint="create it first, or check the name and the account",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            ) from error

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
        return StoredObject(version=version, content=notes.get("mme-content"))

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
        for start in range(0, len(wanted), _DELETE_LIMIT):
            batch = wanted[start : start + _DELETE_LIMIT]
            answer = yield self.call(
                "delete_objects", Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
            if kept := answer.get("Errors"):
                first = kept[0]
                raise ServiceError(
                    f"{len(kept)} of {len(batch)} objects were not deleted, first {first.get('Key')}:"
                    f" {first.get('Message') or first.get('Code')}",
                    code=first.get("Code"),
                    hint="grant s3:DeleteObject" if first.get("Code") == "AccessDenied" else None,
                )

    def get_note(self, kind: str, name: str) -> Flow[tuple[dict[str, Any], str] | None]:
        """A note of ours and its entity tag; None where there is none."""
        key = self.keys.reserved(kind, name)
        try:
            answer = yield self.call("get_object", Key=key)
        except ModelNotFoundError:
            return None
        body = yield Do(lambda: self.read(answer))
        try:
            note = json.loads(body)
            if not isinstance(note, dict):
                raise ValueError("no object")
        except ValueError as error:
            raise ServiceError(
                f"s3://{self.keys.prefix.bucket}/{key} is damaged: {error}", hint="it was not written by this SDK"
            ) from error
        return note, str(answer["ETag"])

    def put_note(self, kind: str, name: str, note: Mapping[str, Any], **condition: str) -> Flow[str]:
        """Write a note; returns its entity tag."""
        options = self.options.writing()
        options.pop("StorageClass", None)
        answer = yield self.call(
            "put_object",
            Key=self.keys.reserved(kind, name),
            Body=json.dumps(note, sort_keys=True).encode(),
            ContentType="application/json",
            # After a lost answer the condition would refuse what we wrote ourselves.
            replay=not condition,
            **condition,
            **options,
        )
        return str(answer["ETag"])

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
            notes["mme-framework"] = archive.framework
        if caller:
            notes["mme-metadata"] = json.dumps(dict(caller), sort_keys=True)  # ASCII, as headers must be
        size = sum(len(key) + len(value) for key, value in notes.items())
        if size > _METADATA_LIMIT:
            raise InvalidInputError(f"metadata of {size} bytes; S3 allows {_METADATA_LIMIT}", hint="keep a reference")
        return notes


def _date(answer: Mapping[str, Any]) -> datetime | None:
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(said) if said else None


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
