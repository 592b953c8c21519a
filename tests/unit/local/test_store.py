"""The database of the control plane."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.errors import ConfigurationError
from mme_sdk.local.control import store
from mme_sdk.local.control.store import Store


def test_a_damaged_file_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[sqlite3.Connection] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(original(*arguments, **options))
        return opened[-1]

    original = sqlite3.connect
    monkeypatch.setattr(store.sqlite3, "connect", connect)
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(ConfigurationError):
        Store(path)
    (connection,) = opened
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
