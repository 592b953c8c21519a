"""From what the caller said to a request that can be sent, refusing here what AWS would refuse."""

from __future__ import annotations

import re
from functools import lru_cache
from random import getrandbits
from typing import Any

from mme_sdk._validation import RESOURCE_NAME
from mme_sdk.errors import InvalidInputError, PayloadTooLargeError
from mme_sdk.runtime.options import CallOptions, check_options, check_route
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["build_request", "check_endpoint", "check_target"]

_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def build_request(
    codecs: Codecs, data: Any, options: CallOptions, *, endpoint: str, target: str | None, payload_limit: int
) -> InvokeRequest:
    """Encode and check one request.

    Args:
        codecs: How payloads are encoded.
        data: The payload.
        options: What the caller says about the call.
        endpoint: Name of the endpoint.
        target: Target model, as it is sent.
        payload_limit: Largest body in bytes.

    Returns:
        The request; the same one is sent by every attempt.

    Raises:
        InvalidInputError: Something AWS would refuse, or a header that would break out of its line.
        PayloadTooLargeError: The encoded payload is over the limit.
    """
    check_endpoint(endpoint)
    check_options(options)
    if target is not None:
        check_target(target, endpoint)
        if options.inference_component is not None:
            check_route(options.inference_component, model=target)
    body, media_type = codecs.encode(data, options.content_type)
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
        accept=options.accept,
        target_model=target,
        target_variant=options.target_variant,
        target_container=options.target_container,
        inference_component=options.inference_component,
        inference_id=options.inference_id,
        custom_attributes=options.custom_attributes,
        session_id=options.session_id,
        enable_explanations=options.enable_explanations,
        prefix_aware_id=options.prefix_aware_id,
        invocation_id=_new_id(),
    )


def check_endpoint(endpoint: str) -> None:
    """Refuse a name that no endpoint can have.

    Raises:
        InvalidInputError: The name is not 1 to 63 letters, digits and inner hyphens.
    """
    if not isinstance(endpoint, str) or not _is_endpoint(endpoint):
        raise InvalidInputError(
            f"{endpoint!r} is not a valid endpoint name", hint="1 to 63 of a-z, A-Z, 0-9 and '-', not at the ends"
        )


def check_target(target: str, endpoint: str | None = None) -> None:
    """Refuse a target model that SageMaker would refuse, or that would reach outside the prefix.

    Raises:
        InvalidInputError: No legal target model.
    """
    if isinstance(target, str) and _is_target(target):
        return
    if not isinstance(target, str) or not 1 <= len(target) <= 1024 or not _PRINTABLE.fullmatch(target):
        raise InvalidInputError(
            f"{str(target)[:80]!r} is no target model: 1 to 1024 printable characters",
            hint="the archive's key below the endpoint's S3 prefix, such as fraud/v3.tar.gz",
            endpoint=endpoint,
        )
    raise InvalidInputError(
        f"{target!r} would leave the endpoint's S3 prefix",
        hint="the archive's key below the prefix, without a leading '/' and without '..'",
        endpoint=endpoint,
        model=target,
    )


@lru_cache(maxsize=1024)
def _is_endpoint(name: str) -> bool:
    return len(name) <= 63 and RESOURCE_NAME.fullmatch(name) is not None


@lru_cache(maxsize=16384)
def _is_target(target: str) -> bool:
    legal = len(target) <= 1024 and _PRINTABLE.fullmatch(target) is not None
    return legal and target[0] != "/" and ".." not in target.split("/")


def _new_id() -> str:
    # uuid.uuid4 asks the kernel each time; this is a label, not a secret, and `random` is reseeded after a fork.
    digits = "%032x" % getrandbits(128)  # noqa: UP031 - half of what an f-string takes
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
