"""Single flight across processes: leases, kept in one small SQLite file of a machine.

Several worker processes of one machine that share a file of leases knock once between them at a cold model. A lease
ends by itself, so a process that dies blocks nobody for long. The protocol is small on purpose: `SET key owner NX PX`,
`PEXPIRE` and `DEL` are all that a Redis of your own would need.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from mme_sdk._effects import Do, Flow
from mme_sdk.errors import ConfigurationError

__all__ = ["FileLeases", "Leases"]

T = TypeVar("T")


class Leases(Protocol):
    """Who may cold-start a model, among processes."""

    def acquire(self, endpoint: str, model: str, *, seconds: float) -> Flow[bool]:
        """Take the lease of a model for so many seconds, if nobody has it."""
        ...

    def renew(self, endpoint: str, model: str, *, seconds: float) -> Flow[None]:
        """Keep a lease for so many seconds from now."""
        ...

    def release(self, endpoint: str, model: str) -> Flow[None]:
        """Give a lease back."""
        ...


class FileLeases:
    """`Leases` in a SQLite file, for the processes of one machine.

    Args:
        path: The file; made on first use. A local disk: SQLite does not lock over network file systems.
        now: Seconds since the epoch.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> leases = FileLeases(f"{folder.name}/leases.db")
        >>> leases.take("scoring", "fraud/v1.tar.gz", seconds=60)
        True
        >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str], *, now: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._now = now
        self._owners: dict[tuple[str, str], str] = {}

    def acquire(self, endpoint: str, model: str, *, seconds: float) -> Flow[bool]:
        """See `Leases.acquire`."""
        taken: bool = yield Do(lambda: self.take(endpoint, model, seconds=seconds))
        return taken

    def renew(self, endpoint: str, model: str, *, seconds: float) -> Flow[None]:
        """See `Leases.renew`."""
        yield Do(lambda: self.keep(endpoint, model, seconds=seconds))

    def release(self, endpoint: str, model: str) -> Flow[None]:
        """See `Leases.release`."""
        yield Do(lambda: self.drop(endpoint, model))

    def take(self, endpoint: str, model: str, *, seconds: float) -> bool:
        """Take a lease, blocking for the file's lock."""
        owner = uuid.uuid4().hex

        def work(file: sqlite3.Connection) -> bool:
            now = self._now()
            file.execute("DELETE FROM leases WHERE ends <= ?", (now,))
            made = file.execute(
                "INSERT OR IGNORE INTO leases (endpoint, model, owner, ends) VALUES (?, ?, ?, ?)",
                (endpoint, model, owner, now + seconds),
            )
            return made.rowcount == 1

        taken = self._transact(work)
        if taken:
            self._owners[(endpoint, model)] = owner
        return taken

    def keep(self, endpoint: str, model: str, *, seconds: float) -> None:
        """Renew a lease, blocking for the file's lock."""
        owner = self._owners.get((endpoint, model))

        def work(file: sqlite3.Connection) -> None:
            file.execute(
                "UPDATE leases SET ends = ? WHERE endpoint = ? AND model = ? AND owner = ?",
                (self._now() + seconds, endpoint, model, owner),
            )

        self._transact(work)

    def drop(self, endpoint: str, model: str) -> None:
        """Give a lease back, blocking for the file's lock."""
        owner = self._owners.pop((endpoint, model), None)

        def work(file: sqlite3.Connection) -> None:
            file.execute("DELETE FROM leases WHERE endpoint = ? AND model = ? AND owner = ?", (endpoint, model, owner))

        self._transact(work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # One connection a transaction: it costs a fraction of a millisecond beside a load of seconds, and nothing has
        # to be closed, shared between threads, or carried over a fork.
        try:
            file = sqlite3.connect(self._path, timeout=10, isolation_level=None)
            try:
                file.execute("PRAGMA synchronous = OFF")  # leases need not outlive the machine
                file.execute(
                    "CREATE TABLE IF NOT EXISTS leases (endpoint TEXT, model TEXT, owner TEXT, ends REAL,"
                    " PRIMARY KEY (endpoint, model)) WITHOUT ROWID"
                )
                file.execute("BEGIN IMMEDIATE")
                try:
                    done = work(file)
                except BaseException:
                    file.execute("ROLLBACK")
                    raise
                file.execute("COMMIT")
                return done
            finally:
                file.close()
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"the file of leases {self._path} cannot be used: {error}",
                hint="a file on a local disk, in a folder that every worker may write to",
            ) from error
