"""The body of an object of S3, read up to a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mme_sdk._flows.cancellation import reading
from mme_sdk.aws.error_translation import translating

__all__ = ["read_body"]

_CHUNK = 1 << 20


def read_body(answer: Mapping[str, Any], most: int) -> bytes | None:
    """Return the body of a GetObject; None if it is longer than a limit.

    Args:
        answer: The answer. Its body is closed.
        most: Largest number of bytes.
    """
    parts: list[bytes] = []
    size = 0
    with answer["Body"] as body, reading(body), translating(service="s3", operation="get_object"):
        # Only the read that returns nothing tells that the connection has not ended too early.
        while part := bytes(body.read(_CHUNK)):
            size += len(part)
            if size > most:
                return None
            parts.append(part)
    return b"".join(parts)
