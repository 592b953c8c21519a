"""What commands write: text or JSON on the standard output, progress and errors on the standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mme_sdk.errors import MMEError

if TYPE_CHECKING:
    from mme_sdk.display.progress import Progress

__all__ = ["Output", "error_facts", "plain"]


def plain(value: Any) -> Any:
    """Return a value as JSON can represent it. Fields that a representation hides are left out.

    Args:
        value: Any value of the SDK.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, MMEError):
        return error_facts(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    fields = getattr(type(value), "__attrs_attrs__", None)
    if fields is not None:
        return {one.name: plain(getattr(value, one.name)) for one in fields if one.repr is not False}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (Iterable)):
        return [plain(item) for item in value]
    return str(value)


def error_facts(error: MMEError) -> dict[str, Any]:
    """Return an error as plain data.

    Args:
        error: The error.
    """
    names = ("message", "hint", "endpoint", "model", "code", "status", "request_id", "reason")
    facts = {name: getattr(error, name, None) for name in names}
    return {"error": type(error).__name__, **{name: value for name, value in facts.items() if value is not None}}


class Output:
    """Writes the results of one command.

    Args:
        as_json: Whether results and errors are JSON.
        quiet: Whether progress and notes are left out.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self._shown = ""

    def result(self, data: Any, text: str) -> None:
        """Write a result: its data as JSON, or a text.

        Args:
            data: Value for `plain`.
            text: The text for a person.
        """
        self.line(json.dumps(plain(data), ensure_ascii=False, indent=2) if self.as_json else text)

    def item(self, data: Any, text: str) -> None:
        """Write one of many results, as one line.

        Args:
            data: Value for `plain`.
            text: The text for a person.
        """
        self.line(json.dumps(plain(data), ensure_ascii=False) if self.as_json else text)
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Write text and a line end to the standard output.

        Args:
            text: The text.
        """
        sys.stdout.write(f"{text}\n")

    def table(self, rows: Sequence[Mapping[str, Any]], empty: str) -> None:
        """Write rows as JSON, as a table for a terminal, or as aligned columns.

        Args:
            rows: Mappings with the same keys, which are the columns.
            empty: Text in place of a table without rows.
        """
        if self.as_json:
            self.result(rows, "")
        elif not rows:
            self.note(empty)
        elif sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
            _rich_table(rows)
        else:
            cells = [[name.upper() for name in rows[0]], *([_cell(one) for one in row.values()] for row in rows)]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            for line in cells:
                padded = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
                self.line(padded.rstrip())

    def note(self, text: str) -> None:
        """Write a note to the standard error, unless `quiet`.

        Args:
            text: The text.
        """
        if not self.quiet:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    @property
    def progress(self) -> Callable[[Progress], None] | None:
        """The function to pass as `progress`. None if progress is not shown."""
        return None if self.quiet or self.as_json else self._progress

    def _progress(self, seen: Progress) -> None:
        count = "" if seen.total is None else f"{seen.done} of {seen.total} {seen.unit}s"
        failed = f"{seen.failed} failed" if seen.failed else ""
        parts = [part for part in (seen.status, seen.doing or count, failed) if part]
        text = f"{seen.subject}: {', '.join(parts)}"
        if parts and text != self._shown:  # a line for each change, for logs of CI as well as for terminals
            self._shown = text
            self.note(f"{text} ({seen.elapsed:.0f} s)")

    def error(self, error: MMEError) -> None:
        """Write an error to the standard error.

        Args:
            error: The error.
        """
        if self.as_json:
            sys.stderr.write(json.dumps(error_facts(error), ensure_ascii=False) + "\n")
        else:
            sys.stderr.write(f"error: {error}\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "-"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value)) or "-"
    return " ".join(str(value).split())


def _rich_table(rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError as error:
        from mme_sdk.errors import MissingExtraError

        raise MissingExtraError("tables in a terminal need rich", hint="pip install 'mme-sdk[cli]'") from error
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in rows[0]:
        shown.add_column(name, overflow="fold", justify="right" if name in ("size", "seconds", "weight") else "left")
    for row in rows:
        shown.add_row(*(Text(_cell(one)) for one in row.values()))
    Console().print(shown)
