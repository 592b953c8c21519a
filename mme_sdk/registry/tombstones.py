"""Tombstones: the record of deleted versions. Every deletion commits by compare-and-swap of this record.

A tombstone is `{"at": seconds, "content": digest, "by": id}` and the state of the deletion. `by` is the id of the
deletion that committed last; it distinguishes two tombstones of one version. The states:

- `"pending": [ids]`: these deletions wait for their grace period and check aliases. Nothing is deleted yet. A deletion
  that fails removes its id; without ids the tombstone is removed. A client that registers the same content removes the
  tombstone, and all pending deletions fail.
- `"deleting": {id: time}`: the deletion is committed, and its request to S3 may be in flight. The key cannot be used.
- neither: the deletion is complete. The same content can be registered under the key again.

S3 cannot distinguish the object to delete from an object with the same bytes that is written later. So `"deleting"`
must last until no request of the deletion can arrive. A deletion that was killed leaves `"deleting"` behind; it expires
`LEASE` seconds after the commit. A deletion sends its requests within `SEND_LIMIT` seconds, S3 rejects a request that
was signed more than 15 minutes ago, and the clocks of two clients that S3 accepts differ by at most 30 minutes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from mme_sdk._flows.effects import Flow
from mme_sdk.errors import ConflictError
from mme_sdk.registry.store import NOT_READ, Record, Store

__all__ = ["LEASE", "SEND_LIMIT", "Tombstone", "Tombstones", "is_pending", "new_id", "tombstones_of"]

_KIND, _NAME = "tombstones", "all.json"
SEND_LIMIT = 300.0
"""Seconds after the commit within which a deletion sends its requests."""
LEASE = 3600.0
"""Seconds after the commit after which no request of the deletion can arrive."""

Tombstone = Mapping[str, Any]


def new_id() -> str:
    """Return a unique id for a deletion or a change of an alias."""
    return uuid.uuid4().hex


def tombstones_of(record: Record | None) -> Mapping[str, Tombstone]:
    """Return the tombstones of a record, by target model."""
    return {} if record is None else record.body


def is_pending(tombstone: Tombstone) -> bool:
    """Return whether the deletion is not committed yet."""
    return "pending" in tombstone


def _with_state(tombstone: Tombstone, **state: Any) -> dict[str, Any]:
    """Return a tombstone with another state. Empty values are left out."""
    facts = {key: value for key, value in tombstone.items() if key not in ("pending", "deleting")}
    return facts | {key: value for key, value in state.items() if value}


@attrs.frozen
class Tombstones:
    """The tombstones of one prefix.

    Attributes:
        store: S3 requests for the prefix.
    """

    store: Store

    def record(self, known: Record | None = None) -> Flow[Record | None]:
        """Read the record of all tombstones. Return `known` itself if the record is unchanged."""
        return (yield from self.store.get_record(_KIND, _NAME, known))

    def read(self) -> Flow[Mapping[str, Tombstone]]:
        """Read the tombstones, by target model."""
        return tombstones_of((yield from self.record()))

    def change(
        self, change: Callable[[dict[str, Any]], Mapping[str, Tombstone | None]], known: Record | None = NOT_READ
    ) -> Flow[Record | None]:
        """Change some tombstones by compare-and-swap.

        Args:
            change: Returns the tombstones to change, given all tombstones; None removes one. It is called again for
                each attempt.
            known: The record, if it was just read.

        Returns:
            The record after the change.
        """

        def swap(body: dict[str, Any] | None) -> dict[str, Any] | None:
            old = body or {}
            changes = change(old)
            new = {target: mark for target, mark in {**old, **changes}.items() if mark is not None}
            return None if new == old else new

        return (yield from self.store.change_record(_KIND, _NAME, swap, known))

    def expires(self, tombstone: Tombstone) -> float | None:
        """Return when the last committed deletion expires, in seconds since the epoch; None if none is in progress."""
        times = [at + LEASE for at in tombstone.get("deleting", {}).values()]
        last = max(times, default=0.0)
        return last if last > self.store.now() else None

    def announce(self, contents: Mapping[str, str | None], deletion: str) -> Flow[Record | None]:
        """Announce a deletion. Target models that are deleted already keep their tombstone.

        Args:
            contents: Content digest by target model.
            deletion: Id of the deletion.

        Returns:
            The record after the change.
        """
        at = self.store.now()

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone]:
            found: dict[str, Tombstone] = {}
            for target, content in contents.items():
                old = body.get(target)
                if old is None:
                    found[target] = {"at": at, "content": content, "pending": [deletion]}
                elif is_pending(old) and deletion not in old["pending"]:
                    found[target] = _with_state(old, pending=[*old["pending"], deletion])
            return found

        return (yield from self.change(change))

    def cancel(self, before: Mapping[str, Tombstone | None], deletion: str) -> Flow[None]:
        """Cancel a deletion whose requests were not sent, or were refused by S3.

        Args:
            before: The tombstones before the deletion was added to them, by target model.
            deletion: Id of the deletion.
        """

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone | None]:
            found: dict[str, Tombstone | None] = {}
            for target, seen in before.items():
                old = body.get(target, {})
                pending = [one for one in old.get("pending", ()) if one != deletion]
                deleting = {one: at for one, at in old.get("deleting", {}).items() if one != deletion}
                if pending or deleting:
                    found[target] = _with_state(old, pending=pending, deleting=deleting)
                elif deletion in old.get("pending", ()) or deletion in old.get("deleting", ()):
                    found[target] = None if seen is None or is_pending(seen) else seen
            return found

        yield from self.change(change)

    def commit(self, seen: Mapping[str, Tombstone | None], deletion: str, known: Record | None) -> Flow[list[str]]:
        """Commit a deletion. After it, no client registers the target models or points an alias at them.

        Args:
            seen: The tombstones at the time of the announcement, by target model.
            deletion: Id of the deletion.
            known: The record, if it was just read.

        Returns:
            Target models whose archives this deletion has to delete. Other deletions committed the rest.

        Raises:
            ConflictError: Some target models were registered again. Nothing is committed.
        """
        own: list[str] = []

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone]:
            back = [target for target in seen if target not in body or _was_registered(body[target], deletion)]
            if back:
                raise ConflictError(
                    f"{', '.join(back)} was registered again during the deletion; nothing was deleted",
                    model=back[0],
                    hint="delete again if the new archive shall be deleted, too",
                )
            own[:] = [target for target, old in seen.items() if _may_commit(body[target], old, deletion)]
            at = self.store.now()
            return {
                target: _with_state(
                    body[target], by=deletion, deleting={**body[target].get("deleting", {}), deletion: at}
                )
                for target in own
            }

        yield from self.change(change, known)
        return own

    def finish(self, targets: Collection[str], deletion: str) -> Flow[None]:
        """Record that no request of the deletion is in flight any more."""

        def change(body: dict[str, Any]) -> Mapping[str, Tombstone]:
            found: dict[str, Tombstone] = {}
            for target in targets:
                old = body.get(target)
                if old is not None and deletion in old.get("deleting", ()):
                    others = {one: at for one, at in old["deleting"].items() if one != deletion}
                    found[target] = _with_state(old, deleting=others)
            return found

        yield from self.change(change)

    def remove(
        self, contents: Mapping[str, str | None], before: Record | None
    ) -> Flow[tuple[Record | None, frozenset[str], frozenset[str]]]:
        """Remove the tombstones of target models whose archives were just written or found.

        A tombstone is removed only if it is the same as before the archive was written. Then no deletion has removed
        the archive in between.

        Args:
            contents: Content digest by target model.
            before: The record as it was read before the archives were written; None if it was not read.

        Returns:
            The record after the change; target models that must be written again; target models whose tombstone has
            other content.
        """
        again: set[str] = set()
        other_content: set[str] = set()
        known = tombstones_of(before)

        def change(body: dict[str, Any]) -> Mapping[str, None]:
            again.clear()
            other_content.clear()
            found: list[str] = []
            for target, content in contents.items():
                old = body.get(target)
                if old is None:
                    continue
                if content is None or old.get("content") != content:
                    other_content.add(target)
                elif old == known.get(target) and self.expires(old) is None:
                    found.append(target)
                else:
                    again.add(target)
            return dict.fromkeys(found)

        record = yield from self.change(change, (yield from self.record(before)))
        return record, frozenset(again), frozenset(other_content)


def _may_commit(now: Tombstone, seen: Tombstone | None, deletion: str) -> bool:
    """Return whether a deletion added itself to this tombstone, or found it complete and it is unchanged."""
    if deletion in now.get("pending", ()) or deletion in now.get("deleting", ()):
        return True
    return seen is not None and not is_pending(seen) and now == seen


def _was_registered(now: Tombstone, deletion: str) -> bool:
    """Return whether the version was registered again and another deletion wrote a new tombstone."""
    return is_pending(now) and deletion not in now["pending"]
