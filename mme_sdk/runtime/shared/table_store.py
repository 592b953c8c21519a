"""A store on a table of entries with an end, such as a SQLite file. `store.lua` does the same in Redis and Valkey."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Protocol

from mme_sdk.runtime.shared.rules import ACTIVE, WORKER, Ask, Grant, LoadLimit, Rate, end_load, reserve
from mme_sdk.runtime.shared.store import StoreRefusedError

__all__ = ["Table", "TableStore"]

_RATE_KEPT = 60.0  # seconds
_LIMIT_KEPT = 86_400.0  # seconds
_TIMES_KEPT = 604_800.0  # seconds


class Table(Protocol):
    """Entries of one transaction, by group and name. Each has a text and an end, which is a time."""

    @property
    def now(self) -> float:
        """The time of the store."""
        ...

    def get(self, group: str, name: str) -> str | None:
        """Return the text of an entry that has not ended."""
        ...

    def put(self, group: str, name: str, text: str, ends: float) -> None:
        """Write an entry."""
        ...

    def drop(self, group: str, name: str) -> bool:
        """Delete an entry. Return whether there was one."""
        ...

    def ends(self, group: str) -> list[float]:
        """Return when the entries of a group end, without those that have ended."""
        ...


class TableStore(ABC):
    """The operations of `Store` on a table."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Table]:
        """Return a context in which nobody else changes the table."""

    def reserve(self, endpoint: str, worker: str, ask: Ask) -> Grant:
        """Reserve calls; see `Store.reserve`."""
        with self.transaction() as table:
            now, group = table.now, f"workers/{endpoint}"
            table.put(group, worker, "", now + WORKER)
            ends = [end for end in table.ends(group) if end <= now + WORKER]
            state = Rate(*_numbers(table, "rate", endpoint, 7))
            active = sum(end > now - ACTIVE + WORKER for end in ends)
            grant = reserve(state, ask, now, active=active, workers=len(ends))
            numbers = (state.free_at, state.peak, state.began, state.recovery, state.answers, state.span, state.counted)
            table.put("rate", endpoint, " ".join(map(repr, numbers)), now + _RATE_KEPT)
            return grant

    def acquire(self, endpoint: str, model: str, worker: str, *, seconds: float) -> tuple[bool, str]:
        """Acquire a lease; see `Store.acquire`."""
        with self.transaction() as table:
            group = f"leases/{endpoint}"
            if table.get(group, model) is not None:
                return False, ""
            table.put(group, model, worker, table.now + seconds)
            return True, table.get(f"times/{endpoint}", model) or ""

    def renew(self, endpoint: str, model: str, worker: str, *, seconds: float) -> None:
        """Extend a lease and a cold slot; see `Store.renew`."""
        with self.transaction() as table:
            _renew(table, endpoint, model, worker, seconds)

    def release(self, endpoint: str, model: str, worker: str, *, curves: str) -> None:
        """Release a lease; see `Store.release`."""
        with self.transaction() as table:
            group = f"leases/{endpoint}"
            if table.get(group, model) == worker:
                table.drop(group, model)
            if curves:
                table.put(f"times/{endpoint}", model, curves, table.now + _TIMES_KEPT)

    def take_slot(self, endpoint: str, model: str, worker: str, *, seconds: float, initial: int, forced: bool) -> int:
        """Take a cold slot; see `Store.take_slot`."""
        with self.transaction() as table:
            group, name, state = f"slots/{endpoint}", _slot(worker, model), _limit(table, endpoint)
            _renew(table, endpoint, model, worker, seconds)
            if not state.limit:
                state.limit = initial
                _keep_limit(table, endpoint, state)
            if len(table.ends(group)) >= state.limit and not forced and table.get(group, name) is None:
                return -1
            table.put(group, name, worker, table.now + seconds)
            return state.epoch

    def free_slot(self, endpoint: str, model: str, worker: str, *, verdict: int, epoch: int, maximum: int) -> None:
        """Free a cold slot; see `Store.free_slot`."""
        with self.transaction() as table:
            group, name = f"slots/{endpoint}", _slot(worker, model)
            used, held = len(table.ends(group)), table.get(group, name) is not None
            table.drop(group, name)
            if held:
                state = _limit(table, endpoint)
                end_load(state, verdict=verdict, epoch=epoch, used=used, maximum=maximum)
                _keep_limit(table, endpoint, state)


def _renew(table: Table, endpoint: str, model: str, worker: str, seconds: float) -> None:
    for group, name in ((f"leases/{endpoint}", model), (f"slots/{endpoint}", _slot(worker, model))):
        if table.get(group, name) == worker:
            table.put(group, name, worker, table.now + seconds)


def _slot(worker: str, model: str) -> str:
    return f"{worker}/{model}"


def _limit(table: Table, endpoint: str) -> LoadLimit:
    return LoadLimit(*map(int, _numbers(table, "limit", endpoint, 2)))


def _numbers(table: Table, group: str, name: str, count: int) -> list[float]:
    """Return the numbers of an entry; none if there is no entry.

    Raises:
        StoreRefusedError: Another program wrote the entry.
    """
    text = table.get(group, name)
    if text is None:
        return []
    try:
        found = [float(one) for one in text.split()]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise StoreRefusedError(f"the entry {group} of {name} is not one of mme_sdk; delete the file")
    return found


def _keep_limit(table: Table, endpoint: str, state: LoadLimit) -> None:
    table.put("limit", endpoint, f"{state.limit} {state.epoch}", table.now + _LIMIT_KEPT)
