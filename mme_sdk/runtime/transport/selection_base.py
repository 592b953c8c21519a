"""Settings of the transports, and the rule that selects one. `selection` and `async_selection` share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import attrs

from mme_sdk._validation import as_float, as_int, number
from mme_sdk.config import TRANSPORTS
from mme_sdk.errors import ConfigurationError, NotSentError
from mme_sdk.runtime.transport_interface import InvokeRequest

if TYPE_CHECKING:
    from mme_sdk.aws import Aws
    from mme_sdk.aws.addressing import Route

__all__ = ["PoolSettings", "TransportChoice", "check_choice", "find_route", "not_set_up", "route_of", "routes_from"]

TransportChoice = Literal["auto", "fast", "core", "botocore"]
"""Accepted values of the client's `transport` setting.

- `auto`: `fast` if it supports the client's configuration, else `botocore`.
- `fast`: the SDK's connection pool and response parser.
- `core`: another name for `fast`.
- `botocore`: botocore's connections and parser.
"""


_seconds = number(at_least=0, infinite=True)


@attrs.frozen(kw_only=True)
class PoolSettings:
    """Settings of a connection pool.

    A server may close an idle connection at the moment at which a request goes out on it. The pool then sends the
    request once more, on a new connection. `stale_after` and `stale_within` tell this case from a connection that
    breaks while the model runs.

    Attributes:
        max_idle: Largest number of idle connections. 256 by default.
        idle_for: Seconds after which an idle connection is closed instead of used. 50 by default.
        stale_after: Seconds that the connection must have been idle before a second send is allowed. 1 by default.
        stale_within: Seconds after the send within which the connection must have been closed. 1 by default.

    Raises:
        InvalidInputError: A value is not a number of at least 0.
    """

    max_idle: int = attrs.field(default=256, converter=as_int, validator=number(at_least=0, integer=True))
    idle_for: float = attrs.field(default=50.0, converter=as_float, validator=_seconds)
    stale_after: float = attrs.field(default=1.0, converter=as_float, validator=_seconds)
    stale_within: float = attrs.field(default=1.0, converter=as_float, validator=_seconds)


def check_choice(choice: str) -> None:
    """Raise ConfigurationError unless `choice` is a `TransportChoice`."""
    if choice not in TRANSPORTS:
        raise ConfigurationError(f"transport must be one of {TRANSPORTS}, not {choice!r}")


def find_route(aws: Aws, choice: str) -> tuple[Route | None, str | None]:
    """Decide between the connection pool and botocore.

    Args:
        aws: Creates the boto3 client whose configuration is examined.
        choice: See `TransportChoice`.

    Returns:
        The route for the connection pool, and None. Or None for botocore, and the reason; the reason is None if the
        caller chose botocore.

    Raises:
        ConfigurationError: There is no region, or the caller chose a pool that does not support the configuration.
    """
    if choice != "botocore" and not aws.has_session:
        from mme_sdk.aws.direct_route import find_direct_route

        route = find_direct_route(aws.known_region, aws.endpoint_url("sagemaker-runtime"), aws.credentials)
        if route is not None:
            return route, None
    client = aws.client("sagemaker-runtime")  # for botocore too, so that one time-out bounds the set-up of a first call
    if choice == "botocore":
        return None, None
    from mme_sdk.aws.addressing import Unsupported, describe

    found = describe(client)
    if not isinstance(found, Unsupported):
        return found, None
    if choice != "auto":
        raise ConfigurationError(
            f"the transport {choice!r} does not support this configuration: {found.reason}",
            hint="use 'auto' or 'botocore'",
        )
    return None, found.reason


def route_of(aws: Aws) -> Route:
    """Return the route of a configuration that `find_route` found to be supported.

    Raises:
        ConfigurationError: The configuration has changed since then, and is no longer supported.
    """
    route, reason = find_route(aws, "auto")
    if route is None:
        raise ConfigurationError(
            f"the AWS configuration changed while the transport was in use: {reason}", hint="create a new client"
        )
    return route


def routes_from(route: Route, aws: Aws) -> Callable[[], Route]:
    """Return a function for a pool that returns a route that was found already, and after a fork finds it again."""
    found = [route]
    return lambda: found.pop() if found else route_of(aws)


def not_set_up(request: InvokeRequest, seconds: float) -> NotSentError:
    """Return the error for a transport that was not ready in time."""
    return NotSentError(
        f"{request.endpoint}: the transport was not ready within {seconds:.3g} s; no request was sent",
        hint="a first call imports modules and loads credentials; this continues in the background, so repeat the call",
        endpoint=request.endpoint,
        model=request.target_model,
    )
