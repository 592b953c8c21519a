"""`Shown`: base class of what a cell of a notebook can end with. It has a short text and an HTML table.

Neither makes a call, neither raises, and neither shows a field whose `repr` is False, such as environment variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from mme_sdk.display import html
from mme_sdk.display.html import Html

__all__ = ["Listing", "Shown", "facts_of", "listing_text", "one_line", "without_secrets"]

T = TypeVar("T")
_VALUE = 100  # characters of a value in a text
_NAMED = 5  # items that the text of a listing names


class Shown:
    """Base class with `__repr__` and `_repr_html_`. A subclass overrides `_facts`, or `_html`."""

    __slots__ = ()

    def _facts(self) -> Mapping[str, object]:
        """Return what both show, by name. None and empty values are left out."""
        return facts_of(self)

    def _text(self) -> str:
        return one_line(type(self).__name__, self._facts())

    def _html(self) -> str:
        return html.facts(type(self).__name__, self._facts())

    def __repr__(self) -> str:
        return _safely(self, self._text)

    def _repr_html_(self) -> str:
        return _safely(self, self._html)


def facts_of(shown: Any) -> dict[str, object]:
    """Return the fields of an attrs object that its representation shows: those that have not their default value."""
    found: dict[str, object] = {}
    for field in attrs.fields(type(shown)):
        if field.repr is False:
            continue
        value = getattr(shown, field.name)
        if isinstance(value, bool) and value is field.default:
            continue
        found[field.alias or field.name] = Html(html.escape(str(field.repr(value)))) if callable(field.repr) else value
    return found


def one_line(kind: str, facts: Mapping[str, object]) -> str:
    """Return facts as one line, such as `Endpoint(name='scoring', status='InService')`."""
    shown = [f"{name}={_value(value)}" for name, value in facts.items() if not _is_empty(value)]
    return f"{kind}({', '.join(shown)})"


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (str, bytes, Mapping, Sequence)) and not len(value))


def _value(value: object) -> str:
    if isinstance(value, Html):
        return html.unescape(value)
    if isinstance(value, (str, bytes)):
        text = repr(value[: _VALUE + 1])
    elif isinstance(value, (Mapping, Sequence)) and len(value) > _NAMED:
        return f"<{len(value)} items>"
    elif isinstance(value, Sequence):
        text = f"[{', '.join(map(str, value))}]"
    else:
        text = html.plain(value) if html.is_scalar(value) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}…"


def _safely(shown: object, render: Callable[[], str]) -> str:
    try:
        return render()
    except Exception:  # noqa: BLE001 - a representation never raises
        return html.escape(f"<{type(shown).__name__}>") if render.__name__ == "_html" else f"<{type(shown).__name__}>"


class Listing(list[T]):
    """A list whose representations are short: a line of text, and a table.

    Args:
        items: The items.
        what: What they are, such as `endpoints`.
        row: Returns the cells of an item by column, for the table.
        name: Returns an item in a few words, for the text. Default: `str`.
    """

    __slots__ = ("_name", "_row", "_what")

    def __init__(
        self,
        items: Iterable[T],
        what: str,
        row: Callable[[T], Mapping[str, object]],
        name: Callable[[T], str] = str,
    ) -> None:
        super().__init__(items)
        self._what, self._row, self._name = what, row, name

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def _text(self) -> str:
        if not self:
            return "[]"
        return listing_text(html.count(len(self), self._what), map(self._name, self[: _NAMED + 1]))

    def _html(self) -> str:
        rows = [self._row(item) for item in self[: html.ROWS]]
        return html.table(html.count(len(self), self._what), rows, len(self))

    def __repr__(self) -> str:
        return _safely(self, self._text)

    def _repr_html_(self) -> str:
        return _safely(self, self._html)


def listing_text(title: str, names: Iterable[str]) -> str:
    """Return a title and the first names, as one line."""
    listed = list(names)
    more = ", …" if len(listed) > _NAMED else ""
    return f"<{title}{': ' if listed else ''}{', '.join(one[:_VALUE] for one in listed[:_NAMED])}{more}>"


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
