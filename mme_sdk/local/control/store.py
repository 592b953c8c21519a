"""The control plane's memory: documents in SQLite, there again after a kill -9."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mme_sdk.errors import ConfigurationError, MMEError, StorageError
from mme_sdk.local.storage import disk

__all__ = ["Store"]


class Store:
    """Documents by kind and name; every write is on disk before it returns.

    Args:
        path: The database file; made where absent.

    Raises:
        ConfigurationError: The file is damaged.
        StorageError: The disk is full, or refuses; so do all methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            disk.open_private(path, append=True).close()  # SQLite gives its other files the permissions of this one
            # One event loop uses it, from whichever thread runs that loop.
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS documents"
                " (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID"
            )
            self._db.execute("SELECT kind, name, body FROM documents LIMIT 1").fetchone()
        except OSError as error:
            raise disk.write_error(path, error) from error
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from error

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One document, or None."""
        rows = self._run("SELECT body FROM documents WHERE kind = ? AND name = ?", kind, name)
        return _load(rows[0][0]) if rows else None

    def put(self, kind: str, name: str, document: dict[str, Any]) -> None:
        """Write one document, in place of the one before."""
        self._run(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", kind, name, json.dumps(document, default=_encode)
        )

    def delete(self, kind: str, name: str) -> None:
        """Remove one document; absent is fine."""
        self._run("DELETE FROM documents WHERE kind = ? AND name = ?", kind, name)

    def all(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and document of all of a kind, by name."""
        rows = self._run("SELECT name, body FROM documents WHERE kind = ? ORDER BY name", kind)
        return ((name, _load(body)) for name, body in rows)

    def _run(self, statement: str, *values: str) -> list[tuple[str, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.DatabaseError) -> MMEError:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return ConfigurationError(
                f"{self._path} is damaged ({error})",
                hint=f"move it and {self._path.name}-wal away: models, endpoint configurations and endpoints are then "
                "to be created again; the objects in S3 stay",
            )
        return StorageError(
            f"cannot use {self._path}: {error}; {disk.free_space(self._path)} on its file system",
            hint="free some space, or choose another data_dir (--data-dir)",
        )

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
