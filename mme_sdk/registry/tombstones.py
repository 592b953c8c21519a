"""Tombstones: the one object of a prefix that says which versions are deleted, and through which each deletion commits.

A tombstone is `{"at": seconds, "content": digest, "by": id}` plus the state of the deletion. The id of the deletion
that committed last tells two tombstones of one version apart. The states:

- `"pending": [ids]`: deletions wait for their period of grace and look at aliases. Nothing is removed yet. A deletion
  that fails takes its id out; without an id the tombstone goes. A writer of the same content takes the tombstone away,
  and every pending deletion then fails.
- `"deleting": {id: time}`: a deletion is committed, and its request to S3 may be under way. The key is not usable.
- neither: the deletion is complete. A writer of the same content may use the key again.

S3 cannot tell the bytes that a deletion means from the same bytes written later, so that a request to delete must not
outlive `"deleting"`. A killed deletion leaves it behind. It ends `LEASE` seconds after the commit: a deletion sends its
requests within `START` seconds, S3 refuses a request signed more than 15 minutes ago, and the clocks of two clients
that S3 accepts differ by at most 30 minutes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from mme_sdk._effects import Flow
from mme_sdk.errors import ConflictError
from mme_sdk.registry.store import UNREAD, Note, Store

__all__ = ["LEASE", "START", "Tombstone", "Tombstones", "body_of", "is_pending", "new_id"]

_KIND, _NAME = "tombstones", "all.json"
START = 300.0
"""Seconds after the commit within which a deletion sends its requests."""
LEASE = 3600.0
"""Seconds after the commit when no request of the deletion can arrive any more."""

Tombstone = Mapping[str, Any]


def new_id() -> str:
    """An id that no other deletion or change has."""
    return uuid.uuid4().hex


def body_of(note: Note | None) -> Mapping[str, Tombstone]:
    """The tombstones of a note, by target model."""
    return {} if note is None else note.body


def is_pending(tombstone: Tombstone) -> bool:
    """Whether the deletion has not committed yet."""
    return "pending" in tombstone


def _plain(tombstone: Tombstone, **state: Any) -> dict[str, Any]:
    """A tombstone with another state."""
    facts = {key: value for key, value in tombstone.items() if key not in ("pending", "deleting")}
    return facts | {key: value for key, value in state.items() if value}


@attrs.frozen
class Tombstones:
    """The tombstones of one prefix.

    Attributes:
        store: The prefix.
    """

    store: Store

    def note(self, known: Note | None = None) -> Flow[Note | None]:
        """The note that holds all tombstones; `known` itself where that is still what is stored."""
        return (yield from self.store.get_note(_KIND, _NAME, known))

    def read(self) -> Flow[Mapping[str, Tombstone]]:
        """The tombstones, by target model."""
        return body_of((yield from self.note()))

    def change(
        self, change: Callable[[dict[str, Any]], Mapping[str, Tombstone | None]], known: Note | None = UNREAD
    ) -> Flow[Note | None]:
        """Change some tombstones by compare-and-swap.

        Args:
            change: From all tombstones to those that change; None removes one. May be called again.
            known: The note, where it was just read.

        Returns:
            The note as it is now.
        """

        def swap(body: dict[str, Any] | None) -> dict[str, Any] | None:
            old = body or {}
            changes = change(old)
            new = {target: mark for target, mark in {**old, **changes}.items() if mark is not None}
            return None if new == old else new

        return (yield from self.store.change_note(_KIND, _NAME, swap, known))

    def ends(self, tombstone: Tombstone) -> float | None:
        """When no request of a committed deletion can arrive any more; None where none is under way."""
        left = [at + LEASE for at in tombstone.get("deleting", {}).values()]
        last = max(left, default=0.0)
        return last if last > self.store.now() else None

    def prepare(self, contents: Mapping[str, str | None], me: str) -> Flow[Note | None]:
        """Announce a deletion; target models that are deleted already keep their tombstone."""
        at = self.store.now()

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone]:
            found: dict[str, Tombstone] = {}
            for target, content in contents.items():
                old = body.get(target)
                if old is None:
                    found[target] = {"at": at, "content": content, "pending": [me]}
                elif is_pending(old) and me not in old["pending"]:
                    found[target] = _plain(old, pending=[*old["pending"], me])
            return found

        return (yield from self.change(change))

    def withdraw(self, before: Mapping[str, Tombstone | None], me: str) -> Flow[None]:
        """Take a deletion back of which no request to delete was sent, or was refused.

        Args:
            before: The tombstones as they were when the deletion was announced, by target model.
            me: The id of the deletion.
        """

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone | None]:
            found: dict[str, Tombstone | None] = {}
            for target, seen in before.items():
                old = body.get(target, {})
                pending = [one for one in old.get("pending", ()) if one != me]
                deleting = {one: at for one, at in old.get("deleting", {}).items() if one != me}
                if pending or deleting:
                    found[target] = _plain(old, pending=pending, deleting=deleting)
                elif me in old.get("pending", ()) or me in old.get("deleting", ()):
                    found[target] = None if seen is None or is_pending(seen) else seen
            return found

        yield from self.change(change)

    def commit(self, seen: Mapping[str, Tombstone | None], me: str, known: Note | None) -> Flow[list[str]]:
        """Commit a deletion: from here on, no writer and no alias brings the target models back.

        Args:
            seen: The tombstones as they were when the deletion was announced.
            me: The id of the deletion.
            known: The note, where it was just read.

        Returns:
            Target models that this deletion has to remove; others were committed by another deletion.

        Raises:
            ConflictError: Some were registered again; nothing is committed.
        """
        mine: list[str] = []

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone]:
            back = [target for target in seen if target not in body or _lost(body[target], me)]
            if back:
                raise ConflictError(
                    f"{', '.join(back)} was registered again meanwhile; nothing was deleted", model=back[0]
                )
            mine[:] = [target for target, old in seen.items() if _is_mine(body[target], old, me)]
            at = self.store.now()
            return {
                target: _plain(body[target], by=me, deleting={**body[target].get("deleting", {}), me: at})
                for target in mine
            }

        yield from self.change(change, known)
        return mine

    def finish(self, targets: Collection[str], me: str) -> Flow[None]:
        """Say that no request of a deletion is under way any more."""

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone]:
            found: dict[str, Tombstone] = {}
            for target in targets:
                old = body.get(target)
                if old is not None and me in old.get("deleting", ()):
                    others = {one: at for one, at in old["deleting"].items() if one != me}
                    found[target] = _plain(old, deleting=others)
            return found

        yield from self.change(change)

    def revive(
        self, made: Mapping[str, str | None], before: Note | None
    ) -> Flow[tuple[Note | None, frozenset[str], frozenset[str]]]:
        """Take away the tombstones of target models whose archives were just written or found.

        A tombstone goes only if it is the same as before the archive was written: between the two, no deletion
        removed the archive.

        Args:
            made: Content by target model.
            before: The note as it was read before the archives were written; None where it was not.

        Returns:
            The note as it is now, target models that must be written again, and those that had other content.
        """
        again: set[str] = set()
        wrong: set[str] = set()
        known = body_of(before)

        def change(body: dict[str, Any]) -> Mapping[str, None]:
            again.clear()
            wrong.clear()
            found: list[str] = []
            for target, content in made.items():
                old = body.get(target)
                if old is None:
                    continue
                if content is None or old.get("content") != content:
                    wrong.add(target)
                elif old == known.get(target) and self.ends(old) is None:
                    found.append(target)
                else:
                    again.add(target)
            return dict.fromkeys(found)

        note = yield from self.change(change, (yield from self.note(before)))
        return note, frozenset(again), frozenset(wrong)


def _is_mine(now: Tombstone, seen: Tombstone | None, me: str) -> bool:
    """Whether a deletion may commit a target model: it announced it, or nobody touched what was left by others."""
    if me in now.get("pending", ()) or me in now.get("deleting", ()):
        return True
    return seen is not None and not is_pending(seen) and now == seen


def _lost(now: Tombstone, me: str) -> bool:
    """Whether the version was registered again since: its tombstone was taken away, and somebody announced another."""
    return is_pending(now) and me not in now["pending"]
