"""Many items: bounded memory over an endless iterator, grouped by model, fair between models, resumable.

Which item goes next and which result comes out next is decided in `Batch`, without threads or tasks; the two drivers at
the end of the file differ in how they run calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict, deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from mme_sdk._cancellation import Cancelled, attach_partial
from mme_sdk._workers import Workers
from mme_sdk.errors import InvalidInputError, MMEError, OutcomeUnknownError
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = [
    "Batch",
    "Checkpoint",
    "ItemResult",
    "ManySettings",
    "check_batch",
    "collect",
    "collect_async",
    "run_many",
    "run_many_async",
]

T = TypeVar("T")
V = TypeVar("V")
Model = str | ModelVersion | None
_END = object()
# Seconds. Python runs signal handlers between two instructions: one that arrives just before a wait begins is seen when
# the wait ends.
_PATIENCE = 0.1


def _count(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidInputError(f"{attribute.name} must be a whole number of at least 1, not {value!r}")


@attrs.frozen
class ItemResult(Generic[T]):
    """What became of one item.

    Attributes:
        index: Its place in the input, from 0.
        item: The item.
        reply: The answer; None where there is none.
        error: Why there is none.
    """

    index: int
    item: T
    reply: Reply[Any] | None = None
    error: MMEError | None = None

    @property
    def value(self) -> Any:
        """The decoded answer.

        Raises:
            MMEError: There is none.
        """
        if self.error is not None:
            raise self.error
        return None if self.reply is None else self.reply.value


@attrs.frozen(kw_only=True)
class ManySettings:
    """How many items are worked on.

    Attributes:
        max_concurrency: Calls at a time.
        models_at_once: Models in work at a time; few, where the instances hold few. `max_concurrency` where None.
        quantum: Items of one model after which another model that waits has its turn.
        window: Items held in memory at most, results that wait for their turn included; 16 times `max_concurrency`
            where None.
        ordered: Whether results come in the order of the items, or as they are completed.
    """

    max_concurrency: int = attrs.field(default=16, validator=_count)
    models_at_once: int | None = attrs.field(default=None, validator=_count)
    quantum: int = attrs.field(default=32, validator=_count)
    window: int | None = attrs.field(default=None, validator=_count)
    ordered: bool = True


def check_batch(items: object, model_of: object, data_of: object, settings: object, progress: object) -> None:
    """Refuse what cannot be used, before anything is sent.

    Raises:
        InvalidInputError: An argument is of another kind; the message names it.
    """
    if isinstance(items, (str, bytes, bytearray, memoryview, Mapping)) or hasattr(items, "iterrows"):
        frame = hasattr(items, "iterrows")
        raise InvalidInputError(
            f"items must be an iterable of payloads, and a {type(items).__name__} is one payload",
            hint="invoke_frame sends its rows" if frame else f"[{type(items).__name__}] is a batch of one",
        )
    for name, function in (("model_of", model_of), ("data_of", data_of)):
        if not callable(function) and not (function is None and name == "data_of"):
            raise InvalidInputError(
                f"{name} must be a function of an item, not {function!r}",
                hint=f"{name}=lambda item: {function!r} gives each item the same" if function is not None else None,
            )
    if settings is not None and not isinstance(settings, ManySettings):
        raise InvalidInputError(f"settings must be ManySettings, not {settings!r}")
    if progress is not None and not callable(progress):
        raise InvalidInputError(
            f"progress must be a function, not {progress!r}",
            hint="it is called with two counts: how many so far, and how many of them failed",
        )


class Batch(Generic[T]):
    """Decides which item goes next and which result comes out next.

    Args:
        settings: See `ManySettings`.
    """

    def __init__(self, settings: ManySettings) -> None:
        self._settings = settings
        self._window = settings.window or 16 * settings.max_concurrency
        self._models_at_once = settings.models_at_once or settings.max_concurrency
        self._active: OrderedDict[str, int] = OrderedDict()  # model -> items it had since it became active
        self._queues: OrderedDict[str, deque[tuple[int, T, Model]]] = OrderedDict()
        self._running: dict[int, str] = {}
        self._finished: dict[int, ItemResult[T]] = {}
        self._out: deque[ItemResult[T]] = deque()
        self._order: deque[int] = deque()
        self._held = 0

    @property
    def wants_more(self) -> bool:
        """Whether there is room for another item."""
        return self._held < self._window

    @property
    def running(self) -> int:
        """Items that are being worked on."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do or to hand out."""
        return self._held == 0

    def add(self, index: int, item: T, model: Model) -> None:
        """Take an item in."""
        self._held += 1
        self._order.append(index)
        self._queues.setdefault(_name(model), deque()).append((index, item, model))

    def start(self) -> tuple[int, T, Model] | None:
        """The item to work on next; None where none may start now."""
        if len(self._running) >= self._settings.max_concurrency:
            return None
        self._activate()
        for name in self._active:
            queue = self._queues.get(name)
            if queue:
                index, item, model = queue.popleft()
                self._running[index] = name
                self._active[name] += 1
                self._active.move_to_end(name)
                if not queue:
                    del self._queues[name]
                return index, item, model
        return None

    def finish(self, result: ItemResult[T]) -> None:
        """An item is done."""
        name = self._running.pop(result.index)
        if name not in self._queues and name not in self._running.values():
            self._active.pop(name, None)
        if not self._settings.ordered:
            self._out.append(result)
            return
        self._finished[result.index] = result
        while self._order and self._order[0] in self._finished:
            self._out.append(self._finished.pop(self._order.popleft()))

    def results(self) -> Iterator[ItemResult[T]]:
        """Results whose turn it is."""
        while self._out:
            self._held -= 1
            yield self._out.popleft()

    def complete(self) -> list[ItemResult[T]]:
        """Results that were not handed out, in the order of their items, whether or not it was their turn."""
        return sorted((*self._out, *self._finished.values()), key=lambda result: result.index)

    def _activate(self) -> None:
        waiting = [name for name in self._queues if name not in self._active]
        if not waiting:
            return
        for name, had in list(self._active.items()):
            # It had its turn, and others wait: it queues again, at the end.
            if had >= self._settings.quantum and name in self._queues and len(self._active) >= self._models_at_once:
                del self._active[name]
                self._queues.move_to_end(name)
                break
        for name in waiting:
            if len(self._active) >= self._models_at_once:
                return
            self._active[name] = 0


class Checkpoint:
    """Which items are done, in a text file of one index a line; a line half written is not counted.

    Args:
        path: The file; continued where it exists. None keeps nothing.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._done: set[int] = set()
        self._file = None
        if path is None:
            return
        target = Path(path)
        try:
            self._file = target.open("a+b")
            self._file.seek(0)
            written = self._file.read()
            whole = written.rfind(b"\n") + 1
            self._done = {int(line) for line in written[:whole].split()}
            if whole < len(written):  # the lines before it stay, whatever happens to this process now
                self._file.truncate(whole)
        except (OSError, ValueError) as error:
            self.close()
            raise InvalidInputError(
                f"{target}: cannot be used as a checkpoint: {error}", hint="name a file of its own for each job"
            ) from error

    def __contains__(self, index: int) -> bool:
        return index in self._done

    def add(self, index: int) -> None:
        """An item was handed out and dealt with."""
        if self._file is not None:
            self._file.write(b"%d\n" % index)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _name(model: Model) -> str:
    return "" if model is None else str(model)


class _Desk(Generic[T]):
    """What both drivers do around their calls."""

    def __init__(
        self,
        settings: ManySettings,
        model_of: Callable[[T], Model],
        checkpoint: str | os.PathLike[str] | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.batch: Batch[T] = Batch(settings)
        self.checkpoint = Checkpoint(checkpoint)
        self._model_of = model_of
        self._progress = progress
        self._done = self._failed = 0

    def take(self, index: int, item: T) -> None:
        if index not in self.checkpoint:
            self.batch.add(index, item, self._model_of(item))

    def handed_out(self, result: ItemResult[T]) -> None:
        self._done += 1
        if result.error is None:
            self.checkpoint.add(result.index)
        else:
            self._failed += 1
        if self._progress is not None:
            self._progress(self._done, self._failed)

    def stopped(self, stop: BaseException, calls: Mapping[Any, tuple[int, T]]) -> None:
        """The batch ends early: what is complete and was not handed out becomes `partial` of the exception."""
        for call, (index, item) in calls.items():
            if call.done() and not call.cancelled() and not isinstance(call.exception(), Cancelled):
                with contextlib.suppress(Exception):  # the batch ends for another reason
                    self.batch.finish(_result(index, item, call))
        attach_partial(stop, tuple(self.batch.complete()))


def run_many(
    call: Callable[[T, Model], Reply[Any]],
    items: Iterable[T],
    *,
    model_of: Callable[[T], Model],
    settings: ManySettings,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[ItemResult[T]]:
    """Call for each item, in threads.

    Args:
        call: Makes one call.
        items: The items; read only as far as there is room.
        model_of: The target model of an item.
        settings: How many at a time, and in which order.
        checkpoint: File of the items that are done; those are left out when it is run again.
        progress: Told after each result: how many so far, and how many of them failed.

    Yields:
        One result an item; errors of the call are in it, others end the iteration.
    """
    desk: _Desk[T] = _Desk(settings, model_of, checkpoint, progress)
    source = enumerate(items)
    more = True
    futures: dict[Future[Reply[Any]], tuple[int, T]] = {}
    workers: Workers[Reply[Any]] = Workers(settings.max_concurrency, "mme_sdk-many")
    try:
        while more or not desk.batch.idle:
            if more and desk.batch.wants_more:
                pair = next(source, None)
                more = pair is not None
                if pair is not None:
                    desk.take(*pair)
            while (started := desk.batch.start()) is not None:
                index, item, model = started
                future = workers.submit(partial(call, item, model))
                futures[future] = (index, item)
            # While there is room and the source has more, calls are only looked at, not waited for.
            patience = 0.0 if more and desk.batch.wants_more else _PATIENCE
            done = wait(futures, timeout=patience, return_when=FIRST_COMPLETED).done if futures else set()
            for future in done:
                desk.batch.finish(_result(*futures.pop(future), future))
            for result in desk.batch.results():
                yield result
                desk.handed_out(result)
    except BaseException as stop:
        try:
            workers.close()
        finally:
            desk.stopped(stop, futures)
        raise
    finally:
        try:
            workers.close()
        finally:
            desk.checkpoint.close()


async def run_many_async(
    call: Callable[[T, Model], Awaitable[Reply[Any]]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    model_of: Callable[[T], Model],
    settings: ManySettings,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AsyncIterator[ItemResult[T]]:
    """`run_many`, in tasks of the running event loop; `items` may be asynchronous."""
    desk: _Desk[T] = _Desk(settings, model_of, checkpoint, progress)
    source = items.__aiter__() if isinstance(items, AsyncIterable) else _as_async(items)
    index = -1
    reading: asyncio.Future[Any] | None = None
    tasks: dict[asyncio.Future[Reply[Any]], tuple[int, T]] = {}
    more = True
    try:
        while more or not desk.batch.idle:
            if reading is None and more and desk.batch.wants_more:
                reading = asyncio.ensure_future(_next(source))
            while (started := desk.batch.start()) is not None:
                number, item, model = started
                tasks[asyncio.ensure_future(call(item, model))] = (number, item)
            awaited: set[asyncio.Future[Any]] = {*tasks} if reading is None else {*tasks, reading}
            if awaited:
                done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                if reading in done:
                    read, reading = reading, None
                    more = read.result() is not _END
                    if more:
                        index += 1
                        desk.take(index, read.result())
                for task in tasks.keys() & done:
                    desk.batch.finish(_result(*tasks.pop(task), task))
            for result in desk.batch.results():
                yield result
                desk.handed_out(result)
    except BaseException as stop:
        desk.stopped(stop, tasks)
        raise
    finally:
        left = [*tasks] if reading is None else [*tasks, reading]
        for task in left:
            task.cancel()
        try:
            await asyncio.gather(*left, return_exceptions=True)
        finally:
            desk.checkpoint.close()


def collect(
    results: Iterator[ItemResult[T]],
    make: Callable[[list[ItemResult[T]]], V],
    items: Callable[[], Iterable[T]],
    take: Callable[[ItemResult[T]], None] = lambda _: None,
) -> V:
    """Make one value of all results; of those that are complete where Ctrl-C or another exception ends the batch.

    Args:
        results: The results as they come.
        make: Makes the value.
        items: Gives the items once more.
        take: Takes each result as it comes; what it raises ends the batch.

    Returns:
        The value. An exception that ends the batch carries that of the complete results as `partial`; items without an
        answer have an OutcomeUnknownError there.
    """
    done: list[ItemResult[T]] = []
    try:
        for result in results:
            take(result)
            done.append(result)
    except BaseException as stop:
        _close(results)
        _keep_partial(stop, done, make, items)
        raise
    return make(done)


async def collect_async(
    results: AsyncIterator[ItemResult[T]],
    make: Callable[[list[ItemResult[T]]], V],
    items: Callable[[], Iterable[T]],
    take: Callable[[ItemResult[T]], None] = lambda _: None,
) -> V:
    """`collect`, awaited."""
    done: list[ItemResult[T]] = []
    try:
        async for result in results:
            take(result)
            done.append(result)
    except BaseException as stop:
        if isinstance(results, AsyncGenerator):
            await results.aclose()
        _keep_partial(stop, done, make, items)
        raise
    return make(done)


def _close(results: Iterator[Any]) -> None:
    if isinstance(results, Generator):
        results.close()


def _keep_partial(
    stop: BaseException,
    done: list[ItemResult[T]],
    make: Callable[[list[ItemResult[T]]], V],
    items: Callable[[], Iterable[T]],
) -> None:
    complete = {result.index: result for result in (*done, *getattr(stop, "partial", ()))}
    why = "the batch was ended before an answer came"
    hint = "the model may have run, or run later; invoke it again if that does no harm"
    results = [
        complete.get(index) or ItemResult(index, item, error=OutcomeUnknownError(why, hint=hint))
        for index, item in enumerate(items())
    ]
    attach_partial(stop, make(results))


def _result(index: int, item: T, done: Future[Reply[Any]] | asyncio.Future[Reply[Any]]) -> ItemResult[T]:
    error = done.exception()
    if error is None:
        return ItemResult(index, item, reply=done.result())
    if isinstance(error, MMEError):
        return ItemResult(index, item, error=error)
    if isinstance(error, Cancelled):
        raise SystemExit  # the interpreter ends, and this batch is another thread's
    raise error


async def _next(source: AsyncIterator[T]) -> Any:
    # StopAsyncIteration cannot be the result of a task.
    return await anext(source, _END)


async def _as_async(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
