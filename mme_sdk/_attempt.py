"""The record of one request of a call. It stands below `errors`, because every error carries such records."""

from __future__ import annotations

import attrs

__all__ = ["Attempt"]


@attrs.frozen(kw_only=True)
class Attempt:
    """One request of a call. A call makes several while a model loads, or when a request is retried.

    Attributes:
        at: Seconds from the start of the call until the request was sent.
        took: Seconds from sending the request until its response, or until the SDK stopped waiting for one.
        status: HTTP status of the response. None if there was no response.
        code: Error code of the service, or the name of the SDK's error class. None if the request succeeded.
        waited: Seconds that the SDK waited after this request, before the next one. 0.0 by default.
    """

    at: float
    took: float
    status: int | None = None
    code: str | None = None
    waited: float = 0.0
