# Generated from async_calls.py by scripts/unasync.py. Change that file, then run `make facades`.
"""`LedgerCalls`: the calls of a batch with a ledger. A call whose answer the ledger has is not made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Generic, TypeVar

import attrs

from mme_sdk._flows.effects import Flow
from mme_sdk.errors import MMEError
from mme_sdk.runtime.batch.batch import ItemResult, Model
from mme_sdk.runtime.ledger.items import Item, LedgerFailed, check_target_of, plain, why_it_ended
from mme_sdk.runtime.ledger.stores import AnswerStore
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = ["LedgerCalls"]

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class LedgerCalls(Generic[T]):
    """The calls of a batch with a ledger.

    Attributes:
        store: The answers.
        run: Runs a flow of the store.
        target_of: Returns what an alias stands for now, and any other model itself.
        payload_of: Returns the payload of an item.
        key_of: Returns the key of a payload, the target model and the position of its item.
        send: Invokes with a payload and a model.
        send_together: Invokes with several payloads and a model; returns the outcome of each.
        decoded: Returns an answer of the ledger, decoded as the caller asks for.
        check: Raises an MMEError for an answer that does not belong to its item; it is not kept. None checks nothing.
    """

    store: AnswerStore
    run: Callable[[Flow[Any]], Any]
    target_of: Callable[[Model], Any]
    payload_of: Callable[[T], Any]
    key_of: Callable[[Any, str | None, int], str]
    send: Callable[[Any, Model], Any]
    send_together: Callable[[list[Any], Model], Any]
    decoded: Callable[[Reply[Any]], Reply[Any]]
    check: Callable[[T, Reply[Any]], object] | None
    _targets: dict[str, Any] = attrs.field(factory=dict)

    def numbered(self, items: Any) -> Any:
        """Return the items with their positions.

        Args:
            items: The items.
        """
        if isinstance(items, Iterable):
            return self._numbered(items)
        return (Item(position, item) for position, item in enumerate(items))

    def _numbered(self, items: Iterable[T]) -> Iterator[Item[T]]:
        positions = count()
        for item in items:
            yield Item(next(positions), item)

    def call(self, item: Item[T], model: Model) -> Reply[Any]:
        """Return the answer to an item: that of the ledger, or that of the model.

        Args:
            item: The item.
            model: Its model.
        """
        target = self._target(model)
        payload = self.payload_of(item.item)
        key, found = self._find(item, payload, target)
        if found is not None:
            return found
        return self._kept(key, item, self.send(payload, target), target)

    def together(self, items: Sequence[Item[T]], model: Model) -> list[Reply[Any] | MMEError]:
        """Return the outcomes of several items of a model. Those that the ledger does not have are sent together.

        Args:
            items: The items.
            model: Their model.
        """
        target = self._target(model)
        outcomes: dict[int, Reply[Any] | MMEError] = {}
        missing: list[tuple[int, str, Any]] = []
        for place, item in enumerate(items):
            try:
                payload = self.payload_of(item.item)
                key, found = self._find(item, payload, target)
                if found is None:
                    missing.append((place, key, payload))
                else:
                    outcomes[place] = found
            except MMEError as error:
                outcomes[place] = error
        if missing:
            sent = self.send_together([payload for _, _, payload in missing], target)
            for (place, key, _), outcome in zip(missing, sent, strict=True):
                try:
                    failed = isinstance(outcome, MMEError)
                    outcomes[place] = outcome if failed else self._kept(key, items[place], outcome, target)
                except MMEError as error:
                    outcomes[place] = error
        return [outcomes[place] for place in range(len(items))]

    def results(self, batch: Generator[ItemResult[Item[T]], None]) -> Iterator[ItemResult[T]]:
        """Yield the results of a batch of these calls.

        Args:
            batch: The batch.
        """
        failed: BaseException | None = None
        try:
            self._store_does(self.store.open())
            for result in batch:
                yield plain(result)
        except BaseException as reason:
            failed = why_it_ended(reason)
            if failed is reason:
                raise
            raise failed from None
        finally:
            try:
                batch.close()
            finally:
                try:
                    self.run(self.store.finish())
                except MMEError as error:
                    if failed is None:
                        raise
                    failed.add_note(f"the last answers were not written to the ledger: {error.message}")

    def _target(self, model: Model) -> Model:
        """Return what is called for a model, the same in the whole batch."""
        if not isinstance(model, str):
            return model
        if model not in self._targets:
            self._targets.setdefault(model, self.target_of(model))
        found: Model = self._targets[model]
        return found

    def _find(self, item: Item[T], payload: Any, target: Model) -> tuple[str, Reply[Any] | None]:
        key = self.key_of(payload, _name(target), item.position)
        found = self._store_does(self.store.find(key))
        return key, None if found is None else self.decoded(found)

    def _kept(self, key: str, item: Item[T], reply: Reply[Any], target: Model) -> Reply[Any]:
        check_target_of(reply, _name(target))
        if self.check is not None:
            self.check(item.item, reply)
        kept = self._store_does(self.store.keep(key, reply))
        return reply if kept is reply else self.decoded(kept)

    def _store_does(self, flow: Flow[Any]) -> Any:
        try:
            return self.run(flow)
        except MMEError as error:
            raise LedgerFailed(error) from error


def _name(target: Model) -> str | None:
    return target.target_model if isinstance(target, ModelVersion) else target
