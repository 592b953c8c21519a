"""The shared store in a SQLite file, for the processes of one machine."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from mme_sdk.runtime.shared.store import StoreDownError, StoreRefusedError
from mme_sdk.runtime.shared.table_store import Table, TableStore

__all__ = ["FileStore"]

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@attrs.frozen
class _SqlTable:
    """Entries in an open transaction."""

    file: sqlite3.Connection
    namespace: str
    now: float

    def get(self, group: str, name: str) -> str | None:
        row = self.file.execute(
            "SELECT text FROM entries WHERE space = ? AND kind = ? AND name = ? AND ends > ?",
            (self.namespace, group, name, self.now),
        ).fetchone()
        return None if row is None else str(row[0])

    def put(self, group: str, name: str, text: str, ends: float) -> None:
        self.file.execute("REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", (self.namespace, group, name, text, ends))

    def drop(self, group: str, name: str) -> bool:
        where = (self.namespace, group, name)
        return self.file.execute("DELETE FROM entries WHERE space = ? AND kind = ? AND name = ?", where).rowcount > 0

    def ends(self, group: str) -> list[float]:
        where = (self.namespace, group, self.now)
        self.file.execute("DELETE FROM entries WHERE space = ? AND kind = ? AND ends <= ?", where)
        rows = self.file.execute("SELECT ends FROM entries WHERE space = ? AND kind = ?", where[:2])
        return [row[0] for row in rows.fetchall()]


class FileStore(TableStore):
    """`Store` in a SQLite file.

    Args:
        path: The file, created on first use.
        namespace: Keeps apart what several applications have in one file.
        timeout: Longest wait for another process that has locked the file, in seconds.
        now: Returns seconds since the epoch; `time.time` by default.
    """

    def __init__(self, path: str, *, namespace: str, timeout: float, now: Callable[[], float] = time.time) -> None:
        self._path, self._namespace, self._timeout, self._now = path, namespace, timeout, now

    @contextmanager
    def transaction(self) -> Iterator[Table]:
        """Return the entries in a transaction of SQLite."""
        # A connection for each transaction takes under a millisecond. It needs no care across threads and forks.
        try:
            file = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None)
            try:
                file.execute("PRAGMA synchronous = OFF")  # the state need not survive a crash of the machine
                file.execute("BEGIN IMMEDIATE")
                try:
                    file.execute(
                        "CREATE TABLE IF NOT EXISTS entries (space TEXT, kind TEXT, name TEXT, text TEXT, ends REAL,"
                        " PRIMARY KEY (space, kind, name)) WITHOUT ROWID"
                    )
                    yield _SqlTable(file, self._namespace, self._now())
                except BaseException:
                    file.execute("ROLLBACK")
                    raise
                file.execute("COMMIT")
            finally:
                file.close()
        except sqlite3.Error as error:
            busy = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _BUSY
            raise (StoreDownError if busy else StoreRefusedError)(str(error)) from error
