"""`Recorder`: a hook that counts the calls of each model in minutes."""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError, ThrottledError
from mme_sdk.recording.counting import Cell, Key, Minute
from mme_sdk.recording.files import HourFiles, hour_of
from mme_sdk.recording.histogram import FIRST, LEAST, WIDTH
from mme_sdk.recording.minutes import RecordedMinute
from mme_sdk.runtime.fork_safe_lock import ForkLock
from mme_sdk.runtime.telemetry.hooks import CallCompleted, CallFailed, Event, RetryPlanned

__all__ = ["Recorder", "first_part"]

Sink = Callable[[list[RecordedMinute]], object]
_LOG = logging.getLogger("mme_sdk.recording")
_BATCH = 2048  # events that are counted at a time, in about a millisecond
_MAX_TOTALS = 10_000  # series of running totals
_MAX_READY = 100_000  # records that wait to be written


def first_part(model: str) -> str | None:
    """Return the first part of a target model: `acme` of `acme/fraud/v3.tar.gz`, `fraud` of `fraud/v3.tar.gz`."""
    first, slash, _ = model.partition("/")
    return first if slash else None


class Recorder:
    """Counts the calls of each model in minutes: calls, errors, cold starts, durations and bytes.

    Pass it as a hook. Several clients may share one. A complete minute is passed to every sink and written to `files`
    in a background thread; `close` writes the last one. While files cannot be written, at most 100,000 records stay.
    A forked process starts with an empty recorder. A pickled recorder arrives empty and without its session, which
    holds credentials: it writes with the default session of its process.

    Args:
        files: Where Parquet files are written: an `s3://` prefix or a local directory. One file holds an hour of one
            process, and is replaced as minutes are added. Default: None, no files.
        sinks: Functions that receive the records of complete minutes, such as a function that writes
            `emf_lines(records)` to a log. Default: none.
        tenant: Returns the tenant of a target model. Default: the first part of its key.
        top: Number of models that are counted one by one in each minute. Those with the fewest calls are added up
            beyond it. Default: 2000.
        every: Seconds between two writes. Default: 60. An ended process loses at most the calls of that time.
        session: boto3 session that writes to S3. Default: the default session.
        endpoint_url: Address of S3, such as that of the embedded SageMaker. Default: None, AWS.
        now: Returns seconds since the epoch. Default: `time.time`.

    Raises:
        InvalidInputError: A setting has an invalid value.
        MissingExtraError: `files` is given, and pyarrow is not installed.

    Example:
        ```python
        with Recorder(files="s3://ml-logs/recordings/") as recorder, MMEClient(hooks=[recorder]) as client:
            client.endpoint("scoring").invoke({"amount": 12.5}, model="fraud/v3.tar.gz")
        ```
    """

    events = (CallCompleted, CallFailed, RetryPlanned)

    def __init__(
        self,
        files: str | os.PathLike[str] | None = None,
        *,
        sinks: Iterable[Sink] = (),
        tenant: Callable[[str], str | None] = first_part,
        top: int = 2000,
        every: float = 60.0,
        session: Any = None,
        endpoint_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        check_number("top", top, at_least=1, integer=True)
        check_number("every", every, over=0)
        self._settings = {
            "files": None if files is None else os.fspath(files),
            "tenant": tenant,
            "top": top,
            "every": every,
            "endpoint_url": endpoint_url,
            "now": now,
        }
        self._sinks, self._tenant, self._top, self._every, self._now = tuple(sinks), tenant, top, every, now
        if any(not callable(one) for one in self._sinks):
            raise InvalidInputError("sinks must be functions of a list of records")
        self._files = None
        if files is not None:
            self._files = HourFiles(os.fspath(files), session=session, endpoint_url=endpoint_url)
        self._lock, self._writing = ForkLock(), threading.Lock()
        self._begin()
        _RECORDERS.add(self)

    def _begin(self) -> None:
        """Start with nothing: when the recorder is made, and in a forked process."""
        self._pending: deque[tuple[Any, ...]] = deque()  # fields of a completed call, or an event; and the time
        self._minutes: dict[int, Minute] = {}
        self._ready: list[RecordedMinute] = []
        self._totals: dict[Key, Cell] = {}
        self._thread: threading.Thread | None = None
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._closed = False
        if self._files is not None:
            self._files.begin()

    def __repr__(self) -> str:
        return f"<Recorder {self._settings['files'] or 'in memory'}, {len(self._pending)} events to count>"

    def __reduce__(self) -> Any:
        return _restored, (dict(self._settings), self._sinks)

    def __call__(self, event: Event) -> None:
        """Count an event. The client calls this; events that no count needs are ignored."""
        pending = self._pending
        if isinstance(event, CallCompleted):  # its fields, and not itself: so its memory serves the next event
            pending.append(
                (
                    event.endpoint, event.model, event.variant, event.attempts, event.cold, event.took,
                    event.sent_bytes, event.received_bytes, self._now(),
                )
            )  # fmt: skip
        else:
            pending.append((event, self._now()))
        if len(pending) >= _BATCH:
            self._count()
        if self._thread is None and (self._files is not None or self._sinks):
            self._start()

    def _count(self) -> None:
        with self._lock:
            self._count_pending()

    def _count_pending(self) -> None:
        # A busy program runs this loop once for each call, so it does without calls of Python functions.
        pending, take, floor, log = self._pending, self._pending.popleft, math.floor, math.log
        minute, begins, ends = Minute(0, self._top), 0.0, 0.0
        known = minute.cells.get
        for _ in range(len(pending)):
            try:
                one = take()
            except IndexError:
                return
            at = one[-1]
            if not begins <= at < ends:
                minute = self._minute(at)
                begins, ends, known = minute.at * 60.0, minute.at * 60.0 + 60.0, minute.cells.get
            if len(one) == 2:
                _count_other(minute, one[0])
                continue
            endpoint, model, variant, attempts, cold, took, sent_bytes, received_bytes, _ = one
            key = endpoint, model, variant
            cell = known(key)
            if cell is None:
                cell = minute.cell(key)
                known = minute.cells.get
            cell.calls += 1
            cell.attempts += attempts
            cell.sent_bytes += sent_bytes
            cell.received_bytes += received_bytes
            if cold:
                cell.cold += 1
                cell.cold_seconds += took
                durations = cell.waits
            else:
                cell.warm_seconds += took
                durations = cell.latency
            bucket = floor(log(took) / WIDTH) if took > LEAST else FIRST
            if bucket in durations:
                durations[bucket] += 1
            else:
                durations[bucket] = 1

    def _minute(self, at: float) -> Minute:
        """Return the counts of the minute of a moment. Earlier minutes become records when a new one begins."""
        number = int(at // 60)
        found = self._minutes.get(number)
        if found is None:
            self._complete(number)
            found = self._minutes[number] = Minute(number, self._top)
        return found

    def _complete(self, before: float) -> None:
        """Turn minutes that ended into records."""
        for number in [one for one in self._minutes if one < before]:
            minute = self._minutes.pop(number)
            records = list(minute.records(self._tenant))
            for key, cell in minute.cells.items():
                known = self._totals.get(key)
                if known is None and (len(self._totals) < _MAX_TOTALS or key[1] is None):
                    known = self._totals[key] = Cell()
                if known is None:
                    known = self._totals.setdefault((key[0], None, key[2]), Cell())
                known.add(cell)
            if self._files is not None or self._sinks:
                self._keep(self._ready + records)

    def minutes(self) -> list[RecordedMinute]:
        """Return the records that were not written yet: the current minute, and earlier ones.

        Returns:
            The records. Without files and sinks only those of the current minute are kept.
        """
        with self._lock:
            self._count_pending()
            current = [one for minute in self._minutes.values() for one in minute.records(self._tenant)]
            return [*self._ready, *current]

    def totals(self) -> dict[Key, Cell]:
        """Return the running totals since the start, by endpoint, model and variant; for exporters.

        Returns:
            The totals of complete minutes. Models beyond 10,000 are added up under the model None.
        """
        with self._lock:
            self._count_pending()
            self._complete(int(self._now() // 60))
            return {key: _copied(cell) for key, cell in self._totals.items()}

    def flush(self, *, everything: bool = False) -> None:
        """Pass the complete minutes to the sinks and write the files.

        Args:
            everything: Whether to include the minute that has not ended. Default: False.

        Raises:
            MMEError: S3 did not accept the file. The records are kept, and the next flush writes them.
            OSError: The directory did not accept the file; likewise.
        """
        with self._lock:
            self._count_pending()
            # A clock may have been set back: everything is all minutes, not those before the next one.
            self._complete(math.inf if everything else int(self._now() // 60))
        with self._writing:  # one writer at a time; callers of `invoke` never take this lock
            with self._lock:
                records, self._ready = self._ready, []
            written: list[RecordedMinute] = []
            try:
                for _, hour in itertools.groupby(records, hour_of):
                    part = list(hour)
                    if self._files is not None:
                        self._files.write(part)
                    written += part
            finally:
                with self._lock:
                    self._keep(records[len(written) :] + self._ready)
                for sink in self._sinks:
                    _pass_to(sink, written)

    def _keep(self, records: list[RecordedMinute]) -> None:
        """Keep records for the next write; the oldest are dropped if there are too many."""
        dropped = max(0, len(records) - _MAX_READY)
        self._ready = records[dropped:]
        if dropped:
            _LOG.warning("%d recorded rows were dropped: they could not be written for a long time", dropped)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            self._thread = threading.Thread(
                target=_write_regularly, args=(weakref.ref(self), self._stop, self._every), name="mme-sdk-recorder",
                daemon=True,
            )  # fmt: skip
            self._thread.start()

    def close(self) -> None:
        """Write everything, and end the background thread. Idempotent. Later calls are counted, but not written.

        Raises:
            MMEError: S3 did not accept the last file.
            OSError: The directory did not accept the last file.
        """
        with self._lock:
            self._closed, thread = True, self._thread
        self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush(everything=True)
        if self._files is not None:
            self._files.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _count_other(minute: Minute, event: Event) -> None:
    if isinstance(event, CallFailed):
        cell = minute.cell((event.endpoint, event.model, None))
        cell.calls += 1
        name = type(event.error).__name__
        cell.errors[name] = cell.errors.get(name, 0) + 1
        cell.throttles += isinstance(event.error, ThrottledError)  # the last request, which is not repeated
    elif isinstance(event, RetryPlanned) and event.reason == "throttled":
        minute.cell((event.endpoint, event.model, None)).throttles += 1


def _copied(cell: Cell) -> Cell:
    copy = Cell()
    copy.add(cell)
    return copy


def _pass_to(sink: Sink, records: list[RecordedMinute]) -> None:
    try:
        if records:
            sink(records)
    except Exception:  # noqa: BLE001 - a sink must not affect the others
        _LOG.exception("a sink failed for %d records", len(records))


def _restored(settings: dict[str, Any], sinks: tuple[Sink, ...]) -> Recorder:
    return Recorder(sinks=sinks, **settings)


def _write_regularly(recorder: weakref.ref[Recorder], stop: threading.Event, every: float) -> None:
    """Flush until the recorder is closed or gone. A failure is logged; the next flush tries again."""
    while not stop.wait(every):
        found = recorder()
        if found is None:
            return
        try:
            found.flush()
        except Exception:  # noqa: BLE001 - the next flush tries again
            _LOG.warning("recordings were not written; they are kept", exc_info=True)
        del found


_RECORDERS: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _renew_all() -> None:
    for recorder in list(_RECORDERS):
        recorder._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
