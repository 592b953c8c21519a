"""Draw the data of `mme top` with rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mme_sdk.cli.screens.figures import Figures, ModelFigures, VariantFigures
from mme_sdk.display import html

__all__ = ["drawn"]

_BARS = "▁▂▃▄▅▆▇█"
_ROWS = 15  # of models
_ERRORS = 5
_NAME = 60  # characters
_MARKS = {"loaded": "●", "loading": "◐", "downloading": "◐"}
_LINES = (("requests", False), ("hit_ratio", True), ("cold", False), ("loads", False), ("evictions", False))


def drawn(figures: Figures) -> RenderableType:
    """Return the screen of an endpoint.

    Args:
        figures: Its data.
    """
    parts: list[RenderableType] = [_head(figures)]
    if figures.problem is not None:
        parts.append(Text(f"The data is not current: {printable(figures.problem, 300)}", style="bold red"))
    parts += [Text(), _variants(figures)]
    for variant in figures.variants:
        parts += [Text(), _timeline(variant)]
        if variant.instances:
            parts += [Text(), _instances(variant)]
    if figures.models:
        parts += [Text(), _models(figures.models)]
    if figures.errors:
        parts += [Text(), _errors(figures)]
    parts += [Text(printable(note, 300), style="dim") for note in figures.notes]
    return Group(*parts)


def printable(text: str, longest: int = _NAME) -> str:
    """Return text without characters that a terminal would interpret, and not longer than a number of characters.

    Args:
        text: The text.
        longest: Largest number of characters.
    """
    shown = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def sparkline(values: Sequence[float | None], *, share: bool = False) -> str:
    """Return values as bars, one character each; a space stands for a minute without a value.

    Args:
        values: The values.
        share: Whether the highest bar is 1. Default: it is the largest value.
    """
    top = 1.0 if share else max((one for one in values if one is not None), default=0.0)
    return "".join(" " if one is None else _BARS[_step(one, top)] for one in values)


def _step(value: float, top: float) -> int:
    return 0 if top <= 0 else min(len(_BARS) - 1, int(value / top * (len(_BARS) - 1) + 0.5))


def _head(figures: Figures) -> RenderableType:
    good = figures.status == "InService" and figures.reason is None
    head = Text.assemble(
        (printable(figures.endpoint), "bold"),
        "  ",
        (printable(figures.status), "green" if good else "bold red"),
        f"  last {html.count(figures.minutes, 'minutes')}  {figures.at:%H:%M:%S} UTC",
    )
    parts = [head, Text(f"source: {printable(figures.source, 200)}", style="dim")]
    if figures.reason is not None:
        parts.append(Text(f"FailureReason: {printable(figures.reason, 300)}", style="red"))
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, header_style="bold", show_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold", min_width=min(7, len(name)))
    return table


def _variants(figures: Figures) -> RenderableType:
    measured = any(one.cpu is not None or one.memory is not None for one in figures.variants)
    more = ("memory", "disk", "cpu") if measured else ()
    names = ("requests", "hits", "cold", "wait", "4xx", "5xx", "models", *more)
    table = _table("variant", "instances", *names)
    for one in figures.variants:
        wait = one.wait if one.wait is not None else one.loading_wait
        cells = [
            _number(one.requests),
            _share(one.hit_ratio),
            _number(one.cold),
            "-" if wait is None else f"{wait:.2f} s",
            _number(one.errors_4xx),
            _number(one.errors_5xx),
            "-" if one.loaded_models is None else f"{one.loaded_models:.3g}",
        ]
        if measured:
            cells += ["-" if used is None else f"{used:.0f} %" for used in (one.memory, one.disk, one.cpu)]
        count = "-" if one.instance_count is None else str(one.instance_count)
        instances = f"{count} x {one.instance_type or 'serverless'}"
        table.add_row(*(Text(cell) for cell in (printable(one.name), instances, *cells)))
    return table


def _timeline(variant: VariantFigures) -> RenderableType:
    totals = {"requests": variant.requests, "cold": variant.cold, "loads": variant.loads}
    totals |= {"evictions": variant.evictions}
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column()
    for name, share in _LINES:
        values = variant.timeline.get(name, ())
        known = [one for one in values if one is not None]
        if share:
            shown = f"{known[-1]:.0%} last" if known else "-"
        else:
            shown = f"{_number(totals[name])}, max {max(known, default=0):.0f}"
        label = f"{printable(variant.name, 20)} {name.replace('_', ' ')}"
        table.add_row(Text(label), Text(shown, style="dim"), _Bars(values, share=share))
    return table


class _Bars:
    """Bars of the last values that fit into the line."""

    def __init__(self, values: Sequence[float | None], *, share: bool) -> None:
        self._values, self._share = values, share

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._values[-max(1, options.max_width) :]
        yield Text(sparkline(shown, share=self._share), style="cyan", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = min(max(1, len(self._values)), options.max_width)
        return Measurement(min(10, width), width)


def _instances(variant: VariantFigures) -> RenderableType:
    table = _table(f"instances of {printable(variant.name, 20)}", "models", "memory", "hits", "in progress", "to load")
    for one in variant.instances:
        name = printable(one.name) + (" (draining)" if one.draining else "")
        cells = (
            str(one.loaded),
            _share(one.memory),
            _share(one.hit_ratio),
            str(one.outstanding),
            str(one.loads_queued),
        )
        table.add_row(*(Text(cell) for cell in (name, *cells)))
    return table


def _models(models: Sequence[ModelFigures]) -> RenderableType:
    several = len({one.variant for one in models}) > 1
    table = _table("model", *(["variant"] if several else []), "requests/min", "memory", "waiting", "instances")
    for one in models[:_ROWS]:
        where = " ".join(f"{_MARKS.get(state, '○')} {printable(name, 30)}" for name, state in one.states.items())
        cells = (f"{one.requests_per_minute:.1f}", html.size(one.memory_bytes), str(one.waiting), where)
        variant = [printable(one.variant, 20)] if several else []
        table.add_row(*(Text(cell) for cell in (printable(one.name), *variant, *cells)))
    if len(models) <= _ROWS:
        return table
    return Group(table, Text(f"… {html.count(len(models) - _ROWS, 'more models')}", style="dim"))


def _errors(figures: Figures) -> RenderableType:
    table = _table("error", "count", "last", "model")
    for one in figures.errors[:_ERRORS]:
        said = "" if one.message is None else f": {one.message}"
        what = printable(f"{one.status or 'closed'} {one.code or ''}{said}", 100)
        cells = (what, str(one.count), f"{one.at:%H:%M:%S}", printable(one.model or "-", 40))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
