"""The request on the wire: which header each field becomes, and which values no header may have."""

from __future__ import annotations

import re

from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.wire import InvokeRequest

__all__ = ["check"]

_ENDPOINT = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADERS = (
    ("content_type", "Content-Type"),
    ("accept", "Accept"),
    ("target_model", "X-Amzn-SageMaker-Target-Model"),
    ("target_variant", "X-Amzn-SageMaker-Target-Variant"),
    ("target_container", "X-Amzn-SageMaker-Target-Container-Hostname"),
    ("inference_id", "X-Amzn-SageMaker-Inference-Id"),
    ("custom_attributes", "X-Amzn-SageMaker-Custom-Attributes"),
    ("session_id", "X-Amzn-SageMaker-Session-Id"),
    ("enable_explanations", "X-Amzn-SageMaker-Enable-Explanations"),
    ("invocation_id", "amz-sdk-invocation-id"),
)


def check(request: InvokeRequest) -> None:
    """Refuse what would break the request's head or what AWS refuses anyway; lengths are the policy's business.

    Args:
        request: The request.

    Raises:
        InvalidInputError: The endpoint's name or a header value cannot be sent.
    """
    if _ENDPOINT.match(request.endpoint) is None:
        raise _bad(request, f"{request.endpoint!r} is no endpoint name", "letters, digits and inner hyphens, up to 63")
    for field, header in _HEADERS:
        value = getattr(request, field)
        if value is None:
            continue
        if _CONTROL.search(value):
            raise _bad(request, f"{header} may not contain control characters: {value[:80]!r}", "line breaks included")
        if not value.isascii() and field != "target_model":
            # botocore signs UTF-8 here, and SageMaker documents ASCII; keys in S3 may be anything.
            raise _bad(request, f"{header} must be ASCII: {value[:80]!r}", "encode it, in base64 for one")


def _bad(request: InvokeRequest, message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, hint=hint, endpoint=request.endpoint, model=request.target_model)
