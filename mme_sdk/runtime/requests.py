"""From what the caller said to a request that can be sent, refusing here what AWS would refuse."""

from __future__ import annotations

import random
import re
from typing import Any

from mme_sdk.errors import InvalidInputError, PayloadTooLargeError
from mme_sdk.runtime.codecs import Codecs
from mme_sdk.runtime.wire import InvokeRequest

__all__ = ["build_request", "check_target"]

# Shapes of InvokeEndpointInput in botocore's service model; botocore itself checks none of them.
_ENDPOINT = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}")
_PRINTABLE = re.compile(r"[!-~][ -~]*")
_LIMITS = {
    "target_variant": 63,
    "inference_id": 64,
    "custom_attributes": 1024,
    "content_type": 1024,
    "accept": 1024,
    "session_id": 256,
    "target_container": 63,
    "enable_explanations": 64,
}


def build_request(
    codecs: Codecs,
    data: Any,
    *,
    endpoint: str,
    target: str | None,
    payload_limit: int,
    content_type: str | None = None,
    **options: str | None,
) -> InvokeRequest:
    """Encode and check one request.

    Args:
        codecs: How payloads are encoded.
        data: The payload.
        endpoint: Name of the endpoint.
        target: Target model, as it is sent.
        payload_limit: Largest body in bytes.
        content_type: Media type of the payload.
        options: The other fields of `InvokeRequest`.

    Returns:
        The request; the same one is sent by every attempt.

    Raises:
        InvalidInputError: Something AWS would refuse, or a header that would break out of its line.
        PayloadTooLargeError: The encoded payload is over the limit.
    """
    if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
        raise InvalidInputError(
            f"{endpoint!r} is no endpoint name", hint="1 to 63 of a-z, A-Z, 0-9 and '-', not at the ends"
        )
    if target is not None:
        check_target(target, endpoint)
    if content_type is not None:
        _check_header("content_type", content_type)
    for name, value in options.items():
        if value is not None:
            _check_header(name, value)
    body, media_type = codecs.encode(data, content_type)
    if len(body) > payload_limit:
        raise PayloadTooLargeError(
            f"{endpoint}: the payload has {len(body):,} bytes; the limit is {payload_limit:,}",
            hint="send fewer rows per call, a compact encoding (NPY, Parquet), or a reference to data in S3",
            endpoint=endpoint,
            model=target,
        )
    return InvokeRequest(
        endpoint=endpoint,
        body=body,
        content_type=media_type,
        target_model=target,
        invocation_id=_new_id(),
        **options,
    )


def check_target(target: str, endpoint: str | None = None) -> None:
    """Refuse a target model that SageMaker would refuse, or that would reach outside the prefix.

    Raises:
        InvalidInputError: No legal target model.
    """
    if not isinstance(target, str) or not 1 <= len(target) <= 1024 or not _PRINTABLE.fullmatch(target):
        raise InvalidInputError(
            f"{str(target)[:80]!r} is no target model: 1 to 1024 printable characters",
            hint="the archive's key below the endpoint's S3 prefix, such as fraud/v3.tar.gz",
            endpoint=endpoint,
        )
    if target[0] == "/" or ".." in target.split("/"):
        raise InvalidInputError(
            f"{target!r} would leave the endpoint's S3 prefix",
            hint="the archive's key below the prefix, without a leading '/' and without '..'",
            endpoint=endpoint,
            model=target,
        )


def _check_header(name: str, value: str) -> None:
    limit = _LIMITS[name]
    if not isinstance(value, str) or len(value) > limit or not _PRINTABLE.fullmatch(value):
        raise InvalidInputError(
            f"{name} must be 1 to {limit} printable ASCII characters, not {str(value)[:40]!r}",
            hint="encode anything else, for example with base64 or urllib.parse.quote",
        )


def _new_id() -> str:
    # uuid.uuid4 asks the kernel each time; this is a label, not a secret, and `random` is reseeded after a fork.
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
