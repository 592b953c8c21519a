"""Which transport a client rides on, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Literal, get_args

from mme_sdk.aws import Aws
from mme_sdk.errors import ClosedError, ConfigurationError, NotSentError
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.transport.daemon_threads import Shared, outcome, outcome_async
from mme_sdk.runtime.transport.settings import Settings
from mme_sdk.runtime.transport_interface import InvokeAnswer, InvokeRequest

if TYPE_CHECKING:
    from mme_sdk.aws.addressing import Route
    from mme_sdk.runtime.transport.async_pool import AsyncLeanTransport
    from mme_sdk.runtime.transport.botocore_transport import AsyncBotocoreTransport, BotocoreTransport
    from mme_sdk.runtime.transport.sync_pool import LeanTransport

__all__ = ["AsyncChosenTransport", "Choice", "ChosenTransport", "make_async_transport", "make_transport"]

Choice = Literal["auto", "fast", "core", "botocore"]
"""Which transport.

- `auto`: `fast` where it supports the configuration; `botocore` where it does not.
- `fast`: connections and a parser of our own.
- `core`: another name for `fast`.
- `botocore`: botocore's own sending.
"""

_LOCK = ForkLock()


class ChosenTransport:
    """Chooses on the first call, so that making a client costs nothing, and sends through what was chosen.

    Attributes:
        name: The lane that sends; `undecided` before the first call.
        reason: Why it is not a faster one, where `auto` met something that only botocore supports.
    """

    def __init__(self, choose: Callable[[], LeanTransport | BotocoreTransport]) -> None:
        self.name = "undecided"
        self.reason: str | None = None
        self._choose = choose
        self._choosing = Shared(self._chosen)
        self._inner: LeanTransport | BotocoreTransport | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{f', since {self.reason}' if self.reason else ''}>"

    def resolve(self) -> LeanTransport | BotocoreTransport:
        """Choose now.

        Returns:
            What sends.

        Raises:
            ConfigurationError: No region, no credentials, or a chosen lane that cannot honour the configuration.
            ClosedError: This transport was closed.
        """
        return self._keep(self._start().result())

    def _chosen(self) -> LeanTransport | BotocoreTransport:
        return self._choose()

    def _start(self) -> Future[LeanTransport | BotocoreTransport]:
        if self._closed:
            raise ClosedError("this transport was closed")
        return self._choosing.start()

    def _keep(self, made: LeanTransport | BotocoreTransport) -> LeanTransport | BotocoreTransport:
        with _LOCK:
            if self._inner is None:
                self._inner, self.name, self.reason = made, made.name, made.reason
        if self._inner is not made or self._closed:
            made.close()
        return self._inner

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        inner = self._inner
        if inner is None:
            ends = monotonic() + read_timeout
            try:
                inner = self._keep(outcome(self._start(), ends))
            except TimeoutError:
                raise _not_set_up(request, read_timeout) from None
            read_timeout = max(ends - monotonic(), 0.001)
        return inner.send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)

    def close(self) -> None:
        """Close every idle connection; those in use close with their answer."""
        self._closed = True
        if self._inner is not None:
            self._inner.close()


class AsyncChosenTransport:
    """`ChosenTransport`, awaited.

    Attributes:
        name: The lane that sends; `undecided` before the first call.
        reason: Why it is not a faster one, where `auto` met something that only botocore supports.
    """

    def __init__(self, choose: Callable[[], AsyncLeanTransport | AsyncBotocoreTransport]) -> None:
        self.name = "undecided"
        self.reason: str | None = None
        self._choose = choose
        self._choosing = Shared(self._chosen)
        self._inner: AsyncLeanTransport | AsyncBotocoreTransport | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{f', since {self.reason}' if self.reason else ''}>"

    async def resolve(self) -> AsyncLeanTransport | AsyncBotocoreTransport:
        """Choose now; see `ChosenTransport.resolve`."""
        return await self._resolve(math.inf)

    def _chosen(self) -> AsyncLeanTransport | AsyncBotocoreTransport:
        return self._choose()

    async def _resolve(self, ends: float) -> AsyncLeanTransport | AsyncBotocoreTransport:
        if self._closed:
            raise ClosedError("this transport was closed")
        made = await outcome_async(self._choosing.start(), ends)
        with _LOCK:
            if self._inner is None:
                self._inner, self.name, self.reason = made, made.name, made.reason
        if self._inner is not made or self._closed:
            await made.close()
        return self._inner

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        inner = self._inner
        if inner is None:
            ends = monotonic() + read_timeout
            try:
                inner = await self._resolve(ends)
            except TimeoutError:
                raise _not_set_up(request, read_timeout) from None
            read_timeout = max(ends - monotonic(), 0.001)
        return await inner.send(request, connect_timeout=connect_timeout, read_timeout=read_timeout)

    async def close(self) -> None:
        """Close every idle connection; those in use close with their answer."""
        self._closed = True
        if self._inner is not None:
            await self._inner.close()


def make_transport(aws: Aws, choice: str = "auto", *, settings: Settings | None = None) -> ChosenTransport:
    """The transport for synchronous calls.

    Args:
        aws: The way to AWS.
        choice: See `Choice`.
        settings: How a lean lane treats its connections.

    Returns:
        A transport; after the first call its `name` says which one it is, and `reason` why it is not a faster one.

    Raises:
        ConfigurationError: There is no such choice.

    Example:
        ```python
        transport = make_transport(Aws(region="eu-west-1"))
        answer = transport.send(InvokeRequest(endpoint="scoring", body=b"1,2"), connect_timeout=5, read_timeout=70)
        ```
    """
    name = _named(choice)

    def choose() -> LeanTransport | BotocoreTransport:
        found = _find(aws, choice)
        if isinstance(found, str):
            from mme_sdk.aws.botocore_invoke import BotocoreInvoker
            from mme_sdk.runtime.transport.botocore_transport import BotocoreTransport

            return BotocoreTransport(BotocoreInvoker(aws), reason=found or None)
        from mme_sdk.runtime.transport.sync_pool import LeanTransport

        return LeanTransport(lambda: _route(aws), name=name, clock=aws.clock, settings=settings)

    return ChosenTransport(choose)


def make_async_transport(aws: Aws, choice: str = "auto", *, settings: Settings | None = None) -> AsyncChosenTransport:
    """The transport for asynchronous calls; see `make_transport`."""
    name = _named(choice)

    def choose() -> AsyncLeanTransport | AsyncBotocoreTransport:
        found = _find(aws, choice)
        if isinstance(found, str):
            from mme_sdk.aws.botocore_invoke import BotocoreInvoker
            from mme_sdk.runtime.transport.botocore_transport import AsyncBotocoreTransport

            return AsyncBotocoreTransport(BotocoreInvoker(aws), reason=found or None)
        from mme_sdk.runtime.transport.async_pool import AsyncLeanTransport

        return AsyncLeanTransport(found, name=name, clock=aws.clock, settings=settings)

    return AsyncChosenTransport(choose)


def _not_set_up(request: InvokeRequest, seconds: float) -> NotSentError:
    return NotSentError(
        f"{request.endpoint}: the transport was not set up within {seconds:.3g} s; nothing was sent",
        hint="a first call imports boto3 and asks for credentials; this goes on, and a later call finds it done",
        endpoint=request.endpoint,
        model=request.target_model,
    )


def _named(choice: str) -> str:
    if choice not in get_args(Choice):
        raise ConfigurationError(f"no transport is called {choice!r}", hint=f"choose one of {get_args(Choice)}")
    return "core" if choice == "core" else "fast"


def _find(aws: Aws, choice: str) -> Route | str:
    """The route of a lean lane, or why it is botocore; empty where that was the wish."""
    if choice == "botocore":
        aws.client("sagemaker-runtime")  # made here, so that a first call's set-up is one thing to wait for
        return ""
    from mme_sdk.aws.addressing import Unsupported, describe

    found = describe(aws.client("sagemaker-runtime"))
    if not isinstance(found, Unsupported):
        return found
    if choice != "auto":
        raise ConfigurationError(
            f"the transport {choice!r} cannot be used: {found.reason}", hint="choose 'auto' or 'botocore'"
        )
    return found.reason


def _route(aws: Aws) -> Route:
    found = _find(aws, "auto")
    if isinstance(found, str):
        raise ConfigurationError(f"the configuration has changed under the transport: {found}")
    return found
