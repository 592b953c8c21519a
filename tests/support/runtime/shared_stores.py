"""Stores of shared state without I/O: one in memory, and one that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mme_sdk.runtime.shared.store import StoreDownError
from mme_sdk.runtime.shared.table_store import TableStore


class DictTable:
    """Entries in a dictionary."""

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, group: str, name: str) -> str | None:
        text, ends = self.entries.get((group, name), ("", self.now))
        return text if ends > self.now else None

    def put(self, group: str, name: str, text: str, ends: float) -> None:
        self.entries[(group, name)] = (text, ends)

    def drop(self, group: str, name: str) -> bool:
        return self.entries.pop((group, name), None) is not None

    def ends(self, group: str) -> list[float]:
        for key in [key for key, (_, ends) in self.entries.items() if key[0] == group and ends <= self.now]:
            del self.entries[key]
        return [ends for key, (_, ends) in self.entries.items() if key[0] == group]


class MemoryStore(TableStore):
    """A store in memory. While `down` is true, it does not answer."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.table, self.now, self.down, self.lock = DictTable(), now, False, threading.Lock()
        self.trips: list[tuple[str, tuple[Any, ...]]] = []

    @contextmanager
    def transaction(self) -> Iterator[DictTable]:
        if self.down:
            raise StoreDownError("timed out")
        with self.lock:
            self.table.now = self.now()
            yield self.table
