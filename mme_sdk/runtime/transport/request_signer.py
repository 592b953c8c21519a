"""Build signed requests with current credentials and a corrected clock."""

from __future__ import annotations

import math
import os
from concurrent.futures import Future

from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.protocols import Clock
from mme_sdk.runtime.retry.answers import error_fields
from mme_sdk.runtime.transport.daemon_threads import SharedCall
from mme_sdk.runtime.transport.sigv4 import SigV4
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

__all__ = ["CLOCK_ERROR_STATUSES", "RequestSigner"]

CLOCK_ERROR_STATUSES = (400, 403)  # statuses with which AWS rejects a request whose signature has a wrong time
_CLOCK_ERRORS = frozenset(
    {"RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch"}
)
_MIN_CORRECTION = 240.0  # seconds; AWS accepts a difference of up to 300
_REREAD_CREDENTIALS_AFTER = 1.0  # seconds
_TRACE_SAFE = "-=;:+&[]{}\"',"


class RequestSigner:
    """Builds signed request heads for one route. Threads may share it.

    Args:
        route: Where requests go, and where credentials come from.
        clock: Source of time.
    """

    def __init__(self, route: Route, clock: Clock) -> None:
        self._route = route
        self._clock = clock
        self._clock_correction = 0.0  # seconds that the service's clock is ahead of ours
        self._sigv4 = SigV4(
            authority=route.authority,
            prefix=route.prefix,
            region=route.region,
            service=route.service,
            user_agent=route.user_agent,
        )
        self._in_lambda = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        self._keys: Keys | None = None
        self._keys_until = -math.inf
        self._reading = SharedCall(self.read_keys)

    def cached_keys(self) -> Keys | None:
        """Return the credentials if they were read less than a second ago, else None."""
        return self._keys if self._clock.monotonic() < self._keys_until else None

    def read_keys(self) -> Keys:
        """Read the credentials from botocore's provider. This may block: the provider may refresh them.

        Raises:
            ConfigurationError: The provider failed to refresh them.
        """
        keys, known = self._route.keys(), self._keys
        if known == keys and known is not None:
            keys = known  # SigV4 caches by identity
        self._keys, self._keys_until = keys, self._clock.monotonic() + _REREAD_CREDENTIALS_AFTER
        return keys

    def start_reading_keys(self) -> Future[Keys]:
        """Read the credentials in a daemon thread. Simultaneous callers share one read."""
        return self._reading.start()

    def head(self, request: InvokeRequest, keys: Keys) -> bytes:
        """Return the request line and the headers, signed.

        Raises:
            InvalidInputError: A header value cannot be sent.
            ConfigurationError: The credentials cannot be sent.
        """
        head = self._sigv4.head(request, keys, self._clock.time() + self._clock_correction)
        return _with_trace(head) if self._in_lambda else head

    def correct_clock(self, answer: InvokeResponse) -> bool:
        """Correct the clock if the service rejected a request because of its time.

        Returns:
            True if the clock was corrected and the request should be sent again.
        """
        if answer.status not in CLOCK_ERROR_STATUSES or error_fields(answer).code not in _CLOCK_ERRORS:
            return False
        from email.utils import parsedate_to_datetime

        try:
            service_time = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return False
        correction = service_time - self._clock.time()
        if abs(correction - self._clock_correction) < _MIN_CORRECTION:
            return False
        self._clock_correction = correction
        return True


def _with_trace(head: bytes) -> bytes:
    """Add the X-Ray trace of this Lambda invocation, as botocore does. The header is not signed."""
    trace = os.environ.get("_X_AMZN_TRACE_ID")
    if not trace:
        return head
    from urllib.parse import quote

    return head[:-2] + f"X-Amzn-Trace-Id: {quote(trace, safe=_TRACE_SAFE)}\r\n\r\n".encode()
