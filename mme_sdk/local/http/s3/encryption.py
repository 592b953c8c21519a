"""Server-side encryption: accept the headers, store them with the object, and name them in responses.

The objects are not encrypted on disk. SeaweedFS can encrypt them, but then it cannot read an object of more than 4 MiB
while its volume server requires TLS (createEncryptedChunkReader of https://github.com/seaweedfs/seaweedfs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.kms import key_arn
from mme_sdk.local.http.s3.requests import S3Request
from mme_sdk.local.wire.errors import ApiError

__all__ = ["HEADERS", "MARK", "Encryption", "encryption_of", "name_encryption"]

_SSE = "x-amz-server-side-encryption"
_KEY_ID = f"{_SSE}-aws-kms-key-id"
_BUCKET_KEY = f"{_SSE}-bucket-key-enabled"
_CUSTOMER = f"{_SSE}-customer-algorithm"
_DEFAULT_KEY = "alias/aws/s3"
_KMS = ("aws:kms", "aws:kms:dsse")
HEADERS = frozenset((_SSE, _KEY_ID, _BUCKET_KEY, f"{_SSE}-context"))
"""Headers of a request that SeaweedFS does not get."""
MARK = "x-amz-meta-mme-sdk-encryption"
"""User metadata of an object with the algorithm and the ARN of the key. Responses have the headers of AWS instead."""


@attrs.frozen
class Encryption:
    """The encryption of an object.

    Attributes:
        algorithm: `AES256`, `aws:kms` or `aws:kms:dsse`.
        key: ARN of the KMS key; empty for AES256.
    """

    algorithm: str
    key: str = ""

    @property
    def mark(self) -> str:
        """The value of `MARK`."""
        return f"{self.algorithm} {self.key}".strip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a response."""
        return {_SSE: self.algorithm} | ({_KEY_ID: self.key} if self.key else {})


def encryption_of(request: S3Request, default: Mapping[str, Any] | None, account: Account) -> Encryption | None:
    """Return the encryption that a new object gets; None if the request and the bucket name none.

    Args:
        request: PutObject, CopyObject or CreateMultipartUpload.
        default: Default encryption of the bucket, from `BucketSettings.default_encryption`.
        account: The account of the keys.

    Raises:
        ApiError: InvalidArgument, or NotImplemented for keys that the customer provides.
    """
    headers = request.headers
    if _CUSTOMER in headers:
        raise ApiError(
            "NotImplemented",
            "The embedded SageMaker does not support keys that the customer provides (SSE-C). Use aws:kms or AES256.",
            status=501,
        )
    algorithm, key = headers.get(_SSE), headers.get(_KEY_ID)
    if algorithm is None and key is None:
        if default is None:
            return None
        algorithm, key = default["algorithm"], default.get("key")
    if algorithm not in ("AES256", *_KMS):
        raise ApiError("InvalidArgument", "The encryption method specified is not supported")
    if algorithm == "AES256":
        if key is not None:
            text = f"The header {_KEY_ID} can only be used with the encryption method aws:kms."
            raise ApiError("InvalidArgument", text)
        return Encryption(algorithm)
    return Encryption(str(algorithm), key_arn(account, key or _DEFAULT_KEY))


def name_encryption(head: bytes) -> bytes:
    """Return the head of a response of GetObject or HeadObject with the headers of AWS in place of the mark."""
    lines = head[:-4].decode("latin-1").split("\r\n")
    marks = [line for line in lines if line.partition(":")[0].lower() == MARK]
    if not marks:
        return head
    algorithm, _, key = marks[0].partition(":")[2].strip().partition(" ")
    named = [f"{name}: {value}" for name, value in Encryption(algorithm, key).headers.items()]
    kept = [line for line in lines if line not in marks]
    return "\r\n".join([*kept, *named, "", ""]).encode("latin-1")
