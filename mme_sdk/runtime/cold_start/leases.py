"""Single flight across processes: leases in a small SQLite file.

Worker processes of one machine that share a file of leases send one probe at a time to a loading model. A lease
expires, so a process that dies blocks the others only for a short time. `Shared` shares leases between machines.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mme_sdk._flows.effects import Do, Flow
from mme_sdk.errors import ConfigurationError

__all__ = ["FileLeases", "Leases"]

T = TypeVar("T")


class Leases(Protocol):
    """Decides which process may load a model."""

    def acquire(self, endpoint: str, model: str, *, seconds: float) -> Flow[bool]:
        """Acquire the lease of a model, unless another process holds it.

        Args:
            endpoint: Name of the endpoint.
            model: The target model; an empty text on a single-model endpoint.
            seconds: Seconds until the lease expires.

        Returns:
            A flow that returns whether the lease was acquired.
        """
        ...

    def renew(self, endpoint: str, model: str, *, seconds: float) -> Flow[None]:
        """Extend a lease that this process holds.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds from now until the lease expires.

        Returns:
            A flow that extends the lease.
        """
        ...

    def release(self, endpoint: str, model: str) -> Flow[None]:
        """Release a lease that this process holds.

        After an interruption it may run twice, or although the lease was not acquired. It must do nothing then.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.

        Returns:
            A flow that releases the lease.
        """
        ...


class FileLeases:
    """`Leases` in a SQLite file, for the processes of one machine.

    Args:
        path: The file, created on first use. It must be on a local disk: SQLite does not lock files on network file
            systems.
        now: Returns seconds since the epoch; `time.time` by default.

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

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_owners": {}}  # the leases that this process holds stay its own

    def acquire(self, endpoint: str, model: str, *, seconds: float) -> Flow[bool]:
        """Acquire the lease of a model; see `Leases.acquire`.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds until the lease expires.

        Returns:
            A flow that returns whether the lease was acquired.

        Raises:
            ConfigurationError: The file cannot be used.
        """
        taken: bool = yield Do(lambda: self.take(endpoint, model, seconds=seconds))
        return taken

    def renew(self, endpoint: str, model: str, *, seconds: float) -> Flow[None]:
        """Extend a lease; see `Leases.renew`.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds until the lease expires.

        Returns:
            A flow that extends the lease.

        Raises:
            ConfigurationError: The file cannot be used.
        """
        yield Do(lambda: self.keep(endpoint, model, seconds=seconds))

    def release(self, endpoint: str, model: str) -> Flow[None]:
        """Release a lease; see `Leases.release`.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.

        Returns:
            A flow that releases the lease.

        Raises:
            ConfigurationError: The file cannot be used.
        """
        yield Do(lambda: self.drop(endpoint, model))

    def take(self, endpoint: str, model: str, *, seconds: float) -> bool:
        """Acquire a lease now. This blocks while another process has locked the file.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds until the lease expires.

        Returns:
            Whether the lease was acquired.

        Raises:
            ConfigurationError: The file cannot be used.
        """
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
        """Extend a lease now. This blocks while another process has locked the file.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds from now until the lease expires.

        Raises:
            ConfigurationError: The file cannot be used.
        """
        owner = self._owners.get((endpoint, model))

        def work(file: sqlite3.Connection) -> None:
            file.execute(
                "UPDATE leases SET ends = ? WHERE endpoint = ? AND model = ? AND owner = ?",
                (self._now() + seconds, endpoint, model, owner),
            )

        self._transact(work)

    def drop(self, endpoint: str, model: str) -> None:
        """Release a lease now. This blocks while another process has locked the file.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.

        Raises:
            ConfigurationError: The file cannot be used.
        """
        owner = self._owners.pop((endpoint, model), None)

        def work(file: sqlite3.Connection) -> None:
            file.execute("DELETE FROM leases WHERE endpoint = ? AND model = ? AND owner = ?", (endpoint, model, owner))

        self._transact(work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # A connection for each transaction takes under a millisecond. It needs no closing, and no care across threads
        # and forks.
        try:
            file = sqlite3.connect(self._path, timeout=10, isolation_level=None)
            try:
                file.execute("PRAGMA synchronous = OFF")  # leases need not survive a crash of the machine
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
                f"cannot use {self._path} for leases: {error}",
                hint="choose a file on a local disk, in a folder that every worker process can write to",
            ) from error
