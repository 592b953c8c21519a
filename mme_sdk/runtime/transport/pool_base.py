"""What the two connection pools share: name look-up, TLS settings, socket checks, and the errors of an exchange."""

from __future__ import annotations

import os
import select
import socket
import ssl
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from mme_sdk.aws.addressing import Route
from mme_sdk.errors import ClosedError, ConfigurationError, NotSentError, OutcomeUnknownError
from mme_sdk.runtime.transport.daemon_threads import SharedCall
from mme_sdk.runtime.transport.selection_base import PoolSettings
from mme_sdk.runtime.transport_interface import InvokeRequest

__all__ = [
    "CLOSED_EARLY",
    "INVALID_RESPONSE",
    "RESPONSE_TIMED_OUT",
    "SEND_FAILED",
    "SEND_TIMED_OUT",
    "ExchangeError",
    "HostResolver",
    "arrival_check",
    "exchange_failed",
    "may_resend",
    "no_credentials",
    "not_connected",
    "read_poller",
    "tls_context",
    "transport_closed",
]

SEND_TIMED_OUT = "send timed out"
SEND_FAILED = "send failed"  # the connection broke before the request was sent completely
CLOSED_EARLY = "closed early"  # the server closed the connection before the first byte of a response
INVALID_RESPONSE = "invalid response"  # the response is incomplete or malformed
RESPONSE_TIMED_OUT = "response timed out"
_SO_MEMINFO = 55  # Linux, asm-generic/socket.h; the first word is the memory that unread data takes
_HAS_MEMINFO = sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64")


class ExchangeError(Exception):
    """A request without a complete response. The pools translate it; it never reaches a user.

    Args:
        stage: How far the exchange came: one of the constants of this module.
        detail: What happened.
        began: Whether any byte of a response arrived.
    """

    def __init__(self, stage: str, detail: str, *, began: bool = False) -> None:
        super().__init__(detail)
        self.stage = stage
        self.began = began


class HostResolver:
    """Looks up the addresses of a route's host.

    Args:
        route: The route.
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        self._is_address = _is_address(route.host)
        self._lookup = SharedCall(self._resolve)

    def addresses(self) -> list[Any] | Future[list[Any]]:
        """Return the addresses as `getaddrinfo` does; a future if a name server must be asked.

        Raises:
            OSError: There are none.
        """
        return self._resolve() if self._is_address else self._lookup.start()

    def _resolve(self) -> list[Any]:
        return socket.getaddrinfo(self._route.host, self._route.port, type=socket.SOCK_STREAM)


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return True
    return False


def may_resend(settings: PoolSettings, error: ExchangeError, *, idle: float, took: float) -> bool:
    """Return whether a request that failed on a kept connection is sent once more, on a new one.

    Args:
        settings: Settings of the pool.
        error: The failure.
        idle: Seconds that the connection had been idle.
        took: Seconds from the send to the failure.
    """
    if error.stage == SEND_FAILED:
        return took < settings.stale_within
    return error.stage == CLOSED_EARLY and idle >= settings.stale_after and took < settings.stale_within


def not_connected(error: Exception, request: InvokeRequest, authority: str) -> NotSentError:
    """Return the error for a connection that could not be made to `authority`, a host and port."""
    hint = "check the address and the network"
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "trust the server's certificate authority: set AWS_CA_BUNDLE, or `ca_bundle` in the AWS profile"
    return NotSentError(
        f"{request.endpoint}: no connection to {authority} ({str(error) or 'timed out'})",
        hint=hint,
        endpoint=request.endpoint,
        model=request.target_model,
    )


def no_credentials(request: InvokeRequest, seconds: float) -> NotSentError:
    """Return the error for a credential provider that did not respond within `seconds`."""
    return NotSentError(
        f"{request.endpoint}: no AWS credentials within {seconds:.3g} s; no request was sent",
        hint="the credential provider is slow; it continues in the background, so repeat the call",
        endpoint=request.endpoint,
        model=request.target_model,
    )


def exchange_failed(error: ExchangeError, request: InvokeRequest) -> NotSentError | OutcomeUnknownError:
    """Return the error for a request without a complete response."""
    name, model = request.endpoint, request.target_model
    if error.stage in (SEND_FAILED, SEND_TIMED_OUT):
        return NotSentError(f"{name}: the request was not sent completely ({error})", endpoint=name, model=model)
    unknown = OutcomeUnknownError(
        f"{name}: the request was sent, but no complete response arrived ({error})", endpoint=name, model=model
    )
    unknown.answer_began = error.began
    return unknown


def transport_closed(request: InvokeRequest) -> ClosedError:
    """Return the error for a call after `close`."""
    return ClosedError(
        "this transport was closed", hint="create a new client", endpoint=request.endpoint, model=request.target_model
    )


def read_poller(fileno: int) -> Callable[[float], bool]:
    """Return a function that waits up to so many seconds until a socket is readable, and returns whether it is."""
    if not hasattr(select, "poll"):
        return lambda seconds: bool(select.select([fileno], [], [], max(seconds, 0.0))[0])
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return lambda seconds: bool(poll.poll(max(seconds, 0.0) * 1000))


def arrival_check(sock: socket.socket) -> Callable[[], bool]:
    """Return a function that returns, without waiting, whether data or the end of the stream arrived at a socket.

    On Linux it reads socket options instead of calling `poll`. `poll` releases the GIL, and with 64 threads the wait
    for the GIL costs an eighth of a warm call (benchmarks/invoke.py, case "plain, 200 B, 64 at a time").
    """
    readable, option = read_poller(sock.fileno()), sock.getsockopt
    quiet = (bytes(4), b"\x01")  # no unread data, and the TCP state ESTABLISHED

    def by_options() -> bool:
        seen = option(socket.SOL_SOCKET, _SO_MEMINFO, 4), option(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return seen != quiet and readable(0.0)

    try:
        supported = _HAS_MEMINFO and len(option(socket.SOL_SOCKET, _SO_MEMINFO, 4)) == 4
    except OSError:
        supported = False
    return by_options if supported else lambda: readable(0.0)


def tls_context(route: Route) -> ssl.SSLContext | None:
    """Return the TLS settings of a route; None for plain HTTP.

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
            if os.path.isdir(route.ca_file):  # noqa: PTH112 - the import of pathlib takes a twentieth of a first call
                context.load_verify_locations(capath=route.ca_file)
            else:
                context.load_verify_locations(cafile=route.ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"the trusted certificates in {route.ca_file} cannot be read ({error})",
                hint="correct AWS_CA_BUNDLE, or `ca_bundle` in the AWS profile",
            ) from error
    return context
