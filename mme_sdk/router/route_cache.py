"""The route table of one router: read, cached, and changed by compare-and-swap."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Literal

from mme_sdk._flows.effects import Flow
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.registry.store import Record, Store
from mme_sdk.router.cell import Cell
from mme_sdk.router.table import Body, Change, RouteTable, body_of, table_of

__all__ = ["RouteCache"]

_KIND = "routes"
_log = logging.getLogger("mme_sdk.router")


class RouteCache:
    """The route table, at most `staleness` seconds old while S3 answers. While it does not, the last one stays in use.

    Args:
        name: Name of the router.
        cells: The cells that the caller gave. They are the table as long as no object was written or read.
        store: S3 requests for the prefix of the table. None: there is no object, and the table never changes.
        staleness: Largest age of the table, in seconds.
        monotonic: Monotonic clock, in seconds.

    Attributes:
        table: The table as it was read last. None: nothing is known yet, because neither cells nor an object are.
        look_at: When the object is read again, by the clock; infinity if there is none.
        changed: Called after the table was replaced.
    """

    def __init__(
        self,
        name: str,
        cells: Sequence[Cell],
        store: Store | None,
        *,
        staleness: float,
        monotonic: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        check_number("staleness", staleness, over=0)
        self.cells = tuple(cells)
        self.given = {cell.name: cell for cell in cells}
        self.name = name
        self.staleness = staleness
        self.changed = changed
        self._store = store
        self._monotonic = monotonic
        self._record: Record | None = None
        self._read_at = -math.inf
        self._changes = 0  # by this client
        self._failed: MMEError | None = None
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._reading: Future[None] | None = None
        self.table: RouteTable | None = table_of(body_of(cells), self.given, "") if cells else None
        self.look_at = math.inf if store is None else -math.inf

    @property
    def where(self) -> str:
        """Address of the object.

        Raises:
            InvalidInputError: The router has none.
        """
        return f"s3://{self.store.keys.prefix.bucket}/{self.store.keys.reserved(_KIND, self._file)}"

    @property
    def store(self) -> Store:
        """S3 requests for the prefix of the table.

        Raises:
            InvalidInputError: The router has none.
        """
        if self._store is None:
            raise InvalidInputError(
                f"the router {self.name} has no route table, so its cells cannot be changed",
                hint="pass table='s3://bucket/prefix/' to client.router",
            )
        return self._store

    @property
    def _file(self) -> str:
        return f"{self.name}.json"

    @property
    def known(self) -> RouteTable:
        """The table as it was read last.

        Raises:
            MMEError: It could not be read, and no cells were given.
        """
        if self.table is not None:
            return self.table
        if self._failed is not None:
            raise self._failed
        raise InvalidInputError(
            f"the router {self.name} has no cells, and {self.where} does not exist", hint="pass cells="
        )

    def due(self) -> Literal["now", "soon"] | None:
        """Return whether the table must be read before it is used, or should be read in the background."""
        now = self._monotonic()
        if now < self.look_at:
            return None
        recent = now - self._read_at <= self.staleness or self._failed is not None
        return "soon" if recent and self.table is not None else "now"

    def claim(self) -> tuple[Future[None], bool]:
        """Return a read of the table, and whether this caller must `load` or `release` it. Otherwise wait for it."""
        if self._pid != os.getpid():
            self._lock, self._reading, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._reading is not None:
                return self._reading, False
            self._reading = Future()
            return self._reading, True

    def release(self, reading: Future[None]) -> None:
        """Wake the callers that wait for a claimed read. Idempotent."""
        with self._lock:
            if self._reading is not reading:
                return
            self._reading = None
        reading.set_result(None)

    def load(self, reading: Future[None]) -> Flow[None]:
        """Read the table into the cache after `claim`. If S3 does not answer, the last one stays in use."""
        at, changes = self._monotonic(), self._changes
        try:
            record = yield from self.store.get_record(_KIND, self._file, self._record)
            if changes == self._changes:  # otherwise it may be older than a change by this client
                self._keep(record, at)
            self.look_at = at + self.staleness / 2
        except MMEError as error:
            self._failed = error
            self.look_at = self._monotonic() + self.staleness / 2
            _log.warning("the route table of %s was not read; the last one stays in use: %s", self.name, error)
        finally:
            self.release(reading)

    def check(self, change: Change) -> None:
        """Raise if a change contradicts the table as it was read last, before work is done for it.

        Raises:
            MMEError: The change would fail.
        """
        change(None if self._record is None else self._record.body)

    def change(self, change: Change) -> Flow[RouteTable]:
        """Change the object by compare-and-swap, and return the new table.

        Raises:
            ConflictError: Other clients were faster in every attempt, or the change contradicts what they wrote.
        """

        def checked(old: Body | None) -> Body | None:
            if old is not None:
                table_of(old, self.given, self.where)
            return change(old)

        record = yield from self.store.change_record(_KIND, self._file, checked)
        self._changes += 1
        at = self._monotonic()
        self._keep(record, at)
        self.look_at = at + self.staleness / 2
        return self.known

    def _keep(self, record: Record | None, at: float) -> None:
        if record is not self._record or record is None:
            body = body_of(self.cells) if record is None else record.body
            table = table_of(body, self.given, self.where) if record is not None or self.cells else None
            if table != self.table:
                self.table = table
                self.changed()
        self._record, self._read_at, self._failed = record, at, None
