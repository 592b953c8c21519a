"""The result of `list` of a registry: the versions under a prefix, which are read page by page.

Written by hand for both registries: the first page is read when `ModelRegistry.list` is called, so that its
representations show versions; `AsyncModelRegistry.list` is not awaited, and reads nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias, overload

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.aws.travel import refuse_pickle
from mme_sdk.display import html
from mme_sdk.display.shown import Shown, listing_text
from mme_sdk.types.model import ModelVersion

__all__ = ["AsyncVersions", "Page", "Versions"]

Page: TypeAlias = tuple[list[ModelVersion], bool]
"""Versions, and whether another page follows."""


@short_tracebacks
class Versions(Shown):
    """The versions of a registry. The first page is read at once, each further one when it is needed.

    Each iteration after the first lists the prefix again. `len`, and an index beyond the first page, read all pages and
    keep them.

    Args:
        title: What was listed.
        pages: Lists the prefix from its beginning.
    """

    def __init__(self, title: str, pages: Callable[[], Iterator[Page]]) -> None:
        self._title, self._pages = title, pages
        self._rest: Iterator[Page] | None = pages()
        self._first, more = next(self._rest)
        while more and not self._first:  # a page may have nothing but folder markers
            self._first, more = next(self._rest)
        self._all: list[ModelVersion] | None = None if more else self._first

    def __reduce__(self) -> tuple[Any, ...]:
        raise refuse_pickle("a listing, which reads its pages when they are needed,", "pickle list(versions)")

    def __iter__(self) -> Iterator[ModelVersion]:
        # A generator, which decides at its first item: `list` asks for the length after it has made the iterator.
        if self._all is not None:
            yield from self._all
            return
        rest, self._rest = self._rest, None
        if rest is None:
            rest = self._pages()
        else:
            yield from self._first
        for versions, _ in rest:
            yield from versions

    def __len__(self) -> int:
        return len(self._complete())

    def __bool__(self) -> bool:
        return bool(self._first) or bool(self._complete())

    @overload
    def __getitem__(self, place: int) -> ModelVersion: ...

    @overload
    def __getitem__(self, place: slice) -> list[ModelVersion]: ...

    def __getitem__(self, place: int | slice) -> ModelVersion | list[ModelVersion]:
        if isinstance(place, int) and 0 <= place < len(self._first):
            return self._first[place]
        return self._complete()[place]

    def _complete(self) -> list[ModelVersion]:
        if self._all is None:
            self._all = [*iter(self)]
        return self._all

    def _heading(self) -> str:
        known = self._first if self._all is None else self._all
        found = html.count(len(known), "versions") if self._all is not None else f"{len(known)}+ versions"
        return f"{found} {self._title}"

    def _text(self) -> str:
        return listing_text(self._heading(), map(str, self._first[:10]))

    def _html(self) -> str:
        known = self._first if self._all is None else self._all
        rows = [
            {"name": one.name, "version": one.version, "size": html.size(one.size), "created": one.created}
            for one in known[: html.ROWS]
        ]
        return html.table(self._heading(), rows, len(known))


class AsyncVersions(Shown):
    """The versions of a registry, for `async for`. Each iteration lists the prefix; pages are read as they are needed.

    Args:
        title: What is listed.
        pages: Lists the prefix from its beginning.
    """

    def __init__(self, title: str, pages: Callable[[], AsyncIterator[Page]]) -> None:
        self._title, self._pages = title, pages

    def __reduce__(self) -> tuple[Any, ...]:
        raise refuse_pickle(
            "a listing, which reads its pages when they are needed,", "pickle [one async for one in versions]"
        )

    async def __aiter__(self) -> AsyncIterator[ModelVersion]:
        async for versions, _ in self._pages():
            for version in versions:
                yield version

    def _text(self) -> str:
        return f"<versions {self._title}; read them with `async for`>"

    def _html(self) -> str:
        return html.facts(f"Versions {self._title}", {"read them": "async for version in …"})
