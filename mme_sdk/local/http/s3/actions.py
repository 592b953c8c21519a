"""The IAM actions of S3 requests.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from mme_sdk.local.control.iam.actions import Check
from mme_sdk.local.http.s3.requests import S3Request, parse_xml
from mme_sdk.local.wire.errors import ApiError

__all__ = ["SUBRESOURCES", "checks_of_delete", "checks_of_s3"]

# The actions by method and by the parameter of the query that selects the operation.
_BUCKET = {
    ("GET", ""): "ListBucket",
    ("HEAD", ""): "ListBucket",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "uploads"): "ListBucketMultipartUploads",
    ("GET", "versions"): "ListBucketVersions",
    ("GET", "versioning"): "GetBucketVersioning",
    ("PUT", "versioning"): "PutBucketVersioning",
    ("GET", "tagging"): "GetBucketTagging",
    ("PUT", "tagging"): "PutBucketTagging",
    ("GET", "policy"): "GetBucketPolicy",
    ("PUT", "policy"): "PutBucketPolicy",
    ("GET", "encryption"): "GetEncryptionConfiguration",
    ("PUT", "encryption"): "PutEncryptionConfiguration",
    ("GET", "publicAccessBlock"): "GetBucketPublicAccessBlock",
    ("PUT", "publicAccessBlock"): "PutBucketPublicAccessBlock",
    ("DELETE", "publicAccessBlock"): "PutBucketPublicAccessBlock",
}
_OBJECT = {
    ("GET", ""): "GetObject",
    ("HEAD", ""): "GetObject",
    ("PUT", ""): "PutObject",
    ("DELETE", ""): "DeleteObject",
    ("GET", "versionId"): "GetObjectVersion",
    ("HEAD", "versionId"): "GetObjectVersion",
    ("DELETE", "versionId"): "DeleteObjectVersion",
    ("GET", "tagging"): "GetObjectTagging",
    ("PUT", "tagging"): "PutObjectTagging",
    ("DELETE", "tagging"): "DeleteObjectTagging",
    ("POST", "uploads"): "PutObject",
    ("PUT", "uploadId"): "PutObject",
    ("POST", "uploadId"): "PutObject",
    ("GET", "uploadId"): "ListMultipartUploadParts",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
# Parameters that select an operation which has no action above.
_OTHER_SELECTORS = frozenset(
    (
        "acl",
        "cors",
        "delete",
        "lifecycle",
        "object-lock",
        "legal-hold",
        "retention",
        "select",
        "torrent",
        "website",
        "notification",
        "ownershipControls",
        "policyStatus",
        "replication",
        "requestPayment",
        "logging",
        "restore",
        "accelerate",
        "analytics",
        "attributes",
        "inventory",
        "metrics",
        "intelligent-tiering",
        "renameObject",
    )
)
SUBRESOURCES = (frozenset(name for _, name in (*_BUCKET, *_OBJECT)) | _OTHER_SELECTORS) - {""}
"""Parameters of the query that select another operation than that of the method."""
_KEYS = {"prefix": "s3:prefix", "delimiter": "s3:delimiter", "max-keys": "s3:max-keys", "versionId": "s3:versionid"}
_HEADERS = {
    "x-amz-server-side-encryption": "s3:x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-storage-class": "s3:x-amz-storage-class",
    "x-amz-acl": "s3:x-amz-acl",
}


def checks_of_s3(request: S3Request, partition: str) -> list[Check]:
    """Return the permissions that a request needs.

    Args:
        request: The request.
        partition: Partition of the region.

    Raises:
        ApiError: NotImplemented. The host does not know the action of the request.
    """
    query = request.query
    context = {key: [query[name]] for name, key in _KEYS.items() if name in query}
    context |= {key: [request.headers[name]] for name, key in _HEADERS.items() if name in request.headers}
    if not request.bucket:
        if request.method == "GET":
            return [Check(action="s3:ListAllMyBuckets", resource="*", context=context)]
        raise _unknown(request, "")
    named = [name for name in query if name in SUBRESOURCES]
    # Several parameters may occur together, such as tagging and versionId. The first one decides.
    selector = next((one for one in named if one not in ("versionId", "uploadId")), named[0] if named else "")
    if (request.method, selector, request.key) == ("POST", "delete", ""):
        return []  # `checks_of_delete` returns those of the keys
    table = _OBJECT if request.key else _BUCKET
    action = table.get((request.method, selector))
    if action is None:
        raise _unknown(request, selector)
    arn = f"arn:{partition}:s3:::{request.bucket}"
    resource = f"{arn}/{request.key}" if request.key else arn
    checks = [Check(action=f"s3:{action}", resource=resource, context=context)]
    if action == "PutObject":
        checks += _checks_of_copy(request.headers, partition)
        if "x-amz-tagging" in request.headers:
            checks.append(Check(action="s3:PutObjectTagging", resource=resource, context=context))
    return checks


def checks_of_delete(request: S3Request, body: bytes, partition: str) -> list[Check]:
    """Return the permissions that DeleteObjects needs: one for each key.

    Args:
        request: The request.
        body: Its body.
        partition: Partition of the region.

    Raises:
        ApiError: MalformedXML.
    """
    root = parse_xml(body)
    checks = []
    for item in root.iter():
        if item.tag.rpartition("}")[2] != "Object":
            continue
        named = {one.tag.rpartition("}")[2]: one.text or "" for one in item}
        action = "s3:DeleteObjectVersion" if named.get("VersionId") else "s3:DeleteObject"
        checks.append(Check(action=action, resource=f"arn:{partition}:s3:::{request.bucket}/{named.get('Key', '')}"))
    return checks


def _checks_of_copy(headers: Mapping[str, str], partition: str) -> list[Check]:
    source = headers.get("x-amz-copy-source")
    if source is None:
        return []
    path, _, version = source.partition("?versionId=")
    action = "s3:GetObjectVersion" if version else "s3:GetObject"
    return [Check(action=action, resource=f"arn:{partition}:s3:::{unquote(path).lstrip('/')}")]


def _unknown(request: S3Request, selector: str) -> ApiError:
    what = f"{request.method} {request.target.partition('?')[0][:256]}{f'?{selector}' if selector else ''}"
    return ApiError(
        "NotImplemented",
        f"The embedded SageMaker does not evaluate policies for {what}. Use the keys of the host.",
        status=501,
    )
