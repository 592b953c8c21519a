"""`Batch`: decides which item of `invoke_many` is sent next, and which result is returned next.

Items are grouped by model. Memory is bounded however many items there are, and the models take turns. `Batch` has no
threads and no tasks; `driver.py` and `async_driver.py` run the calls.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import number, optional
from mme_sdk.display.progress import check_progress, is_coroutine_function
from mme_sdk.display.shown import Shown
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.runtime.batch.sizes import ItemSizes
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = ["Batch", "BatchSettings", "Checkpoint", "ItemResult", "Model", "check_batch"]

T = TypeVar("T")
Model: TypeAlias = str | ModelVersion | None
_MAX_WINDOW = 262_144  # items
_MAX_READ = 64
_OLDEST = 4  # each such activation is that of the model that waits the longest
_MAX_COMPARED = 4096  # models; more are taken in their order
_ITEM, _RESULT = 300, 1500  # bytes that an item and a result take, besides the item's own and those of the answer
_count = number(at_least=1, integer=True)


@short_tracebacks
@attrs.frozen(repr=False)
class ItemResult(Shown, Generic[T]):
    """The result of one item of `invoke_many`.

    Attributes:
        index: Position of the item in the input, from 0.
        item: The item.
        reply: The answer. None if the call failed.
        error: Why the call failed. None if there is an answer.
    """

    index: int
    item: T
    reply: Reply[Any] | None = None
    error: MMEError | None = None

    @property
    def value(self) -> Any:
        """The decoded answer.

        Raises:
            MMEError: The call failed; this is its error.
        """
        if self.error is not None:
            raise self.error
        return None if self.reply is None else self.reply.value

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"index": self.index}
        if self.error is not None:
            facts["error"] = f"{type(self.error).__name__}: {self.error.message}"
        if self.reply is not None:
            facts |= self.reply._facts()
        return facts


@short_tracebacks
@attrs.frozen(kw_only=True)
class BatchSettings:
    """How `invoke_many` and `invoke_frame` work on many items.

    Attributes:
        max_concurrency: Calls that run at the same time. Default 16.
        models_at_once: Models that are worked on at the same time. Choose a low number where the instances hold few
            models in memory. None means `max_concurrency`.
        quantum: Items of one model after which a waiting model has its turn. Default 1024: a change of models may load
            one, which takes longer than many calls.
        window: Largest number of items in memory, including results that wait for their turn. None means as many as
            `window_bytes` allows, and at most 262,144. The more items are in memory, the more of them find their model
            loaded, if the input is in no order.
        window_bytes: Bytes of items and results in memory, estimated. It does not count below twice `max_concurrency`
            items, nor if `window` is given. Default 128 MiB.
        ordered: True returns results in the order of the items. False returns them as they complete. Default True.

    Raises:
        InvalidInputError: A number is not a whole number of at least 1.

    Example:
        >>> BatchSettings(max_concurrency=64, ordered=False).quantum
        1024
    """

    max_concurrency: int = attrs.field(default=16, validator=_count)
    models_at_once: int | None = attrs.field(default=None, validator=optional(_count))
    quantum: int = attrs.field(default=1024, validator=_count)
    window: int | None = attrs.field(default=None, validator=optional(_count))
    window_bytes: int = attrs.field(default=128 << 20, validator=_count)
    ordered: bool = True


def check_batch(items: object, model_of: object, data_of: object, settings: object, progress: object) -> None:
    """Raise InvalidInputError if an argument of `invoke_many` has the wrong type.

    Args:
        items: An iterable of items, neither one payload nor a frame.
        model_of: Function that returns the model of an item.
        data_of: Function that returns the payload of an item, or None if the item is the payload.
        settings: BatchSettings or None.
        progress: A function, True, False or None.

    Raises:
        InvalidInputError: An argument has the wrong type. The message names it.
        MissingExtraError: `progress` is True, and tqdm is not installed.
    """
    if isinstance(items, (str, bytes, bytearray, memoryview, Mapping)) or hasattr(items, "iterrows"):
        frame = hasattr(items, "iterrows")
        raise InvalidInputError(
            f"items must be an iterable of payloads, and a {type(items).__name__} is one payload",
            hint="invoke_frame sends the rows of a frame" if frame else f"pass a list of one {type(items).__name__}",
        )
    if not any(hasattr(items, name) for name in ("__iter__", "__aiter__", "__getitem__")):
        raise InvalidInputError(f"items must be an iterable of payloads, not {items!r:.80}", hint="pass a list")
    for name, function in (("model_of", model_of), ("data_of", data_of)):
        if not callable(function) and not (function is None and name == "data_of"):
            raise InvalidInputError(
                f"{name} must be a function of an item, not {function!r}",
                hint=f"{name}=lambda item: {function!r} gives each item the same" if function is not None else None,
            )
        if is_coroutine_function(function):
            raise InvalidInputError(f"{name} must be an ordinary function: nothing awaits a coroutine function")
    if settings is not None and not isinstance(settings, BatchSettings):
        raise InvalidInputError(f"settings must be BatchSettings, not {settings!r}")
    check_progress(progress)


class Batch(Generic[T]):
    """Schedule of a batch: which item starts next, and which result is returned next.

    Args:
        settings: Concurrency, order and memory.
    """

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._window = settings.window or _MAX_WINDOW
        self._least = self._window if settings.window else 2 * settings.max_concurrency
        self._sizes, self._bytes = ItemSizes(), 0
        self._held_bytes: dict[int, int] = {}
        self._models_at_once = settings.models_at_once or settings.max_concurrency
        self._active: OrderedDict[str, int] = OrderedDict()  # model -> items started since it became active
        self._queues: dict[str, deque[tuple[int, T, Model]]] = {}
        self._waiting: OrderedDict[str, None] = OrderedDict()  # models with a queue that are not active
        self._activated = 0
        self._running: dict[int, str] = {}
        self._carried: set[int] = set()  # running items that another one's call carries
        self._finished: dict[int, ItemResult[T]] = {}
        self._ready: deque[ItemResult[T]] = deque()
        self._order: deque[int] = deque()
        self._held = 0

    @property
    def wants_more(self) -> bool:
        """Whether the window has space for another item."""
        if self._held < self._least:
            return True
        return self._held < self._window and self._bytes < self._settings.window_bytes

    @property
    def space(self) -> int:
        """Number of items that may be read before `wants_more` is asked again; at least 1."""
        if self._bytes >= self._settings.window_bytes:
            return max(1, self._least - self._held)
        return max(1, min(_MAX_READ, self._window - self._held))

    @property
    def running(self) -> int:
        """Number of items whose call runs."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """Whether every item is finished and every result returned."""
        return self._held == 0

    def add(self, index: int, item: T, model: Model) -> None:
        """Add an item to the queue of its model."""
        name = _name(model)
        self._held += 1
        self._hold(index, self._sizes.of(item) + _ITEM)
        if self._settings.ordered:
            self._order.append(index)
        self._queues.setdefault(name, deque()).append((index, item, model))
        if name not in self._active:
            self._waiting[name] = None

    def start(self) -> tuple[int, T, Model] | None:
        """Return the item to start next, or None if no item may start now."""
        if len(self._running) - len(self._carried) >= self._settings.max_concurrency:
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

    def start_with(self, index: int, most: int) -> list[tuple[int, T]]:
        """Return more items that the call of a started item carries too: those of its model that are next.

        Args:
            index: The started item.
            most: Largest number of items to return.
        """
        name, more = self._running[index], list[tuple[int, T]]()
        queue = self._queues.get(name)
        while queue and len(more) < most:
            other, item, _ = queue.popleft()
            self._running[other] = name
            self._carried.add(other)
            more.append((other, item))
        if queue is not None and not queue:
            del self._queues[name]
        self._active[name] += len(more)
        return more

    def finish(self, result: ItemResult[T]) -> None:
        """Record the result of a running item."""
        self._carried.discard(result.index)
        name = self._running.pop(result.index)
        self._hold(result.index, _RESULT + (0 if result.reply is None else len(result.reply.body)))
        if name not in self._queues and name not in self._running.values():
            self._active.pop(name, None)
        if not self._settings.ordered:
            self._ready.append(result)
            return
        self._finished[result.index] = result
        while self._order and self._order[0] in self._finished:
            self._ready.append(self._finished.pop(self._order.popleft()))

    def results(self) -> Iterator[ItemResult[T]]:
        """Yield the results that can be returned now."""
        while self._ready:
            self._held -= 1
            result = self._ready.popleft()
            self._bytes -= self._held_bytes.pop(result.index, 0)
            yield result

    def complete(self) -> list[ItemResult[T]]:
        """Return all results that were not yet yielded, in the order of their items."""
        return sorted((*self._ready, *self._finished.values()), key=lambda result: result.index)

    def _hold(self, index: int, size: int) -> None:
        self._bytes += size
        self._held_bytes[index] = self._held_bytes.get(index, 0) + size

    def _activate(self) -> None:
        if not self._waiting:
            return
        for name, started in list(self._active.items()):
            # The model used up its quantum while others wait: it goes to the end of the queue.
            if started >= self._settings.quantum and name in self._queues and len(self._active) >= self._models_at_once:
                del self._active[name]
                self._waiting[name] = None
                break
        while self._waiting and len(self._active) < self._models_at_once:
            self._activated += 1
            # The model with the most items, so that its load serves many; at times the one that waits the longest.
            if self._activated % _OLDEST == 0 or len(self._waiting) > _MAX_COMPARED:
                name = next(iter(self._waiting))
            else:
                name = max(self._waiting, key=lambda one: len(self._queues[one]))
            del self._waiting[name]
            self._active[name] = 0


class Checkpoint:
    """Text file of the items that are done, one index a line. An incomplete last line is ignored.

    Args:
        path: The file. An existing file is continued. None writes no file.

    Raises:
        InvalidInputError: The file cannot be opened, or has other content.
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
            if whole < len(written):  # removed now, so that the next line does not continue it
                self._file.truncate(whole)
        except (OSError, ValueError) as error:
            self.close()
            raise InvalidInputError(
                f"{target}: cannot be used as a checkpoint: {error}", hint="use a separate file for each job"
            ) from error

    def __contains__(self, index: int) -> bool:
        return index in self._done

    def __len__(self) -> int:
        return len(self._done)

    def add(self, index: int) -> None:
        """Write that an item is done."""
        if self._file is not None:
            self._file.write(b"%d\n" % index)
            self._file.flush()

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file is not None:
            self._file.close()


def _name(model: Model) -> str:
    return "" if model is None else str(model)
