"""botocore's exceptions into ours: nothing of botocore or urllib3 leaks out of this package."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import botocore.exceptions as bc

from mme_sdk.aws.error_codes import DENIED, QUOTAS, THROTTLES
from mme_sdk.aws.signature_errors import explain_refusal
from mme_sdk.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ConfigurationError,
    ConflictError,
    EndpointNotFoundError,
    InvalidInputError,
    MMEError,
    ModelNotFoundError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    QuotaExceededError,
    ServiceError,
    ThrottledError,
)

__all__ = ["cause_of", "never_sent", "translate", "translating"]

# http.client quotes the header's value, which may be a session token.
_UNSENDABLE = re.compile(r"Invalid header (?:value|name)|Invalid leading whitespace|latin-1.*codec can't encode")
_CONFLICTS = frozenset(
    {
        "BucketAlreadyExists",
        "BucketAlreadyOwnedByYou",
        "ConditionalRequestConflict",
        "ConflictException",
        "PreconditionFailed",
        "ResourceInUse",
        "412",
    }
)


@contextmanager
def translating(
    *,
    service: str,
    operation: str,
    params: Mapping[str, Any] | None = None,
    endpoint: str | None = None,
    model: str | None = None,
) -> Iterator[None]:
    """Raise our own error in the place of any that botocore, or what it calls, raises inside.

    Args:
        service: boto3's service name.
        operation: boto3's method name.
        params: The call's arguments; only bucket, key and resource names of them reach a message.
        endpoint: Endpoint concerned.
        model: Model concerned.

    Raises:
        MMEError: In place of any other exception.
    """
    try:
        yield
    except MMEError:
        raise
    except Exception as error:  # noqa: BLE001 - credential providers, urllib3 and http.client raise kinds of their own
        ours = translate(error, service, operation, params or {}, endpoint=endpoint, model=model)
        raise ours from cause_of(error)


def translate(
    error: Exception,
    service: str,
    operation: str,
    params: Mapping[str, Any],
    *,
    endpoint: str | None = None,
    model: str | None = None,
) -> MMEError:
    """Our error for one of botocore's, or of what it calls."""
    if isinstance(error, MMEError):
        return error
    subject = _subject(service, operation, params)
    facts: dict[str, Any] = {"endpoint": endpoint or params.get("EndpointName"), "model": model}
    if isinstance(error, bc.ClientError):
        return _from_answer(error, subject, params, facts)
    match error:
        case bc.NoCredentialsError():
            return ConfigurationError(
                f"{subject}: no usable AWS credentials",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile, or pass session=…",
                **facts,
            )
        case bc.PartialCredentialsError() | bc.CredentialRetrievalError():
            return ConfigurationError(
                f"{subject}: no usable AWS credentials ({error})", hint="check the credential provider", **facts
            )
        case bc.SSOError() | bc.TokenRetrievalError() | bc.UnauthorizedSSOTokenError():
            return ConfigurationError(
                f"{subject}: the AWS login is not valid ({error})", hint="log in again: aws sso login", **facts
            )
        case bc.NoRegionError():
            return ConfigurationError(
                f"{subject}: no AWS region is set", hint="pass region=… or set AWS_DEFAULT_REGION", **facts
            )
        case bc.ParamValidationError():
            return InvalidInputError(f"{subject}: {error}", **facts)
        case bc.EndpointConnectionError() | bc.ConnectTimeoutError() | bc.ProxyConnectionError() | bc.SSLError():
            return NotSentError(
                f"{subject}: no connection ({error})",
                hint="check the address, the network and the proxy settings",
                **facts,
            )
        case bc.HTTPClientError():
            inner = error.kwargs.get("error")
            if isinstance(inner, MMEError):
                return inner  # a body of ours could not be read
            if _UNSENDABLE.search(str(error)):
                return _unsendable(subject, facts)
            if never_sent(error):
                return ConfigurationError(f"{subject}: {error}", hint="check the endpoint URL", **facts)
            # Read time-outs, dropped connections, broken replies: it had been sent.
            return OutcomeUnknownError(f"{subject}: sent, but no whole answer came back ({error})", **facts)
        case bc.BotoCoreError():
            return ConfigurationError(f"{subject}: {error}", **facts)
        case _:
            if _UNSENDABLE.search(str(error)):
                return _unsendable(subject, facts)
            return ConfigurationError(
                f"{subject}: {type(error).__name__} from botocore, a credential provider or a handler: {error}",
                hint="check the endpoint URL, the AWS profile and its credential provider",
                **facts,
            )


def never_sent(error: Exception) -> bool:
    """Whether botocore, which takes it for a failure of sending, cannot have begun to send."""
    from urllib3.exceptions import LocationValueError

    inner = error.kwargs.get("error") if isinstance(error, bc.HTTPClientError) else error
    return isinstance(inner, LocationValueError) or _UNSENDABLE.search(str(error)) is not None


def cause_of(error: Exception) -> Exception | None:
    """The exception to chain ours to; None where its text may hold a secret."""
    return None if _UNSENDABLE.search(str(error)) else error


def _unsendable(subject: str, facts: dict[str, Any]) -> ConfigurationError:
    return ConfigurationError(
        f"{subject}: a request header has a character that HTTP does not allow",
        hint="look for a line break in the access key, the session token or the User-Agent",
        **facts,
    )


def _subject(service: str, operation: str, params: Mapping[str, Any]) -> str:
    if service == "s3":
        bucket, key = params.get("Bucket"), params.get("Key", params.get("Prefix", ""))
        return f"{operation} s3://{bucket}/{key}" if bucket else operation
    for name in ("EndpointName", "EndpointConfigName", "ModelName", "ResourceId"):
        if name in params:
            return f"{operation} {params[name]}"
    return operation


def _from_answer(error: bc.ClientError, subject: str, params: Mapping[str, Any], facts: dict[str, Any]) -> MMEError:
    answer: dict[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    said = str(answer.get("Error", {}).get("Message", "")) or code
    meta = answer.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode")
    headers = meta.get("HTTPHeaders", {})
    facts |= {"code": code, "status": status, "request_id": meta.get("RequestId") or None}
    text = f"{subject}: {said}"
    if code in THROTTLES or status == 429:
        return ThrottledError(text, retry_after=_seconds(headers.get("retry-after")), **facts)
    if code in (
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "301",
    ):
        region = headers.get("x-amz-bucket-region") or answer.get("Error", {}).get("Region")
        where = f"in {region}" if region else "in another region"
        return ConfigurationError(f"{text} (the bucket is {where})", hint="use a client of that region", **facts)
    if code in QUOTAS:
        return _over_quota(text, said, facts)
    refusal = explain_refusal(code, said, date=headers.get("date"), now=time.time())
    if refusal is not None:
        kind = ConfigurationError if refusal.local else AccessDeniedError
        return kind(f"{subject}: {refusal.reason}: {said}", hint=refusal.hint, sent=True, **facts)
    if code in DENIED or status == 403:
        return AccessDeniedError(text, hint=_missing_permission(said, subject), **facts)
    if code in _CONFLICTS or re.match(r"Cannot (create already existing|update in-progress)", said):
        return ConflictError(text, **facts)
    if code == "NoSuchBucket":
        return BucketNotFoundError(text, **facts)
    if said.startswith('Could not find endpoint "'):
        return EndpointNotFoundError(text, **facts)
    if code in ("NoSuchKey", "404") and "Key" in params:
        return ModelNotFoundError(text, **facts)
    if code in ("NoSuchKey", "NoSuchUpload", "404", "ResourceNotFound", "ObjectNotFoundException") or said.startswith(
        "Could not find "
    ):
        return NotFoundError(text, **facts)
    if status is not None and status >= 500:
        return ServiceError(text, retry_after=_seconds(headers.get("retry-after")), **facts)
    return InvalidInputError(text, sent=True, **facts)


def _over_quota(text: str, said: str, facts: dict[str, Any]) -> QuotaExceededError:
    found = re.search(r"service limit '([^']+)' is ([\d.]*\d)", said)
    quota, limit = (found[1], float(found[2])) if found else (None, None)
    which = f"'{quota}'" if quota else "the quota"
    hint = f"raise {which} in Service Quotas and repeat the call, or make do with other or fewer resources"
    return QuotaExceededError(text, quota=quota, limit=limit, hint=hint, **facts)


# S3 often denies without a word, above all to HEAD. https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html
_S3_PERMISSIONS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "copy_object": "s3:PutObject here and s3:GetObject on the source",
    "create_multipart_upload": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "get_object": "s3:GetObject (and s3:ListBucket, without which an absent key is denied too)",
    "head_object": "s3:GetObject (and s3:ListBucket, without which an absent key is denied too)",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_objects_v2": "s3:ListBucket",
    "list_parts": "s3:ListMultipartUploadParts",
    "put_object": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "upload_part_copy": "s3:PutObject here and s3:GetObject on the source",
}


def _missing_permission(said: str, subject: str) -> str | None:
    found = re.search(r"not authorized to perform: ([\w:*]+)", said)
    operation, _, where = subject.partition(" ")
    needed = found.group(1) if found else _S3_PERMISSIONS.get(operation) if where.startswith("s3://") else None
    return f"grant {needed} to the caller's role" if needed else None


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
