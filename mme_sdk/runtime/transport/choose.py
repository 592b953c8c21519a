"""Which transport a client rides on, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

from mme_sdk.aws import Aws
from mme_sdk.errors import ClosedError, ConfigurationError
from mme_sdk.runtime.forks import ForkLock
from mme_sdk.runtime.transport.settings import Settings
from mme_sdk.runtime.wire import InvokeAnswer, InvokeRequest

if TYPE_CHECKING:
    from mme_sdk.aws.addressing import Route
    from mme_sdk.runtime.transport.async_lane import AsyncLeanTransport
    from mme_sdk.runtime.transport.plain import AsyncBotocoreTransport, BotocoreTransport, Offload
    from mme_sdk.runtime.transport.sync_lane import LeanTransport

__all__ = ["AsyncChosenTransport", "Choice", "ChosenTransport", "make_async_transport", "make_transport"]

Choice = Literal["auto", "fast", "core", "botocore"]
"""Which transport.

- `auto`: the fastest that supports the configuration; botocore where none does.
- `fast`: our own connections and llhttp (extra `fast`).
- `core`: our own connections and the standard library's parser.
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
        if self._closed:
            raise ClosedError("this transport was closed")
        made = self._choose()
        # Two threads may come here at once; asking botocore can take its time, so no lock is held meanwhile.
        with _LOCK:
            if self._inner is None:
                self._inner, self.name, self.reason = made, made.name, made.reason
        if self._inner is not made or self._closed:
            made.close()
        return self._inner

    def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        inner = self._inner or self.resolve()
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

    def __init__(self, choose: Callable[[], AsyncLeanTransport | AsyncBotocoreTransport], offload: Offload) -> None:
        self.name = "undecided"
        self.reason: str | None = None
        self._choose, self._offload = choose, offload
        self._inner: AsyncLeanTransport | AsyncBotocoreTransport | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{f', since {self.reason}' if self.reason else ''}>"

    async def resolve(self) -> AsyncLeanTransport | AsyncBotocoreTransport:
        """Choose now; see `ChosenTransport.resolve`."""
        if self._closed:
            raise ClosedError("this transport was closed")
        made: AsyncLeanTransport | AsyncBotocoreTransport = await self._offload(self._choose)
        with _LOCK:
            if self._inner is None:
                self._inner, self.name, self.reason = made, made.name, made.reason
        if self._inner is not made or self._closed:
            await made.close()
        return self._inner

    async def send(self, request: InvokeRequest, *, connect_timeout: float, read_timeout: float) -> InvokeAnswer:
        """Send and wait for the whole answer; see `Transport.send`."""
        inner = self._inner or await self.resolve()
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
    fast = _wanted(choice)

    def choose() -> LeanTransport | BotocoreTransport:
        found = _find(aws, choice)
        if isinstance(found, str):
            from mme_sdk.aws.invoke import BotocoreInvoker
            from mme_sdk.runtime.transport.plain import BotocoreTransport

            return BotocoreTransport(BotocoreInvoker(aws), reason=found or None)
        from mme_sdk.runtime.transport.parsing import parser_kind
        from mme_sdk.runtime.transport.sync_lane import LeanTransport

        return LeanTransport(lambda: _route(aws), parser=parser_kind(fast=fast), clock=aws.clock, settings=settings)

    return ChosenTransport(choose)


def make_async_transport(aws: Aws, choice: str = "auto", *, settings: Settings | None = None) -> AsyncChosenTransport:
    """The transport for asynchronous calls; see `make_transport`."""
    fast = _wanted(choice)

    def choose() -> AsyncLeanTransport | AsyncBotocoreTransport:
        found = _find(aws, choice)
        if isinstance(found, str):
            from mme_sdk.aws.invoke import BotocoreInvoker
            from mme_sdk.runtime.transport.plain import AsyncBotocoreTransport

            return AsyncBotocoreTransport(BotocoreInvoker(aws), aws.offload, reason=found or None)
        from mme_sdk.runtime.transport.async_lane import AsyncLeanTransport
        from mme_sdk.runtime.transport.parsing import parser_kind

        return AsyncLeanTransport(
            found, parser=parser_kind(fast=fast), offload=aws.offload, clock=aws.clock, settings=settings
        )

    return AsyncChosenTransport(choose, aws.offload)


def _wanted(choice: str) -> bool | None:
    if choice not in get_args(Choice):
        raise ConfigurationError(f"no transport is called {choice!r}", hint=f"choose one of {get_args(Choice)}")
    return {"fast": True, "core": False}.get(choice)


def _find(aws: Aws, choice: str) -> Route | str:
    """The route of a lean lane, or why it is botocore; empty where that was the wish."""
    if choice == "botocore":
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
