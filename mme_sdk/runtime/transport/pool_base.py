"""What the sync and the async lane share: signing, fresh credentials, the clock's skew, and what a failure means."""

from __future__ import annotations

import math
import os
import platform
import select
import socket
import ssl
import sys
from collections.abc import Callable
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mme_sdk.aws.addressing import Keys, Route
from mme_sdk.errors import ClosedError, ConfigurationError, NotSentError, OutcomeUnknownError
from mme_sdk.protocols import Clock
from mme_sdk.runtime.retry.answers import error_fields
from mme_sdk.runtime.transport.daemon_threads import Shared
from mme_sdk.runtime.transport.settings import Settings
from mme_sdk.runtime.transport.signer import Signer
from mme_sdk.runtime.transport_interface import InvokeAnswer, InvokeRequest

__all__ = [
    "BROKEN",
    "CLOGGED",
    "SPENT",
    "STALE",
    "SUSPECT",
    "UNSENT",
    "BrokenConnectionError",
    "Desk",
    "arrivals",
    "poller",
    "tls_context",
]

CLOGGED = "clogged"  # the time was over before the request was out whole
UNSENT = "unsent"  # the connection broke before the request was out whole
STALE = "stale"  # the connection was closed before the first byte of an answer
BROKEN = "broken"  # the answer broke off, or is none
SPENT = "spent"  # the time for the answer is over
_SKEWS = frozenset({"RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch"})
SUSPECT = (400, 403)  # statuses of answers that `Desk.skewed` looks into
_TRACE_SAFE = "-=;:+&[]{}\"',"
_SO_MEMINFO = 55  # Linux, asm-generic/socket.h; the first word of its answer is what waits to be read, in memory taken
_TELLS = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_TOLERATED_SKEW = 240.0  # seconds; AWS refuses beyond 300


class BrokenConnectionError(Exception):
    """An exchange without a whole answer. Never leaves this package.

    Attributes:
        stage: How far the exchange came.
        began: Whether any byte of an answer came.
    """

    def __init__(self, stage: str, detail: str, *, began: bool = False) -> None:
        super().__init__(detail)
        self.stage = stage
        self.began = began


class Desk:
    """Prepares requests for one route and judges how they ended; safe to share between threads.

    Args:
        route: Where to send.
        clock: Time.
        settings: How connections are treated.
    """

    def __init__(self, route: Route, clock: Clock, settings: Settings) -> None:
        self.route = route
        self.settings = settings
        self.skew = 0.0
        self._clock = clock
        self._signer = Signer(
            authority=route.authority,
            prefix=route.prefix,
            region=route.region,
            service=route.service,
            user_agent=route.user_agent,
        )
        self._in_lambda = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        self._keys: Keys | None = None
        self._keys_until = -math.inf
        self._renewal = Shared(self.renew)
        self._lookup = Shared(self._resolve)
        self._literal = _is_address(route.host)

    def keys(self) -> Keys | None:
        """The credentials, if asked for within this second; botocore, which may renew them, is asked once a second."""
        return self._keys if self._clock.monotonic() < self._keys_until else None

    def renew(self) -> Keys:
        """Ask for the credentials; may take its time.

        Raises:
            ConfigurationError: They could not be refreshed.
        """
        keys, known = self.route.keys(), self._keys
        if known == keys and known is not None:
            keys = known  # the signer tells them apart by identity
        self._keys, self._keys_until = keys, self._clock.monotonic() + 1.0
        return keys

    def renewal(self) -> Future[Keys]:
        """Ask for the credentials in the background; callers at the same time share one question."""
        return self._renewal.start()

    def addresses(self) -> list[Any] | Future[list[Any]]:
        """The addresses of the route's host, as `getaddrinfo` gives them; a future where a name is to be looked up.

        Raises:
            OSError: There are none.
        """
        return self._resolve() if self._literal else self._lookup.start()

    def _resolve(self) -> list[Any]:
        return socket.getaddrinfo(self.route.host, self.route.port, type=socket.SOCK_STREAM)

    def head(self, request: InvokeRequest, keys: Keys) -> bytes:
        """The signed head.

        Raises:
            InvalidInputError: A header value cannot be sent.
        """
        head = self._signer.head(request, keys, self._clock.time() + self.skew)
        return _traced(head) if self._in_lambda else head

    def skewed(self, answer: InvokeAnswer) -> bool:
        """Whether the service refused the request for its time, and the clock has now been corrected: send it again."""
        if answer.status not in SUSPECT or error_fields(answer).code not in _SKEWS:
            return False
        try:
            there = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return False
        skew = there - self._clock.time()
        if abs(skew - self.skew) < _TOLERATED_SKEW:
            return False
        self.skew = skew
        return True

    def may_resend(self, error: BrokenConnectionError, idle: float, took: float) -> bool:
        """Whether a request that failed on a used connection goes out once more, on a new one.

        Args:
            error: How it failed.
            idle: Seconds that the connection had been idle.
            took: Seconds from sending to the failure.
        """
        if error.stage == UNSENT:
            return took < self.settings.stale_within
        return error.stage == STALE and idle >= self.settings.stale_after and took < self.settings.stale_within

    def not_connected(self, error: Exception, request: InvokeRequest) -> NotSentError:
        """The error for a connection that could not be made."""
        where = f"{request.endpoint}: no connection to {self.route.authority}"
        hint = "check the address and the network"
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "trust the server's authority: AWS_CA_BUNDLE=…, or `ca_bundle` in the AWS profile"
        detail = str(error) or "timed out"
        return NotSentError(f"{where} ({detail})", hint=hint, endpoint=request.endpoint, model=request.target_model)

    def no_keys_yet(self, request: InvokeRequest, seconds: float) -> NotSentError:
        """The error for credentials that did not come in time."""
        return NotSentError(
            f"{request.endpoint}: no AWS credentials within {seconds:.3g} s; nothing was sent",
            hint="the credential provider is slow; its answer is kept for the next call",
            endpoint=request.endpoint,
            model=request.target_model,
        )

    def failed(self, error: BrokenConnectionError, request: InvokeRequest) -> NotSentError | OutcomeUnknownError:
        """The error for an exchange that gave no whole answer."""
        facts: dict[str, Any] = {"endpoint": request.endpoint, "model": request.target_model}
        if error.stage in (UNSENT, CLOGGED):
            return NotSentError(f"{request.endpoint}: the request was not out whole ({error})", **facts)
        unknown = OutcomeUnknownError(f"{request.endpoint}: sent, but no whole answer came back ({error})", **facts)
        unknown.answer_began = error.began
        return unknown

    def closed(self, request: InvokeRequest) -> ClosedError:
        """The error for a call after close."""
        return ClosedError("this transport was closed", endpoint=request.endpoint, model=request.target_model)


def _traced(head: bytes) -> bytes:
    """Pass on the trace of this Lambda invocation, as botocore does; the header is not signed."""
    trace = os.environ.get("_X_AMZN_TRACE_ID")
    if not trace:
        return head
    return head[:-2] + f"X-Amzn-Trace-Id: {quote(trace, safe=_TRACE_SAFE)}\r\n\r\n".encode()


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return True
    return False


def poller(fileno: int) -> Callable[[float], bool]:
    """A function that waits up to so many seconds for something to read from a socket."""
    if not hasattr(select, "poll"):
        return lambda seconds: bool(select.select([fileno], [], [], max(seconds, 0.0))[0])
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return lambda seconds: bool(poll.poll(max(seconds, 0.0) * 1000))


def arrivals(sock: socket.socket) -> Callable[[], bool]:
    """A function that tells at once whether something has arrived at a socket, the end included.

    Linux can tell what the buffers hold and whether the other side is still there without letting go of the GIL, as
    `poll` does: with 64 threads, getting it back is an eighth of what a warm call costs.
    """
    readable, ask = poller(sock.fileno()), sock.getsockopt
    calm = (bytes(4), b"\x01")  # nothing to be read, and the state ESTABLISHED

    def told() -> bool:
        seen = ask(socket.SOL_SOCKET, _SO_MEMINFO, 4), ask(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return seen != calm and readable(0.0)

    try:
        known = _TELLS and len(ask(socket.SOL_SOCKET, _SO_MEMINFO, 4)) == 4
    except OSError:
        known = False
    return told if known else lambda: readable(0.0)


def tls_context(route: Route) -> ssl.SSLContext | None:
    """The TLS settings of a route; None for plain HTTP.

    Raises:
        ConfigurationError: The trusted certificates cannot be read.
    """
    if route.scheme != "https":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not route.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif route.ca_file is not None:
        try:
            if Path(route.ca_file).is_dir():
                context.load_verify_locations(capath=route.ca_file)
            else:
                context.load_verify_locations(cafile=route.ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"the trusted certificates in {route.ca_file} cannot be read ({error})",
                hint="AWS_CA_BUNDLE or `ca_bundle` in the AWS profile names them",
            ) from error
    return context
