"""What both twins of the calls of a ledger have in common."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import attrs

from mme_sdk._flows.cancellation import attach_partial
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.runtime.batch.batch import ItemResult
from mme_sdk.types.reply import Reply

__all__ = ["Item", "LedgerFailed", "check_session", "check_target_of", "plain", "why_it_ended"]

T = TypeVar("T")


@attrs.frozen(slots=False, eq=False)
class Item(Generic[T]):
    """An item of a batch with its position.

    Attributes:
        position: Its position in the input, from 0.
        item: The item.
    """

    position: int
    item: T


class LedgerFailed(Exception):
    """The ledger cannot be read or written. It ends the batch, as an MMEError of a call does not, and never leaves it.

    Args:
        error: Why.
    """

    def __init__(self, error: MMEError) -> None:
        super().__init__(error.message)
        self.error = error


def plain(result: ItemResult[Item[T]]) -> ItemResult[T]:
    """Return the result of an item as that of the caller's own item."""
    return ItemResult(result.index, result.item.item, reply=result.reply, error=result.error)


def why_it_ended(reason: BaseException) -> BaseException:
    """Return the exception that the caller sees. Its `partial` attribute has the results that were complete.

    Args:
        reason: The exception that ended the batch.
    """
    ended = reason.error if isinstance(reason, LedgerFailed) else reason
    partial: Any = getattr(reason, "partial", None)
    if partial:
        attach_partial(ended, tuple(plain(one) if isinstance(one.item, Item) else one for one in partial))
    return ended


def check_session(session_id: str | None) -> None:
    """Raise InvalidInputError for a stateful session: its answers depend on the calls before.

    Args:
        session_id: The session of the calls, or None.
    """
    if session_id is not None:
        raise InvalidInputError(
            "session_id: a ledger cannot keep the answers of a stateful session", hint="omit the ledger or the session"
        )


def check_target_of(reply: Reply[Any], target: str | None) -> None:
    """Raise LedgerFailed if another model answered than the key of the request names.

    Args:
        reply: The answer.
        target: The target model of the key.
    """
    if reply.model != target:
        raise LedgerFailed(
            InvalidInputError(
                f"{reply.endpoint}: {target!r} stands for {reply.model}, which may change between two runs of a job",
                hint="with a ledger, name models by target model, ModelVersion or name@alias",
                endpoint=reply.endpoint,
                model=target,
            )
        )
