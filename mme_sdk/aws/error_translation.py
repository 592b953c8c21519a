"""Translate exceptions of botocore, urllib3 and http.client into exceptions of mme_sdk."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import botocore.exceptions as bc

from mme_sdk.aws.error_codes import DENIED, QUOTAS, THROTTLES
from mme_sdk.aws.failure_hints import ABSENT_ENDPOINT, refusal_hint
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

# http.client puts the header's value, which may be a session token, into the text of its exception.
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
    """Translate every exception that is raised inside the `with` block into an MMEError.

    Args:
        service: boto3's service name.
        operation: boto3's method name.
        params: Arguments of the call. Messages contain only its bucket, key and resource names.
        endpoint: Name of the endpoint, for the error.
        model: Name of the model, for the error.

    Raises:
        MMEError: Instead of any other exception.
    """
    try:
        yield
    except MMEError:
        raise
    except Exception as error:  # noqa: BLE001 - credential providers, urllib3 and http.client have their own exceptions
        translated = translate(error, service, operation, params or {}, endpoint=endpoint, model=model)
        raise translated from cause_of(error)


def translate(
    error: Exception,
    service: str,
    operation: str,
    params: Mapping[str, Any],
    *,
    endpoint: str | None = None,
    model: str | None = None,
) -> MMEError:
    """Return the MMEError for an exception of botocore, or of a library that botocore calls."""
    if isinstance(error, MMEError):
        return error
    subject = _subject(service, operation, params)
    facts: dict[str, Any] = {"endpoint": endpoint or params.get("EndpointName"), "model": model}
    if isinstance(error, bc.ClientError):
        return _from_answer(error, subject, params, facts)
    match error:
        case bc.NoCredentialsError():
            return ConfigurationError(
                f"{subject}: no AWS credentials were found",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, set AWS_PROFILE, or pass session=…; without an "
                "AWS account, python -m mme_sdk.local starts an embedded SageMaker and prints its variables",
                **facts,
            )
        case bc.PartialCredentialsError() | bc.CredentialRetrievalError():
            return ConfigurationError(
                f"{subject}: the AWS credentials could not be read ({error})",
                hint="check the credential settings of the AWS profile or the environment",
                **facts,
            )
        case bc.SSOError() | bc.TokenRetrievalError() | bc.UnauthorizedSSOTokenError():
            return ConfigurationError(
                f"{subject}: the AWS SSO session is not valid ({error})", hint="log in again: aws sso login", **facts
            )
        case bc.NoRegionError():
            return ConfigurationError(
                f"{subject}: no AWS region is set", hint="pass region=… or set AWS_DEFAULT_REGION", **facts
            )
        case bc.ProfileNotFound():
            return ConfigurationError(
                f"{subject}: the AWS profile {error.kwargs.get('profile')!r} is not in the AWS configuration files",
                hint="set AWS_PROFILE to one of `aws configure list-profiles`, or unset it",
                **facts,
            )
        case bc.ParamValidationError():
            return InvalidInputError(f"{subject}: {error}", **facts)
        case bc.EndpointConnectionError() | bc.ConnectTimeoutError() | bc.ProxyConnectionError() | bc.SSLError():
            return NotSentError(
                f"{subject}: the connection failed, nothing was sent ({error})",
                hint="check the endpoint URL, the network and the proxy settings",
                **facts,
            )
        case bc.HTTPClientError():
            inner = error.kwargs.get("error")
            if isinstance(inner, MMEError):
                return inner  # reading the request body failed
            if _UNSENDABLE.search(str(error)):
                return _unsendable(subject, facts)
            if never_sent(error):
                return ConfigurationError(f"{subject}: {error}", hint="check the endpoint URL", **facts)
            # Read timeouts, closed connections, invalid responses: the request had been sent.
            return OutcomeUnknownError(f"{subject}: sent, but no complete response was received ({error})", **facts)
        case bc.BotoCoreError():
            return ConfigurationError(
                f"{subject}: {error}", hint="check the AWS profile, the region and the endpoint URL", **facts
            )
        case _:
            if _UNSENDABLE.search(str(error)):
                return _unsendable(subject, facts)
            return ConfigurationError(
                f"{subject}: {type(error).__name__} in botocore, a credential provider or an event handler: {error}",
                hint="check the endpoint URL, the AWS profile and its credential provider",
                **facts,
            )


def never_sent(error: Exception) -> bool:
    """Return whether an exception that botocore raises while sending shows that nothing was sent."""
    from urllib3.exceptions import LocationValueError

    inner = error.kwargs.get("error") if isinstance(error, bc.HTTPClientError) else error
    return isinstance(inner, LocationValueError) or _UNSENDABLE.search(str(error)) is not None


def cause_of(error: Exception) -> Exception | None:
    """Return the exception to chain the translated one to; None if its text may contain a secret."""
    return None if _UNSENDABLE.search(str(error)) else error


def _unsendable(subject: str, facts: dict[str, Any]) -> ConfigurationError:
    return ConfigurationError(
        f"{subject}: a request header contains a character that HTTP does not allow",
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
    message = str(answer.get("Error", {}).get("Message", "")) or code
    meta = answer.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode")
    headers = meta.get("HTTPHeaders", {})
    facts |= {"code": code, "status": status, "request_id": meta.get("RequestId") or None}
    text = f"{subject}: {message}"
    if code in THROTTLES or status == 429:
        return ThrottledError(text, retry_after=_seconds(headers.get("retry-after")), **facts)
    if code in (
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "301",
    ):
        region = headers.get("x-amz-bucket-region") or answer.get("Error", {}).get("Region")
        where = region or "another region"
        return ConfigurationError(
            f"{text} (the bucket is in {where})",
            hint=f"create the client with region={region!r}"
            if region
            else "create the client with the region of the bucket",
            **facts,
        )
    if code in QUOTAS:
        return _quota_error(text, message, facts)
    refusal = explain_refusal(code, message, date=headers.get("date"), now=time.time())
    if refusal is not None:
        kind = ConfigurationError if refusal.local else AccessDeniedError
        return kind(f"{subject}: {refusal.reason}: {message}", hint=refusal.hint, sent=True, **facts)
    if code in DENIED or status == 403:
        return AccessDeniedError(text, hint=_permission_hint(message, subject), **facts)
    if code in _CONFLICTS or re.match(r"Cannot (create already existing|update in-progress)", message):
        return ConflictError(text, **facts)
    if code == "NoSuchBucket":
        return BucketNotFoundError(
            f"the bucket {params.get('Bucket')} does not exist ({subject.partition(' ')[0]}: {message})",
            hint="create the bucket, or check its name, the AWS account and the region",
            **facts,
        )
    if message.startswith(('Could not find endpoint "', "Could not find endpoint '")):  # moto uses single quotes
        return EndpointNotFoundError(text, hint="check the name, the account and the region", **facts)
    if ABSENT_ENDPOINT.search(message):
        return EndpointNotFoundError(text, hint="check the name, the account and the region", **facts)
    if code in ("NoSuchKey", "404") and "Key" in params:
        return ModelNotFoundError(text, **facts)
    if code in (
        "NoSuchKey",
        "NoSuchUpload",
        "404",
        "ResourceNotFound",
        "ResourceNotFoundException",
        "ObjectNotFoundException",
    ) or message.startswith("Could not find "):
        return NotFoundError(text, **facts)
    if status is not None and status >= 500:
        return ServiceError(text, retry_after=_seconds(headers.get("retry-after")), **facts)
    return InvalidInputError(text, sent=True, hint=refusal_hint(message), **facts)


def _quota_error(text: str, message: str, facts: dict[str, Any]) -> QuotaExceededError:
    found = re.search(r"service limit '([^']+)' is ([\d.]*\d)", message)
    quota, limit = (found[1], float(found[2])) if found else (None, None)
    which = f"'{quota}'" if quota else "the quota"
    hint = f"request an increase of {which} in Service Quotas and repeat the call, or use other or fewer resources"
    return QuotaExceededError(text, quota=quota, limit=limit, hint=hint, **facts)


# S3 often denies access without naming the permission, in particular for HEAD requests. https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html
_S3_PERMISSIONS = {
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "copy_object": "s3:PutObject on the destination and s3:GetObject on the source",
    "create_multipart_upload": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "get_object": "s3:GetObject (and s3:ListBucket: without it, S3 answers 403 for a key that does not exist)",
    "head_object": "s3:GetObject (and s3:ListBucket: without it, S3 answers 403 for a key that does not exist)",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_objects_v2": "s3:ListBucket",
    "list_parts": "s3:ListMultipartUploadParts",
    "put_object": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "upload_part_copy": "s3:PutObject on the destination and s3:GetObject on the source",
}


def _permission_hint(message: str, subject: str) -> str | None:
    found = re.search(r"not authorized to perform: ([\w:*]+)", message)
    operation, _, resource = subject.partition(" ")
    needed = found.group(1) if found else _S3_PERMISSIONS.get(operation) if resource.startswith("s3://") else None
    return f"grant {needed} to the caller's role" if needed else None


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
