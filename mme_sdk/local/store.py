"""The control plane's memory: documents in SQLite, there again after a kill -9."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Store"]


class Store:
    """Documents by kind and name; every write is on disk before it returns.

    Args:
        path: The database file; made where absent.
    """

    def __init__(self, path: Path) -> None:
        # One event loop uses it, from whichever thread runs that loop.
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID"
        )

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One document, or None."""
        row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return None if row is None else _load(row[0])

    def put(self, kind: str, name: str, document: dict[str, Any]) -> None:
        """Write one document, in place of the one before."""
        body = json.dumps(document, default=_encode)
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, body))

    def delete(self, kind: str, name: str) -> None:
        """Remove one document; absent is fine."""
        self._db.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name))

    def all(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and document of all of a kind, by name."""
        rows = self._db.execute("SELECT name, body FROM documents WHERE kind = ? ORDER BY name", (kind,)).fetchall()
        return ((name, _load(body)) for name, body in rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$time": value.astimezone(UTC).timestamp()}
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _load(body: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(body, object_hook=_decode)
    return document


def _decode(value: dict[str, Any]) -> Any:
    return datetime.fromtimestamp(value["$time"], UTC) if set(value) == {"$time"} else value
