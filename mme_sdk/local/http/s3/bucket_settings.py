"""Settings of buckets that SeaweedFS does not have, or whose effect makes its objects unreadable.

A public access block is stored and has no effect. A default encryption names the encryption of new objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from mme_sdk.local.control.store import Store
from mme_sdk.local.http.s3.requests import malformed_xml, parse_xml
from mme_sdk.local.wire.errors import ApiError

__all__ = ["SETTINGS", "BucketSettings"]

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_VALUES = {"true": True, "false": False}
_ALGORITHMS = ("AES256", "aws:kms", "aws:kms:dsse")
_NEW: dict[str, dict[str, Any]] = {  # of a new bucket, as on AWS
    "publicAccessBlock": dict.fromkeys(_BLOCKS, True),
    "encryption": {"algorithm": "AES256"},
}
SETTINGS = frozenset(_NEW)
"""Parameters of the query that select a setting."""


class BucketSettings:
    """The operations Put, Get and Delete of PublicAccessBlock and BucketEncryption.

    Args:
        store: Holds the settings.
        list_buckets: Function that returns the creation time of each bucket by name. It may block.
    """

    def __init__(self, store: Store, list_buckets: Callable[[], dict[str, str]]) -> None:
        self._store = store
        self.list_buckets = list_buckets

    def default_encryption(self, bucket: str) -> dict[str, Any] | None:
        """Return the default encryption that PutBucketEncryption set: `algorithm` and `key`; None if it set none."""
        kept = self._store.get("s3-encryption", bucket)
        return None if kept is None else kept["setting"]

    def forget(self, bucket: str) -> None:
        """Forget the settings of a bucket that is deleted or created."""
        for name in SETTINGS:
            self._store.delete(f"s3-{name}", bucket)

    def answer(self, method: str, name: str, bucket: str, body: bytes, buckets: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of the response to a request with a valid signature.

        Args:
            method: GET, PUT or DELETE.
            name: One of `SETTINGS`.
            bucket: The bucket.
            body: Body of the request.
            buckets: Creation time of each bucket, from `list_buckets`.

        Raises:
            ApiError: The bucket or its setting does not exist, or the body is not valid.
        """
        if bucket not in buckets:
            raise ApiError("NoSuchBucket", "The specified bucket does not exist", status=404)
        match method:
            case "PUT":
                read = _parse_blocks if name == "publicAccessBlock" else _parse_encryption
                self._store.put(f"s3-{name}", bucket, {"setting": read(parse_xml(body))})
                return 200, b""
            case "DELETE":
                deleted = None if name == "publicAccessBlock" else _NEW[name]
                self._store.put(f"s3-{name}", bucket, {"setting": deleted})
                return 204, b""
            case "GET":
                kept = self._store.get(f"s3-{name}", bucket) or {"setting": _NEW[name]}
                if kept["setting"] is None:
                    text = "The public access block configuration was not found"
                    raise ApiError("NoSuchPublicAccessBlockConfiguration", text, status=404)
                write = _write_blocks if name == "publicAccessBlock" else _write_encryption
                return 200, bytes(ET.tostring(write(kept["setting"]), encoding="utf-8", xml_declaration=True))
            case _:
                text = "The specified method is not allowed against this resource."
                raise ApiError("MethodNotAllowed", text, status=405)


def _texts(root: ET.Element) -> dict[str, str]:
    return {one.tag.rpartition("}")[2]: (one.text or "").strip() for one in root}


def _parse_blocks(root: ET.Element) -> dict[str, bool]:
    given = {name: text.lower() for name, text in _texts(root).items()}
    if given.keys() - set(_BLOCKS) or set(given.values()) - _VALUES.keys():
        raise malformed_xml()
    return {name: _VALUES[given.get(name, "false")] for name in _BLOCKS}


def _write_blocks(setting: dict[str, bool]) -> ET.Element:
    root = ET.Element("PublicAccessBlockConfiguration", {"xmlns": _NAMESPACE})
    for name in _BLOCKS:
        ET.SubElement(root, name).text = "true" if setting[name] else "false"
    return root


def _parse_encryption(root: ET.Element) -> dict[str, Any]:
    rules = [one for one in root if one.tag.rpartition("}")[2] == "Rule"]
    defaults = [
        one for rule in rules for one in rule if one.tag.rpartition("}")[2] == "ApplyServerSideEncryptionByDefault"
    ]
    if len(rules) != 1 or len(defaults) != 1:
        raise malformed_xml()
    given = _texts(defaults[0])
    algorithm, key = given.get("SSEAlgorithm"), given.get("KMSMasterKeyID")
    if algorithm not in _ALGORITHMS:
        raise malformed_xml()
    if key is not None and algorithm == "AES256":
        text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
        raise ApiError("InvalidArgument", text)
    bucket_key = _texts(rules[0]).get("BucketKeyEnabled", "false").lower() == "true"
    return {"algorithm": algorithm, "key": key, "bucket_key": bucket_key}


def _write_encryption(setting: dict[str, Any]) -> ET.Element:
    root = ET.Element("ServerSideEncryptionConfiguration", {"xmlns": _NAMESPACE})
    rule = ET.SubElement(root, "Rule")
    default = ET.SubElement(rule, "ApplyServerSideEncryptionByDefault")
    ET.SubElement(default, "SSEAlgorithm").text = setting["algorithm"]
    if setting.get("key") is not None:
        ET.SubElement(default, "KMSMasterKeyID").text = setting["key"]
    ET.SubElement(rule, "BucketKeyEnabled").text = "true" if setting.get("bucket_key") else "false"
    return root
