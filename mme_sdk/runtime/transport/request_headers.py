"""The HTTP headers of an InvokeEndpoint request, and checks of their values."""

from __future__ import annotations

import re
from functools import lru_cache

from mme_sdk._validation import RESOURCE_NAME
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["HEADERS", "check_endpoint", "check_headers", "check_value", "has_control"]

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
"""HTTP header of each field of `InvokeRequest`."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_headers(request: InvokeRequest) -> None:
    """Raise InvalidInputError if the endpoint's name or a header value cannot be sent.

    The invoker checks lengths; this function checks what would break the head of the request, or what AWS rejects.

    Args:
        request: The request.

    Raises:
        InvalidInputError: The endpoint's name or a header value is invalid.
    """
    check_endpoint(request.endpoint, model=request.target_model)
    for field in HEADERS:
        value = getattr(request, field)
        if value is not None:
            check_value(request, field, value)


def check_endpoint(name: str, *, model: str | None = None) -> None:
    """Raise InvalidInputError unless `name` is a valid endpoint name.

    Args:
        name: The name.
        model: Target model of the call, for the error. None if there is none.

    Raises:
        InvalidInputError: `name` is not a valid endpoint name.
    """
    if not isinstance(name, str) or not _is_endpoint_name(name):
        raise InvalidInputError(
            f"{name!r} is not a valid endpoint name",
            hint="use 1 to 63 letters, digits and hyphens; the first and the last character is not a hyphen",
            endpoint=str(name),
            model=model,
        )


@lru_cache(maxsize=1024)
def _is_endpoint_name(name: str) -> bool:
    return len(name) <= 63 and RESOURCE_NAME.fullmatch(name) is not None


def has_control(value: str) -> bool:
    """Return whether a value contains a control character, which would end or break a header."""
    return _CONTROL.search(value) is not None


def check_value(request: InvokeRequest, field: str, value: str) -> None:
    """Raise InvalidInputError if a header value cannot be sent.

    Args:
        request: The request, for the error.
        field: Field of `InvokeRequest`, a key of `HEADERS`.
        value: The value.

    Raises:
        InvalidInputError: The value has a control character, or a non-ASCII character where AWS accepts ASCII only.
    """
    if has_control(value):
        raise _invalid(
            request,
            f"{HEADERS[field]} must not contain control characters: {value[:80]!r}",
            "remove line breaks and other control characters",
        )
    if not value.isascii():
        # botocore signs and sends UTF-8. SageMaker documents ASCII, but an S3 key may contain any character.
        if field != "target_model":
            raise _invalid(
                request, f"{HEADERS[field]} must be ASCII: {value[:80]!r}", "encode it, for example in base64"
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _invalid(
                request, f"{HEADERS[field]} is not valid Unicode: {value[:80]!r}", "remove lone surrogates"
            ) from None


def _invalid(request: InvokeRequest, message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, hint=hint, endpoint=request.endpoint, model=request.target_model)
