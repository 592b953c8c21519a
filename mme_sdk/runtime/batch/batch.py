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
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

__all__ = ["Batch", "BatchSettings", "Checkpoint", "ItemResult", "Model", "check_batch"]

T = TypeVar("T")
Model: TypeAlias = str | ModelVersion | None
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
        quantum: Items of one model after which a waiting model has its turn. Default 32.
        window: Largest number of items in memory, including results that wait for their turn. None means 16 times
            `max_concurrency`.
        ordered: True returns results in the order of the items. False returns them as they complete. Default True.

    Raises:
        InvalidInputError: A number is not a whole number of at least 1.

    Example:
        >>> BatchSettings(max_concurrency=64, ordered=False).quantum
        32
    """

    max_concurrency: int = attrs.field(default=16, validator=_count)
    models_at_once: int | None = attrs.field(default=None, validator=optional(_count))
    quantum: int = attrs.field(default=32, validator=_count)
    window: int | None = attrs.field(default=None, validator=optional(_count))
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
        self._window = settings.window or 16 * settings.max_concurrency
        self._models_at_once = settings.models_at_once or settings.max_concurrency
        self._active: OrderedDict[str, int] = OrderedDict()  # model -> items started since it became active
        self._queues: OrderedDict[str, deque[tuple[int, T, Model]]] = OrderedDict()
        self._running: dict[int, str] = {}
        self._finished: dict[int, ItemResult[T]] = {}
        self._ready: deque[ItemResult[T]] = deque()
        self._order: deque[int] = deque()
        self._held = 0

    @property
    def wants_more(self) -> bool:
        """Whether the window has space for another item."""
        return self._held < self._window

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
        self._held += 1
        self._order.append(index)
        self._queues.setdefault(_name(model), deque()).append((index, item, model))

    def start(self) -> tuple[int, T, Model] | None:
        """Return the item to start next, or None if no item may start now."""
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
        """Record the result of a running item."""
        name = self._running.pop(result.index)
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
            yield self._ready.popleft()

    def complete(self) -> list[ItemResult[T]]:
        """Return all results that were not yet yielded, in the order of their items."""
        return sorted((*self._ready, *self._finished.values()), key=lambda result: result.index)

    def _activate(self) -> None:
        waiting = [name for name in self._queues if name not in self._active]
        if not waiting:
            return
        for name, started in list(self._active.items()):
            # The model used up its quantum while others wait: it goes to the end of the queue.
            if started >= self._settings.quantum and name in self._queues and len(self._active) >= self._models_at_once:
                del self._active[name]
                self._queues.move_to_end(name)
                break
        for name in waiting:
            if len(self._active) >= self._models_at_once:
                return
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
