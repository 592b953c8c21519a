"""The documents of the control plane in SQLite. They survive `kill -9`."""

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
    """Documents by kind and name. A write survives `kill -9` once the method has returned.

    Args:
        path: Path of the database file. It is created if it does not exist.

    Raises:
        ConfigurationError: The file is damaged. Every method may raise it.
        StorageError: The file cannot be read or written. Every method may raise it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            disk.open_private(path, append=True).close()  # SQLite gives its other files the same permissions
            # One event loop uses the connection. The thread of that loop may not be the current one.
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
            if hasattr(self, "_db"):
                self._db.close()
            raise self._error(error) from error

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a document, or None if it does not exist."""
        rows = self._run("SELECT body FROM documents WHERE kind = ? AND name = ?", kind, name)
        return _load(rows[0][0]) if rows else None

    def has_ignoring_case(self, kind: str, name: str) -> bool:
        """Return whether a document exists whose name differs at most in the case of ASCII letters."""
        return bool(self._run("SELECT 1 FROM documents WHERE kind = ? AND name = ? COLLATE NOCASE", kind, name))

    def put(self, kind: str, name: str, document: dict[str, Any]) -> None:
        """Write a document, and replace one of the same kind and name."""
        self._run(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", kind, name, json.dumps(document, default=_encode)
        )

    def delete(self, kind: str, name: str) -> None:
        """Delete a document, if it exists."""
        self._run("DELETE FROM documents WHERE kind = ? AND name = ?", kind, name)

    def all(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return names and documents of a kind, sorted by name."""
        rows = self._run("SELECT name, body FROM documents WHERE kind = ? ORDER BY name", kind)
        return ((name, _load(body)) for name, body in rows)

    def _run(self, statement: str, *values: str) -> list[tuple[str, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.DatabaseError) -> MMEError:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return ConfigurationError(
                f"{self._path} is damaged ({error})",
                hint=f"move it and {self._path.name}-wal to another folder, start the host, and create the models, "
                "endpoint configurations and endpoints again; the objects in S3 are not affected",
            )
        return StorageError(
            f"cannot use {self._path}: {error}; {disk.free_space(self._path)} on its file system",
            hint="free some space, or choose another data_dir (--data-dir)",
        )

    def close(self) -> None:
        """Close the database."""
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
