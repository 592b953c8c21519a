"""Build an InvokeEndpoint request from the caller's arguments, and reject arguments that AWS would reject."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from itertools import count
from random import getrandbits
from typing import Any

from mme_sdk.errors import InvalidInputError, PayloadTooLargeError
from mme_sdk.runtime.options import InvokeOptions, check_options, check_route
from mme_sdk.runtime.payloads.codecs import Codecs
from mme_sdk.runtime.transport.request_headers import check_endpoint
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = ["build_request", "check_endpoint", "check_target", "encode_payload", "new_invocation_id", "request_of"]

_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def build_request(
    codecs: Codecs, data: Any, options: InvokeOptions, *, endpoint: str, target: str | None, payload_limit: int
) -> InvokeRequest:
    """Encode and check a request.

    Args:
        codecs: Encodes the payload.
        data: The payload.
        options: Options of the call.
        endpoint: Name of the endpoint.
        target: Target model, as AWS receives it. None on a single-model endpoint.
        payload_limit: Largest body, in bytes.

    Returns:
        The request. Every attempt of the call sends the same one.

    Raises:
        InvalidInputError: AWS would reject an argument, or a value would break the header that carries it.
        PayloadTooLargeError: The encoded payload exceeds the limit.
    """
    check_endpoint(endpoint)
    check_options(options)
    if target is not None:
        check_target(target, endpoint)
        if options.inference_component is not None:
            check_route(options.inference_component, model=target)
    body, media_type = encode_payload(
        codecs, data, options.content_type, endpoint=endpoint, target=target, limit=payload_limit
    )
    return request_of(options, endpoint=endpoint, target=target, body=body, content_type=media_type)


def encode_payload(
    codecs: Codecs, data: Any, content_type: str | None, *, endpoint: str, target: str | None, limit: int
) -> tuple[bytes, str]:
    """Encode a payload, and check its size.

    Args:
        codecs: Encodes the payload.
        data: The payload.
        content_type: Media type to encode to. None chooses it by the type of the payload.
        endpoint: Name of the endpoint, for the error.
        target: Target model, for the error.
        limit: Largest body, in bytes.

    Returns:
        The body and its media type.

    Raises:
        InvalidInputError: The payload cannot be encoded.
        PayloadTooLargeError: The encoded payload exceeds the limit.
    """
    body, media_type = codecs.encode(data, content_type)
    if len(body) > limit:
        raise PayloadTooLargeError(
            f"{endpoint}: the payload has {len(body):,} bytes, and the limit is {limit:,}",
            hint="send fewer rows in one call, use NPY or Parquet, or send the S3 address of the data",
            endpoint=endpoint,
            model=target,
        )
    return body, media_type


def request_of(
    options: InvokeOptions, *, endpoint: str, target: str | None, body: bytes, content_type: str
) -> InvokeRequest:
    """Return the request of options that were checked.

    Args:
        options: Options of the call.
        endpoint: Name of the endpoint.
        target: Target model. None on a single-model endpoint.
        body: The encoded payload.
        content_type: Media type of the body.
    """
    return InvokeRequest(
        endpoint=endpoint,
        body=body,
        content_type=content_type,
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
        invocation_id=new_invocation_id(),
    )


def check_target(target: str, endpoint: str | None = None) -> None:
    """Raise InvalidInputError unless `target` is a valid target model below the endpoint's S3 prefix.

    Args:
        target: The target model.
        endpoint: Name of the endpoint, for the error. None if unknown.

    Raises:
        InvalidInputError: SageMaker would reject the target model, or it is outside the prefix.
    """
    if isinstance(target, str) and _is_target(target):
        return
    if not isinstance(target, str):
        raise InvalidInputError(
            f"the target model must be text or a ModelVersion, not {type(target).__name__} ({str(target)[:80]!r})",
            hint="pass the name of a model, name@alias, or the key of the archive, such as fraud/v3.tar.gz",
            endpoint=endpoint,
        )
    if not 1 <= len(target) <= 1024 or not _PRINTABLE.fullmatch(target):
        problem = "needs 1 to 1024 printable ASCII characters"
        if target.strip() != target and target.strip():
            problem = "begins or ends with white space"
        raise InvalidInputError(
            f"{target[:80]!r} is not a valid target model: it {problem}",
            hint="pass the key of the archive relative to the endpoint's S3 prefix, such as fraud/v3.tar.gz",
            endpoint=endpoint,
        )
    if ".." in target.split("/"):
        problem, hint = "is outside the endpoint's S3 prefix", "pass the key relative to the prefix, without '..'"
    elif not target.strip("/"):
        problem, hint = "names no archive", "pass the key of an archive, such as fraud/v3.tar.gz"
    elif target.startswith("/"):
        problem, hint = "begins with '/'", f"did you mean {target.strip('/')!r}? Keys are relative to the S3 prefix"
    else:
        problem, hint = "is a folder", f"pass the name of the model, {target.strip('/')!r}, or the key of an archive"
    raise InvalidInputError(f"the target model {target!r} {problem}", hint=hint, endpoint=endpoint, model=target)


@lru_cache(maxsize=16384)
def _is_target(target: str) -> bool:
    valid = len(target) <= 1024 and _PRINTABLE.fullmatch(target) is not None
    return valid and target[0] != "/" and target[-1] != "/" and ".." not in target.split("/")


class _Ids:
    """Makes ids in the form of a version 4 UUID: a random part for each process, and a number for each call.

    `uuid.uuid4` makes a system call each time. The ids are not secrets.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        digits = f"{getrandbits(80):020x}"  # `random` is seeded again in a forked process
        self._form = f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-%012x"
        self._numbers = count(getrandbits(40))

    def new(self) -> str:
        return self._form % next(self._numbers)


_IDS = _Ids()
new_invocation_id = _IDS.new
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDS.renew)
