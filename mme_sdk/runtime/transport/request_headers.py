"""The request on the wire: which header each field becomes, and which values no header may have."""

from __future__ import annotations

import re

from mme_sdk._validation import RESOURCE_NAME
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["HEADERS", "check", "check_endpoint", "check_value", "has_control"]

HEADERS = {
    "accept": "Accept",
    "invocation_id": "amz-sdk-invocation-id",
    "content_type": "Content-Type",
    "custom_attributes": "X-Amzn-SageMaker-Custom-Attributes",
    "enable_explanations": "X-Amzn-SageMaker-Enable-Explanations",
    "inference_component": "X-Amzn-SageMaker-Inference-Component",
    "inference_id": "X-Amzn-SageMaker-Inference-Id",
    "prefix_aware_id": "X-Amzn-SageMaker-Prefix-Aware-Id",
    "session_id": "X-Amzn-SageMaker-Session-Id",
    "target_container": "X-Amzn-SageMaker-Target-Container-Hostname",
    "target_model": "X-Amzn-SageMaker-Target-Model",
    "target_variant": "X-Amzn-SageMaker-Target-Variant",
}
"""The header of each field of an `InvokeRequest`."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check(request: InvokeRequest) -> None:
    """Refuse what would break the request's head or what AWS refuses anyway; lengths are the policy's business.

    Args:
        request: The request.

    Raises:
        InvalidInputError: The endpoint's name or a header value cannot be sent.
    """
    check_endpoint(request)
    for field in HEADERS:
        value = getattr(request, field)
        if value is not None:
            check_value(request, field, value)


def check_endpoint(request: InvokeRequest) -> None:
    """Refuse what is no endpoint name."""
    if RESOURCE_NAME.fullmatch(request.endpoint) is None or len(request.endpoint) > 63:
        raise _bad(request, f"{request.endpoint!r} is no endpoint name", "letters, digits and inner hyphens, up to 63")


def has_control(value: str) -> bool:
    """Whether there are characters in it that would end or break a header."""
    return _CONTROL.search(value) is not None


def check_value(request: InvokeRequest, field: str, value: str) -> None:
    """Refuse a header value with line breaks, other control characters, or letters that AWS does not take there."""
    if has_control(value):
        raise _bad(
            request,
            f"{HEADERS[field]} may not contain control characters: {value[:80]!r}",
            "line breaks are control characters too",
        )
    if not value.isascii():
        # botocore signs and sends UTF-8. SageMaker documents ASCII, but a key in S3 may be anything.
        if field != "target_model":
            raise _bad(request, f"{HEADERS[field]} must be ASCII: {value[:80]!r}", "encode it, in base64 for one")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _bad(request, f"{HEADERS[field]} is no valid Unicode: {value[:80]!r}", None) from None


def _bad(request: InvokeRequest, message: str, hint: str | None) -> InvalidInputError:
    return InvalidInputError(message, hint=hint, endpoint=request.endpoint, model=request.target_model)
