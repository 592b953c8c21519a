"""What was deleted under a prefix: one note that invokers read, so that they stop before the archive is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from mme_sdk.aws.flow import Flow
from mme_sdk.registry.store import Note, Store

__all__ = ["Tombstones"]

_KIND, _NAME = "tombstones", "all.json"


@attrs.frozen
class Tombstones:
    """The tombstones of one prefix.

    Attributes:
        store: The prefix.
    """

    store: Store

    def note(self, known: Note | None = None) -> Flow[Note | None]:
        """The note itself, for those who keep it."""
        return (yield from self.store.get_note(_KIND, _NAME, known))

    def read(self) -> Flow[Mapping[str, Any]]:
        """What was deleted, by target model: when, and the digest of its content."""
        note = yield from self.note()
        return {} if note is None else note.body

    def add(self, contents: Mapping[str, str | None]) -> Flow[list[str]]:
        """Mark target models, with the digests of their contents, as deleted.

        Returns:
            Those that were not marked before.
        """
        fresh: dict[str, Any] = {}
        at = self.store.now()
        marks = {target: {"at": at, "content": content} for target, content in contents.items()}

        def change(body: dict[str, Any] | None) -> dict[str, Any] | None:
            nonlocal fresh
            old = body or {}
            fresh = {target: mark for target, mark in marks.items() if target not in old}
            return {**old, **fresh} if fresh else None

        yield from self.store.change_note(_KIND, _NAME, change)
        return list(fresh)

    def remove(self, targets: Iterable[str]) -> Flow[None]:
        """Take marks away."""
        gone = set(targets)

        def change(body: dict[str, Any] | None) -> dict[str, Any] | None:
            if not body or gone.isdisjoint(body):
                return None
            return {target: mark for target, mark in body.items() if target not in gone}

        yield from self.store.change_note(_KIND, _NAME, change)
