"""Aliases: small notes in S3 that say which version a name means, with everything they meant before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import attrs

from mme_sdk._effects import Flow
from mme_sdk.errors import ConflictError, InvalidInputError, MMEError, ModelNotFoundError, ServiceError
from mme_sdk.registry.names import RESERVED, check_alias, check_name
from mme_sdk.registry.store import Note, Store, collected
from mme_sdk.registry.tombstones import Tombstones, is_pending, new_id
from mme_sdk.types.model import ModelVersion

__all__ = ["ANY", "Alias", "AliasChange", "Aliases", "before", "choose", "note_name"]

_KIND = "aliases"
_HISTORY = 1000  # changes kept
_TRIES = 16
History: TypeAlias = "list[dict[str, Any]]"
ANY: Any = object()
"""The default of `expected`: whatever the alias means now."""


@attrs.frozen(kw_only=True)
class AliasChange:
    """What an alias meant for a while.

    Attributes:
        weights: Share of each version; they need not add up to 1.
        at: Since when.
        back: How many changes a rollback went back; 0 where it was none.
    """

    weights: Mapping[str, float] = attrs.field(hash=False)
    at: datetime
    back: int = 0


@attrs.frozen(kw_only=True)
class Alias:
    """What an alias means.

    Attributes:
        name: The model's name.
        alias: The alias, such as `live`.
        history: What it meant, oldest first; the last is what it means now.
    """

    name: str
    alias: str
    history: tuple[AliasChange, ...] = attrs.field(repr=lambda history: f"<{len(history)} changes>")

    @property
    def weights(self) -> Mapping[str, float]:
        """Share of each version."""
        return self.history[-1].weights

    @property
    def reference(self) -> str:
        """`name@alias`."""
        return f"{self.name}@{self.alias}"


def note_name(name: str, alias: str) -> str:
    """Where an alias is noted; `@` is in neither, so no two share a place."""
    return f"{check_name(name)}@{check_alias(alias)}.json"


def choose(alias: Alias, key: str | None, draw: Callable[[], float]) -> str:
    """The version for one call.

    With a key, weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): a key keeps its version until the
    weights change, and then only the share that must move does.

    Args:
        alias: The alias.
        key: Makes the choice sticky.
        draw: A uniform draw from [0, 1), for calls without a key.

    Returns:
        The version.
    """
    weights = alias.weights
    if len(weights) == 1:
        return next(iter(weights))
    if key is not None:
        return min(weights, key=lambda version: -math.log(_uniform(alias, version, key)) / weights[version])
    left = draw() * sum(weights.values())
    for version, weight in weights.items():
        left -= weight
        if left < 0:
            return version
    return next(reversed(list(weights)))


def _uniform(alias: Alias, version: str, key: str) -> float:
    digest = hashlib.blake2b(f"{alias.name}@{version}:{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 1)


def weights_of(wanted: str | ModelVersion | Mapping[str, float]) -> dict[str, float]:
    """The weights that a caller asks for.

    Raises:
        InvalidInputError: No versions, or weights that are not positive numbers.
    """
    if isinstance(wanted, ModelVersion):
        wanted = wanted.version
    if isinstance(wanted, str):
        return {wanted: 1.0}
    if not isinstance(wanted, Mapping):
        raise InvalidInputError(f"an alias means a version, or versions with weights, not a {type(wanted).__name__}")
    if not wanted:
        raise InvalidInputError("an alias needs at least one version")
    for version, weight in wanted.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise InvalidInputError(f"the weight of {version!r} must be a positive number, not {weight!r}")
    return {version: float(weight) for version, weight in wanted.items()}


@attrs.frozen
class Aliases:
    """The aliases under one prefix.

    Attributes:
        store: The prefix.
        tombstones: What was deleted there.
    """

    store: Store
    tombstones: Tombstones

    def read(self, place: str, known: Note | None = None) -> Flow[tuple[Note | None, Alias | None]]:
        """The alias noted at a place."""
        note = yield from self.store.get_note(_KIND, place, known)
        return note, None if note is None else _parsed(place, note.body)

    def get(self, name: str, alias: str) -> Flow[Alias]:
        """One alias.

        Raises:
            ModelNotFoundError: There is none.
        """
        _, found = yield from self.read(note_name(name, alias))
        if found is None:
            raise self._missing(name, alias)
        return found

    def _missing(self, name: str, alias: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            f"there is no alias {name}@{alias} under {self.store.keys.prefix}",
            model=f"{name}@{alias}",
            hint=f"set it with alias({name!r}, {alias!r}, version)",
        )

    def all(self, name: str | None = None) -> Flow[list[Alias]]:
        """All aliases, or those of one name."""
        notes = yield from self._notes(name)
        found = [_parsed(place, note.body) for place, note in notes.items()]
        return [alias for alias in found if alias is not None]

    def _notes(self, name: str | None) -> Flow[dict[str, Note]]:
        places = yield from self.store.note_names(_KIND, "" if name is None else f"{check_name(name)}@")
        notes = yield from collected([self.store.get_note(_KIND, place) for place in places], 16)
        return {place: note for place, note in zip(places, notes, strict=True) if note is not None}

    def settled(self, name: str | None, gone: Collection[tuple[str, str]]) -> Flow[list[Alias]]:
        """All aliases, after changes that are under way to certain versions were stopped.

        A change is announced in the alias, then looks at tombstones, then is made. A deletion leaves a tombstone, then
        looks at aliases. One that is announced and not made may have looked before the tombstone was there, so it is
        taken out of the alias. Its author finds another entity tag, begins again and sees the tombstone.

        Args:
            name: Only aliases of this name.
            gone: Names and versions.
        """
        found: list[Alias] = []
        for place, first in (yield from self._notes(name)).items():
            note: Note | None = first
            for attempt in range(_TRIES):
                if note is None or not _announces(place, note.body, gone):
                    break
                try:
                    yield from self._withdraw(place, note)
                except ConflictError:
                    yield self.store.pause(attempt)
                note = yield from self.store.get_note(_KIND, place)
            else:
                raise ConflictError(f"{place.removesuffix('.json')} is being moved all the time; nothing was deleted")
            alias = None if note is None else _parsed(place, note.body)
            if alias is not None:
                found.append(alias)
        return found

    def _withdraw(self, place: str, note: Note) -> Flow[None]:
        """Take an announced change out of an alias.

        Raises:
            ConflictError: The alias was written since.
        """
        if note.body["history"]:
            body = {key: value for key, value in note.body.items() if key != "pending"}
            yield from self.store.swap_note(_KIND, place, body, note)
        else:
            yield from self.store.delete_if(self.store.keys.reserved(_KIND, place), note.etag)

    def set(
        self, name: str, alias: str, wanted: str | ModelVersion | Mapping[str, float], expected: Any = ANY
    ) -> Flow[Alias]:
        """Point an alias at versions.

        Raises:
            ModelNotFoundError: A version does not exist, or was deleted.
            ConflictError: The alias does not mean what was expected.
        """
        if isinstance(wanted, ModelVersion) and wanted.name != name:
            raise InvalidInputError(f"{wanted.target_model} is no version of {name!r}")
        weights = weights_of(wanted)
        was = None if expected is None or expected is ANY else weights_of(expected)

        def change(history: History) -> dict[str, Any] | None:
            current = history[-1]["weights"] if history else None
            if current == weights:
                return None
            if expected is not ANY and current != was:
                raise ConflictError(
                    f"{name}@{alias} means {_said(current)}, not {_said(was)}: somebody moved it",
                    model=f"{name}@{alias}",
                    hint="look at it again, then decide",
                )
            return {"weights": weights, "at": self.store.now()}

        yield from self._exist(name, weights)
        return (yield from self._move(name, alias, change))

    def rollback(self, name: str, alias: str) -> Flow[Alias]:
        """Point an alias at what it meant before.

        Raises:
            ConflictError: It never meant anything else.
        """
        current = yield from self.get(name, alias)
        back, weights = _undone(current)
        yield from self._exist(name, weights)
        seen = len(current.history)

        def change(history: History) -> dict[str, Any]:
            if len(history) != seen or history[-1]["weights"] != current.weights:
                raise ConflictError(f"{name}@{alias} was moved meanwhile", model=f"{name}@{alias}")
            return {"weights": dict(weights), "at": self.store.now(), "back": back}

        return (yield from self._move(name, alias, change))

    def _move(self, name: str, alias: str, decide: Callable[[History], dict[str, Any] | None]) -> Flow[Alias]:
        """Change an alias: announce the change, look at tombstones, make it.

        Args:
            name: The model's name.
            alias: The alias.
            decide: From the history to the change; None where there is nothing to change. May be called again.

        Raises:
            ModelNotFoundError: A version was deleted; the alias is as it was.
            ConflictError: Others went on changing the alias.
        """
        place, me = note_name(name, alias), new_id()
        waited: Any = None
        for attempt in range(_TRIES):
            note, old = yield from self.read(place)
            history: History = [] if note is None else note.body["history"]
            if any(one.get("id") == me for one in history):
                assert old is not None
                return old  # the change was made, and its answer lost
            change = decide(history)
            if change is None:
                assert old is not None
                yield from self._alive(name, old.weights)
                return old
            theirs = None if note is None else note.body.get("pending", {}).get("id")
            if theirs not in (None, me, waited):
                waited = theirs  # a change that another client makes at this moment goes first, unless it was killed
                yield self.store.pause(attempt)
                continue
            change["id"] = me
            try:
                announced = yield from self.store.swap_note(_KIND, place, {"history": history, "pending": change}, note)
                made = yield from self._made(place, history, change, announced)
            except ConflictError:
                yield self.store.pause(attempt)
                continue
            found = _parsed(place, made.body)
            assert found is not None
            return found
        raise ConflictError(
            f"{name}@{alias} was changed by others all the time; it was not moved", model=f"{name}@{alias}"
        )

    def _made(self, place: str, history: History, change: dict[str, Any], announced: Note) -> Flow[Note]:
        name = place.rpartition("@")[0]
        try:
            yield from self._alive(name, change["weights"])
            return (
                yield from self.store.swap_note(_KIND, place, {"history": [*history, change][-_HISTORY:]}, announced)
            )
        except ConflictError:
            raise
        except BaseException as error:
            # Fails where the change was made although its answer did not come; the caller then reads it.
            if not isinstance(error, GeneratorExit):
                try:
                    yield from self._withdraw(place, announced)
                except ConflictError:
                    if not isinstance(error, Exception):
                        raise error from None
                    raise
                except MMEError:
                    pass
            raise

    def _exist(self, name: str, weights: Mapping[str, float]) -> Flow[None]:
        targets = [self.store.keys.target(name, version) for version in weights]
        found = yield from collected([self.store.head(target) for target in targets], 8)
        for target, stored in zip(targets, found, strict=True):
            if stored is None:
                raise ModelNotFoundError(f"there is no {self.store.keys.prefix.join(target)}", model=target)

    def _alive(self, name: str, weights: Mapping[str, float]) -> Flow[None]:
        dead = yield from self.tombstones.read()
        for version in weights:
            target = self.store.keys.target(name, version)
            if target in dead:
                state = "is being deleted" if is_pending(dead[target]) else "was deleted"
                raise ModelNotFoundError(f"{target} {state}", model=target, hint="point the alias elsewhere")

    def remove(self, name: str, alias: str) -> Flow[None]:
        """Forget an alias and its history."""
        place = note_name(name, alias)
        for attempt in range(_TRIES):
            note, found = yield from self.read(place)
            if note is None or found is None:
                raise self._missing(name, alias)
            try:
                return (yield from self.store.delete_if(self.store.keys.reserved(_KIND, place), note.etag))
            except ConflictError:
                yield self.store.pause(attempt)
        raise ConflictError(
            f"{name}@{alias} was changed by others all the time; it is still there", model=f"{name}@{alias}"
        )


def _parsed(place: str, body: Mapping[str, Any]) -> Alias | None:
    """The alias of a note; None where its first change is announced and not made."""
    name, _, alias = place.removesuffix(".json").rpartition("@")
    try:
        history = tuple(
            AliasChange(
                weights=weights_of(one["weights"]), at=datetime.fromtimestamp(one["at"], UTC), back=one.get("back", 0)
            )
            for one in body["history"]
        )
        if not history:
            if "pending" in body:
                return None
            raise ValueError("empty")
        return Alias(name=name, alias=alias, history=history)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ServiceError(
            f"the note of alias {name}@{alias} is damaged",
            hint=f"delete {RESERVED}{_KIND}/{place} below the prefix, then set the alias again",
        ) from error


def _announces(place: str, body: Mapping[str, Any], gone: Collection[tuple[str, str]]) -> bool:
    """Whether an alias holds a change that is not made yet, to one of certain versions."""
    name = place.rpartition("@")[0]
    return any((name, version) in gone for version in body.get("pending", {}).get("weights", ()))


def _undone(alias: Alias) -> tuple[int, Mapping[str, float]]:
    """How far back lies what an alias meant before, counted from the next change, and what that is.

    A second rollback goes one further back, not forward again.
    """
    history = alias.history
    position = len(history) - 1 - history[-1].back
    while position > 0:
        position -= 1
        if history[position].weights != alias.weights:
            position -= history[position].back
            return len(history) - position, history[position].weights
    raise ConflictError(f"{alias.reference} meant nothing else before {_said(alias.weights)}", model=alias.reference)


def before(alias: Alias) -> Mapping[str, float]:
    """What a rollback would go back to; nothing where it cannot."""
    try:
        return _undone(alias)[1]
    except ConflictError:
        return {}


def _said(weights: Mapping[str, float] | None) -> str:
    if weights is None:
        return "nothing"
    return ", ".join(weights) if len(weights) == 1 else str(dict(weights))
