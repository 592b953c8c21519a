# Generated from async_selection.py by scripts/unasync.py. Change that file, then run `make facades`.
"""Select the transport of a client on its first call."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from mme_sdk.aws.session import Aws
from mme_sdk.errors import ClosedError
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.transport.daemon_threads import SharedCall, result_of
from mme_sdk.runtime.transport.selection_base import PoolSettings, check_choice, find_route, not_set_up, routes_from
from mme_sdk.runtime.transport_interface import InvokeRequest, InvokeResponse

if TYPE_CHECKING:
    from mme_sdk.runtime.transport.botocore_transport import BotocoreTransport
    from mme_sdk.runtime.transport.pool import ConnectionPool

__all__ = ["SelectedTransport", "make_transport"]

_LOCK = ForkLock()


class SelectedTransport:
    """A transport that is selected on the first call and sends every call. Before that it imports and connects nothing.

    Args:
        select: Creates the selected transport. It may block: it runs in a daemon thread.

    Attributes:
        name: Name of the transport in use, `fast` or `botocore`. `undecided` before the first call.
        reason: Why `auto` uses `botocore`: the setting that `fast` does not support. None in every other case.
    """

    def __init__(self, select: Callable[[], ConnectionPool | BotocoreTransport]) -> None:
        self.name = "undecided"
        self.reason: str | None = None
        self._selecting = SharedCall(select)
        self._inner: ConnectionPool | BotocoreTransport | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{f', since {self.reason}' if self.reason else ''}>"

    def resolve(self) -> ConnectionPool | BotocoreTransport:
        """Select the transport now.

        Returns:
            The selected transport.

        Raises:
            ConfigurationError: There is no region or no credentials, or the requested transport does not support the
                configuration.
            ClosedError: This transport was closed.
        """
        return self._select(math.inf)

    def _select(self, expires_at: float) -> ConnectionPool | BotocoreTransport:
        if self._closed:
            raise ClosedError("this transport was closed", hint="create a new client")
        selected = result_of(self._selecting.start(), expires_at)
        with _LOCK:
            if self._inner is None:
                self._inner, self.name, self.reason = selected, selected.name, selected.reason
        if self._inner is not selected or self._closed:
            selected.close()
        return self._inner

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeResponse:
        """Send a request and return its response; see `Transport.send`."""
        inner = self._inner
        if inner is None:
            expires_at = monotonic() + read_timeout
            try:
                inner = self._select(expires_at)
            except TimeoutError:
                raise not_set_up(request, read_timeout) from None
            read_timeout = max(expires_at - monotonic(), 0.001)
        return inner.send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)

    def close(self) -> None:
        """Close the idle connections. A connection in use is closed after its response."""
        self._closed = True
        if self._inner is not None:
            self._inner.close()


def make_transport(aws: Aws, choice: str = "auto", *, settings: PoolSettings | None = None) -> SelectedTransport:
    """Return the transport of an synchronous client.

    Args:
        aws: Access to AWS: configuration, credentials and clock.
        choice: See `TransportChoice`. `auto` by default.
        settings: Settings of the connection pool. The defaults of `PoolSettings` if None.

    Returns:
        A transport. After the first call its `name` is the transport in use, and `reason` says why it is not `fast`.

    Raises:
        ConfigurationError: `choice` is not a `TransportChoice`.

    Example:
        ```python
        transport = make_transport(Aws(region="eu-west-1"))
        request = InvokeRequest(endpoint="scoring", body=b"1,2")
        response = transport.send(request, connect_timeout=5, read_timeout=70)
        ```
    """
    check_choice(choice)

    def select() -> ConnectionPool | BotocoreTransport:
        route, reason = find_route(aws, choice)
        if route is None:
            from mme_sdk.aws.botocore_invoke import BotocoreInvoker
            from mme_sdk.runtime.transport.botocore_transport import BotocoreTransport

            return BotocoreTransport(BotocoreInvoker(aws), reason=reason)
        from mme_sdk.runtime.transport.pool import ConnectionPool

        return ConnectionPool(routes_from(route, aws), clock=aws.clock, settings=settings)

    return SelectedTransport(select)
