"""The one renderer of HTML: tables whose cells are escaped, links, and lines as inline SVG. It uses no script."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

__all__ = [
    "ROWS",
    "Html",
    "count",
    "escape",
    "facts",
    "is_scalar",
    "lines",
    "link",
    "plain",
    "size",
    "table",
    "unescape",
]

ROWS = 20  # rows of a table
_CELL = 300  # characters
_ITEMS = 10  # of a sequence in a cell
_LEFT = "style='text-align:left;vertical-align:top'"
_WIDTH, _HEIGHT = 180, 32  # pixels of a drawn line


def escape(text: str) -> str:
    """Return text with `&`, `<`, `>` and quotes as entities."""
    from html import escape as escaped

    return escaped(text)


def unescape(text: str) -> str:
    """Return text whose entities are characters."""
    from html import unescape as unescaped

    return unescaped(text)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def link(text: str, url: str | None) -> Html:
    """Return a link; the text alone unless the URL is one of http or https."""
    if url is None or not url.startswith(("https://", "http://")):
        return Html(escape(text))
    return Html(f"<a href='{escape(url)}' target='_blank' rel='noopener'>{escape(text)}</a>")


def facts(title: str, pairs: Mapping[str, object]) -> Html:
    """Return a table with one row for each pair. Pairs without a value are left out."""
    shown = [(name, _cell(value)) for name, value in pairs.items()]
    rows = "".join(f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{cell}</td></tr>" for name, cell in shown if cell)
    return Html(f"{_title(title)}<table>{rows}</table>")


def table(title: str, rows: Sequence[Mapping[str, object]], total: int | None = None) -> Html:
    """Return a table with a column for each name. At most 20 rows are shown; the last line says how many there are.

    Args:
        title: Text above the table.
        rows: Cells by column.
        total: Number of rows there are. None means those given.
    """
    total = len(rows) if total is None else total
    names = list(dict.fromkeys(name for row in rows[:ROWS] for name in row))
    head = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td {_LEFT}>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in rows[:ROWS]
    )
    more = f"<tr><td colspan='{len(names)}' {_LEFT}>… {total - ROWS:,} more</td></tr>" if total > ROWS else ""
    return Html(f"{_title(title)}<table>{f'<tr>{head}</tr>' if rows else ''}{body}{more}</table>")


def _title(title: str) -> str:
    return f"<div><b>{escape(title)}</b></div>" if title else ""


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    if isinstance(value, Mapping):
        items: Iterable[object] = [f"{name}: {plain(one)}" for name, one in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        items = value
    else:
        return _cut(value)
    listed = list(items)
    shown = [_cut(one) if not isinstance(one, Html) else one for one in listed[:_ITEMS]]
    more = [f"… {len(listed) - _ITEMS:,} more"] if len(listed) > _ITEMS else []
    return "<br>".join([*shown, *more])


def _cut(value: object) -> str:
    text = plain(value)
    return escape(text if len(text) <= _CELL else f"{text[:_CELL]}…")


def is_scalar(value: object) -> bool:
    """Return whether `plain` has a form of its own for a value."""
    return isinstance(value, (float, datetime))


def plain(value: object) -> str:
    """Return a value as text: numbers with four digits, times in UTC, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (datetime, numbers.Real)):
        return value if isinstance(value, str) else str(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if value.tzinfo else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, numbers.Integral):
        return str(value)
    return f"{float(value):.4g}"


def count(number: int, what: str) -> str:
    """Return a number with what it counts, such as `1 endpoint` or `2 endpoints`."""
    return f"{number} {what.removesuffix('s') if number == 1 else what}"


def size(number: float | None) -> str:
    """Return a number of bytes in a unit that fits, such as `12.3 MB`."""
    if number is None:
        return ""
    for unit, limit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:g} bytes"


def lines(values: Sequence[float], *, zero: bool = True) -> Html:
    """Return a line through values as inline SVG, in the colour of the text.

    Args:
        values: The values, evenly spaced. Those that are not finite leave a gap.
        zero: Whether the lower edge is 0; else it is the smallest value. Default: True.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Html("")
    low = min(0.0, *finite) if zero else min(finite)
    span = (max(finite) - low) or 1.0
    step = _WIDTH / max(len(values) - 1, 1)
    runs: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if math.isfinite(value):
            y = _HEIGHT - 2 - (value - low) / span * (_HEIGHT - 4)
            runs[-1].append(f"{place * step:.1f},{y:.1f}")
        elif runs[-1]:
            runs.append([])
    drawn = "".join(
        f"<polyline points='{' '.join(run)}' fill='none' stroke='currentColor' stroke-width='1.5'/>"
        if len(run) > 1
        else f"<circle cx='{run[0].partition(',')[0]}' cy='{run[0].partition(',')[2]}' r='2' fill='currentColor'/>"
        for run in runs
        if run
    )
    return Html(
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' viewBox='-3 0 {_WIDTH + 6} {_HEIGHT}' role='img'>{drawn}</svg>"
    )
