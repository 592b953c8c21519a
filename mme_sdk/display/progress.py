"""The argument `progress` of every long operation: a function that is called with `Progress`, or a progress bar."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import attrs

from mme_sdk.errors import InvalidInputError, MissingExtraError

__all__ = ["Progress", "ProgressOption", "Reporter", "check_progress", "is_coroutine_function", "reporting"]

_INNER = 4  # bars of models below the main bar


@attrs.frozen(kw_only=True)
class Progress:
    """Progress of an operation. A function that is passed as `progress` is called with it.

    Attributes:
        operation: Name of the method, such as `create`.
        subject: What it works on: the name of an endpoint, the S3 address of a registry, or another description.
        doing: What the operation waits for, such as `provisioning 0 of 2 instances` or `loading 3 of 12`. Default:
            empty.
        status: EndpointStatus that was seen last. Default: None, the operation does not wait for an endpoint.
        unit: What `done` counts: `model`, `item`, `request`, `version` or `layout`. Default: empty, nothing is counted.
        done: Number of units that are done, including those that failed. Default: 0.
        failed: Number of units that failed. Default: 0.
        total: Number of units. Default: None, unknown.
        size: Bytes that were transferred. Default: 0.
        model: The model that this report is about. Default: None, it is about the whole operation.
        model_done: What is done of `model`: bytes if `unit` is `model`, or else units. Default: 0.
        model_total: What there is to do for `model`. Default: None, unknown.
        elapsed: Seconds since the operation began. Default: 0.
        timeout: Longest time to wait, in seconds. Default: None, no limit.

    Example:
        ```python
        def show(seen: Progress) -> None:
            print(f"{seen.elapsed:.0f} s: {seen.doing}, {seen.done} of {seen.total}, {seen.failed} failed")

        endpoint.warm(versions, progress=show)
        ```
    """

    operation: str
    subject: str
    doing: str = ""
    status: str | None = None
    unit: str = ""
    done: int = 0
    failed: int = 0
    total: int | None = None
    size: int = 0
    model: str | None = None
    model_done: int = 0
    model_total: int | None = None
    elapsed: float = 0.0
    timeout: float | None = None


ProgressOption: TypeAlias = Callable[[Progress], None] | bool | None


class Reporter:
    """Adds up the progress of one operation, and calls a function from one thread at a time.

    Args:
        show: The function.
        first: The first report, with what does not change.
        now: The monotonic clock, in seconds.
    """

    def __init__(self, show: Callable[[Progress], None], first: Progress, now: Callable[[], float]) -> None:
        self._show, self._latest, self._now = show, first, now
        self._began = now()
        self._by_model: dict[str, int] = {}
        self._lock = threading.RLock()

    @property
    def unit(self) -> str:
        """The unit that is counted."""
        return self._latest.unit

    @property
    def done(self) -> int:
        """Number of units that are done."""
        return self._latest.done

    @property
    def total(self) -> int | None:
        """Number of units; None if it is unknown."""
        return self._latest.total

    def __call__(
        self,
        *,
        doing: str | None = None,
        status: str | None = None,
        done: int = 0,
        failed: int = 0,
        total: int | None = None,
        size: int = 0,
        model: str | None = None,
        model_done: int = 0,
        model_total: int | None = None,
    ) -> None:
        """Report a change.

        Args:
            doing: What the operation waits for. None means as before.
            status: EndpointStatus. None means as before.
            done: Units done since the last report.
            failed: Units failed since the last report.
            total: Number of units. None means as before.
            size: Bytes since the last report.
            model: The model that this report is about.
            model_done: What is done of the model since the last report.
            model_total: What there is to do for the model.
        """
        with self._lock:
            before = self._latest
            if model is not None and model_done:
                model_done = self._by_model[model] = self._by_model.get(model, 0) + model_done
            self._latest = attrs.evolve(
                before,
                doing=before.doing if doing is None else doing,
                status=before.status if status is None else status,
                done=before.done + done,
                failed=before.failed + failed,
                total=before.total if total is None else total,
                size=before.size + size,
                model=model,
                model_done=model_done,
                model_total=model_total,
                elapsed=self._now() - self._began,
            )
            self._show(self._latest)


def check_progress(progress: object) -> None:
    """Raise an error if an argument `progress` cannot be used.

    Raises:
        InvalidInputError: It is neither a function nor True, False or None; or it is a coroutine function.
        MissingExtraError: It is True, and tqdm is not installed.
    """
    if progress is True:
        _tqdm()
    elif is_coroutine_function(progress):
        raise InvalidInputError(
            "progress must be an ordinary function: nothing awaits a coroutine function",
            hint="pass a function that starts a task, or puts what it gets into a queue",
        )
    elif progress is not None and progress is not False and not callable(progress):
        raise InvalidInputError(
            f"progress must be a function, True or False, not {str(progress)[:80]!r}",
            hint="True shows a progress bar; a function is called with mme_sdk.Progress",
        )


def is_coroutine_function(function: object) -> bool:
    """Return whether a call of a function returns a coroutine, which something must await."""
    return inspect.iscoroutinefunction(function) or (
        callable(function) and inspect.iscoroutinefunction(function.__call__)
    )


@contextmanager
def reporting(
    progress: ProgressOption,
    operation: str,
    subject: str,
    *,
    unit: str = "",
    total: int | None = None,
    timeout: float | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Reporter | None]:
    """Turn the argument `progress` of a method into a reporter; close the progress bar at the end.

    Args:
        progress: A function, True for a progress bar, or False or None for nothing.
        operation: Name of the method.
        subject: What it works on.
        unit: What is counted; empty if nothing is.
        total: Number of units; None if it is unknown.
        timeout: Longest time to wait, in seconds; None without a limit.
        now: The monotonic clock, in seconds.

    Yields:
        The reporter; None if nothing is to be reported.

    Raises:
        InvalidInputError: `progress` has another type.
        MissingExtraError: A progress bar needs tqdm, which is not installed.
    """
    check_progress(progress)
    if progress is None or progress is False:
        yield None
        return
    first = Progress(operation=operation, subject=subject, unit=unit, total=total, timeout=timeout)
    if progress is not True:
        yield Reporter(progress, first, now)
        return
    bars = _Bars(_tqdm(), first)
    try:
        yield Reporter(bars.show, first, now)
    finally:
        bars.close()


def _tqdm() -> Any:
    try:
        with warnings.catch_warnings():
            # In a notebook without ipywidgets, tqdm warns and then draws a bar of text.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("progress=True needs tqdm", hint="pip install 'mme-sdk[progress]'") from error
    widgets = any(one.__module__ == "tqdm.notebook" for one in tqdm.__mro__)
    if not widgets and type(sys.stderr).__module__.startswith("ipykernel"):
        return functools.partial(tqdm, file=sys.stdout)  # a notebook without ipywidgets shows stderr in red
    return tqdm


class _Bars:
    """A bar for the operation, and one below it for each of the models that are being worked on.

    Args:
        tqdm: The class of bars.
        first: The first report.
    """

    def __init__(self, tqdm: Any, first: Progress) -> None:
        self._tqdm = tqdm
        title = f"{first.operation} {first.subject}"
        if first.unit:
            self._main = tqdm(total=first.total, unit=f" {first.unit}", desc=title, dynamic_ncols=True)
        else:
            self._main = tqdm(desc=title, bar_format="{desc}{postfix} [{elapsed}]", dynamic_ncols=True)
        # Bars below one another need a terminal or widgets.
        self._nested = hasattr(self._main, "container") or getattr(sys.stderr, "isatty", bool)()
        self._inner: dict[str, Any] = {}
        self._models: set[str] = set()

    def show(self, seen: Progress) -> None:
        """Draw a report."""
        if seen.model is not None and self._nested:
            self._show_model(seen)
        if seen.total is not None and seen.total != self._main.total:
            self._main.reset(total=seen.total)
        facts = [seen.doing]
        facts += [f"{seen.size / 1e6:.1f} MB"] if seen.size else []
        facts += [f"{seen.failed} failed"] if seen.failed else []
        self._main.set_postfix_str(", ".join(fact for fact in facts if fact), refresh=False)
        if seen.unit:
            self._main.update(seen.done - self._main.n)
        if not seen.unit or seen.done == seen.total:
            self._main.refresh()

    def _show_model(self, seen: Progress) -> None:
        assert seen.model is not None
        bar = self._inner.get(seen.model)
        ended = seen.model_total is not None and seen.model_done >= seen.model_total
        if ended or not seen.model_done:  # the report of the end of a model has nothing that is done of it
            if bar is not None:
                del self._inner[seen.model]
                bar.close()
            return
        self._models.add(seen.model)
        if bar is not None:
            bar.update(seen.model_done - bar.n)
        elif len(self._models) > 1 and len(self._inner) < _INNER:  # one bar suffices for one model
            size = {"unit": "B", "unit_scale": True} if seen.unit == "model" else {"unit": f" {seen.unit}"}
            self._inner[seen.model] = self._tqdm(
                initial=seen.model_done,
                total=seen.model_total,
                desc=f"  {seen.model}",
                leave=False,
                dynamic_ncols=True,
                **size,
            )

    def close(self) -> None:
        """Remove the bars of models, and leave the main bar as it is."""
        for bar in self._inner.values():
            bar.close()
        self._main.close()
