"""Which transport a client rides on, and why."""

from __future__ import annotations

from typing import Literal

from mme_sdk.aws import Aws
from mme_sdk.aws.invoke import BotocoreInvoker
from mme_sdk.errors import ConfigurationError
from mme_sdk.runtime.transport.plain import AsyncBotocoreTransport, BotocoreTransport
from mme_sdk.runtime.wire import AsyncTransport, Transport

__all__ = ["Choice", "make_async_transport", "make_transport"]

Choice = Literal["auto", "botocore"]
"""`auto`: the fastest that supports the configuration. `botocore`: botocore's own sending."""


def make_transport(aws: Aws, choice: Choice = "auto") -> Transport:
    """The transport for synchronous calls.

    Args:
        aws: The way to AWS.
        choice: See `Choice`.

    Returns:
        A transport; its `name` says which one it is, and `reason` why it is not a faster one.
    """
    _known(choice)
    return BotocoreTransport(BotocoreInvoker(aws))


def make_async_transport(aws: Aws, choice: Choice = "auto") -> AsyncTransport:
    """The transport for asynchronous calls; see `make_transport`."""
    _known(choice)
    return AsyncBotocoreTransport(BotocoreInvoker(aws), aws.offload)


def _known(choice: str) -> None:
    if choice not in ("auto", "botocore"):
        raise ConfigurationError(f"no transport is called {choice!r}", hint="choose 'auto' or 'botocore'")
