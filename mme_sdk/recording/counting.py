"""Counts of one minute, with a bound on the number of models that are counted one by one.

The bound works like space-saving (Metwally, Agrawal, El Abbadi: Efficient computation of frequent and top-k elements,
ICDT 2005), in batches: when there are twice as many models as wanted, those with the fewest calls are added up in one
remainder for each variant, and a model that comes later starts with their rank. So a model with more than 1/k of the
calls is never lost, and the models and the remainder always add up to all calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from mme_sdk.recording.histogram import Histogram
from mme_sdk.recording.minutes import RecordedMinute

__all__ = ["Cell", "Key", "Minute"]

Key = tuple[str, str | None, str | None]  # endpoint, model, variant


class Cell:
    """Counts of one model and variant in one minute. The names are those of `RecordedMinute`."""

    __slots__ = (
        "attempts", "calls", "cold", "cold_seconds", "errors", "floor", "latency", "received_bytes", "sent_bytes",
        "throttles", "waits", "warm_seconds",
    )  # fmt: skip

    def __init__(self, floor: int = 0) -> None:
        self.calls = self.cold = self.throttles = self.attempts = self.sent_bytes = self.received_bytes = 0
        self.cold_seconds = self.warm_seconds = 0.0
        self.floor = floor
        self.errors: dict[str, int] = {}
        self.latency: dict[int, int] = {}
        self.waits: dict[int, int] = {}

    def add(self, other: Cell) -> None:
        """Add the counts of another cell."""
        for name in ("calls", "cold", "throttles", "attempts", "sent_bytes", "received_bytes", "cold_seconds",
                     "warm_seconds"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.latency, other.latency), (self.waits, other.waits)):
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count
        for error, count in other.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count


class Minute:
    """The counts of one minute.

    Args:
        at: Number of the minute since the epoch.
        top: Number of models that are counted one by one.
    """

    def __init__(self, at: int, top: int) -> None:
        self.at, self._top, self._floor = at, top, 0
        self.cells: dict[Key, Cell] = {}

    def cell(self, key: Key) -> Cell:
        """Return the counts of a model and variant of an endpoint; new ones if it is seen for the first time."""
        found = self.cells.get(key)
        if found is None:
            if len(self.cells) >= 2 * self._top:
                self._shrink()
            found = self.cells[key] = Cell(self._floor)
        return found

    def _shrink(self) -> None:
        models = [item for item in self.cells.items() if item[0][1] is not None]
        kept = dict(heapq.nlargest(self._top, models, key=lambda item: item[1].calls + item[1].floor))
        kept.update(item for item in self.cells.items() if item[0][1] is None)
        for key, cell in models:
            if key not in kept:
                self._floor = max(self._floor, cell.calls + cell.floor)
                kept.setdefault((key[0], None, key[2]), Cell()).add(cell)
        self.cells = kept

    def records(self, tenant: Callable[[str], str | None]) -> Iterator[RecordedMinute]:
        """Return the counts as records.

        Args:
            tenant: Returns the tenant of a target model.
        """
        at = datetime.fromtimestamp(self.at * 60, UTC)
        for (endpoint, model, variant), cell in self.cells.items():
            yield RecordedMinute(
                at=at,
                endpoint=endpoint,
                model=model,
                tenant=None if model is None else tenant(model),
                variant=variant,
                calls=cell.calls,
                errors=dict(cell.errors),
                cold=cell.cold,
                cold_seconds=cell.cold_seconds,
                warm_seconds=cell.warm_seconds,
                throttles=cell.throttles,
                attempts=cell.attempts,
                sent_bytes=cell.sent_bytes,
                received_bytes=cell.received_bytes,
                latency=Histogram(dict(cell.latency)),
                waits=Histogram(dict(cell.waits)),
            )
